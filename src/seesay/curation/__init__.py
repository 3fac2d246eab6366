"""From a pool of captions and images to a training set, counted at every arrow."""

"""What: CLIP's objective with a text tower that is blind to the order of words.

Source: Radford et al. 2021, section 2.3 and figure 2, "bag of words contrastive".
Formula: that of `contrastive`; the caption's row is a linear map of the mean of its token vectors.
Inputs: images and captions; where they repeat in a batch, targets are shared out over all that are equal.
Settings: those of `contrastive`.
Zero-shot: as `contrastive`.
Differences: the paper does not say more of its tower than its name; the LayerNorm behind the mean is ours.
"""

from seesay.nets.architecture import Architecture
from seesay.training.objectives.base import bag_of_words
from seesay.training.objectives.contrastive import Contrastive


class ContrastiveBow(Contrastive):
    """CLIP, with the bag of words as text tower."""

    name = "contrastive-bow"
    is_ordered = False

    def architecture(self, base: Architecture) -> Architecture:
        return bag_of_words(base)

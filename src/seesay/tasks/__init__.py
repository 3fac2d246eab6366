"""One thing one does with a model, a file each."""

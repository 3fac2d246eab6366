"""What: which of all classes an image shows, with the zero-shot classifier of the model that the run begins with.

Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", section 3.
Formula: L = CE(s U W^T, class) for unit rows U of images, the fixed rows W of classes and the model's s.
Inputs: images of a labelled set, each with the caption of its class.
Settings: start.how = "image", start.classes, start.templates.
Zero-shot: the cosine of an image and the mean of a class's prompts.
Differences: W is not trained, so that the model goes on to answer in words.
"""

from seesay.base.errors import UsageError
from seesay.nets.architecture import Architecture
from seesay.training.objectives.base import PredictionObjective


class Classes(PredictionObjective):
    """Classes of a labelled set, by a model that is there already."""

    name = "classes"

    def architecture(self, base: Architecture) -> Architecture:
        raise UsageError("objective classes needs a model to begin with; use `seesay finetune MODEL DATA --how image`.")

"""What: which words the caption has, from the image alone; the paper's bag-of-words prediction.

Source: Radford et al. 2021, section 2.3 and figure 2, "bag of words prediction"; Joulin et al. 2016.
Formula: L = -(1/N) sum over pairs of sum over w in y of (1/|y|) log softmax(z)_w, for the caption's different words y
and z = W v + b of an image's row v, which is not of unit length.
Inputs: images and captions; words are the tokens of the run's vocabulary. A caption without words counts 0.
Settings: none.
Zero-shot: the mean over the different words of the bare class name of log softmax(z)_w. A template would add the same
words to all classes.
Differences: the paper says no more than the name; the loss is Joulin's with all words of the caption at once, where
they drew one per epoch and classes uniformly.
"""

import math

from seesay.base.records import Batch
from seesay.formulas.language import is_inner, shares_of_types
from seesay.nets.architecture import Architecture, BagOfWordsHeadConfig
from seesay.training.objectives.base import PLAIN, PredictionObjective, with_text


class BagOfWordsPrediction(PredictionObjective):
    """Prediction of the words of a caption in no order."""

    name = "bag-of-words"
    templates = PLAIN

    def architecture(self, base: Architecture) -> Architecture:
        return with_text(base, BagOfWordsHeadConfig(context=base.text.context, vocab_size=base.text.vocab_size))

    def chance_loss(self, batch_size: int, vocab_size: int) -> float:
        return math.log(vocab_size)

    def minimum_loss(self, batch: Batch) -> float:
        # The different words of a caption share the probability.
        tokens = batch.tokens
        share_BL = shares_of_types(tokens.ids_BL, is_inner(tokens.length_B, tokens.ids_BL.shape[1]))[1]
        return float((share_BL > 0).sum(1).clamp(min=1).log().mean())

"""What: the exact caption, token by token, from the grid of the image; once forwards and once backwards. VirTex.

Source: Desai and Johnson 2021, "VirTex: Learning Visual Representations from Textual Annotations", section 3, and the
released code.
Formula: L = -(1/N) sum over pairs of [(1/T) sum of log p(y_t | image, y_<t) + (1/T) sum of log p(y_t | image, y_>t)],
T tokens with the end token forwards, with the start token backwards.
Inputs: images and captions; "left" and "right" change places where an image is mirrored.
Settings: none; one layer, as wide as the model's text tower.
Zero-shot: the sum of both directions' log-likelihoods of a prompt; the class whose prompt is most likely.
Differences: no dropout (0.1 there), since all that is drawn belongs to a row (docs/decisions/0006). The mean is over
each caption's tokens and then over pairs, so that a pair weighs the same in any batch; there it is over all tokens of
a batch. The grid's linear map has no bias, which the keys and values made of it have. Augmentation, optimizer and
tokenizer are the run's own. The publication has no zero-shot answers.
"""

import math

from seesay.data.captions import CaptionRule
from seesay.nets.architecture import Architecture, BicaptionerConfig
from seesay.training.objectives.base import PredictionObjective, blocks, with_text


class Bicaption(PredictionObjective):
    """Two decoders over the grid of the image."""

    name = "bicaption"
    captions = CaptionRule(swaps_sides=True)
    templates = ("a photo of a {}.",)

    def architecture(self, base: Architecture) -> Architecture:
        text = BicaptionerConfig(**{**blocks(base), "layers": 1})
        return with_text(base, text, embed_dim=text.width)

    def chance_loss(self, batch_size: int, vocab_size: int) -> float:
        return 2 * math.log(vocab_size)

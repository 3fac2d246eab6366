"""What: the exact caption, token by token, from the image; the paper's transformer language model.

Source: Radford et al. 2021, section 2.3 and figure 2; the four image tokens are those of "LM RN50" in the appendix.
Formula: L = -(1/N) sum over pairs of (1/T) sum over t of log p(y_t | image, y_<t), T tokens with the end token.
Inputs: images and captions.
Settings: none; the transformer of the model's text tower, or four blocks as wide as its bag of words.
Zero-shot: log p(prompt | image), the sum over its tokens; the class whose prompt is most likely.
Differences: the paper says neither how its classes were scored nor whether the softmax was tied. Ours has the token
embedding as output weights and takes the sum (`nets.captioner` says why), of one template, as figure 2 has one prompt.
"""

import math

from seesay.nets.architecture import Architecture, CaptionerConfig
from seesay.training.objectives.base import PredictionObjective, blocks, with_text


class Caption(PredictionObjective):
    """A causal language model behind four tokens of the image."""

    name = "caption"
    templates = ("a photo of a {}.",)

    def architecture(self, base: Architecture) -> Architecture:
        text = CaptionerConfig(**blocks(base))
        return with_text(base, text, embed_dim=text.prefix * text.width)

    def chance_loss(self, batch_size: int, vocab_size: int) -> float:
        return math.log(vocab_size)

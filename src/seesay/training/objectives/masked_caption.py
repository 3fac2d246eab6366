"""What: a masked word of the caption, from a grid of the image and the caption's other words; ICMLM.

Source: Sariyildiz, Perez and Larlus 2020, "Learning Visual Representations with Caption Annotations", section 3.
Formula: L = (1/N) sum over pairs of the mean over the masked word's tokens w of -log p(w | grid, other words), plus
the tags' sum over all tokens of -[y log t + (1 - y) log (1 - t)] / |y|, for t of the mean of the grid alone and y the
tokens of the caption's concepts. The weight of the tags is 1.
Inputs: images and captions. Concepts are whole words that are no function words of English, ten times in the training
captions; in fewer than 1,000 captions, once in every hundred. Each epoch masks one of the caption's concepts wherever
it occurs. A caption without one has the tags' loss alone.
Settings: none; `masked-caption` looks at grid and words with one transformer block (tfm), `masked-caption-att-fc` asks
the grid with the masked place and has an MLP behind it (att-fc).
Zero-shot: the bare class name, all of its tokens masked, in what training captions have most often around their last
concept ("a photo of a ... ."); the mean over tokens of log p and of the tag's log t, as both terms are about the name.
Differences: two blocks read the text and learn along, where BERT was given and frozen. Concepts come from a list of
function words and not from a tagger. The MLP of att-fc reads the text beside what was outputs. Predicted are tokens.
"""

from typing import Literal

from seesay.nets.architecture import Architecture, MaskedCaptionerConfig
from seesay.training.objectives.base import PLAIN, PredictionObjective, blocks, with_text

# A guess: the publication has BERT, which is given.
TEXT_LAYERS = 2


class MaskedCaption(PredictionObjective):
    """Prediction of a masked word from the image and the words around it."""

    name = "masked-caption"
    templates = PLAIN
    fusion: Literal["tfm", "att-fc"] = "tfm"

    def architecture(self, base: Architecture) -> Architecture:
        text = MaskedCaptionerConfig(**{**blocks(base), "layers": TEXT_LAYERS}, fusion=self.fusion)
        return with_text(base, text, embed_dim=text.width)


class MaskedCaptionAttFc(MaskedCaption):
    """The same with one look of the masked place at the grid."""

    name = "masked-caption-att-fc"
    fusion = "att-fc"

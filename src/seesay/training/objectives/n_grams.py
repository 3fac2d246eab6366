"""What: the caption's runs of up to five words, from the image; Visual N-Grams.

Source: Li et al. 2017, "Learning Visual N-Grams from Web Data", section 3.
Formula: L = -(1/N) sum over pairs of the mean over the caption's words w_i of log p_5(w_i), where
p_n(w_i) = 0.2 p_obs(w_i | the n - 1 words before it) + 0.8 p_(n-1)(w_i) and p_1 = p_obs(w_i), and p_obs is the softmax
of e . v over the dictionary, e the vector of a run and v the image's row, conditioned on the words before; where no run
of the dictionary continues those words, p_n = p_(n-1).
Inputs: images and captions; words are the tokens of the run's vocabulary. A caption without words counts 0.
Settings: none. The dictionary has four runs of two to five words for each single word, the most frequent ones of the
training captions; the publication had five.
Zero-shot: the sum over the words of the bare class name of log p_5.
Differences: single words are all in the dictionary, so that no word is impossible. Runs are of tokens, not of words.
The publication's lambda and recursion are known to us at second hand. We condition p_obs: were it a run's share of the
whole dictionary, a run would always do worse than its last word alone, which weighs more and helps elsewhere too.
In training the mean over words, where the publication has the sum; from random weights, where it had ImageNet's.
"""

import math

from seesay.nets.architecture import Architecture, NGramsConfig
from seesay.training.objectives.base import PLAIN, PredictionObjective, with_text


class VisualNGrams(PredictionObjective):
    """Prediction of the words of a caption, each from the image and the words before it, by smoothed n-grams."""

    name = "n-grams"
    templates = PLAIN
    # Runs that are not in the dictionary, and single words that share the probability, keep the loss above 0.
    overfit_tolerance = 0.5

    def architecture(self, base: Architecture) -> Architecture:
        return with_text(base, NGramsConfig(context=base.text.context, vocab_size=base.text.vocab_size))

    def chance_loss(self, batch_size: int, vocab_size: int) -> float:
        return math.log(vocab_size)

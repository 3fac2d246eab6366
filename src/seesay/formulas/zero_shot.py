"""Formulas of a zero-shot classifier. B = images, C = classes, K = prompts per class, D = embedding width."""

import math

from torch import Tensor

from seesay.formulas.similarity import unit, widened


def class_head(prompt_CKD: Tensor) -> Tensor:
    """One unit row per class, (C, D): the direction of the mean of the class's prompts, each taken at unit length.

    The average is over embeddings, not over probabilities (Radford et al. 2021, section 3.1.4), so the head costs
    as much as a single prompt once it is made.
    """
    return unit(unit(widened(prompt_CKD)).mean(1))


def probabilities(score_BC: Tensor, scale: float | Tensor) -> Tensor:
    """softmax over classes of `scale` times the score, (B, C); rows sum to 1.

    For embeddings scores are cosines, and `scale` is the multiplier itself, exp of the learned parameter: about 100
    in the published models.
    """
    return (scale * score_BC).softmax(-1)


def match_probabilities(score_BC: Tensor, scale: float | Tensor, bias: float | Tensor) -> Tensor:
    """sigmoid of `scale` times the score plus `bias`, (B, C): each from 0 to 1, and rows sum to anything.

    How likely class and image belong together, whatever the other classes are (Zhai et al. 2023, section 3.1).
    """
    return (scale * score_BC + bias).sigmoid()


def log_mean_exp(log_p_BK: Tensor) -> Tensor:
    """The logarithm of the mean of K likelihoods that are given as logarithms, (B,)."""
    return log_p_BK.logsumexp(1) - math.log(log_p_BK.shape[1])

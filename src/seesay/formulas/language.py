"""Likelihoods of words.

B = captions, L = tokens of each, V = vocabulary, N = orders of n-grams, G = groups, C = members of all groups.
"""

import math

import torch
from torch import Tensor


def is_inner(length_B: Tensor, longest: int) -> Tensor:
    """(B, L): True for all tokens of a caption but its first and its last."""
    position_L = torch.arange(longest, device=length_B.device)
    return (position_L > 0) & (position_L < length_B[:, None] - 1)


def shares_of_types(ids_BL: Tensor, is_word_BL: Tensor) -> tuple[Tensor, Tensor]:
    """The words of each caption in ascending order, and what each weighs so that different words share 1 equally.

    Both (B, L). A word that comes again weighs 0 from its second occurrence on, and so does what is no word; a caption
    without words weighs nothing.
    """
    sorted_BL = ids_BL.masked_fill(~is_word_BL, -1).sort(1).values
    is_new_BL = sorted_BL >= 0
    is_new_BL[:, 1:] &= sorted_BL[:, 1:] != sorted_BL[:, :-1]
    return sorted_BL.clamp(min=0), is_new_BL / is_new_BL.sum(1, keepdim=True).clamp(min=1)


def k_hot_cross_entropy(logits_BV: Tensor, ids_BL: Tensor, share_BL: Tensor) -> Tensor:
    """-sum over l of share_l log softmax(logits)_(ids_l), (B,).

    Source: Joulin et al. 2016, "Learning Visual Features from Large Weakly Supervised Data", the multi-class loss; the
    ablation "token classification" of Desai and Johnson 2021 is the same.
    """
    return -(logits_BV.log_softmax(1).gather(1, ids_BL) * share_BL).sum(1)


def grouped_log_softmax(logits_CB: Tensor, first_G: Tensor, group_C: Tensor) -> Tensor:
    """Along the first dimension, within each group of neighbours: `group_C` is sorted, and group g begins at `first_g`.

    `first_G` has one entry more than there are groups, the last one C. A group may be empty.
    """
    top_GB = torch.segment_reduce(logits_CB.detach(), "max", offsets=first_G, axis=0)
    shifted_CB = logits_CB - top_GB.index_select(0, group_C)
    sum_GB = torch.zeros_like(top_GB).index_add(0, group_C, shifted_CB.exp())
    # Empty groups are not looked up; their logarithm stays finite, and so is its gradient.
    return shifted_CB - sum_GB.clamp(min=1e-30).log().index_select(0, group_C)


def jelinek_mercer(observed_NX: Tensor, has_context_NX: Tensor, *, share: float) -> Tensor:
    """Log-probabilities of words under interpolated n-gram models, from unigrams (n = 0) up; (N, ...) to (...).

    `observed_NX` are log p_obs(word | the n words before it), -inf where the model of that order has not seen it.
    p_n = share * p_obs + (1 - share) * p_(n-1); a context that has not been seen leaves p_(n-1) as it is, so that the
    probabilities of all words add up to 1. Source: Jelinek and Mercer 1980, as in Chen and Goodman 1998, section 2.3.
    """
    log_p_X = observed_NX[0]
    for observed_X, has_context_X in zip(observed_NX[1:], has_context_NX[1:], strict=True):
        mixed_X = torch.logaddexp(observed_X + math.log(share), log_p_X + math.log(1 - share))
        log_p_X = torch.where(has_context_X, mixed_X, log_p_X)
    return log_p_X

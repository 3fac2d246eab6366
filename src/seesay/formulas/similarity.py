"""Unit rows, the best matches among many, and the formulas of a zero-shot classifier.

N = keys, Q = queries, B = images, C = classes, K = matches wanted or prompts per class, D = embedding width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def unit(x_ND: Tensor) -> Tensor:
    """`x_ND` with every row divided by its Euclidean length; a row of zeros stays zero.

    The length is taken in float32 or wider, because squares overflow float16 from 256 on; the dtype that came in
    goes out. Any number of leading dimensions.
    """
    return F.normalize(widened(x_ND), dim=-1).to(x_ND.dtype)


def prefix(x_ND: Tensor, width: int) -> Tensor:
    """The first `width` numbers of every row at unit length, (N, width): what `Matryoshka` trains rows for."""
    return unit(x_ND[..., :width])


def top_k(query_QD: Tensor, key_ND: Tensor, k: int, *, block: int = 4096) -> tuple[Tensor, Tensor]:
    """The `k` keys with the largest dot product for every query, best first: scores (Q, K), row numbers (Q, K).

    With unit rows on both sides the scores are cosines. K is `k`, or N where there are fewer keys. Equal scores
    come in the order of the keys; which of them come at the very end of the list is left open. Never holds
    more than `block` x `block` scores, and computes in float32 or wider.
    """
    if k < 1 or block < 1:
        raise ValueError(f"k is {k} and block is {block}; both must be 1 or more")
    found = [best_of_blocks(part_QD, key_ND, k, block) for part_QD in query_QD.split(block)]
    scores_QK, index_QK = (torch.cat(parts) for parts in zip(*found, strict=True))
    return in_key_order(scores_QK, index_QK)


def best_of_blocks(query_QD: Tensor, key_ND: Tensor, k: int, block: int) -> tuple[Tensor, Tensor]:
    """`top_k`, (Q, k) each, for queries that fit one block: the best so far against the best of the next keys."""
    query_QD = widened(query_QD)
    best_QK = query_QD.new_empty(len(query_QD), 0)
    index_QK = torch.empty(len(query_QD), 0, dtype=torch.int64, device=query_QD.device)
    for first in range(0, len(key_ND), block):
        scores_QN = query_QD @ widened(key_ND[first : first + block]).T
        new_QK, column_QK = scores_QN.topk(min(k, scores_QN.shape[1]))
        both, both_index = torch.cat([best_QK, new_QK], 1), torch.cat([index_QK, column_QK + first], 1)
        best_QK, place_QK = both.topk(min(k, both.shape[1]))
        index_QK = both_index.gather(1, place_QK)
    return best_QK, index_QK


def in_key_order(scores_QK: Tensor, index_QK: Tensor) -> tuple[Tensor, Tensor]:
    """Best first, and equal scores by row number, so that the block size cannot be seen in the result: (Q, K) each."""
    by_index = index_QK.argsort(dim=1)
    scores_QK, index_QK = scores_QK.gather(1, by_index), index_QK.gather(1, by_index)
    by_score = scores_QK.argsort(dim=1, descending=True, stable=True)
    return scores_QK.gather(1, by_score), index_QK.gather(1, by_score)


def widened(x: Tensor) -> Tensor:
    """float32 at least; float64 stays; of any shape."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


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

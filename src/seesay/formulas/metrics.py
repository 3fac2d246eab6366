"""Was the right one near the top? N = images, C = classes, M = captions, D = embedding width.

Hits are one True or False per question, so that an interval can be put around their mean; the measures that rank the
images of a class give a fraction.

Ties count against us: the rank of the right answer is 1 + the number of wrong answers that do not score strictly
below it. A model that gives the same score to everything is therefore always wrong instead of right by luck of the
order, and so is one that gives NaN. Two classes with the same name can never be distinguished and are both missed.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from seesay.formulas.similarity import widened

Hits = dict[int, np.ndarray]


def rank_of_label(scores_NC: Tensor, label_N: Tensor) -> Tensor:
    """The rank of the right class among all classes, (N,) int64, 1 = best; see above for ties."""
    own_N1 = scores_NC.gather(1, label_N[:, None])
    # The right class is not strictly below itself, which is the 1 that a rank starts at.
    return (~(scores_NC < own_N1)).sum(1)


def top_k_hits(scores_NC: Tensor, label_N: Tensor, *, ks: Sequence[int] = (1, 5)) -> Hits:
    """For each k, whether the right class is among the k best, (N,) bool. Give cosines: softmax rounds to ties."""
    return hits_within(rank_of_label(scores_NC, label_N), ks)


def mean_per_class(hit_N: np.ndarray, label_N: np.ndarray) -> float:
    """The accuracy of each class that occurs, averaged over classes; a fraction from 0 to 1."""
    _, class_N, size_C = np.unique(label_N, return_inverse=True, return_counts=True)
    return float((np.bincount(class_N, weights=hit_N) / size_C).mean())


def mean_average_precision_11(scores_NC: np.ndarray, label_N: np.ndarray) -> float:
    """`average_precision_11` of each class that occurs against the rest, averaged over classes."""
    own = [average_precision_11(scores_NC[:, label], label_N == label) for label in np.unique(label_N)]
    return float(np.mean(own))


def average_precision_11(score_N: np.ndarray, is_right_N: np.ndarray) -> float:
    """The best precision at a recall of at least 0, 0.1, ..., 1, averaged: the measure of Pascal VOC 2007.

    Images are taken by falling score. Of equal scores the wrong ones come first.
    """
    order_N = np.lexsort((is_right_N, -score_N))
    found_N = is_right_N[order_N].cumsum()
    precision_N = found_N / np.arange(1, len(found_N) + 1)
    # From each rank on to the end: what may still be reached at that recall or a higher one.
    best_N = np.maximum.accumulate(precision_N[::-1])[::-1]
    # In whole numbers, because a recall of 3 / 10 is not 0.3 to the last bit.
    ranks = np.searchsorted(10 * found_N, np.arange(11) * found_N[-1])
    return float(best_N[ranks].mean())


def mean_roc_auc(scores_NC: np.ndarray, label_N: np.ndarray) -> float:
    """`roc_auc` of each class that occurs against the rest, averaged over classes; with two classes both are equal."""
    return float(np.mean([roc_auc(scores_NC[:, label], label_N == label) for label in np.unique(label_N)]))


def roc_auc(score_N: np.ndarray, is_right_N: np.ndarray) -> float:
    """The chance that a right image scores above a wrong one; here equal scores count half, as everywhere.

    0.5 where there is nothing to compare. From ranks, by Mann and Whitney 1947.
    """
    right = int(is_right_N.sum())
    wrong = len(is_right_N) - right
    if not right or not wrong:
        return 0.5
    _, place_N, ties_U = np.unique(score_N, return_inverse=True, return_counts=True)
    rank_U = ties_U.cumsum() - (ties_U - 1) / 2
    return float((rank_U[place_N][is_right_N].sum() - right * (right + 1) / 2) / (right * wrong))


def recall_at_k(
    image_ND: Tensor, text_MD: Tensor, image_of_text_M: Tensor, *, ks: Sequence[int] = (1, 5, 10), block: int = 1024
) -> dict[str, Hits]:
    """Hits of retrieval in both directions, for every k.

    `image_of_text_M` says which image each caption belongs to; an image may have several captions and must have
    one (ValueError). "text_to_image": (M,) bool, the caption's own image is among the k best images.
    "image_to_text": (N,) bool, at least one of the image's captions is among the k best captions; an image's other
    captions do not push its best one down. Holds `block` x max(N, M) scores.
    """
    image_ND, text_MD = widened(image_ND), widened(text_MD)
    image_N = torch.arange(len(image_ND), device=image_ND.device)
    if not torch.equal(image_of_text_M.unique(), image_N):
        raise ValueError(f"image_of_text_M must name each of the {len(image_ND)} images at least once and no other")
    rank_M = [
        rank_of_label(text_BD @ image_ND.T, own_B)
        for text_BD, own_B in zip(text_MD.split(block), image_of_text_M.split(block), strict=True)
    ]
    rank_N = [
        rank_of_best_caption(image_BD @ text_MD.T, image_B[:, None] == image_of_text_M)
        for image_BD, image_B in zip(image_ND.split(block), image_N.split(block), strict=True)
    ]
    return {"text_to_image": hits_within(torch.cat(rank_M), ks), "image_to_text": hits_within(torch.cat(rank_N), ks)}


def rank_of_best_caption(scores_BM: Tensor, is_own_BM: Tensor) -> Tensor:
    """1 + the number of foreign captions that do not score strictly below the best own caption, (B,)."""
    best_B1 = scores_BM.masked_fill(~is_own_BM, -torch.inf).amax(1, keepdim=True)
    return 1 + (~(scores_BM < best_B1) & ~is_own_BM).sum(1)


def hits_within(rank_N: Tensor, ks: Sequence[int]) -> Hits:
    """For each k, which ranks are k or better."""
    return {k: (rank_N <= k).cpu().numpy() for k in ks}


def precise_threshold(copy_S: np.ndarray, other_N: np.ndarray, *, share: float, precision: float) -> float:
    """The lowest score from which on `precision` of what is found is right; above all `other_N` where there is none.

    `copy_S` are scores of copies with their originals and `other_N` those of images with what they are no copy of;
    `share` of all images have a copy. Of what scores t or more, share * mean(copy_S >= t) is right, and
    (1 - share) * mean(other_N >= t) is wrong.
    """
    score_T = np.unique(copy_S)
    right_T = share * (1 - np.searchsorted(np.sort(copy_S), score_T) / len(copy_S))
    wrong_T = (1 - share) * (1 - np.searchsorted(np.sort(other_N), score_T) / max(1, len(other_N)))
    wrong_T = wrong_T if len(other_N) else np.zeros_like(wrong_T)
    (precise,) = np.nonzero(right_T >= precision * (right_T + wrong_T))
    if len(precise):
        return float(score_T[precise[0]])
    return float(np.nextafter(other_N.max(), np.inf))

"""How far a measured share can be trusted, and what chance would have given.

C = classes, N = images, M = questions, T = bootstrap draws, U = kinds of images that differ in nothing that counts.

Images are the sample: a new measurement would draw new images, not new classes and not new captions for old images.
Shares of images (top-1, top-5) get the exact binomial interval of Clopper and Pearson (1934): it never covers less
than it promises, also at 0 of n, n of n and small n, where the usual approximations do. Means that are no simple
share of images (mean per class; recall over several captions of one image, which stand or fall together) get the
percentile bootstrap over images (Efron 1979): seeded, so that the same hits always give the same interval.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, bdtrc, betaincinv, stdtrit

# The usual number for percentile intervals (Efron and Tibshirani 1993).
DRAWS = 1000
# For measures that cannot be added up from counts and are worked out anew for every draw.
FEW_DRAWS = 200
# Half of what a 95 % interval leaves out.
TAIL = 0.025
# Half of what the paper's intervals of overlaps leave out (Radford et al. 2021, section 5: 99.5 %).
OVERLAP_TAIL = 0.0025


def proportion_interval(hits: int, n: int, *, tail: float = TAIL) -> tuple[float, float]:
    """The exact interval for a share, `hits` of `n` >= 1 independent images; both ends from 0 to 1.

    It leaves out `tail` at either end: 95 % without one.
    """
    if not 0 <= hits <= n or n < 1:
        raise ValueError(f"{hits} hits of {n}: hits must be from 0 to n, and n at least 1")
    low = float(betaincinv(hits, n - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - tail)) if hits < n else 1.0
    return low, high


def mean_per_class_interval(hit_N: np.ndarray, label_N: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """The 95 % bootstrap interval of `metrics.mean_per_class`. A class that a draw misses is left out of its mean."""
    cell_UF, size_U = np.unique(np.stack([label_N, hit_N], 1).astype(np.int64), axis=0, return_counts=True)
    _, class_U = np.unique(cell_UF[:, 0], return_inverse=True)
    weight_TU = resampled(size_U, seed=seed)
    is_class_UC = class_U[:, None] == np.arange(class_U.max() + 1)
    images_TC = weight_TU @ is_class_UC
    hits_TC = (weight_TU * cell_UF[:, 1]) @ is_class_UC
    share_TC = np.divide(hits_TC, images_TC, out=np.zeros(images_TC.shape), where=images_TC > 0)
    return percentiles(share_TC.sum(1) / (images_TC > 0).sum(1), np.asarray(hit_N))


def recall_interval(hit_M: np.ndarray, image_of_hit_M: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """The 95 % bootstrap interval of `hit_M.mean()` when images are drawn anew, each with all of its questions.

    For text to image there is one question per caption, for image to text one per image.
    """
    _, image_M, asked_N = np.unique(image_of_hit_M, return_inverse=True, return_counts=True)
    hits_N = np.bincount(image_M, weights=hit_M).astype(np.int64)
    cell_UF, size_U = np.unique(np.stack([asked_N, hits_N], 1), axis=0, return_counts=True)
    weight_TU = resampled(size_U, seed=seed)
    return percentiles((weight_TU @ cell_UF[:, 1]) / (weight_TU @ cell_UF[:, 0]), hits_N / asked_N)


def bootstrap_interval(measure: Callable[[np.ndarray], float], n: int, *, seed: int = 0) -> tuple[float, float]:
    """The 95 % bootstrap interval of any measure of images, which is given the numbers of those that were drawn."""
    generator = np.random.default_rng(seed)
    low, high = np.quantile([measure(generator.integers(0, n, n)) for _ in range(FEW_DRAWS)], [TAIL, 1 - TAIL])
    return float(low), float(high)


def mean_interval(value_N: np.ndarray) -> tuple[float, float] | None:
    """The 95 % interval of Student (1908) for the mean of a few repeated measurements; None for a single one."""
    if len(value_N) < 2:
        return None
    half = stdtrit(len(value_N) - 1, 1 - TAIL) * np.std(value_N, ddof=1) / np.sqrt(len(value_N))
    return float(np.mean(value_N) - half), float(np.mean(value_N) + half)


def sign_test(first_only: int, second_only: int) -> float:
    """The exact two-sided p-value for two models on the same questions (McNemar 1947 as a binomial test).

    `first_only` questions were answered by the first alone and `second_only` by the second alone; those that both
    answered, or neither, say nothing about which is better. 1.0 where there is no other.
    """
    n = first_only + second_only
    if n == 0:
        return 1.0
    # The chance of at most the smaller count out of n fair tosses, on both sides.
    return float(min(1.0, 2 * bdtr(min(first_only, second_only), n, 0.5)))


def paired_difference(
    first_M: np.ndarray, second_M: np.ndarray, image_of_hit_M: np.ndarray, *, seed: int = 0
) -> tuple[float, tuple[float, float], float]:
    """Second mean less first, its 95 % bootstrap interval, and the two-sided p-value of there being no difference.

    Images are drawn anew, each with all of its questions and both models' answers. The p-value is twice the share of
    draws on the other side of zero, with one draw added to either, so it is never below 2 / (draws + 1).
    """
    gain_M = second_M.astype(np.int64) - first_M.astype(np.int64)
    _, image_M, asked_N = np.unique(image_of_hit_M, return_inverse=True, return_counts=True)
    gain_N = np.bincount(image_M, weights=gain_M).astype(np.int64)
    cell_UF, size_U = np.unique(np.stack([asked_N, gain_N], 1), axis=0, return_counts=True)
    weight_TU = resampled(size_U, seed=seed)
    gain_T = (weight_TU @ cell_UF[:, 1]) / (weight_TU @ cell_UF[:, 0])
    tail = (1 + min((gain_T <= 0).sum(), (gain_T >= 0).sum())) / (DRAWS + 1)
    low, high = np.quantile(gain_T, [TAIL, 1 - TAIL])
    return float(gain_M.mean()), (float(low), float(high)), float(min(1.0, 2 * tail))


def recall_by_guessing(correct_N: np.ndarray, candidates: int, k: int) -> float:
    """The mean chance that `k` of `candidates` drawn without putting back hold one of the `correct_N` right ones.

    The hypergeometric 1 - C(candidates - correct, k) / C(candidates, k), averaged over questions; with one right
    answer that is k / candidates.
    """
    correct_U, questions_U = np.unique(correct_N, return_counts=True)
    drawn_K = np.arange(min(k, candidates))
    miss_UK = np.clip(candidates - correct_U[:, None] - drawn_K, 0, None) / (candidates - drawn_K)
    return float(np.average(1 - miss_UK.prod(1), weights=questions_U))


def resampled(size_U: np.ndarray, *, seed: int) -> np.ndarray:
    """How often each kind of image comes up in `DRAWS` fresh samples, (DRAWS, U); every row sums to `size_U.sum()`.

    Images of one kind are interchangeable, so drawing kinds gives the same distribution as drawing images and
    costs nothing when there are many of them.
    """
    total = int(size_U.sum())
    return np.random.default_rng(seed).multinomial(total, size_U / total, size=DRAWS)


def percentiles(mean_T: np.ndarray, share_N: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of the draws.

    Where all images are right, or all wrong, every draw is the same and would promise certainty; then the exact
    interval for that many images is the honest answer.
    """
    if share_N.min() == share_N.max() and share_N[0] in (0, 1):
        return proportion_interval(int(share_N.sum()), len(share_N))
    low, high = np.quantile(mean_T, [TAIL, 1 - TAIL])
    return float(low), float(high)


@dataclass(frozen=True, kw_only=True)
class Inflation:
    """What images that were also trained on do to a score; shares from 0 to 1.

    `clean`, `overlap` and `all` are the shares of right answers, `difference` is `all` less `clean`, with its 99.5 %
    interval, and `p_value` the chance of as many right ones or more among the overlap if it were like the clean ones.
    """

    clean: float
    overlap: float
    all: float
    difference: float
    interval: tuple[float, float]
    p_value: float


def inflation(hit_N: np.ndarray, is_overlap_N: np.ndarray) -> Inflation | None:
    """Radford et al. 2021, section 5: a one-sided binomial test of the overlap, with the clean share as the null.

    The interval is the exact one of the overlap's share; all - clean = f (overlap - clean), f the share of images that
    overlap, carries it over, with the clean share taken as known, as the test takes it. None where all overlap or none.
    """
    own_K, others_M = hit_N[is_overlap_N].astype(bool), hit_N[~is_overlap_N].astype(bool)
    if not len(own_K) or not len(others_M):
        return None
    clean, hits, n = float(others_M.mean()), int(own_K.sum()), len(own_K)
    low, high = (n / len(hit_N) * (end - clean) for end in proportion_interval(hits, n, tail=OVERLAP_TAIL))
    return Inflation(
        clean=clean,
        overlap=hits / n,
        all=float(hit_N.mean()),
        difference=n / len(hit_N) * (hits / n - clean),
        interval=(low, high),
        p_value=float(bdtrc(hits - 1, n, clean)) if hits else 1.0,
    )

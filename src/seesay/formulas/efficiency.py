"""How many times less of something (images, FLOPs, seconds) one way to learn needs than another for the same accuracy.

P = points of a curve, S = seeds, L = levels of accuracy, R = resamples.

The distance between two curves is taken sideways: at an accuracy a the factor is n_slow(a) / n_fast(a) (CLIP, Radford
et al. 2021, figure 2: "4X efficiency"). A curve is the mean of its seeds at every point: of accuracies, and of
logarithms of n. Measured curves are noisy and may fall, where "the n at which a is reached" would have several answers,
so the mean curve is first replaced by the nearest one that never falls, in least squares (isotonic regression: Ayer et
al. 1955). n(a) is where that first reaches a, accuracy being interpolated linearly in log n.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

# A guess.
LEVELS = 101
# Half of what a 95 % interval leaves out.
TAIL = 0.025
# 256 resamples of 4 seeds; of more seeds so many are drawn.
MOST_RESAMPLES = 256
# More pairs of resamples without a common range would be a tail of their own.
MOST_LOST = 0.05


class NoCommonRange(ValueError):
    """No accuracy is reached by both curves; the message is the reason."""


@dataclass(frozen=True)
class Curve:
    """Accuracy over n for several seeds, points in the order in which they were measured; all n are above 0."""

    n_SP: np.ndarray
    accuracy_SP: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """`factor` is how many times more the slow curve needs, or None with the `reason`.

    `common` is the range of accuracies that was compared. `interval95` is None where `interval_reason` says why.
    `lost` is the share of resamples that had no common range.
    """

    factor: float | None = None
    common: tuple[float, float] | None = None
    reason: str = ""
    interval95: tuple[float, float] | None = None
    interval_reason: str = ""
    lost: float = 0.0


def efficiency(fast: Curve, slow: Curve, *, floor: float, seed: int = 0) -> Efficiency:
    """The median factor over `LEVELS` accuracies spread evenly over the common range, and its bootstrap interval.

    The common range is what both curves reach, above `floor` (accuracies that chance may give) and above where
    either starts. The interval is over seeds: those of either curve are drawn anew, apart from the other's, and every
    resample of the one meets every resample of the other; up to four seeds these are all that there are.
    """
    try:
        value, common = log_factor(mean_curve(fast), mean_curve(slow), floor=floor)
    except NoCommonRange as error:
        return Efficiency(reason=str(error), interval_reason=str(error))
    factor = float(np.exp(value))
    if min(len(fast.n_SP), len(slow.n_SP)) < 2:
        return Efficiency(factor=factor, common=common, interval_reason="one seed alone says nothing of the spread")
    interval, lost = _interval(fast, slow, floor=floor, seed=seed)
    reason = f"{lost:.0%} of the resamples have no common range" if interval is None else ""
    return Efficiency(factor=factor, common=common, interval95=interval, interval_reason=reason, lost=lost)


def mean_curve(curve: Curve, weight_S: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(P,) log n, and (P,) accuracies that never fall, of the mean of the seeds."""
    log_P = np.average(np.log(curve.n_SP), axis=0, weights=weight_S)
    return log_P, never_falling(np.average(curve.accuracy_SP, axis=0, weights=weight_S))


def never_falling(value_P: np.ndarray) -> np.ndarray:
    """The nearest values in least squares that never fall, (P,): neighbours that do are replaced by their mean."""
    sums: list[float] = []
    counts: list[int] = []
    for value in value_P:
        sums.append(float(value))
        counts.append(1)
        while len(sums) > 1 and sums[-2] * counts[-1] > sums[-1] * counts[-2]:
            last, count = sums.pop(), counts.pop()
            sums[-1] += last
            counts[-1] += count
    return np.repeat(np.array(sums) / np.array(counts), counts)


def log_n_at(log_P: np.ndarray, accuracy_P: np.ndarray, level_L: np.ndarray) -> np.ndarray:
    """(L,) log n at which a curve that never falls first reaches levels above its first accuracy, up to its last."""
    after_L = np.searchsorted(accuracy_P, level_L, side="left")
    before_L = after_L - 1
    share_L = (level_L - accuracy_P[before_L]) / (accuracy_P[after_L] - accuracy_P[before_L])
    return log_P[before_L] + share_L * (log_P[after_L] - log_P[before_L])


def log_factor(
    fast: tuple[np.ndarray, np.ndarray], slow: tuple[np.ndarray, np.ndarray], *, floor: float
) -> tuple[float, tuple[float, float]]:
    """The median of log n_slow - log n_fast, and the range of accuracies it is over; or `NoCommonRange`.

    A curve is two arrays (P,): numbers of images, ascending, and the accuracy at each of them.
    """
    low = max(floor, fast[1][0], slow[1][0])
    high = min(fast[1][-1], slow[1][-1])
    if high <= low:
        if high <= floor:
            raise NoCommonRange(f"not both get above {100 * floor:.2f} %, which chance alone may give")
        raise NoCommonRange("one is better at its first point than the other at its last")
    # The lower end is left out: at it a curve may be flat, or not have begun.
    level_L = np.linspace(low, high, LEVELS + 1)[1:]
    log_L = log_n_at(*slow, level_L) - log_n_at(*fast, level_L)
    return float(np.median(log_L)), (float(low), float(high))


def _interval(fast: Curve, slow: Curve, *, floor: float, seed: int) -> tuple[tuple[float, float] | None, float]:
    """The 95 % bootstrap interval of the factor, None where too many resamples lack a range; and the share of those."""
    fast_R, slow_R = (
        [(mean_curve(curve, weight_S), count) for weight_S, count in resamples(len(curve.n_SP), seed=seed + side)]
        for side, curve in enumerate((fast, slow))
    )
    logs, counts, lost = [], [], 0
    for (fast_curve, fast_count), (slow_curve, slow_count) in product(fast_R, slow_R):
        try:
            value, _ = log_factor(fast_curve, slow_curve, floor=floor)
        except NoCommonRange:
            lost += fast_count * slow_count
            continue
        logs.append(value)
        counts.append(fast_count * slow_count)
    share = lost / (lost + sum(counts))
    if share > MOST_LOST:
        return None, share
    low, high = np.quantile(np.repeat(logs, counts), [TAIL, 1 - TAIL])
    return (float(np.exp(low)), float(np.exp(high))), share


def resamples(count: int, *, seed: int = 0) -> Sequence[tuple[np.ndarray, int]]:
    """Draws of `count` = S seeds out of as many: how often each is in it, (S,), and how many draws are that one."""
    if count**count <= MOST_RESAMPLES:
        draws = product(range(count), repeat=count)
    else:
        draws = map(tuple, np.random.default_rng(seed).integers(0, count, (MOST_RESAMPLES, count)))
    kinds = Counter(tuple(sorted(draw)) for draw in draws)
    return [(np.bincount(kind, minlength=count), times) for kind, times in kinds.items()]

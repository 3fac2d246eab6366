"""The paper's search for a penalty (Radford et al. 2021, appendix A.3): fits validated on examples that are held out.

N = images, W = features, K = classes.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from seesay.formulas.examples import Examples, examples, to_features
from seesay.formulas.logistic import SETTLED, Start, fit
from seesay.tasks.estimator_input import EstimatorError, Labelled

# Appendix A.3 of the paper: 1e-6 to 1e6 in 96 steps, 8 to the decade; the search starts at every second decade.
STEPS = 96
STEPS_PER_DECADE = 8
LOWEST = -6
FIRST_STRIDE = 16
# A fit is given up when its errors exceed those of the best fit by this many standard deviations at two checks in a row
# and did not become fewer. Measured in benchmarks/2026-11-21-probe.
STEPS_BETWEEN_CHECKS = 4
DECIDED = 5.0
# Minima through which the parabola of a start goes: three points fix one.
POINTS = 3
# The share of every class that penalties are validated on; a guess: the paper used the data sets' validation splits.
SHARE_HELD_OUT = 0.2


def prepared(given: Labelled, classes: int, offset_NK: Tensor | None = None) -> Examples:
    """Examples made ready for `fit`: where logits begin at `offset_NK`, intercepts cost something, else they are free.

    `UsageError` where squares of features overflow.
    """
    is_free = offset_NK is None
    try:
        return examples(given.x_NW, given.label_N, classes, given.weight_N, offset_NK, has_free_intercepts=is_free)
    except torch.linalg.LinAlgError:  # type: ignore[reportPrivateImportUsage]
        raise EstimatorError("features are so large that their squares are infinite; scale them down.") from None


class Sweep:
    """Fits for many penalties on `training`, validated on `held`; each starts from the minima of penalties near it.

    A fit ends at its minimum (`SETTLED`), or where it is decided that its penalty is not the best one.
    """

    def __init__(self, training: Labelled, held: Labelled, *, classes: int, max_iterations: int):
        self.scores: dict[float, float] = {}
        self._training: Examples = prepared(training, classes)
        self._held, self._max_iterations = held, max_iterations
        self._minima: dict[int, Start] = {}
        self._best_N = torch.zeros(len(held.label_N), dtype=torch.bool, device=held.label_N.device)
        ones_N = torch.ones(len(held.label_N), dtype=torch.float64, device=held.label_N.device)
        self._weight_N = ones_N if held.weight_N is None else held.weight_N

    def best(self) -> tuple[float, tuple[Tensor, Tensor]]:
        """The penalty with the best accuracy, the larger of equals; weights (K, W) and intercepts (K,) of its fit."""
        index = peak(self._score)
        return penalty_at(index), to_features(self._training, self._minima[index].theta_KW1)

    def _score(self, index: int) -> float:
        until = SETTLED._replace(is_enough=GivenUp(self._best_N, self._hits, self._weight_N))
        start, limit = self._start(index), self._max_iterations
        fitted = fit(self._training, penalty_at(index), start=start, max_iterations=limit, until=until)
        self._minima[index] = fitted.end
        hit_N = self._hits(fitted.end.theta_KW1)
        if self._weight_N[hit_N].sum() > self._weight_N[self._best_N].sum():
            self._best_N = hit_N
        self.scores[penalty_at(index)] = float(self._weight_N[hit_N].sum() / self._weight_N.sum())
        return self.scores[penalty_at(index)]

    def _start(self, index: int) -> Start | None:
        """Between two penalties the parabola through the three nearest minima; else the nearest minimum."""
        # A larger penalty is the easier problem, so of two neighbours that one is the better start.
        near = sorted(self._minima, key=lambda other: (abs(other - index), -other))
        if not near:
            return None
        nearest = self._minima[near[0]]
        around = near[:POINTS]
        if not min(around) < index < max(around):
            return nearest
        shares = [math.prod((index - q) / (p - q) for q in around if q != p) for p in around]
        terms = [share * self._minima[p].theta_KW1 for share, p in zip(shares, around, strict=True)]
        return nearest._replace(theta_KW1=torch.stack(terms).sum(0))

    def _hits(self, theta_KW1: Tensor) -> Tensor:
        """Which of the held-out examples are right, (N,)."""
        x_NW, label_N, _ = self._held
        weights_KW, intercept_K = to_features(self._training, theta_KW1)
        predicted_N = (x_NW @ weights_KW.to(x_NW).T + intercept_K.to(x_NW)).argmax(1)
        return predicted_N == label_N.to(predicted_N.device)


class GivenUp:
    """Whether it is decided that a fit under way will not beat the best so far, whose right answers are `best_N`.

    By the sign test: of the examples that only one of the two has right, too many are right with the best. `weight_N`
    says how often each of them counts.
    """

    def __init__(self, best_N: Tensor, hits: Callable[[Tensor], Tensor], weight_N: Tensor):
        self._best_N, self._hits, self._weight_N = best_N, hits, weight_N
        self._right: list[float] = []

    def __call__(self, steps: int, theta_KW1: Tensor) -> bool:
        if steps % STEPS_BETWEEN_CHECKS:
            return False
        hit_N = self._hits(theta_KW1)
        self._right.append(float(self._weight_N[hit_N].sum()))
        behind = float(self._weight_N[self._best_N].sum()) - self._right[-1]
        # The variance of a sum of coin tosses by weight; their number where each counts once.
        variance = float(self._weight_N[hit_N != self._best_N].square().sum())
        return (
            behind > DECIDED * math.sqrt(variance) and self._right[-1] <= self._right[-2:][0] and len(self._right) > 1
        )


def penalty_at(index: int) -> float:
    """The penalty of an index from 0 to `STEPS`, on a logarithmic scale."""
    return 10.0 ** (LOWEST + index / STEPS_PER_DECADE)


def peak(score: Callable[[int], float]) -> int:
    """The paper's parametric binary search over 0..96: every 16th index, then half the interval around the best.

    Of equal scores the highest index counts as best.
    """
    scores = {index: score(index) for index in range(STEPS, -1, -FIRST_STRIDE)}
    step = FIRST_STRIDE // 2
    while True:
        best = max(scores, key=lambda index: (scores[index], index))
        if not step:
            return best
        for index in (best + step, best - step):
            if 0 <= index <= STEPS and index not in scores:
                scores[index] = score(index)
        step //= 2


def held_out(label_N: Tensor) -> tuple[Tensor, Tensor]:
    """The rows to learn from, (L,), and those held out, (H,), of classes by number: a fifth of each, one at least.

    A class of one example is only learned from. `UsageError` where no class has two.
    """
    order_N = torch.randperm(len(label_N), generator=torch.Generator().manual_seed(0)).to(label_N.device)
    order_N = order_N[label_N[order_N].argsort(stable=True)]
    size_K = torch.bincount(label_N)
    rank_N = torch.arange(len(label_N), device=label_N.device) - (size_K.cumsum(0) - size_K).repeat_interleave(size_K)
    held_K = torch.where(size_K > 1, (size_K * SHARE_HELD_OUT).round().clamp_min(1), 0)
    is_held_N = rank_N < held_K.repeat_interleave(size_K)
    if not is_held_N.any():
        raise EstimatorError(
            "no class has two examples to choose a penalty by; give two of one, a penalty such as 1.0, or validation "
            "examples of their own."
        )
    return order_N[~is_held_N], order_N[is_held_N]

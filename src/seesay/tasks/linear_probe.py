"""The linear probe of Radford et al. 2021, appendix A.3: logistic regression on features, its penalty found by a sweep.

N = images, W = features, K = classes. `LinearProbe` meets scikit-learn's contract for a classifier and works inside its
pipelines and cross-validation, without needing it.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seesay.base.errors import UsageError
from seesay.formulas.logistic import (
    SETTLED,
    Examples,
    Start,
    examples,
    fit,
    from_features,
    start_from_part,
    to_features,
)

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


class LinearProbe:
    """Multinomial logistic regression with an L2 penalty, by L-BFGS.

    The objective is the sum over examples of the cross-entropy plus `penalty` / 2 times the sum of the squared weights,
    to be made as small as possible; the intercept is free. That is scikit-learn's LogisticRegression(C=1 / penalty),
    two classes included. With "sweep" the penalty is the best of 97 between 1e-6 and 1e6 on a validation split, found
    by the paper's parametric binary search, and the last fit is on both parts of the data.

    After `fit`: `classes_`, `coef_` (K, W) and `intercept_` (K,), or one row of them for two classes; `penalty_`,
    `n_iter_` of the last fit, `objective_` (divided by N), `validation_scores_` (accuracy by penalty),
    `n_features_in_`.
    """

    _estimator_type = "classifier"

    def __init__(self, max_iterations: int = 1000, penalty: float | Literal["sweep"] = "sweep"):
        self.max_iterations = max_iterations
        self.penalty = penalty

    def fit(self, X: Any, y: Any, *, validation: tuple[Any, Any] | None = None) -> "LinearProbe":
        """Learn from features (N, W), arrays or tensors, and N labels of any kind; returns self.

        `validation` is a second (X, y) to validate penalties on; without it a fifth of every class is held out. With a
        number as penalty it is more to learn from. Raises `UsageError` for settings, fewer than two classes, and
        validation classes that do not occur in `y`; ValueError for features that are no finite matrix of N rows.
        """
        check_settings(self.max_iterations, self.penalty)
        x_NW, names_N = as_features(X), np.asarray(y)
        check_rows(x_NW, names_N)
        self.classes_, label_N = np.unique(names_N, return_inverse=True)
        if len(self.classes_) < 2:
            raise UsageError(f"all {len(names_N)} examples are of class {str(names_N[0])!r}; give two classes or more.")
        self.n_features_in_ = x_NW.shape[1]
        label_N = torch.from_numpy(label_N).to(x_NW.device)
        extra = None if validation is None else self._known(*validation)
        start, self.validation_scores_ = None, {}
        if not isinstance(self.penalty, str):
            self.penalty_ = float(self.penalty)
        else:
            training, held = ((x_NW, label_N), extra) if extra else held_out(x_NW, label_N)
            sweep = Sweep(training, held, classes=len(self.classes_), max_iterations=self.max_iterations)
            self.penalty_, start = sweep.best()
            self.validation_scores_ = sweep.scores
        if extra:
            x_NW, label_N = torch.cat([x_NW, extra[0].to(x_NW)]), torch.cat([label_N, extra[1].to(label_N.device)])
        self._learn(x_NW, label_N, start)
        return self

    def _learn(self, x_NW: Tensor, label_N: Tensor, start: tuple[Tensor, Tensor] | None) -> None:
        training = examples(x_NW, label_N, len(self.classes_))
        begin = Start(from_features(training, *start)) if start else start_from_part(training, self.penalty_)
        fitted = fit(training, self.penalty_, start=begin, max_iterations=self.max_iterations)
        weights_KW, intercept_K = to_features(training, fitted.end.theta_KW1)
        if len(self.classes_) == 2:
            weights_KW, intercept_K = weights_KW[1:] - weights_KW[:1], intercept_K[1:] - intercept_K[:1]
        self.coef_, self.intercept_ = weights_KW.cpu().numpy(), intercept_K.cpu().numpy()
        self.n_iter_, self.objective_ = fitted.iterations, fitted.value

    def _known(self, X: Any, y: Any) -> tuple[Tensor, Tensor]:
        """Features and class numbers of examples that must be of classes seen in training."""
        x_NW, names_N = as_features(X), np.asarray(y)
        check_rows(x_NW, names_N, width=self.n_features_in_)
        if unknown := sorted(set(names_N.tolist()) - set(self.classes_.tolist())):
            named = ", ".join(repr(name) for name in unknown[:5])
            raise UsageError(f"classes of the validation set that do not occur in training: {named}.")
        return x_NW, torch.from_numpy(np.searchsorted(self.classes_, names_N))

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits (N, K); for two classes (N,), those of the second one."""
        if not hasattr(self, "coef_"):
            raise UsageError("this LinearProbe has learned nothing yet; call fit first.")
        x_NW = as_features(X)
        check_rows(x_NW, None, width=self.n_features_in_)
        logits_NK = x_NW.cpu().double().numpy() @ self.coef_.T + self.intercept_
        return logits_NK[:, 0] if len(self.classes_) == 2 else logits_NK

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (N, K) in the order of `classes_`; rows sum to 1."""
        logits = torch.from_numpy(self.decision_function(X))
        if logits.ndim == 1:
            logits = torch.stack([torch.zeros_like(logits), logits], dim=1)
        return logits.softmax(1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of every row, (N,)."""
        logits = self.decision_function(X)
        return self.classes_[(logits > 0).astype(int) if logits.ndim == 1 else logits.argmax(1)]

    def score(self, X: Any, y: Any) -> float:
        """The accuracy, a fraction from 0 to 1."""
        return float(np.mean(self.predict(X) == np.asarray(y)))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name, as scikit-learn wants them."""
        return {"max_iterations": self.max_iterations, "penalty": self.penalty}

    def set_params(self, **settings: Any) -> "LinearProbe":
        """Change settings by name; ValueError for one that there is not."""
        for name, value in settings.items():
            if name not in self.get_params():
                raise ValueError(f"{name!r} is no setting of LinearProbe; it has max_iterations and penalty")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        return f"LinearProbe(max_iterations={self.max_iterations!r}, penalty={self.penalty!r})"

    def __sklearn_tags__(self) -> Any:
        # Only scikit-learn asks for this, so it is there to be imported.
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            transformer_tags=None,
            classifier_tags=ClassifierTags(),
            regressor_tags=None,
            input_tags=InputTags(),
        )


class Sweep:
    """Fits for many penalties on `training`, validated on `held`; each starts from the minima of penalties near it.

    A fit ends at its minimum (`SETTLED`), or where it is decided that its penalty is not the best one.
    """

    def __init__(
        self, training: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor], *, classes: int, max_iterations: int
    ):
        self.scores: dict[float, float] = {}
        self._training: Examples = examples(*training, classes)
        self._held, self._max_iterations = held, max_iterations
        self._minima: dict[int, Start] = {}
        self._best_N = torch.zeros(len(held[1]), dtype=torch.bool, device=held[1].device)

    def best(self) -> tuple[float, tuple[Tensor, Tensor]]:
        """The penalty with the best accuracy, the larger of equals; weights (K, W) and intercepts (K,) of its fit."""
        index = peak(self._score)
        return penalty_at(index), to_features(self._training, self._minima[index].theta_KW1)

    def _score(self, index: int) -> float:
        until = SETTLED._replace(is_enough=GivenUp(self._best_N, self._hits))
        start, limit = self._start(index), self._max_iterations
        fitted = fit(self._training, penalty_at(index), start=start, max_iterations=limit, until=until)
        self._minima[index] = fitted.end
        hit_N = self._hits(fitted.end.theta_KW1)
        if hit_N.sum() > self._best_N.sum():
            self._best_N = hit_N
        self.scores[penalty_at(index)] = float(hit_N.double().mean())
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
        x_NW, label_N = self._held
        weights_KW, intercept_K = to_features(self._training, theta_KW1)
        predicted_N = (x_NW @ weights_KW.to(x_NW).T + intercept_K.to(x_NW)).argmax(1)
        return predicted_N == label_N.to(predicted_N.device)


class GivenUp:
    """Whether it is decided that a fit under way will not beat the best so far, whose right answers are `best_N`.

    By the sign test: of the examples that only one of the two has right, too many are right with the best.
    """

    def __init__(self, best_N: Tensor, hits: Callable[[Tensor], Tensor]):
        self._best_N, self._hits = best_N, hits
        self._right: list[int] = []

    def __call__(self, steps: int, theta_KW1: Tensor) -> bool:
        if steps % STEPS_BETWEEN_CHECKS:
            return False
        hit_N = self._hits(theta_KW1)
        self._right.append(int(hit_N.sum()))
        behind, odd = int(self._best_N.sum()) - self._right[-1], int((hit_N != self._best_N).sum())
        return behind > DECIDED * math.sqrt(odd) and self._right[-1] <= self._right[-2:][0] and len(self._right) > 1


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


def held_out(x_NW: Tensor, label_N: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Features (N, W) and labels (N,) to learn from, and those held out: a fifth of every class, one at least.

    A class of one example is only learned from. `UsageError` where no class has two.
    """
    order_N = torch.randperm(len(label_N), generator=torch.Generator().manual_seed(0)).to(label_N.device)
    order_N = order_N[label_N[order_N].argsort(stable=True)]
    size_K = torch.bincount(label_N)
    rank_N = torch.arange(len(label_N), device=label_N.device) - (size_K.cumsum(0) - size_K).repeat_interleave(size_K)
    held_K = torch.where(size_K > 1, (size_K * SHARE_HELD_OUT).round().clamp_min(1), 0)
    is_held_N = rank_N < held_K.repeat_interleave(size_K)
    if not is_held_N.any():
        raise UsageError(
            "no class has two examples, so none can be held out to validate penalties on; "
            "give validation examples, or a penalty such as 1.0."
        )
    learned, held = order_N[~is_held_N], order_N[is_held_N]
    return (x_NW[learned], label_N[learned]), (x_NW[held], label_N[held])


def as_features(X: Any) -> Tensor:
    """Arrays, tensors, tables and lists of any shape as a tensor of float32 or float64."""
    x_NW = X.detach() if isinstance(X, Tensor) else torch.as_tensor(np.asarray(X))
    return x_NW if x_NW.dtype in (torch.float32, torch.float64) else x_NW.float()


def check_rows(x_NW: Tensor, names_N: np.ndarray | None, *, width: int | None = None) -> None:
    """ValueError for features that are no finite matrix of `width` columns with a row for each of `names_N`."""
    shape = tuple(x_NW.shape)
    if x_NW.ndim != 2 or not x_NW.numel():
        raise ValueError(f"features have shape {shape}; give a matrix with a row per example")
    if names_N is not None and names_N.shape != shape[:1]:
        raise ValueError(f"{shape[0]} rows of features, but labels of shape {names_N.shape}; give one label per row")
    if width is not None and shape[1] != width:
        raise ValueError(f"rows of {shape[1]} features, but {width} features were learned from")
    # A sum holds every NaN and infinity of its parts, and needs no second matrix.
    if not math.isfinite(float(x_NW.sum())):
        raise ValueError("features hold NaN or infinity; leave such rows out")


def check_settings(max_iterations: Any, penalty: Any) -> None:
    """`UsageError` for settings that there cannot be."""
    if isinstance(max_iterations, bool) or not isinstance(max_iterations, int) or max_iterations < 1:
        raise UsageError(f"max_iterations is {max_iterations!r}; give a whole number of 1 or more.")
    is_number = isinstance(penalty, int | float | np.floating) and not isinstance(penalty, bool)
    if penalty != "sweep" and not (is_number and 0 < penalty < math.inf):
        raise UsageError(f'penalty is {penalty!r}; give "sweep" or a number above 0, such as 1.0.')

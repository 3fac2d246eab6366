"""The linear probe of Radford et al. 2021, appendix A.3: logistic regression on features, its penalty found by a sweep.

N = images, W = features, K = classes. `LinearProbe` keeps scikit-learn's contract for a classifier and works inside
its pipelines and cross-validation, without needing it.
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

# 1e-6 to 1e6 in 96 steps, 8 to the decade; the first look is at every second decade.
STEPS = 96
STEPS_PER_DECADE = 8
LOWEST = -6
FIRST_LOOK = 16
# A fit is given up when, at two checks and so many steps apart, its errors are more than the best one's by so many
# standard deviations, and did not become fewer.
STEPS_BETWEEN_CHECKS = 4
DECIDED = 5.0
# Minima between which a start is drawn.
POINTS = 3
SHARE_HELD_OUT = 0.2


class LinearProbe:
    """Multinomial logistic regression with an L2 penalty, by L-BFGS.

    What is made small is the sum over examples of the cross-entropy plus `penalty` / 2 times the sum of the squared
    weights; the intercept is free. That is scikit-learn's LogisticRegression(C=1 / penalty), two classes included.
    With "sweep" the penalty is the best of 97 between 1e-6 and 1e6 on a validation split, found by the paper's
    parametric binary search, and the last fit is on both parts of the data.

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

        `validation` is a second (X, y) to judge penalties by; without it a fifth of every class is held out. With a
        penalty that is given it is more to learn from. Raises `UsageError` for settings, fewer than two classes, and
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
            part, held = ((x_NW, label_N), extra) if extra else held_out(x_NW, label_N)
            sweep = Sweep(part, held, classes=len(self.classes_), max_iterations=self.max_iterations)
            self.penalty_, start = sweep.best()
            self.validation_scores_ = sweep.scores
        if extra:
            x_NW, label_N = torch.cat([x_NW, extra[0].to(x_NW)]), torch.cat([label_N, extra[1].to(label_N.device)])
        self._learn(x_NW, label_N, start)
        return self

    def _learn(self, x_NW: Tensor, label_N: Tensor, start: tuple[Tensor, Tensor] | None) -> None:
        given = examples(x_NW, label_N, len(self.classes_))
        begin = Start(from_features(given, *start)) if start else start_from_part(given, self.penalty_)
        found = fit(given, self.penalty_, start=begin, max_iterations=self.max_iterations)
        weights_KW, intercept_K = to_features(given, found.end.theta_KW1)
        if len(self.classes_) == 2:
            weights_KW, intercept_K = weights_KW[1:] - weights_KW[:1], intercept_K[1:] - intercept_K[:1]
        self.coef_, self.intercept_ = weights_KW.cpu().numpy(), intercept_K.cpu().numpy()
        self.n_iter_, self.objective_ = found.iterations, found.value

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
        return {"max_iterations": self.max_iterations, "penalty": self.penalty}

    def set_params(self, **settings: Any) -> "LinearProbe":
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
    """Fits for many penalties on one part of the data, judged on another; each starts from what is known around it.

    A fit ends at its minimum (`SETTLED`), or where it is decided that its penalty is not the best one.
    """

    def __init__(self, part: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor], *, classes: int, max_iterations: int):
        self.scores: dict[float, float] = {}
        self._given: Examples = examples(*part, classes)
        self._held, self._max_iterations = held, max_iterations
        self._found: dict[int, Start] = {}
        self._best_N = torch.zeros(len(held[1]), dtype=torch.bool, device=held[1].device)

    def best(self) -> tuple[float, tuple[Tensor, Tensor]]:
        """The penalty with the best accuracy, the larger of equals, and weights and intercepts to start from."""
        place = peak(self._score)
        return penalty_at(place), to_features(self._given, self._found[place].theta_KW1)

    def _score(self, place: int) -> float:
        until = SETTLED._replace(is_enough=GivenUp(self._best_N, self._hits))
        given, limit = self._given, self._max_iterations
        found = fit(given, penalty_at(place), start=self._start(place), max_iterations=limit, until=until)
        self._found[place] = found.end
        hit_N = self._hits(found.end.theta_KW1)
        if hit_N.sum() > self._best_N.sum():
            self._best_N = hit_N
        self.scores[penalty_at(place)] = float(hit_N.double().mean())
        return self.scores[penalty_at(place)]

    def _start(self, place: int) -> Start | None:
        """Between two penalties the parabola through the three nearest minima; else the nearest minimum."""
        # A larger penalty is the easier problem, so of two neighbours that one is the better start.
        near = sorted(self._found, key=lambda other: (abs(other - place), -other))
        if not near:
            return None
        nearest = self._found[near[0]]
        around = near[:POINTS]
        if not min(around) < place < max(around):
            return nearest
        shares = [math.prod((place - q) / (p - q) for q in around if q != p) for p in around]
        parts = [share * self._found[p].theta_KW1 for share, p in zip(shares, around, strict=True)]
        return nearest._replace(theta_KW1=torch.stack(parts).sum(0))

    def _hits(self, theta_KW1: Tensor) -> Tensor:
        """Which of the examples that were kept back are right, (N,)."""
        x_NW, label_N = self._held
        weights_KW, intercept_K = to_features(self._given, theta_KW1)
        guess_N = (x_NW @ weights_KW.to(x_NW).T + intercept_K.to(x_NW)).argmax(1)
        return guess_N == label_N.to(guess_N.device)


class GivenUp:
    """Whether it is decided that a fit under way will not beat the best so far, whose right answers are `best_N`.

    By the sign test: of the examples that one of the two has right and the other wrong too many are the best's.
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


def penalty_at(place: int) -> float:
    return 10.0 ** (LOWEST + place / STEPS_PER_DECADE)


def peak(score: Callable[[int], float]) -> int:
    """The paper's parametric binary search over 0..96: every 16th place, then half the interval around the best.

    Of equal scores the highest place counts as best.
    """
    scores = {place: score(place) for place in range(STEPS, -1, -FIRST_LOOK)}
    step = FIRST_LOOK // 2
    while True:
        best = max(scores, key=lambda place: (scores[place], place))
        if not step:
            return best
        for place in (best + step, best - step):
            if 0 <= place <= STEPS and place not in scores:
                scores[place] = score(place)
        step //= 2


def held_out(x_NW: Tensor, label_N: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """A fifth of every class, one at least, kept back; a class of one example is learned from only."""
    order_N = torch.randperm(len(label_N), generator=torch.Generator().manual_seed(0)).to(label_N.device)
    order_N = order_N[label_N[order_N].argsort(stable=True)]
    size_K = torch.bincount(label_N)
    place_N = torch.arange(len(label_N), device=label_N.device) - (size_K.cumsum(0) - size_K).repeat_interleave(size_K)
    kept_K = torch.where(size_K > 1, (size_K * SHARE_HELD_OUT).round().clamp_min(1), 0)
    is_held_N = place_N < kept_K.repeat_interleave(size_K)
    if not is_held_N.any():
        raise UsageError(
            "no class has two examples, so none can be kept back to judge penalties by; "
            "give validation examples, or a penalty such as 1.0."
        )
    learned, held = order_N[~is_held_N], order_N[is_held_N]
    return (x_NW[learned], label_N[learned]), (x_NW[held], label_N[held])


def as_features(X: Any) -> Tensor:
    """Arrays, tensors, tables and lists as a tensor of float32 or float64."""
    x_NW = X.detach() if isinstance(X, Tensor) else torch.as_tensor(np.asarray(X))
    return x_NW if x_NW.dtype in (torch.float32, torch.float64) else x_NW.float()


def check_rows(x_NW: Tensor, names_N: np.ndarray | None, *, width: int | None = None) -> None:
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
    if isinstance(max_iterations, bool) or not isinstance(max_iterations, int) or max_iterations < 1:
        raise UsageError(f"max_iterations is {max_iterations!r}; give a whole number of 1 or more.")
    is_number = isinstance(penalty, int | float | np.floating) and not isinstance(penalty, bool)
    if penalty != "sweep" and not (is_number and 0 < penalty < math.inf):
        raise UsageError(f'penalty is {penalty!r}; give "sweep" or a number above 0, such as 1.0.')

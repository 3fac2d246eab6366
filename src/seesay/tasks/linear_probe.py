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
from seesay.tasks.estimator_input import (
    EstimatorError,
    Labelled,
    as_features,
    as_labels,
    as_weights,
    check_feature_names,
    check_rows,
    check_settings,
    classes_of,
    feature_names,
    is_text,
    not_fitted,
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


def prepared(given: Labelled, classes: int) -> Examples:
    """Examples made ready for `fit`; `UsageError` where squares of features cannot be held."""
    try:
        return examples(given.x_NW, given.label_N, classes, given.weight_N)
    except torch.linalg.LinAlgError:  # type: ignore[reportPrivateImportUsage]
        raise EstimatorError("features are so large that their squares are infinite; scale them down.") from None


class LinearProbe:
    """Multinomial logistic regression with an L2 penalty, by L-BFGS.

    The objective is the sum over examples of the cross-entropy plus `penalty` / 2 times the sum of the squared weights,
    to be made as small as possible; the intercept is free. That is scikit-learn's LogisticRegression(C=1 / penalty),
    two classes included. With "sweep" the penalty is the best of 97 between 1e-6 and 1e6 on a validation split, found
    by the paper's parametric binary search, and the last fit is on both parts of the data.

    After `fit`: `classes_`, `coef_` (K, W) and `intercept_` (K,), or one row of them for two classes; `penalty_`,
    `n_iter_` of the last fit, `objective_` (divided by N, or by the sum of weights), `validation_scores_` (accuracy by
    penalty), `n_features_in_`, and `feature_names_in_` (W,) where the features were a table with names.

    Of the checks of scikit-learn's `check_estimator` one does not hold, and that with "sweep" only: whole weights are
    as repeated rows for a given penalty, but repeated rows are held out by other draws. Metadata routing, off in
    scikit-learn by default, is not known here.
    """

    _estimator_type = "classifier"
    feature_names_in_: np.ndarray

    def __init__(self, max_iterations: int = 1000, penalty: float | Literal["sweep"] = "sweep"):
        self.max_iterations = max_iterations
        self.penalty = penalty

    def fit(
        self, X: Any, y: Any, *, sample_weight: Any = None, validation: tuple[Any, Any] | None = None
    ) -> "LinearProbe":
        """Learn from features (N, W), a table, array or tensor, and N labels, text or whole numbers; returns self.

        An example of `sample_weight` (N,) w counts w times, as if its row were repeated; at 0 it is left out.
        `validation` is a second (X, y) to validate penalties on; without it a fifth of every class is held out. With a
        number as penalty it is more to learn from. Raises `UsageError` for settings, fewer than two classes, and
        validation classes that do not occur in `y`, and for features, labels and weights that are none, which is a
        ValueError and a TypeError too.
        """
        check_settings(self.max_iterations, self.penalty)
        x_NW, names_N = as_features(X), as_labels(y)
        check_rows(x_NW, names_N)
        names_W, weight_N = feature_names(X), None
        if sample_weight is not None:
            weight_N = as_weights(sample_weight, len(x_NW))
            counts_N = weight_N > 0
            x_NW, names_N, weight_N = x_NW[counts_N.to(x_NW.device)], names_N[counts_N.numpy()], weight_N[counts_N]
        classes, label_N = classes_of(names_N)
        self.classes_, self.n_features_in_ = classes, x_NW.shape[1]
        # What was learned before is gone, even where this fit fails further on.
        for name in ("coef_", "feature_names_in_"):
            vars(self).pop(name, None)
        if names_W is not None:
            self.feature_names_in_ = names_W
        given = Labelled(x_NW, label_N.to(x_NW.device), None if weight_N is None else weight_N.to(x_NW.device))
        extra = None if validation is None else self._known(*validation)
        self._learn(given, extra)
        return self

    def _learn(self, given: Labelled, extra: Labelled | None) -> None:
        """Finds the penalty where it is to be found, and fits all examples with it."""
        classes, start, self.validation_scores_ = len(self.classes_), None, {}
        if not isinstance(self.penalty, str):
            self.penalty_ = float(self.penalty)
        else:
            learned, held = (given, extra) if extra else map(given.at, held_out(given.label_N))
            sweep = Sweep(learned, held, classes=classes, max_iterations=self.max_iterations)
            self.penalty_, start = sweep.best()
            self.validation_scores_ = sweep.scores
        training = prepared(given.and_also(extra) if extra else given, classes)
        begin = Start(from_features(training, *start)) if start else start_from_part(training, self.penalty_)
        fitted = fit(training, self.penalty_, start=begin, max_iterations=self.max_iterations)
        weights_KW, intercept_K = to_features(training, fitted.end.theta_KW1)
        if classes == 2:
            weights_KW, intercept_K = weights_KW[1:] - weights_KW[:1], intercept_K[1:] - intercept_K[:1]
        self.coef_, self.intercept_ = weights_KW.cpu().numpy(), intercept_K.cpu().numpy()
        self.n_iter_, self.objective_ = fitted.iterations, fitted.value

    def _known(self, X: Any, y: Any) -> Labelled:
        """Examples that must be of features and classes seen in training."""
        x_NW, names_N = self._features(X), as_labels(y)
        check_rows(x_NW, names_N)
        if unknown := sorted(set(names_N.tolist()) - set(self.classes_.tolist())):
            named = ", ".join(repr(name) for name in unknown[:5])
            raise EstimatorError(f"classes of the validation set that do not occur in training: {named}.")
        return Labelled(x_NW, torch.from_numpy(np.searchsorted(self.classes_, names_N)))

    def _features(self, X: Any) -> Tensor:
        """Features (N, W) whose columns are those that were learned from."""
        check_feature_names(X, vars(self).get("feature_names_in_"), "LinearProbe")
        x_NW, width = as_features(X), self.n_features_in_
        if x_NW.shape[1] != width:
            raise EstimatorError(
                f"X has {x_NW.shape[1]} features, but LinearProbe is expecting {width} features as input."
            )
        return x_NW

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits (N, K); for two classes (N,), those of the second one."""
        if not hasattr(self, "coef_"):
            raise not_fitted("this LinearProbe has learned nothing yet; call fit first.")
        logits_NK = self._features(X).cpu().double().numpy() @ self.coef_.T + self.intercept_
        return logits_NK[:, 0] if len(self.classes_) == 2 else logits_NK

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (N, K) in the order of `classes_`; rows sum to 1."""
        return self._logits(X).softmax(1).numpy()

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithms of `predict_proba`, (N, K), finite where those round to 0."""
        return self._logits(X).log_softmax(1).numpy()

    def _logits(self, X: Any) -> Tensor:
        """One logit for each class, (N, K)."""
        logits = torch.from_numpy(self.decision_function(X))
        return torch.stack([torch.zeros_like(logits), logits], dim=1) if logits.ndim == 1 else logits

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of every row, (N,)."""
        logits = self.decision_function(X)
        return self.classes_[(logits > 0).astype(int) if logits.ndim == 1 else logits.argmax(1)]

    def score(self, X: Any, y: Any, *, sample_weight: Any = None) -> float:
        """The accuracy, a fraction from 0 to 1; of `sample_weight` (N,) the share that is right."""
        predicted_N, names_N = self.predict(X), as_labels(y)
        check_rows(predicted_N, names_N)
        if is_text(names_N) != is_text(self.classes_):
            given, learned = names_N.tolist()[0], self.classes_.tolist()[0]
            raise EstimatorError(f"labels such as {given!r}, but classes such as {learned!r} were learned; give those.")
        weights = None if sample_weight is None else as_weights(sample_weight, len(names_N)).numpy()
        return float(np.average(predicted_N == names_N, weights=weights))

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
            "no class has two examples, so none can be held out to validate penalties on; "
            "give validation examples, or a penalty such as 1.0."
        )
    return order_N[~is_held_N], order_N[is_held_N]

"""The linear probe of Radford et al. 2021, appendix A.3: logistic regression on features, its penalty found by a sweep.

N = images, W = features, K = classes. `LinearProbe` meets scikit-learn's contract for a classifier and works inside its
pipelines and cross-validation, without needing it.
"""

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seesay.formulas.examples import Examples, from_features, to_features
from seesay.formulas.logistic import Fit, Start, fit, start_from_part
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
    is_empty,
    is_text,
    not_fitted,
    refuse_no_labels_of,
)
from seesay.tasks.from_words import (
    Starting,
    careful_scale,
    check_start,
    choose_penalty,
    classes_of_start,
    evened,
    logits_of,
    parts_of,
    usual_penalty,
)
from seesay.tasks.penalty_sweep import Sweep, held_out, prepared


class LinearProbe:
    """Multinomial logistic regression with an L2 penalty, by L-BFGS.

    The objective is the sum over examples of the cross-entropy plus `penalty` / 2 times the sum of the squared weights,
    to be made as small as possible; the intercept is free. That is scikit-learn's LogisticRegression(C=1 / penalty),
    two classes included. With "sweep" the penalty is the best of 97 between 1e-6 and 1e6 on a validation split, found
    by the paper's parametric binary search, and the last fit is on both parts of the data.

    With `start`, a classifier such as `Model.classifier` makes, logits begin at `start_scale_` times its own, X is what
    its `scores` take, and the penalty is on the weights of what is added to them, on rows of X at the square root of
    their length: the probe is pulled towards it, and so are intercepts, as weights of one feature more that is as
    large as the rows' mean squared distance from their mean. A `penalty` as a number means more for small rows than for
    large ones. Labels are names of the start's classes or their numbers. Without any example logits are those of that
    classifier, whose probabilities may have a temperature of their own. `start_scale_` is a careful estimate from the
    labels. "sweep" is then a search for the penalty whose fits predict examples that they have not seen best
    (`validation_scores_`: the mean of `quadratic_scores`, -1 to 1), and a usual one where no class has two.

    After `fit`: `classes_`, `coef_` (K, W) and `intercept_` (K,), or one row of them for two classes; `penalty_`,
    `n_iter_` of the last fit, `objective_` (divided by N, or by the sum of weights), `validation_scores_` (accuracy by
    penalty), `n_features_in_`, and `feature_names_in_` (W,) where the features were a table with names.

    Of the checks of scikit-learn's `check_estimator` one does not hold, and that with "sweep" only: whole weights are
    as repeated rows for a given penalty, but repeated rows are held out by other draws. Metadata routing, off in
    scikit-learn by default, is not known here.
    """

    _estimator_type = "classifier"
    feature_names_in_: np.ndarray

    def __init__(
        self,
        max_iterations: int = 1000,
        penalty: float | Literal["sweep"] = "sweep",
        start: Starting | None = None,
    ):
        self.max_iterations = max_iterations
        self.penalty = penalty
        self.start = start

    def fit(
        self, X: Any, y: Any, *, sample_weight: Any = None, validation: tuple[Any, Any] | None = None
    ) -> "LinearProbe":
        """Learn from features (N, W), a table, array or tensor, and N labels, text or whole numbers; returns self.

        An example of `sample_weight` (N,) w counts w times, as if its row were repeated; at 0 it is left out.
        `validation` is a second (X, y) to validate penalties on; without it a fifth of every class is held out. With a
        number as penalty it is more to learn from. Raises `UsageError` for settings, fewer than two classes, and
        validation classes that do not occur in `y`, and for features, labels and weights that are none, which is a
        ValueError and a TypeError too; and with `start` for a class without an example.
        """
        check_settings(self.max_iterations, self.penalty)
        if self.start is not None:
            check_start(self.start)
            if is_empty(y):
                refuse_no_labels_of(X, sample_weight, validation)
                return self._learn_nothing(X, y)
        x_NW, names_N = as_features(X), as_labels(y)
        check_rows(x_NW, names_N)
        names_W, weight_N = feature_names(X), None
        if sample_weight is not None:
            weight_N = as_weights(sample_weight, len(x_NW))
            counts_N = weight_N > 0
            x_NW, names_N, weight_N = x_NW[counts_N.to(x_NW.device)], names_N[counts_N.numpy()], weight_N[counts_N]
        if self.start is None:
            classes, label_N = classes_of(names_N)
        else:
            classes, self._column_K, label_N = classes_of_start(self.start, names_N)
        self.classes_, self.n_features_in_ = classes, x_NW.shape[1]
        self._forget()
        if names_W is not None:
            self.feature_names_in_ = names_W
        given = Labelled(x_NW, label_N.to(x_NW.device), None if weight_N is None else weight_N.to(x_NW.device))
        extra = None if validation is None else self._known(*validation)
        if self.start is None:
            self._learn(given, extra)
        else:
            self._learn_from(self.start, given, extra)
        return self

    def _forget(self) -> None:
        """What was learned before is gone, even where this fit fails further on."""
        for name in ("coef_", "feature_names_in_"):
            vars(self).pop(name, None)

    def _learn_nothing(self, X: Any, y: Any) -> "LinearProbe":
        """The classifier to start from, as it is; its classes by name, or by number where y is an array of those."""
        assert self.start is not None
        self._forget()
        is_by_number = np.asarray(y).dtype.kind in "iu"
        self.classes_, self._column_K, _ = classes_of_start(self.start, np.zeros(0, int if is_by_number else str))
        self.n_features_in_, rows = np.shape(X)[1], 1 if len(self.classes_) == 2 else len(self.classes_)
        self.coef_, self.intercept_ = np.zeros((rows, self.n_features_in_)), np.zeros(rows)
        self.start_scale_, self.penalty_, self.n_iter_, self.objective_ = 1.0, math.inf, 0, 0.0
        self.validation_scores_ = {}
        return self

    def _learn_from(self, start: Starting, given: Labelled, extra: Labelled | None) -> None:
        """Finds what is to be added to the logits of `start`."""
        both = given.and_also(extra) if extra else given
        logits_NK = logits_of(start, both.x_NW, self._column_K).to(both.x_NW.device)
        self.start_scale_ = careful_scale(logits_NK, both.label_N, both.weight_N)
        training = prepared(both._replace(x_NW=evened(both.x_NW)), len(self.classes_), self.start_scale_ * logits_NK)
        rows_N = torch.arange(len(both.label_N), device=both.label_N.device)
        parts = [(rows_N[: len(given.label_N)], rows_N[len(given.label_N) :])] if extra else parts_of(given.label_N)
        if isinstance(self.penalty, str):
            usual = usual_penalty(training)
            found = choose_penalty(training, list(parts), usual=usual, max_iterations=self.max_iterations)
            self.penalty_, self.validation_scores_ = found
        else:
            self.penalty_, self.validation_scores_ = float(self.penalty), {}
        self._take(training, fit(training, self.penalty_, max_iterations=self.max_iterations))

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
        self._take(training, fit(training, self.penalty_, start=begin, max_iterations=self.max_iterations))

    def _take(self, training: Examples, fitted: Fit) -> None:
        weights_KW, intercept_K = to_features(training, fitted.end.theta_KW1)
        if len(weights_KW) == 2:
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
        x_NW = self._features(X)
        row_NW = x_NW.cpu().double() if self.start is None else evened(x_NW.cpu().double())
        logits_NK = row_NW.numpy() @ self.coef_.T + self.intercept_
        if self.start is not None:
            start_NK = self.start_scale_ * logits_of(self.start, x_NW, self._column_K).cpu().numpy()
            logits_NK = logits_NK + (start_NK[:, 1:] - start_NK[:, :1] if len(self.classes_) == 2 else start_NK)
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
        return {"max_iterations": self.max_iterations, "penalty": self.penalty, "start": self.start}

    def set_params(self, **settings: Any) -> "LinearProbe":
        """Change settings by name; ValueError for one that there is not."""
        for name, value in settings.items():
            if name not in self.get_params():
                raise ValueError(f"{name!r} is no setting of LinearProbe; it has max_iterations, penalty and start")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        started = "" if self.start is None else f", start={self.start!r}"
        return f"LinearProbe(max_iterations={self.max_iterations!r}, penalty={self.penalty!r}{started})"

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

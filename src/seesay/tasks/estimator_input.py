"""What an estimator is given: features, labels, weights and names of columns, taken as they are or refused with a word.

N = examples, W = features. scikit-learn is not imported; where it is loaded, its own classes of errors and warnings are
used, and messages hold the words that its checks of estimators look for.
"""

import math
import sys
import warnings
from collections.abc import Sized
from numbers import Integral, Number, Real
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from seesay.base.errors import UsageError

# Whole numbers up to this size are exact in float32: it has 24 bits (IEEE 754).
EXACT_IN_FLOAT32 = 1 << 24
# A guess: float32 holds the sum of 100 million of these, and 1 / each.
MOST_WEIGHT = 1e30


class EstimatorError(UsageError, ValueError, TypeError):
    """Examples or settings that cannot be learned from; a ValueError and a TypeError too, as in scikit-learn."""


class NotFittedError(UsageError, ValueError, AttributeError):
    """An estimator is asked before it has learned; scikit-learn's error of this name too, where that is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return not_fitted, (self.args[0],)


def not_fitted(message: str) -> NotFittedError:
    """The error to raise where nothing has been learned yet."""
    theirs = from_scikit_learn("NotFittedError", NotFittedError)
    return type("NotFittedError", (NotFittedError,) if theirs is NotFittedError else (NotFittedError, theirs), {})(
        message
    )


def from_scikit_learn(name: str, otherwise: type) -> type:
    """A class of `sklearn.exceptions`; who has not imported that cannot ask for it and gets `otherwise`."""
    return getattr(sys.modules.get("sklearn.exceptions"), name, otherwise)


class Labelled(NamedTuple):
    """Features (N, W), classes by number (N,), and weights (N,), None where each example counts once."""

    x_NW: Tensor
    label_N: Tensor
    weight_N: Tensor | None = None

    def and_also(self, other: "Labelled") -> "Labelled":
        """These examples and then the other ones, each of which counts once."""
        weight_N = self.weight_N
        if weight_N is not None:
            weight_N = torch.cat([weight_N, weight_N.new_ones(len(other.label_N))])
        x_NW, label_N = torch.cat([self.x_NW, other.x_NW.to(self.x_NW)]), other.label_N.to(self.label_N.device)
        return Labelled(x_NW, torch.cat([self.label_N, label_N]), weight_N)

    def at(self, rows: Tensor) -> "Labelled":
        """The examples of some rows, (M,), or where a mask (N,) is true."""
        return Labelled(self.x_NW[rows], self.label_N[rows], None if self.weight_N is None else self.weight_N[rows])


def as_features(X: Any) -> Tensor:
    """Arrays, tensors, data frames and lists of numbers as a matrix (N, W) of float32 or float64, all of them finite.

    What is no float32 or float64 already becomes float32, and float64 where that would round whole numbers, and from
    objects. Raises `EstimatorError` for sparse, complex and missing values, text and dates, and for other shapes.
    """
    refuse_sparse(X, "features")
    if isinstance(X, Tensor):
        # Apple's GPU has no float64.
        x_NW = X.detach().cpu() if X.device.type == "mps" else X.detach()
        check_matrix(tuple(x_NW.shape))
        refuse_complex(x_NW.is_complex(), "features")
        if x_NW.dtype not in (torch.float32, torch.float64):
            x_NW = x_NW.float() if x_NW.is_floating_point() or is_exact(x_NW.double()) else x_NW.double()
    else:
        array = as_array(X, "features")
        check_matrix(array.shape)
        # A copy where torch could not look into the array itself: written to by nobody, strides backwards.
        array = np.require(numbers_of(array), requirements="W")
        x_NW = torch.from_numpy(array if min(array.strides) >= 0 else array.copy())
    # A sum holds every NaN and infinity of its parts, and needs no second matrix.
    if not math.isfinite(float(x_NW.sum())):
        if x_NW.isfinite().all():
            raise EstimatorError("features are so large that their sum is infinite; scale them down.")
        raise EstimatorError("features hold NaN or infinity; leave such rows out.")
    return x_NW


def check_matrix(shape: tuple[int, ...]) -> None:
    """`EstimatorError` for the shape of features that are no matrix, or an empty one."""
    if len(shape) != 2:
        hint = "Reshape your data: X.reshape(1, -1) is one example, X.reshape(-1, 1) one feature."
        raise EstimatorError(f"features have shape {shape}; give a matrix with a row per example. {hint}")
    for count, what in zip(shape, ("sample(s)", "feature(s)"), strict=True):
        if not count:
            raise EstimatorError(f"features have 0 {what} (shape={shape}) while a minimum of 1 is required.")


def numbers_of(array_NW: np.ndarray) -> np.ndarray:
    """An array (N, W) of real numbers as float32 or float64; `EstimatorError` for what is no number."""
    kind = array_NW.dtype.kind
    refuse_complex(kind == "c", "features")
    if kind == "O":
        try:
            return array_NW.astype(np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            refuse_missing(array_NW, "features")
            raise EstimatorError(f"features hold what is no number: {error}; give numbers.") from None
    if kind not in "biuf":
        raise EstimatorError(f"features are of type {array_NW.dtype}; convert them to numbers first.")
    is_double = array_NW.dtype.itemsize >= 8 if kind == "f" else not is_exact(array_NW)
    return array_NW.astype(np.float64 if is_double else np.float32, copy=False)


def is_exact(array: Any) -> bool:
    """Whether float32 holds the whole numbers of an array or tensor of any shape as they are."""
    return max(-int(array.min()), int(array.max())) <= EXACT_IN_FLOAT32


def as_labels(y: Any) -> np.ndarray:
    """One label a row, (N,): text or whole numbers, from arrays, tensors, columns and lists.

    A single column (N, 1) is taken with a warning. Raises `EstimatorError` for missing, infinite, continuous, complex
    and sparse ones, and for text and numbers in one.
    """
    if y is None:
        raise EstimatorError("a classifier requires y to be passed, but the target y is None; give one label per row.")
    refuse_sparse(y, "labels")
    y = y.detach().cpu() if isinstance(y, Tensor) else y
    # NumPy turns what is missing in a list, and numbers among text, into text.
    label_N = as_array(y, "labels") if hasattr(y, "__array__") else plain_labels(as_array(y, "labels", dtype=object), y)
    label_N = plain_labels(label_N, label_N) if label_N.dtype.kind == "O" else label_N
    kind = label_N.dtype.kind
    refuse_complex(kind == "c", "labels")
    if (kind == "f" and not np.isfinite(label_N).all()) or (kind in "mM" and np.isnat(label_N).any()):
        raise EstimatorError("labels hold NaN, infinity or a missing value; leave such rows out.")
    if kind == "f" and (is_between := label_N != np.rint(label_N)).any():
        found = label_N[is_between].flat[0]
        raise EstimatorError(
            f"Unknown label type: continuous. Labels such as {found} are no classes; give whole numbers."
        )
    if label_N.ndim == 2 and label_N.shape[1] == 1:
        text = "A column-vector y was passed when a 1d array was expected; change its shape to (N,), by y.ravel()."
        warnings.warn(text, from_scikit_learn("DataConversionWarning", UserWarning), stacklevel=3)
        label_N = label_N[:, 0]
    return label_N


def is_empty(y: Any) -> bool:
    """Whether `y` is a list or array without a label."""
    shape = getattr(y, "shape", None)
    return tuple(shape[:1]) == (0,) if shape is not None else isinstance(y, Sized) and not len(y)


def refuse_no_labels_of(X: Any, sample_weight: Any, validation: Any) -> None:
    """`EstimatorError` for what goes with labels, where there is none: rows, weights and validation examples."""
    shape = tuple(np.shape(X))
    if len(shape) != 2 or shape[0]:
        raise EstimatorError(
            f"features have shape {shape}, but there are no labels; give a matrix of 0 rows, or labels."
        )
    if validation is not None or (sample_weight is not None and np.size(sample_weight)):
        raise EstimatorError("weights or validation examples are given, but there are no labels; give labels as well.")


def plain_labels(object_N: np.ndarray, y: Any) -> np.ndarray:
    """`y` as an array (N,) by its kind, where `object_N` are its values."""
    refuse_missing(object_N, "labels")
    kinds = {
        "number" if isinstance(x, Number | np.bool_) else "text" if isinstance(x, str) else type(x).__name__
        for x in object_N.flat
    }
    if len(kinds) > 1:
        raise EstimatorError(f"labels are of several kinds: {', '.join(sorted(kinds))}; give one kind.")
    return as_array(object_N.tolist() if y is object_N and kinds == {"number"} else y, "labels")


def as_weights(sample_weight: Any, count: int) -> Tensor:
    """Weights (N,) of `count` examples in float64; `EstimatorError` where they are no numbers from 0, one above it."""
    refuse_sparse(sample_weight, "weights")
    given = sample_weight.detach().cpu() if isinstance(sample_weight, Tensor) else sample_weight
    weight_N = as_array(given, "weights")
    refuse_complex(weight_N.dtype.kind == "c", "weights")
    try:
        weight_N = weight_N.astype(np.float64)
    except (TypeError, ValueError) as error:
        refuse_missing(weight_N, "weights")
        raise EstimatorError(f"weights hold what is no number: {error}; give numbers.") from None
    if weight_N.shape != (count,):
        raise EstimatorError(f"{count} rows of features, but weights of shape {weight_N.shape}; give one per row.")
    if not (is_wrong_N := ~((weight_N == 0) | (weight_N >= 1 / MOST_WEIGHT) & (weight_N <= MOST_WEIGHT))).any():
        if not weight_N.any():
            raise EstimatorError("the weights are zero for all rows, and nothing is left; give some above 0.")
        return torch.from_numpy(weight_N)
    found = float(weight_N[is_wrong_N][0])
    raise EstimatorError(f"weights hold {found}; give 0, or from {1 / MOST_WEIGHT:g} to {MOST_WEIGHT:g}.")


def classes_of(names_N: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """The classes of labels (N,) in their order, (K,), and the number of each label's class, (N,).

    `UsageError` for fewer than two.
    """
    try:
        classes, label_N = np.unique(names_N, return_inverse=True)
    except TypeError as error:
        raise EstimatorError(
            f"Unknown label type: labels cannot be put in order, {error}; give text or numbers."
        ) from None
    if len(classes) < 2:
        few = f"all {len(names_N)} examples are of class {str(names_N[0])!r}"
        raise EstimatorError(f"{few}, and one class cannot be told from others; give two classes or more.")
    return classes, torch.from_numpy(label_N)


def check_rows(rows: Tensor | np.ndarray, names_N: np.ndarray) -> None:
    """`UsageError` where there is not one label (N,) for each of `rows`, (N, W) or (N,)."""
    if names_N.shape != rows.shape[:1]:
        raise EstimatorError(
            f"{len(rows)} rows of features, but labels of shape {names_N.shape}; give one label per row."
        )


def is_text(names_N: np.ndarray) -> bool:
    """Whether labels (N,) are text and no numbers."""
    return names_N.dtype.kind not in "biuf"


def as_array(values: Any, what: str, dtype: Any = None) -> np.ndarray:
    """Values as an array of any shape; `EstimatorError` where NumPy makes none of them, or some are masked."""
    try:
        array = np.asarray(values, dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise EstimatorError(f"{what} are no array: {error}") from None
    if np.ma.is_masked(values):
        raise EstimatorError(f"{what} hold masked values; leave such rows out.")
    return array


def refuse_sparse(values: Any, what: str) -> None:
    """`EstimatorError` for sparse matrices and tensors."""
    if scipy.sparse.issparse(values) or (isinstance(values, Tensor) and values.layout != torch.strided):
        raise EstimatorError(
            f"{what} are sparse, but dense ones are required; convert them by .toarray() or .to_dense()."
        )


def refuse_complex(is_complex: bool, what: str) -> None:
    """`EstimatorError` for complex numbers."""
    if is_complex:
        raise EstimatorError(f"Complex data not supported: {what} are complex; give real numbers.")


def refuse_missing(object_N: np.ndarray, what: str) -> None:
    """`EstimatorError` where an array of objects, of any shape, holds None, NaN, or pandas' NA or NaT."""
    for value in object_N.flat:
        is_nan = isinstance(value, float | np.floating) and math.isnan(value)
        if value is None or is_nan or type(value).__name__ in ("NAType", "NaTType"):
            raise EstimatorError(f"{what} hold NaN, infinity or a missing value ({value!r}); leave such rows out.")


def feature_names(X: Any) -> np.ndarray | None:
    """The names of the columns, (W,), of a data frame or table; None without, or where they are numbers.

    Raises `EstimatorError` for names of which some are text and some are not.
    """
    names = getattr(X, "column_names", None)
    names = getattr(X, "columns", None) if names is None else names
    if names is None or callable(names):
        return None
    is_text = [isinstance(name, str) for name in names]
    if any(is_text) and not all(is_text):
        raise EstimatorError("some names of columns are text and some are not; make all of them text, or none.")
    return np.asarray(names, dtype=object) if any(is_text) else None


def check_feature_names(X: Any, learned_W: np.ndarray | None, owner: str) -> None:
    """`EstimatorError` where the columns are not those that were learned from, in their order (W,).

    Warns, as scikit-learn does, where only one of the two has names.
    """
    given_W = feature_names(X)
    if learned_W is None and given_W is None:
        return
    if given_W is None or learned_W is None:
        text = "X has feature names, but {} was fitted without feature names"
        text = (
            text if learned_W is None else "X does not have valid feature names, but {} was fitted with feature names"
        )
        warnings.warn(text.format(owner), UserWarning, stacklevel=3)
        return
    if given_W.tolist() == learned_W.tolist():
        return
    unseen, missing = sorted({*given_W} - {*learned_W}), sorted({*learned_W} - {*given_W})
    parts = ["The feature names should match those that were passed during fit."]
    for names, title in (
        (unseen, "Feature names unseen at fit time"),
        (missing, "Feature names seen at fit time, yet now missing"),
    ):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            parts.append(f"{title}: {', '.join(repr(name) for name in names[:5])}{more}.")
    if not unseen and not missing:
        parts.append("Feature names must be in the same order as they were in fit.")
    raise EstimatorError(" ".join(parts))


def check_settings(max_iterations: Any, penalty: Any) -> None:
    """`UsageError` for settings that there cannot be; NumPy's numbers are numbers."""
    if isinstance(max_iterations, bool) or not isinstance(max_iterations, Integral) or max_iterations < 1:
        raise EstimatorError(f"max_iterations is {max_iterations!r}; give a whole number of 1 or more.")
    is_number = isinstance(penalty, Real) and not isinstance(penalty, bool)
    if not (0 < float(penalty) < math.inf if is_number else isinstance(penalty, str) and penalty == "sweep"):
        raise EstimatorError(f'penalty is {penalty!r}; give "sweep" or a number above 0, such as 1.0.')

"""What `LinearProbe` takes as features, labels, weights and settings, and scikit-learn's own checks of an estimator."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pyarrow
import pytest
import scipy.sparse
import torch
from sklearn.ensemble import AdaBoostClassifier, VotingClassifier
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.utils.estimator_checks import check_estimator

from seesay.base.errors import UsageError
from seesay.tasks.estimator_input import EstimatorError, as_features, as_labels, as_weights
from seesay.tasks.linear_probe import LinearProbe

# The checks that cannot hold, with the reason.
EXPECTED_FAILURES = {
    1.0: {},
    "sweep": {
        "check_sample_weight_equivalence_on_dense_data": "repeated rows are held out by other draws than weights",
    },
}
# Checks that need pandas, and one of arrays of other libraries, which scikit-learn runs where it is told to.
MAY_BE_SKIPPED = {
    "check_array_api_input",
    "check_classifier_data_not_an_array",
    "check_sample_weights_pandas_series",
}


@pytest.mark.journey
@pytest.mark.parametrize("penalty", EXPECTED_FAILURES)
def test_scikit_learns_checks_of_an_estimator_hold_but_for_those_that_are_named(penalty):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks ask for warnings on purpose
        results = check_estimator(LinearProbe(penalty=penalty), on_skip=None, on_fail=None)
    by_status = {}
    for result in results:
        by_status.setdefault(result["status"], {})[result["check_name"]] = result["exception"]
    assert by_status.get("failed", {}).keys() == EXPECTED_FAILURES[penalty].keys(), by_status["failed"]
    assert by_status["skipped"].keys() <= MAY_BE_SKIPPED
    assert len(by_status["passed"]) >= 50


def blobs(rows: int = 60, classes: int = 3):
    generator = np.random.default_rng(rows)
    label_N = np.arange(rows) % classes
    return np.eye(classes, 4)[label_N] * 1.5 + generator.normal(size=(rows, 4)), label_N


def learned(X, y, **arguments) -> np.ndarray:
    return LinearProbe(penalty=1.0).fit(X, y, **arguments).coef_


class Missing:
    """As pandas' NA: no number, and neither equal to itself nor not."""

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = None


NA = type("NAType", (Missing,), {})()


# Features


def as_they_came():
    x_NW, _ = blobs()
    frozen_NW = x_NW.copy()
    frozen_NW.flags.writeable = False
    return {
        "rows backwards": x_NW[::-1][::-1],
        "columns backwards": np.ascontiguousarray(x_NW[:, ::-1])[:, ::-1],
        "every second of more": np.repeat(x_NW, 2, axis=0)[::2],
        "read-only": frozen_NW,
        "the other byte order": x_NW.astype(">f8"),
        "Fortran's order": np.asfortranarray(x_NW),
        "long double": x_NW.astype(np.longdouble),
        "objects": x_NW.astype(object),
        "numbers as text among objects": np.array([[repr(float(x)) for x in row] for row in x_NW], dtype=object),
        "nothing masked": np.ma.array(x_NW),
        "a table": pyarrow.table({name: x_NW[:, place] for place, name in enumerate("abcd")}),
        "a gradient wanted": torch.from_numpy(x_NW).requires_grad_(),
    }


@pytest.mark.parametrize("name", as_they_came())
def test_features_are_the_same_however_they_lie_in_memory(name: str):
    x_NW, _ = blobs()
    taken = as_features(as_they_came()[name])
    assert taken.dtype == torch.float64
    assert np.array_equal(taken.numpy(), x_NW)


@pytest.mark.parametrize("kind", ["bool", "int8", "uint16", "int64", ">i4", "uint64", "float16"])
def test_short_numbers_become_float32(kind: str):
    x_NW = np.array([[0, 1], [1, 0]]).astype(kind)
    assert as_features(x_NW).dtype == torch.float32
    assert as_features(x_NW).tolist() == [[0, 1], [1, 0]]
    if kind != ">i4":
        assert torch.equal(as_features(torch.from_numpy(x_NW)), as_features(x_NW))


@pytest.mark.parametrize("value", [(1 << 24) + 1, -(1 << 24) - 1, 1 << 40])
@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_whole_numbers_that_float32_would_round_become_float64(value: int, make):
    taken = as_features(make([[value, 0]]))
    assert taken.tolist() == [[value, 0]]
    assert as_features(make([[1 << 24, -(1 << 24)]])).dtype == torch.float32


@pytest.mark.parametrize(
    ("X", "complaint"),
    [
        (scipy.sparse.csr_array(np.eye(3)), "are sparse"),
        (scipy.sparse.coo_matrix(np.eye(3)), "are sparse"),
        (torch.eye(3).to_sparse(), "are sparse"),
        (np.eye(3) + 1j, "Complex data not supported"),
        (torch.eye(3) + 1j, "Complex data not supported"),
        (np.eye(3).astype(str), "type <U32"),
        ([["1", "2"], ["3", "4"]], "type <U1"),
        (np.zeros((2, 2), "datetime64[s]"), r"type datetime64\[s\]"),
        (np.array([[1, "two"]], dtype=object), "'two'"),
        (np.array([[1, {"a": 2}]], dtype=object), "not 'dict'"),
        (np.array([[1, None]], dtype=object), "NaN or infinity"),
        (np.array([[1, NA]], dtype=object), "missing value"),
        (np.array([[1, "nan"]], dtype=object), "NaN or infinity"),
        (np.ma.masked_equal(np.eye(3), 0), "masked"),
        ([[1, 2], [3]], "are no array"),
        (None, r"shape \(\)"),
        (np.ones(3), "Reshape your data"),
        (np.ones((1, 2, 3)), "Reshape your data"),
        (np.ones((3, 0)), r"0 feature\(s\) \(shape=\(3, 0\)\)"),
        (np.ones((0, 3)), r"0 sample\(s\) \(shape=\(0, 3\)\)"),
        (np.full((3, 3), np.float32(3e38)), "their sum is infinite"),
        (np.array([[1, -np.inf], [np.inf, 0]]), "NaN or infinity"),
    ],
)
def test_features_that_are_no_dense_finite_matrix_are_refused(X, complaint: str):
    with pytest.raises(EstimatorError, match=complaint) as caught:
        as_features(X)
    assert isinstance(caught.value, UsageError | ValueError)
    assert "\n" not in str(caught.value)


def test_features_whose_squares_are_infinite_are_refused():
    x_NW, y_N = blobs()
    with pytest.raises(EstimatorError, match="their squares are infinite"):
        LinearProbe(penalty=1.0).fit(x_NW * 1e200, y_N)


# Names of columns


def table(names: str) -> pyarrow.Table:
    x_NW, _ = blobs()
    return pyarrow.table({name: x_NW[:, "abcd".find(name)] for name in names})


def test_names_of_columns_are_learned_and_forgotten():
    x_NW, y_N = blobs()
    probe = LinearProbe(penalty=1.0).fit(table("abcd"), y_N)
    assert probe.feature_names_in_.tolist() == list("abcd") and probe.feature_names_in_.dtype == object
    assert np.array_equal(
        probe.predict_proba(table("abcd")), LinearProbe(penalty=1.0).fit(x_NW, y_N).predict_proba(x_NW)
    )
    assert not hasattr(probe.fit(x_NW, y_N), "feature_names_in_")


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "decision_function", "score"])
@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ("dcba", "must be in the same order"),
        ("bacd", "must be in the same order"),
        ("abce", "unseen at fit time: 'e'. Feature names seen at fit time, yet now missing: 'd'"),
        ("abc", "yet now missing: 'd'"),
        ("abcde", "unseen at fit time: 'e'"),
    ],
)
def test_other_columns_than_were_learned_from_are_refused(names: str, complaint: str, method: str):
    _, y_N = blobs()
    probe = LinearProbe(penalty=1.0).fit(table("abcd"), y_N)
    with pytest.raises(ValueError, match=complaint):
        getattr(probe, method)(table(names), *([y_N] if method == "score" else []))


def test_columns_of_the_validation_set_are_those_of_the_training_set():
    _, y_N = blobs()
    with pytest.raises(ValueError, match="must be in the same order"):
        LinearProbe().fit(table("abcd"), y_N, validation=(table("dcba"), y_N))


def test_names_on_one_side_only_are_warned_of():
    x_NW, y_N = blobs()
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        LinearProbe(penalty=1.0).fit(table("abcd"), y_N).predict(x_NW)
    with pytest.warns(UserWarning, match="fitted without feature names"):
        LinearProbe(penalty=1.0).fit(x_NW, y_N).predict(table("abcd"))


def test_names_of_which_some_are_text_are_refused_and_numbers_are_no_names():
    x_NW, y_N = blobs()

    class Frame:
        def __init__(self, columns):
            self.columns = columns

        def __array__(self, dtype=None, copy=None):
            return x_NW

    assert not hasattr(LinearProbe(penalty=1.0).fit(Frame([0, 1, 2, 3]), y_N), "feature_names_in_")
    with pytest.raises(EstimatorError, match="some names of columns are text"):
        LinearProbe(penalty=1.0).fit(Frame(["a", 1, "b", 2]), y_N)


# pandas


@pytest.mark.parametrize("kind", ["Int64", "Float64", "boolean", "string", "object"])
def test_columns_of_pandas_are_features_and_what_is_missing_is_refused(kind: str):
    pandas = pytest.importorskip("pandas")
    x_NW, y_N = blobs()
    whole_NW = (x_NW > 0).astype(int)
    values = whole_NW.astype(bool) if kind == "boolean" else whole_NW
    frame = pandas.DataFrame(values, columns=list("abcd")).astype(kind)
    assert np.array_equal(learned(frame, y_N), learned(whole_NW, y_N))
    frame.iloc[0, 0] = pandas.NA
    with pytest.raises(EstimatorError, match="NaN, infinity or a missing value"):
        learned(frame, y_N)


@pytest.mark.parametrize("kind", ["Int64", "Float64", "boolean", "string", "category", "object"])
def test_columns_of_pandas_are_labels_and_what_is_missing_is_refused(kind: str):
    pandas = pytest.importorskip("pandas")
    x_NW, y_N = blobs(classes=2)
    column = pandas.Series(y_N.astype(bool) if kind == "boolean" else y_N).astype(kind)
    assert np.array_equal(learned(x_NW, column), learned(x_NW, y_N))
    column[0] = pandas.NA if kind != "category" else None
    with pytest.raises(EstimatorError, match="NaN, infinity or a missing value"):
        learned(x_NW, column)


# Labels


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.array([3, 1, 3], dtype=object), [1, 3]),
        (np.array([True, False, True], dtype=object), [False, True]),
        (np.array(["b", "a", "b"], dtype=object), ["a", "b"]),
        ([2.0, 0.0, 2.0], [0.0, 2.0]),
        ([[1], [0], [1]], [0, 1]),
        (torch.tensor([1.0, 0.0, 1.0], requires_grad=True), [0.0, 1.0]),
        (list(torch.tensor([1, 0, 1])), [0, 1]),
        (pyarrow.array(["b", "a", "b"]), ["a", "b"]),
        ([1 << 70, 3, 1 << 70], [3, 1 << 70]),
    ],
)
@pytest.mark.filterwarnings("ignore:A column-vector y")
def test_labels_are_taken_as_what_they_are(y, classes: list):
    probe = LinearProbe(penalty=0.01).fit([[1, 0], [0, 1], [1, 0]], y)
    assert probe.classes_.tolist() == classes
    assert probe.score([[1, 0], [0, 1], [1, 0]], y) == 1


@pytest.mark.parametrize(
    ("y", "complaint"),
    [
        (None, "requires y to be passed"),
        ([0, 1, np.nan], "NaN, infinity or a missing value"),
        ([0, 1, np.inf], "NaN, infinity or a missing value"),
        (["a", "b", np.nan], "NaN, infinity or a missing value"),
        (["a", "b", np.float32("nan")], "NaN, infinity or a missing value"),
        (["a", "b", None], "missing value .None."),
        ([0, 1, NA], "missing value"),
        (np.array(["2020", "2021", "NaT"], "datetime64[D]"), "NaN, infinity or a missing value"),
        (np.ma.masked_equal([0, 1, 2], 2), "masked"),
        ([0.5, 1.5, 0.5], "Unknown label type: continuous. Labels such as 0.5"),
        (np.array([0, 1, 1.25], dtype=object), "continuous. Labels such as 1.25"),
        ([0j, 1j, 0j], "Complex data not supported"),
        (scipy.sparse.csr_array([[0], [1], [0]]), "are sparse"),
        (["a", "b", 1], "of several kinds: number, text"),
        (np.array(["a", 2, "b"], dtype=object), "of several kinds: number, text"),
        ([[0, 1], [1, 0], [0, 1]], r"labels of shape \(3, 2\); give one label per row"),
        ([[1], [2, 3], [4]], "are no array"),
        ([0, 1], r"labels of shape \(2,\)"),
        ("dog", r"labels of shape \(\)"),
        ([{"a": 1}, {"b": 1}, {"a": 1}], "Unknown label type"),
        ([1, 1, 1], "one class cannot be told from others"),
    ],
)
def test_labels_that_are_no_classes_are_refused(y, complaint: str):
    with pytest.raises(EstimatorError, match=complaint):
        LinearProbe(penalty=1.0).fit(np.eye(3), y)


def test_a_column_of_labels_is_taken_with_scikit_learns_warning():
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        assert as_labels(np.array([[2], [1]])).tolist() == [2, 1]


def test_scores_are_of_one_label_a_row_and_of_the_kind_that_was_learned():
    x_NW, y_N = blobs()
    probe = LinearProbe(penalty=1.0).fit(x_NW, y_N)
    with pytest.raises(EstimatorError, match="labels such as '0', but classes such as 0"):
        probe.score(x_NW, y_N.astype(str))
    with pytest.raises(EstimatorError, match="give one label per row"):
        probe.score(x_NW, y_N[:-1])
    with pytest.raises(EstimatorError, match="continuous"):
        probe.score(x_NW, y_N + 0.5)
    weight_N = np.arange(60.0)
    expected = accuracy_score(y_N, probe.predict(x_NW), sample_weight=weight_N)
    assert probe.score(x_NW, y_N, sample_weight=weight_N) == pytest.approx(expected)


# Weights


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("penalty", [0.1, 1.0, 10.0])
def test_a_fit_with_weights_is_that_of_repeated_rows_and_of_scikit_learn(classes: int, penalty: float):
    x_NW, y_N = blobs(classes=classes)
    weight_N = np.random.default_rng(1).integers(0, 4, size=60)
    ours = LinearProbe(penalty=penalty).fit(x_NW, y_N, sample_weight=weight_N)
    repeated = LinearProbe(penalty=penalty).fit(np.repeat(x_NW, weight_N, axis=0), np.repeat(y_N, weight_N))
    np.testing.assert_allclose(ours.coef_, repeated.coef_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(ours.intercept_, repeated.intercept_, rtol=1e-7, atol=1e-9)
    assert ours.objective_ == pytest.approx(repeated.objective_, rel=1e-10)
    theirs = LogisticRegression(C=1 / penalty, max_iter=10_000, tol=1e-10).fit(x_NW, y_N, sample_weight=weight_N)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=2e-4)
    np.testing.assert_allclose(ours.predict_log_proba(x_NW), theirs.predict_log_proba(x_NW), atol=2e-4)


def test_a_sweep_learns_and_validates_by_weight():
    x_NW, y_N = blobs(90)
    weight_N = np.random.default_rng(1).integers(0, 4, size=90)
    other_NW, other_N = blobs(45)
    ours = LinearProbe().fit(x_NW, y_N, sample_weight=weight_N, validation=(other_NW, other_N))
    repeated = LinearProbe().fit(
        np.repeat(x_NW, weight_N, axis=0), np.repeat(y_N, weight_N), validation=(other_NW, other_N)
    )
    assert ours.penalty_ == repeated.penalty_ and ours.validation_scores_ == repeated.validation_scores_
    np.testing.assert_allclose(ours.coef_, repeated.coef_, rtol=1e-6, atol=1e-8)
    # Without a validation set a share of the weights is held out: its scores are no multiples of one example.
    scores = LinearProbe().fit(x_NW, y_N, sample_weight=weight_N + 0.5).validation_scores_.values()
    assert any(abs(score * 18 - round(score * 18)) > 1e-6 for score in scores)


def test_rows_without_weight_are_not_there():
    x_NW, y_N = blobs()
    weight_N = (y_N < 2).astype(float)
    probe = LinearProbe(penalty=1.0).fit(x_NW, y_N, sample_weight=weight_N)
    assert probe.classes_.tolist() == [0, 1]
    with pytest.raises(ValueError, match="one class"):
        LinearProbe(penalty=1.0).fit(x_NW, y_N, sample_weight=(y_N == 1) * 1.0)


@pytest.mark.parametrize(
    "make", [list, torch.from_numpy, pyarrow.array, lambda x: x.astype(object), lambda x: x[::-1][::-1]]
)
def test_weights_are_lists_tensors_and_columns(make):
    x_NW, y_N = blobs()
    weight_N = np.arange(60) % 3 + 1
    assert np.array_equal(learned(x_NW, y_N, sample_weight=make(weight_N)), learned(x_NW, y_N, sample_weight=weight_N))


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        ([1, 1], r"weights of shape \(2,\)"),
        (1.0, r"weights of shape \(\)"),
        ([[1], [1], [1]], r"weights of shape \(3, 1\)"),
        ([1, -1, 1], "weights hold -1.0"),
        ([1, np.nan, 1], "weights hold nan"),
        ([1, np.inf, 1], "weights hold inf"),
        ([1, 1e-40, 1], "weights hold 1e-40"),
        ([1, None, 1], "weights hold nan"),
        (np.array([1, NA, 1], dtype=object), "missing value"),
        ([0, 0, 0], "zero for all rows"),
        (["a", "b", "c"], "no number"),
        ([1j, 1, 1], "Complex data not supported"),
        (scipy.sparse.csr_array([[1], [1], [1]]), "are sparse"),
    ],
)
def test_weights_that_are_none_are_refused(weights, complaint: str):
    with pytest.raises(EstimatorError, match=complaint):
        as_weights(weights, 3)


def test_logarithms_of_probabilities_are_finite_where_those_are_0():
    probe = LinearProbe(penalty=1e-3).fit([[-1.0], [1.0]], [0, 1])
    log_N2 = probe.predict_log_proba([[1e4], [0.5]])
    assert probe.predict_proba([[1e4]])[0, 0] == 0
    assert np.isfinite(log_N2).all() and log_N2[0, 0] < -1000
    np.testing.assert_allclose(np.exp(log_N2[1]), probe.predict_proba([[0.5]])[0])


# Settings and scikit-learn's tools


@pytest.mark.parametrize("iterations", [np.int64(7), np.uint8(7), np.int32(7)])
@pytest.mark.parametrize("penalty", [np.int64(2), np.float64(2), np.float32(2), np.float16(2)])
def test_numbers_of_numpy_are_settings(iterations, penalty):
    x_NW, y_N = blobs()
    probe = LinearProbe(max_iterations=iterations, penalty=penalty).fit(x_NW, y_N)
    assert np.array_equal(probe.coef_, LinearProbe(max_iterations=7, penalty=2.0).fit(x_NW, y_N).coef_)
    assert type(probe.penalty_) is float


@pytest.mark.parametrize(
    "settings",
    [
        {"max_iterations": np.float64(5)},
        {"max_iterations": np.True_},
        {"max_iterations": np.int64(0)},
        {"penalty": np.True_},
        {"penalty": np.float64("nan")},
        {"penalty": np.array([1.0])},
        {"penalty": "1.0"},
        {"penalty": 1j},
    ],
)
def test_other_settings_are_refused_as_values_of_a_wrong_kind(settings: dict):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} is "):
        LinearProbe(**settings).fit(*blobs())


def test_a_grid_of_whole_numbers_is_searched_with_weights():
    x_NW, y_N = blobs()
    grid = {"penalty": np.array([1, 10]), "max_iterations": np.array([50, 60])}
    search = GridSearchCV(LinearProbe(), grid, cv=2, error_score="raise").fit(x_NW, y_N, sample_weight=np.ones(60))
    assert search.best_params_["penalty"] in (1, 10)


def test_ensembles_give_it_weights_and_take_logarithms():
    x_NW, y_N = blobs()
    assert AdaBoostClassifier(LinearProbe(penalty=1.0), n_estimators=2).fit(x_NW, y_N).score(x_NW, y_N) > 0.5
    voting = VotingClassifier([("one", LinearProbe(penalty=1.0))], voting="soft")
    assert voting.fit(x_NW, y_N, sample_weight=np.ones(60)).score(x_NW, y_N) > 0.5
    assert cross_val_predict(LinearProbe(penalty=1.0), x_NW, y_N, cv=2, method="predict_log_proba").shape == (60, 3)


def test_what_has_learned_nothing_says_so_in_scikit_learns_word():
    with pytest.raises(NotFittedError, match="call fit first") as caught:
        LinearProbe().predict(np.eye(3))
    assert isinstance(caught.value, UsageError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, NotFittedError) and str(again) == str(caught.value)


def test_a_fit_that_fails_leaves_nothing_of_the_one_before():
    x_NW, y_N = blobs()
    probe = LinearProbe(penalty=1.0).fit(x_NW, y_N)
    with pytest.raises(UsageError, match="do not occur in training"):
        probe.fit(x_NW, y_N + 5, validation=(x_NW, y_N))
    with pytest.raises(NotFittedError):
        probe.predict(x_NW)


@pytest.mark.journey  # starts a process that loads torch
def test_without_scikit_learn_the_errors_and_warnings_are_our_own():
    code = (
        "import sys, warnings, pickle; sys.modules['sklearn'] = None; import numpy as np; import seesay\n"
        "from seesay.tasks.estimator_input import NotFittedError\n"
        "try: seesay.LinearProbe().predict(np.eye(3))\n"
        "except NotFittedError as error: assert isinstance(pickle.loads(pickle.dumps(error)), NotFittedError)\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always'); probe = seesay.LinearProbe(penalty=1.0)\n"
        "    probe.fit(np.eye(4), np.array([[0], [1], [0], [1]]), sample_weight=[1, 2, 3, 4])\n"
        "    probe.predict_log_proba(np.eye(4))\n"
        "assert [one.category for one in caught] == [UserWarning], caught\n"
        "assert not any(name.startswith('sklearn.') for name in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

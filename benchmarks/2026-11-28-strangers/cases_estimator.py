"""Cases of `LinearProbe` as an estimator of scikit-learn: what is tried, a Python snippet, and what it must print.

S2 is the second line of what the issue says must be shown.
"""

DATA = """python: import warnings
import numpy as np
from seesay import LinearProbe
y = np.arange(60) % 3
X = np.eye(3, 4)[y] * 1.5 + np.random.default_rng(0).normal(size=(60, 4))
def outcome(work):
    try:
        print("took it:", work())
    except (ValueError, TypeError) as error:
        print(type(error).__name__, "refused:", error)
    except Exception as error:
        print("crashed:", type(error).__name__, error)
def fit(X=X, y=y, **arguments):
    return LinearProbe(penalty=1.0).fit(X, y, **arguments)
"""

CHECKS = """
from sklearn.utils.estimator_checks import check_estimator
warnings.simplefilter("ignore")
results = check_estimator(LinearProbe(penalty=1.0), on_fail=None, on_skip=None)
print(*(f"{one['status']} {one['check_name']}" for one in results if one["status"] != "passed"), sep="\\n")
print("failed", sum(one["status"] == "failed" for one in results), "of", len(results))
"""

NAMES = """
import pyarrow
table = lambda names: pyarrow.table({name: X[:, "abcd".index(name)] for name in names})
outcome(lambda: fit(table("abcd")).predict(table("dcba"))[:3])
"""

GRID = """
from sklearn.model_selection import GridSearchCV
warnings.simplefilter("ignore")
grid = {"penalty": np.array([1, 10]), "max_iterations": np.array([50, 100])}
outcome(lambda: GridSearchCV(LinearProbe(), grid, cv=3).fit(X, y).best_params_.keys())
"""

WEIGHTS = """
weight = y + 1
outcome(lambda: np.abs(fit(sample_weight=weight).coef_ - fit(X.repeat(weight, 0), y.repeat(weight)).coef_).max() < 1e-9)
"""

NOT_FITTED = """
from sklearn.exceptions import NotFittedError
try:
    LinearProbe().predict(X)
except NotFittedError as error:
    print("not fitted:", error)
except Exception as error:
    print("another error:", error)
"""


def case(what: str, snippet: str, expected: str) -> tuple[str, str, str, str]:
    """One line of the table; each snippet ends with 0 and prints what came of it."""
    return "S2", what, DATA + snippet, rf"(?s){expected}.*exit 0"


CASES = [
    case("LinearProbe, scikit-learn's checks of an estimator", CHECKS, r"failed 0 of \d+"),
    case("columns in another order at predict", NAMES, "refused: .*same order as they were in fit"),
    case("GridSearchCV over whole numbers of NumPy", GRID, "took it: .*max_iterations.*penalty"),
    case("sample_weight against repeated rows", WEIGHTS, "took it: True"),
    case("predict before fit", NOT_FITTED, "not fitted: .*call fit first"),
    case("predict_log_proba", "outcome(lambda: fit().predict_log_proba(X).shape)", r"took it: \(60, 3\)"),
    case("rows backwards in memory", "outcome(lambda: fit(X[::-1], y[::-1]).score(X, y) > 0.5)", "took it: True"),
    case("a table of objects", "outcome(lambda: fit(X.astype(object)).score(X, y) > 0.5)", "took it: True"),
    case(
        "a sparse matrix",
        "import scipy.sparse\noutcome(lambda: fit(scipy.sparse.csr_array(X)))",
        "refused: .*sparse",
    ),
    case("complex features", "outcome(lambda: fit(X + 1j))", "refused: Complex data not supported"),
    case("features with masked values", "outcome(lambda: fit(np.ma.masked_greater(X, 2)))", "refused: .*masked"),
    case(
        "whole numbers that float32 would round",
        "outcome(lambda: fit((X * 10).astype(int) + (1 << 40)).score((X * 10).astype(int) + (1 << 40), y) > 0.5)",
        "took it: True",
    ),
    case("continuous labels", "outcome(lambda: fit(y=y + 0.5))", "refused: Unknown label type: continuous"),
    case("NaN among labels", "outcome(lambda: fit(y=np.where(y == 2, np.nan, y)))", "refused: .*NaN"),
    case(
        "NaN among labels that are text",
        "outcome(lambda: fit(y=[*y.astype(str)[:-1], float('nan')]).classes_)",
        "refused: .*missing",
    ),
    case("infinity among labels", "outcome(lambda: fit(y=np.where(y == 2, np.inf, y)))", "refused: .*infinity"),
    case("text and numbers as labels", "outcome(lambda: fit(y=[*y.astype(str)[:-1], 7]).classes_)", "refused: .*kinds"),
    case("one class", "outcome(lambda: fit(y=[1] * 60))", "refused: .*one class"),
    case("a score of a column of labels", "outcome(lambda: fit().score(X, y[:, None]) > 0.5)", "took it: True"),
    case("a score of labels of another kind", "outcome(lambda: fit().score(X, y.astype(str)))", "refused: .*learned"),
    case(
        "a fit that fails after one that did not",
        "probe = fit()\noutcome(lambda: probe.fit(X, y + 5, validation=(X, y)))\noutcome(lambda: probe.predict(X)[:3])",
        "refused: .*call fit first",
    ),
]

"""The estimator: scikit-learn's contract, the sweep, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import seesay
from seesay.base.errors import UsageError
from seesay.formulas import examples, logistic
from seesay.tasks import penalty_sweep
from seesay.tasks.linear_probe import LinearProbe
from seesay.tasks.penalty_sweep import GivenUp, held_out, peak, penalty_at


def blobs(rows: int = 60, classes: int = 3, seed: int = 0):
    generator = np.random.default_rng(seed)
    label_N = np.arange(rows) % classes
    x_NW = np.eye(classes, 5)[label_N] * 1.5 + generator.normal(size=(rows, 5))
    return x_NW.astype(np.float32), np.array(["ape", "bat", "cat", "dog"])[label_N]


@pytest.mark.parametrize("classes", [2, 3])
def test_a_fit_is_scikit_learns(classes: int):
    x_NW, y_N = blobs(classes=classes)
    theirs = LogisticRegression(C=0.5, max_iter=10_000, tol=1e-9).fit(x_NW.astype(float), y_N)
    ours = LinearProbe(penalty=2.0).fit(x_NW, y_N)
    assert ours.coef_.shape == theirs.coef_.shape and ours.intercept_.shape == theirs.intercept_.shape
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-3)
    np.testing.assert_allclose(ours.predict_proba(x_NW), theirs.predict_proba(x_NW), atol=1e-4)
    np.testing.assert_allclose(ours.decision_function(x_NW), theirs.decision_function(x_NW), atol=2e-3)
    assert ours.predict(x_NW).tolist() == theirs.predict(x_NW).tolist()
    assert ours.score(x_NW, y_N) == theirs.score(x_NW, y_N)
    assert ours.classes_.tolist() == theirs.classes_.tolist() and ours.n_features_in_ == 5


def test_tensors_and_lists_are_features_too():
    x_NW, y_N = blobs()
    expected = LinearProbe(penalty=1.0).fit(x_NW, y_N).coef_
    for X in (torch.from_numpy(x_NW), x_NW.tolist()):
        np.testing.assert_allclose(LinearProbe(penalty=1.0).fit(X, y_N.tolist()).coef_, expected, atol=1e-4)


def test_scikit_learns_tools_take_it():
    x_NW, y_N = blobs()
    probe = LinearProbe(max_iterations=50, penalty=0.1)
    assert clone(probe).get_params() == {"max_iterations": 50, "penalty": 0.1, "start": None}
    assert is_classifier(probe)
    scores = cross_val_score(make_pipeline(StandardScaler(), probe), x_NW, y_N, cv=3)
    assert scores.min() > 0.5
    search = GridSearchCV(probe, {"penalty": [1e4, 1.0]}, cv=3, scoring="roc_auc_ovr").fit(x_NW, y_N)
    assert search.best_params_["penalty"] in (1e4, 1.0)


def test_several_labels_per_image_are_one_probe_each():
    x_NW, _ = blobs()
    several_NK = (x_NW[:, :3] > 0.5).astype(int)
    many = OneVsRestClassifier(LinearProbe(penalty=1.0)).fit(x_NW, several_NK)
    assert (many.predict(x_NW) == several_NK).mean() > 0.8


def test_settings_are_set_by_name_and_an_unknown_one_is_refused():
    assert LinearProbe().set_params(penalty=3.0).penalty == 3.0
    assert repr(LinearProbe()) == "LinearProbe(max_iterations=1000, penalty='sweep')"
    with pytest.raises(ValueError, match="'C' is no setting"):
        LinearProbe().set_params(C=1.0)


@pytest.mark.journey  # starts a process that loads torch
def test_it_is_there_without_scikit_learn():
    code = (
        "import sys; sys.modules['sklearn'] = None; import numpy as np; import seesay; "
        "p = seesay.LinearProbe(penalty=1.0).fit(np.eye(4), [0, 1, 0, 1]); p.predict_proba(np.eye(4))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert seesay.LinearProbe is LinearProbe


# The sweep


def test_the_search_looks_at_every_second_decade_and_then_halves_the_interval_around_the_best():
    seen = []

    def score(place: int) -> float:
        seen.append(place)
        return -abs(place - 37)

    assert peak(score) == 37
    # The first look, then 8, 4, 2 and 1 places to both sides of the best so far.
    assert seen == [96, 80, 64, 48, 32, 16, 0, 40, 24, 44, 36, 38, 34, 39, 37]


@pytest.mark.parametrize(("best", "found"), [(0, 0), (96, 96)])
def test_the_search_reaches_both_ends(best: int, found: int):
    assert peak(lambda place: -abs(place - best)) == found


def test_of_equal_scores_the_largest_penalty_is_best():
    assert peak(lambda place: 0.5) == 96
    assert [penalty_at(place) for place in (0, 48, 96)] == pytest.approx([1e-6, 1, 1e6])


@pytest.mark.journey
@pytest.mark.parametrize("seed", [0, 2])
def test_the_sweep_chooses_what_it_would_with_every_fit_taken_to_its_end(monkeypatch, seed: int):
    generator = np.random.default_rng(seed)
    y_N = np.arange(600) % 5
    spread_NW = generator.normal(size=(5, 40))[y_N] * 0.3 + generator.normal(size=(600, 40))
    x_NW = (spread_NW * (1 + np.arange(40)) ** -0.8 + 1).astype(np.float32)
    monkeypatch.setattr(examples, "SMALL_WORK", 0)
    quick = LinearProbe().fit(x_NW, y_N)
    monkeypatch.setattr(examples, "SMALL_WORK", 1 << 60)
    monkeypatch.setattr(penalty_sweep, "SETTLED", logistic.TO_THE_END)
    monkeypatch.setattr(GivenUp, "__call__", lambda *_: False)
    whole = LinearProbe().fit(x_NW, y_N)
    assert 1e-6 < quick.penalty_ == whole.penalty_ < 1e6
    assert quick.objective_ == pytest.approx(whole.objective_, rel=1e-3)


def given_up(best_N: list[int], hits: list[list[int]], weight_N: torch.Tensor | None = None) -> list[bool]:
    """What is said after 4, 8, ... steps whose right answers are `hits`."""
    weight_N = torch.ones(len(best_N)) if weight_N is None else weight_N
    told = GivenUp(torch.tensor(best_N) > 0, lambda theta: torch.tensor(hits[int(theta)]) > 0, weight_N)
    return [told(4 * (place + 1), torch.tensor(place)) for place in range(len(hits))]


def test_a_fit_is_given_up_when_it_is_far_behind_at_two_checks_and_gains_nothing():
    # 30 right answers less: 5.5 standard deviations of 30 coin tosses.
    assert given_up([1] * 100, [[1] * 70 + [0] * 30] * 3) == [False, True, True]
    # 20 less are 4.5, and one that gains may come to win.
    assert not any(given_up([1] * 100, [[1] * 80 + [0] * 20] * 3))
    assert not any(given_up([1] * 100, [[1] * (50 + n) + [0] * (50 - n) for n in range(4)]))


def test_a_fit_is_given_up_by_what_its_examples_weigh():
    hits = [[1] * 70 + [0] * 30] * 3
    # All of 2: the same standard deviations, 5.5 and 4.5. Of 30 examples that weigh nearly nothing but for one, 1.0.
    two_N = torch.full((100,), 2.0)
    assert given_up([1] * 100, hits, two_N) == [False, True, True]
    assert not any(given_up([1] * 100, [[1] * 80 + [0] * 20] * 3, two_N))
    light_N = torch.cat([torch.ones(71), torch.full((29,), 1e-6)])
    assert not any(given_up([1] * 100, hits, light_N))


def test_between_checks_no_fit_is_given_up():
    told = GivenUp(torch.ones(100) > 0, lambda theta: torch.zeros(100) > 0, torch.ones(100))
    assert [told(steps, torch.zeros(())) for steps in (4, 5, 6, 7, 8)] == [False] * 4 + [True]


def test_the_sweep_is_judged_on_the_validation_examples_and_the_last_fit_is_on_both():
    x_NW, y_N = blobs()
    other_NW, other_N = blobs(30, seed=1)
    probe = LinearProbe().fit(x_NW, y_N, validation=(other_NW, other_N))
    one = LinearProbe(penalty=probe.penalty_).fit(x_NW, y_N)
    assert probe.validation_scores_[probe.penalty_] == pytest.approx(one.score(other_NW, other_N))
    assert probe.validation_scores_[probe.penalty_] == max(probe.validation_scores_.values())
    both = LinearProbe(penalty=probe.penalty_).fit(np.concatenate([x_NW, other_NW]), np.concatenate([y_N, other_N]))
    np.testing.assert_allclose(probe.coef_, both.coef_, atol=1e-4)
    assert probe.objective_ == pytest.approx(both.objective_, rel=1e-6)


def test_without_validation_a_fifth_of_every_class_is_held_back_and_always_the_same():
    label_N = torch.tensor([0] * 10 + [1] * 4 + [2])
    learned, held = held_out(label_N)
    assert torch.bincount(label_N[held], minlength=3).tolist() == [2, 1, 0]
    assert torch.bincount(label_N[learned]).tolist() == [8, 3, 1]
    assert torch.equal(held_out(label_N)[1], held)
    assert sorted([*learned.tolist(), *held.tolist()]) == list(range(15))


def test_the_same_data_give_the_same_probe():
    x_NW, y_N = blobs()
    first, second = LinearProbe().fit(x_NW, y_N), LinearProbe().fit(x_NW, y_N)
    assert first.penalty_ == second.penalty_ and np.array_equal(first.coef_, second.coef_)


# What is refused


@pytest.mark.parametrize("penalty", ["swep", 0, -1.0, float("nan"), float("inf"), True, None])
def test_a_penalty_that_is_none_is_refused(penalty):
    with pytest.raises(UsageError, match='give "sweep" or a number above 0'):
        LinearProbe(penalty=penalty).fit(*blobs())


@pytest.mark.parametrize("iterations", [0, 1.5, True])
def test_iterations_are_a_whole_number(iterations):
    with pytest.raises(UsageError, match="max_iterations"):
        LinearProbe(max_iterations=iterations).fit(*blobs())


def test_one_class_is_refused():
    with pytest.raises(UsageError, match="all 3 examples are of class 'a'"):
        LinearProbe(penalty=1.0).fit(np.eye(3), ["a"] * 3)


def test_a_validation_class_that_training_does_not_have_is_named():
    x_NW, y_N = blobs(classes=3)
    with pytest.raises(UsageError, match="do not occur in training: 'dog'"):
        LinearProbe().fit(x_NW, y_N, validation=blobs(classes=4))


def test_a_sweep_over_single_examples_asks_for_a_penalty():
    with pytest.raises(UsageError, match="no class has two examples"):
        LinearProbe().fit(np.eye(3), [0, 1, 2])


@pytest.mark.parametrize(
    ("X", "complaint"),
    [
        (np.ones(3), "shape"),
        (np.ones((0, 2)), "shape"),
        (np.ones((2, 2)), "one label per row"),
        (np.array([[1.0, np.nan], [0, 0], [1, 1]]), "NaN or infinity"),
        (np.array([[np.inf, -np.inf], [0, 0], [1, 1]]), "NaN or infinity"),
    ],
)
def test_features_that_are_no_finite_matrix_are_refused(X, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        LinearProbe(penalty=1.0).fit(X, [0, 1, 0])


def test_a_probe_that_has_learned_nothing_and_rows_of_another_width_are_refused():
    with pytest.raises(UsageError, match="call fit first"):
        LinearProbe().predict(np.eye(3))
    with pytest.raises(ValueError, match="X has 4 features, but LinearProbe is expecting 5"):
        LinearProbe(penalty=1.0).fit(*blobs()).predict(np.ones((1, 4)))

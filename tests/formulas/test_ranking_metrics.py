"""Measures that rank the images of a class: average precision at 11 recalls, area under the ROC curve."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import precision_recall_curve, roc_auc_score

from seesay.formulas.metrics import average_precision_11, mean_average_precision_11, mean_roc_auc, roc_auc
from seesay.formulas.statistics import bootstrap_interval, mean_interval


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_the_best_precision_of_scikit_learns_curve_at_11_recalls(seed: int):
    generator = np.random.default_rng(seed)
    score_N, is_right_N = generator.normal(size=50), generator.random(50) < 0.2 + 0.1 * seed
    precision, recall, _ = precision_recall_curve(is_right_N, score_N)
    # The last point of that curve is an addition of its own, and stands for no threshold.
    best = [precision[:-1][recall[:-1] >= level - 1e-12].max() for level in np.arange(11) / 10]
    assert average_precision_11(score_N, is_right_N) == pytest.approx(np.mean(best))


def test_average_precision_by_hand():
    # Right, wrong, right, wrong: precision 1 up to a recall of one half, 2/3 beyond it.
    found = average_precision_11(np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False]))
    assert found == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)


def test_of_equal_scores_the_wrong_ones_come_first():
    found = average_precision_11(np.zeros(4), np.array([True, False, False, False]))
    assert found == pytest.approx(0.25)


@pytest.mark.parametrize("seed", range(5))
def test_the_area_under_the_curve_is_scikit_learns_ties_included(seed: int):
    generator = np.random.default_rng(seed)
    score_N, is_right_N = generator.integers(0, 6, size=40), generator.random(40) < 0.4
    assert roc_auc(score_N, is_right_N) == pytest.approx(roc_auc_score(is_right_N, score_N))


def test_nothing_to_compare_is_one_half():
    assert roc_auc(np.array([1.0, 2.0]), np.array([True, True])) == 0.5


def test_means_are_over_the_classes_that_occur():
    generator = np.random.default_rng(0)
    scores_NC, label_N = generator.dirichlet(np.ones(4), size=60), generator.integers(0, 3, size=60)
    auc = [roc_auc_score(label_N == label, scores_NC[:, label]) for label in range(3)]
    assert mean_roc_auc(scores_NC, label_N) == pytest.approx(np.mean(auc))
    precision = [average_precision_11(scores_NC[:, label], label_N == label) for label in range(3)]
    assert mean_average_precision_11(scores_NC, label_N) == pytest.approx(np.mean(precision))


def test_the_interval_of_a_mean_is_students():
    value_N = np.array([0.5, 0.6, 0.9])
    expected = stats.t.interval(0.95, 2, loc=value_N.mean(), scale=stats.sem(value_N))
    assert mean_interval(value_N) == pytest.approx(expected)
    assert mean_interval(value_N[:1]) is None


def test_the_bootstrap_of_a_mean_is_near_the_normal_interval_and_always_the_same():
    value_N = np.random.default_rng(0).normal(size=400)
    interval = bootstrap_interval(lambda drawn: float(value_N[drawn].mean()), 400)
    assert interval == bootstrap_interval(lambda drawn: float(value_N[drawn].mean()), 400)
    half = 1.96 * value_N.std() / 20
    assert interval == pytest.approx((value_N.mean() - half, value_N.mean() + half), abs=0.3 * half)

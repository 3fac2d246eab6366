"""RareAct's measures, worked out by hand, and its average precision against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from seesay.formulas.rare_actions import (
    average_precision,
    bootstrap,
    by_guessing,
    mean_sampled_precision,
    mean_weighted_precision,
    rows_of_classes,
)

ACTIONS = (("cut", "keyboard"), ("cut", "apple"), ("drink", "phone"), ("peel", "car"))
# Rows: class, video, annotation. Two right ones of one video; then its verb alone; nothing of it; two other actions.
CLASS = np.array([0, 0, 0, 0, 1, 2, 3])
VIDEO = np.array([0, 0, 1, 1, 2, 3, 3])
ANNOTATION = np.array([1, 1, 2, 0, 1, 1, 0])
SCORES = np.zeros((7, 4))
SCORES[:, 0] = [0.9, 0.7, 0.1, 0.2, 0.8, 0.3, 0.0]
SCORES[:, 1] = [0.1, 0.2, 0.0, 0.0, 0.9, 0.3, 0.0]
SCORES[:, 2] = [0.9, 0.1, 0.0, 0.0, 0.2, 0.8, 0.0]


@pytest.fixture
def classes():
    return rows_of_classes(ACTIONS, CLASS, VIDEO, ANNOTATION)


def test_average_precision_by_hand():
    score, right = np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False])
    assert average_precision(score, right, np.ones(4)) == pytest.approx((1 + 2 / 3) / 2)
    # Half a right one, then a wrong one, then a right one: 1/3 of the recall at precision 1, 2/3 at 1.5 of 2.5.
    assert average_precision(score, right, np.array([0.5, 1, 1, 1])) == pytest.approx(1 / 3 + 2 / 3 * 1.5 / 2.5)
    assert average_precision(np.zeros(4), right, np.ones(4)) == pytest.approx(1 / 2)
    assert average_precision(score, np.zeros(4, bool), np.ones(4)) == 0


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    score, right, weight = rng.integers(0, 9, 60) / 9, rng.random(60) < 0.3, rng.random(60)
    own = average_precision(score, right, weight)
    assert own == pytest.approx(average_precision_score(right, score, sample_weight=weight))


def test_only_classes_that_are_seen_count_and_rows_of_other_actions_do_too(classes):
    assert [own.number for own in classes] == [0, 1, 2]
    # Of "cut apple" the two rows of "cut keyboard" are hard, that of "drink phone" is plain; "peel car" is not seen.
    assert classes[1].row_M.tolist() == [0, 1, 4, 5] and classes[1].is_right_M.tolist() == [False, False, True, False]
    assert len(set(classes[1].group_M.tolist())) == 3


def test_rows_of_one_video_share_a_weight(classes):
    # "cut keyboard": 0.5 of 0.5, then a wrong one, then 1 of 2. "cut apple" is first. "drink phone" is behind one of
    # the two rows of the first video: 1 of 1.5.
    assert mean_weighted_precision(SCORES, classes) == pytest.approx(((1 + 1 / 2) / 2 + 1 + 1 / 1.5) / 3)


def test_one_row_of_each_video_is_drawn(classes):
    # With the first row of the first video "cut keyboard" has 1 and "drink phone" 1/2, with the second 1/2 and 1.
    found = mean_sampled_precision(SCORES, classes, seed=0)
    assert found == pytest.approx((0.75 + 1 + 0.75) / 3, abs=0.04)
    assert found == mean_sampled_precision(SCORES, classes, seed=0) != mean_sampled_precision(SCORES, classes, seed=1)


def test_guessing_is_the_share_of_the_weight_that_is_right(classes):
    # Right, hard and plain videos: 1, 2, 2 (0 and 2 of the four), then 1, 1, 1, then 1, 0, 2.
    assert by_guessing(classes) == pytest.approx((1 / 5 + 1 / 3 + 1 / 3) / 3)
    rng = np.random.default_rng(0)
    guessed = [mean_weighted_precision(rng.random((7, 4)), classes) for _ in range(500)]
    # With few rows the mean over guesses is above the share of a long list.
    assert np.mean(guessed) > by_guessing(classes)


def test_a_bootstrap_is_around_the_value(classes):
    drawn = np.array(list(bootstrap(SCORES, classes, VIDEO, draws=50)))
    assert drawn.shape[1] == 2 and len(drawn) > 40
    low, high = np.quantile(drawn[:, 0], [0.025, 0.975])
    assert low <= mean_weighted_precision(SCORES, classes) <= high

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import bdtr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from seesay.formulas.calibration import (
    FLATTEST,
    SHARPEST,
    scores_needed,
    sigmoid_loss_and_error,
    sigmoid_scale_and_bias,
    softmax_loss_and_error,
    softmax_temperature,
    threshold_holding,
)


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, C) that are three times too large, and classes drawn from the softmax of a third of them."""
    generator = np.random.default_rng(0)
    logit_NC = generator.normal(size=(4000, 5))
    label_N = (logit_NC + generator.gumbel(size=logit_NC.shape)).argmax(1)
    return 3 * logit_NC, label_N


def softmax(logit_NC: np.ndarray) -> np.ndarray:
    weight_NC = np.exp(logit_NC)
    return weight_NC / weight_NC.sum(1, keepdims=True)


def test_the_temperature_is_the_one_of_the_lowest_log_loss(drawn):
    logit_NC, label_N = drawn
    best = minimize_scalar(
        lambda log_t: log_loss(label_N, softmax(logit_NC / np.exp(log_t))), bounds=(-3, 3), method="bounded"
    )
    temperature = softmax_temperature(logit_NC, label_N)
    assert temperature == pytest.approx(np.exp(best.x), rel=1e-4)
    assert temperature == pytest.approx(3, rel=0.1)


def test_what_has_no_best_temperature_is_cut_at_the_ends():
    logit_NC = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert softmax_temperature(logit_NC, np.array([0, 1])) == SHARPEST
    assert softmax_temperature(logit_NC, np.array([1, 0])) == FLATTEST
    assert softmax_temperature(np.zeros((2, 2)), np.array([0, 1])) == FLATTEST
    # Nothing is lost where every logit is right without a doubt, and 0 is written without a sign.
    assert str(softmax_loss_and_error(1e4 * logit_NC, np.array([0, 1]))[0]) == "0.0"


def test_scale_and_bias_are_those_of_an_unpenalised_logistic_regression(drawn):
    logit_NC, label_N = drawn
    is_match_NC = label_N[:, None] == np.arange(5)
    reference = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(logit_NC.reshape(-1, 1), is_match_NC.ravel())
    scale, bias = sigmoid_scale_and_bias(logit_NC, is_match_NC)
    assert scale == pytest.approx(reference.coef_.item(), rel=1e-4)
    assert bias == pytest.approx(reference.intercept_.item(), rel=1e-4)


def test_matches_that_can_be_told_apart_wholly_give_a_finite_scale():
    scale, bias = sigmoid_scale_and_bias(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([False, False, True, True]))
    assert 1 < scale <= 1 / SHARPEST
    assert abs(bias / scale) < 1


def test_log_losses_are_scikit_learns(drawn):
    logit_NC, label_N = drawn
    is_match_NC = label_N[:, None] == np.arange(5)
    assert softmax_loss_and_error(logit_NC, label_N)[0] == pytest.approx(log_loss(label_N, softmax(logit_NC)))
    expected = log_loss(is_match_NC.ravel(), 1 / (1 + np.exp(-logit_NC.ravel())))
    assert sigmoid_loss_and_error(logit_NC, is_match_NC)[0] == pytest.approx(expected)


def test_the_calibration_error_falls_to_nothing_at_the_right_temperature(drawn):
    logit_NC, label_N = drawn
    assert softmax_loss_and_error(logit_NC, label_N)[1] > 0.2
    assert softmax_loss_and_error(logit_NC / 3, label_N)[1] < 0.03


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 59), (0.01, 299), (0.5, 5)])
def test_a_rate_needs_that_many_scores(rate: float, needed: int):
    # All of n photos above the rate's quantile: that happens with a chance of (1 - rate) ** n.
    assert (1 - rate) ** needed <= 0.05 < (1 - rate) ** (needed - 1)
    assert scores_needed(rate) == needed
    assert threshold_holding(np.arange(needed - 1.0), rate) is None
    assert threshold_holding(np.arange(float(needed)), rate) is not None


def test_the_threshold_is_the_largest_whose_exact_bound_is_within_the_rate():
    score_N = np.random.default_rng(1).permutation(1000).astype(float)
    found = threshold_holding(score_N, 0.05)
    assert found is not None
    threshold, below, bound = found
    # The share below the k-th smallest is above p as often as fewer than k of n coins with chance p fall.
    held = [k for k in range(1, 100) if bdtr(k - 1, 1000, 0.05) <= 0.05]
    assert (threshold, below) == (held[-1] - 1, held[-1] - 1)
    assert bdtr(held[-1] - 1, 1000, bound) == pytest.approx(0.05, rel=1e-6)
    assert bound <= 0.05


def test_the_rate_is_held_in_19_of_20_samples_and_not_in_all_of_them():
    # Of uniform scores the share below a threshold is the threshold itself.
    draws = np.random.default_rng(2).uniform(size=(2000, 100))
    found = [threshold_holding(draw, 0.1) for draw in draws]
    held = np.mean([one[0] <= 0.1 for one in found if one is not None])
    assert 0.95 - 0.01 < held < 0.99


def test_of_equal_scores_none_lies_below_them():
    assert threshold_holding(np.ones(1000), 0.1)[:2] == (1.0, 0)  # pyright: ignore[reportOptionalSubscript]

import numpy as np
import pytest

from seesay.formulas.robustness import Count, effective_robustness, fit_line, from_logit, logit, softened


def test_the_line_goes_through_models_that_lie_on_one():
    natural_P = np.array([0.3, 0.5, 0.7, 0.9])
    line = fit_line(natural_P, from_logit(1.3 * logit(natural_P) - 0.8))
    assert (line.slope, line.offset) == (pytest.approx(1.3), pytest.approx(-0.8))
    assert line.shifted(0.5) == pytest.approx(from_logit(-0.8))


def test_the_line_is_that_of_numpys_least_squares():
    generator = np.random.default_rng(0)
    natural_P, shifted_P = generator.uniform(0.1, 0.9, (2, 12))
    slope, offset = np.polyfit(logit(natural_P), logit(shifted_P), 1)
    line = fit_line(natural_P, shifted_P)
    assert (line.slope, line.offset) == (pytest.approx(slope), pytest.approx(offset))


def test_a_model_on_the_line_has_no_effective_robustness_and_one_above_has_its_distance():
    natural_P = np.linspace(0.2, 0.9, 15)
    baseline = natural_P, from_logit(logit(natural_P) - 1.0)
    on_line = float(from_logit(logit(0.6) - 1.0))
    value, (low, high) = effective_robustness(
        Count(hits=6000, n=10_000), Count(hits=round(10_000 * on_line), n=10_000), baseline=baseline
    )
    assert value == pytest.approx(0, abs=1e-3)
    assert low < 0 < high
    value, (low, high) = effective_robustness(
        Count(hits=6000, n=10_000), Count(hits=round(10_000 * (on_line + 0.2)), n=10_000), baseline=baseline
    )
    assert value == pytest.approx(0.2, abs=1e-3)
    assert 0.15 < low < 0.2 < high < 0.25


def test_without_a_baseline_it_is_the_gap_with_the_interval_of_two_shares():
    value, (low, high) = effective_robustness(Count(hits=600, n=1000), Count(hits=500, n=1000))
    assert value == pytest.approx(-0.1, abs=1e-3)
    spread = 1.96 * np.sqrt(0.6 * 0.4 / 1000 + 0.5 * 0.5 / 1000)
    assert (low, high) == (pytest.approx(-0.1 - spread, abs=0.01), pytest.approx(-0.1 + spread, abs=0.01))


def test_nothing_right_and_everything_right_have_finite_logits():
    assert np.isfinite(logit(softened(np.array([0, 10]), np.array([10, 10])))).all()
    value, _ = effective_robustness(Count(hits=10, n=10), Count(hits=0, n=10))
    assert -1 < value < -0.9


def test_one_natural_accuracy_makes_no_line():
    with pytest.raises(ValueError, match="two different ones"):
        fit_line(np.array([0.5, 0.5]), np.array([0.1, 0.2]))

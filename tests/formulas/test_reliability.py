import numpy as np
import pytest

from seesay.formulas.reliability import reliability


def test_the_error_is_counted_by_hand():
    # Two at 0.9 of which one is right, two at 0.6 both right: (2 * 0.4 + 2 * 0.4) / 4.
    found = reliability(np.array([0.9, 0.9, 0.6, 0.6]), np.array([True, False, True, True]), bins=5)
    assert found.expected_error == pytest.approx(0.4)
    assert found.count_K.tolist() == [0, 0, 2, 0, 2]
    assert found.accuracy_K[2] == 1 and found.confidence_K[4] == pytest.approx(0.9)


def test_a_model_that_knows_itself_has_a_small_error_and_one_that_boasts_a_large_one():
    generator = np.random.default_rng(0)
    confidence_N = generator.uniform(0.2, 1, 20_000)
    hit_N = generator.uniform(size=20_000) < confidence_N
    assert reliability(confidence_N, hit_N).expected_error < 0.02
    assert reliability(np.ones(20_000), hit_N).expected_error == pytest.approx(1 - hit_N.mean())


def test_the_ends_belong_to_the_outer_bins():
    assert reliability(np.array([0.0, 0.2, 1.0]), np.array([0, 0, 1]), bins=5).count_K.tolist() == [2, 0, 0, 0, 1]

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from seesay.formulas.metrics import mean_per_class
from seesay.formulas.statistics import (
    OVERLAP_TAIL,
    inflation,
    mean_per_class_interval,
    paired_difference,
    proportion_interval,
    recall_by_guessing,
    recall_interval,
    sign_test,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 12), (12, 12), (3, 10), (450, 2395), (7, 50_000)])
def test_the_exact_interval_agrees_with_scipys_own(hits: int, n: int):
    wanted = binomtest(hits, n).proportion_ci(0.95, method="exact")
    assert proportion_interval(hits, n) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_the_exact_interval_covers_the_truth_at_least_as_often_as_it_promises():
    n, truth = 40, 0.07
    covered = sum(
        binom.pmf(hits, n, truth)
        for hits in range(n + 1)
        if proportion_interval(hits, n)[0] <= truth <= proportion_interval(hits, n)[1]
    )
    assert 0.95 <= covered < 0.995


def test_an_interval_for_no_images_is_refused():
    with pytest.raises(ValueError, match="0 hits of 0"):
        proportion_interval(0, 0)


def resample_images_one_by_one(measure, n: int, *, draws: int = 4000) -> tuple[float, float]:
    generator = np.random.default_rng(1)
    values = [measure(generator.integers(0, n, size=n)) for _ in range(draws)]
    return tuple(np.quantile(values, [0.025, 0.975]))


def test_the_bootstrap_for_mean_per_class_agrees_with_resampling_images_one_by_one():
    generator = np.random.default_rng(0)
    label_N = np.repeat([0, 1, 4], [50, 10, 5])
    hit_N = generator.random(65) < np.repeat([0.9, 0.5, 0.4], [50, 10, 5])
    wanted = resample_images_one_by_one(lambda rows: mean_per_class(hit_N[rows], label_N[rows]), 65)
    assert mean_per_class_interval(hit_N, label_N) == pytest.approx(wanted, abs=0.02)


def test_the_bootstrap_for_recall_keeps_the_captions_of_an_image_together():
    generator = np.random.default_rng(0)
    image_of_text_M = np.repeat(np.arange(80), 5)
    hit_M = np.repeat(generator.random(80) < 0.4, 5)
    hit_M[::7] ^= True

    def recall(rows: np.ndarray) -> float:
        return float(hit_M.reshape(80, 5)[rows].mean())

    low, high = recall_interval(hit_M, image_of_text_M)
    assert (low, high) == pytest.approx(resample_images_one_by_one(recall, 80), abs=0.02)
    as_if_independent = proportion_interval(int(hit_M.sum()), len(hit_M))
    assert high - low > 1.3 * (as_if_independent[1] - as_if_independent[0])


def test_the_bootstrap_copes_with_different_numbers_of_captions_in_any_order():
    image_of_text_M = np.array([2, 0, 1, 2, 2, 1])
    hit_M = np.array([True, False, True, True, False, False])
    low, high = recall_interval(hit_M, image_of_text_M)
    assert 0 <= low < hit_M.mean() < high <= 1


def test_the_same_hits_always_give_the_same_interval():
    hit_N = np.arange(1000) % 3 == 0
    assert recall_interval(hit_N, np.arange(1000)) == recall_interval(hit_N, np.arange(1000))
    assert recall_interval(hit_N, np.arange(1000)) != recall_interval(hit_N, np.arange(1000), seed=5)


@pytest.mark.parametrize("hit", [True, False])
def test_unanimous_images_get_the_exact_interval_instead_of_certainty(hit: bool):
    wanted = pytest.approx(proportion_interval(20 * hit, 20))
    assert mean_per_class_interval(np.full(20, hit), np.arange(20) % 4) == wanted
    assert recall_interval(np.full(100, hit), np.repeat(np.arange(20), 5)) == wanted


@pytest.mark.parametrize(("candidates", "correct", "k"), [(5000, 5, 10), (10, 3, 5), (10, 8, 5), (4, 1, 10), (4, 4, 1)])
def test_guessing_agrees_with_counting_the_draws(candidates: int, correct: int, k: int):
    drawn = min(k, candidates)
    wanted = 1 - math.comb(candidates - correct, drawn) / math.comb(candidates, drawn)
    assert recall_by_guessing(np.array([correct]), candidates, k) == pytest.approx(wanted)


def test_guessing_is_averaged_over_questions():
    assert recall_by_guessing(np.array([1, 1, 3]), 10, 1) == pytest.approx((0.1 + 0.1 + 0.3) / 3)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 1), (3, 9), (9, 3), (50, 50), (200, 260)])
def test_the_sign_test_is_scipys_binomial_test(first: int, second: int):
    wanted = binomtest(first, first + second).pvalue if first + second else 1.0
    assert sign_test(first, second) == pytest.approx(wanted, abs=1e-12)


def test_a_paired_difference_knows_that_answers_belong_together():
    generator = np.random.default_rng(0)
    first_N = generator.uniform(size=400) < 0.5
    second_N = first_N | (generator.uniform(size=400) < 0.1)
    difference, (low, high), p = paired_difference(first_N, second_N, np.arange(400))
    assert difference == pytest.approx(second_N.mean() - first_N.mean())
    # Unpaired, the interval of this difference would be 0.14 wide; the answers are nearly always the same.
    assert 0 < low < difference < high and high - low < 0.06 and p < 0.01
    back, (low_back, high_back), p_back = paired_difference(second_N, first_N, np.arange(400))
    assert (back, low_back, high_back) == pytest.approx((-difference, -high, -low), abs=0.01) and p_back == p


def test_captions_of_one_image_count_as_one_draw():
    hit_N = np.random.default_rng(1).uniform(size=60) < 0.3
    none_M, five_M, image_M = np.zeros(300, bool), np.repeat(hit_N, 5), np.repeat(np.arange(60), 5)
    once = paired_difference(np.zeros(60, bool), hit_N, np.arange(60))
    assert paired_difference(none_M, five_M, image_M) == once


def test_no_difference_has_p_one():
    assert paired_difference(np.ones(9, bool), np.ones(9, bool), np.arange(9)) == (0.0, (0.0, 0.0), 1.0)


@pytest.mark.parametrize(("hits", "n", "others"), [(9, 10, 0.5), (0, 3, 0.2), (40, 40, 0.9), (17, 60, 0.31)])
def test_the_interval_and_the_test_of_an_overlap_are_scipys(hits: int, n: int, others: float):
    clean_M = np.arange(200) < 200 * others
    hit_N = np.concatenate([np.arange(n) < hits, clean_M])
    found = inflation(hit_N, np.arange(len(hit_N)) < n)
    assert found is not None
    own = binomtest(hits, n, p=float(clean_M.mean()), alternative="greater")
    assert found.p_value == pytest.approx(own.pvalue, abs=1e-12)
    exact = binomtest(hits, n).proportion_ci(0.995, method="exact")
    f = n / len(hit_N)
    assert found.interval == pytest.approx([f * (end - clean_M.mean()) for end in exact], abs=1e-9)
    assert proportion_interval(hits, n, tail=OVERLAP_TAIL) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_an_overlap_by_hand():
    """Eight of ten: six clean, three right; four found, all right; P[Bin(4, 1/2) >= 4] = 1/16."""
    hit_N = np.array([1, 1, 1, 1, 1, 1, 1, 0, 0, 0], bool)
    found = inflation(hit_N, np.arange(10) < 4)
    assert found is not None
    assert (found.clean, found.overlap, found.all) == (0.5, 1.0, 0.7)
    assert found.difference == pytest.approx(0.2) == found.all - found.clean
    assert found.p_value == pytest.approx(1 / 16)
    # All four right: the low end is tail^(1/4), the high end 1.
    assert found.interval == pytest.approx((0.4 * (0.0025**0.25 - 0.5), 0.4 * 0.5))


def test_an_overlap_that_is_worse_than_the_rest_is_no_inflation():
    found = inflation(np.array([0, 0, 1, 1], bool), np.array([True, True, False, False]))
    assert found is not None
    assert (found.difference, found.p_value) == (-0.5, 1.0)


@pytest.mark.parametrize("is_overlap", [True, False])
def test_there_is_no_inflation_where_all_images_overlap_or_none(is_overlap: bool):
    assert inflation(np.ones(3, bool), np.full(3, is_overlap)) is None

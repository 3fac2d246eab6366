"""Curves whose factor is known, and an isotonic regression that is tried out by brute force."""

from itertools import combinations

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from seesay.formulas.efficiency import Curve, efficiency, log_n_at, mean_curve, never_falling, resamples

N = 128.0 * 2 ** np.arange(11)


def sigmoid(n, *, middle, top=0.4):
    return top / (1 + (middle / n) ** 0.8)


def curve(*seeds, n=N):
    return Curve(np.tile(np.asarray(n, dtype=float), (len(seeds), 1)), np.array(seeds, dtype=float))


def test_the_same_curve_moved_to_four_times_the_images_has_the_factor_four():
    fast, slow = (curve(sigmoid(N, middle=middle)) for middle in (4000, 16_000))
    found = efficiency(fast, slow, floor=0.01)
    # Points a factor of 2 apart: the same pieces of line, two points on.
    assert found.factor == pytest.approx(4, rel=1e-12)
    assert efficiency(slow, fast, floor=0.01).factor == pytest.approx(1 / 4, rel=1e-12)
    assert found.interval95 is None and "one seed" in found.interval_reason


def test_the_factor_worked_out_by_hand():
    # In powers of ten: the fast one goes from 0 to 0.4 between 2 and 4, the slow one from 0 to 0.2.
    n = [1e2, 1e4]
    found = efficiency(curve([0.0, 0.4], n=n), curve([0.0, 0.2], n=n), floor=0.1)
    # At a: log10 n is 2 + 5a for the fast one and 2 + 10a for the slow, so the factor is 10^5a, with the median of a
    # over the 101 levels of (0.1, 0.2].
    level = 0.1 + 0.1 * 51 / 102 + 0.1 * 0.5 / 102
    assert found.common == pytest.approx((0.1, 0.2))
    assert found.factor == pytest.approx(10 ** (5 * level), rel=0.006)


def test_curves_that_do_not_overlap_have_no_factor_and_a_reason():
    low, high = curve([0.01, 0.05, 0.1], n=N[:3]), curve([0.2, 0.3, 0.4], n=N[:3])
    found = efficiency(high, low, floor=0.02)
    assert (found.factor, found.common, found.interval95) == (None, None, None)
    assert found.reason == "one is better at its first point than the other at its last"
    by_chance = efficiency(high, low, floor=0.1)
    assert by_chance.factor is None and "chance" in by_chance.reason


def test_what_guessing_may_give_does_not_count():
    # Below 0.1 the slow curve is ahead; above, it needs twice as much.
    fast = curve([0.0, 0.02, 0.1, 0.13, 0.3], n=N[:5])
    slow = curve([0.05, 0.09, 0.09, 0.1, 0.13], n=N[:5])
    assert efficiency(fast, slow, floor=0.1).factor == pytest.approx(2, rel=1e-12)
    assert efficiency(fast, slow, floor=0.0).factor < 2


def test_a_curve_that_falls_is_evened_out_as_least_squares_wants_it():
    random = np.random.default_rng(0)
    for length in (1, 2, 5, 6):
        value_P = random.random(length)
        # Brute force: of all ways to cut into blocks of their mean, the nearest that never falls.
        best = min(
            (
                np.concatenate([np.full(len(block), block.mean()) for block in np.split(value_P, list(cuts))])
                for size in range(length)
                for cuts in combinations(range(1, length), size)
            ),
            key=lambda even: np.inf if (np.diff(even) < 0).any() else ((even - value_P) ** 2).sum(),
        )
        assert never_falling(value_P) == pytest.approx(best)
    value_P = random.random(200) + np.linspace(0, 1, 200)
    assert never_falling(value_P) == pytest.approx(IsotonicRegression().fit_transform(np.arange(200), value_P))


def test_a_level_is_reached_where_a_flat_curve_first_has_it():
    log_P, accuracy_P = np.array([0.0, 1, 2, 3]), np.array([0.1, 0.2, 0.2, 0.4])
    assert log_n_at(log_P, accuracy_P, np.array([0.15, 0.2, 0.3, 0.4])) == pytest.approx([0.5, 1, 2.5, 3])


def test_the_interval_is_that_of_all_pairs_of_resampled_seeds():
    fast = curve(*(sigmoid(N, middle=middle) for middle in (3000, 4000, 5000)))
    slow = curve(*(sigmoid(N, middle=middle) for middle in (14_000, 16_000, 19_000)))
    found = efficiency(fast, slow, floor=0.01)
    level_L = np.linspace(*found.common, 102)[1:]
    factors = []
    for left in np.ndindex(3, 3, 3):
        for right in np.ndindex(3, 3, 3):
            means = [both.accuracy_SP[list(draw)].mean(0) for both, draw in ((fast, left), (slow, right))]
            low, high = max(0.01, *(mean[0] for mean in means)), min(mean[-1] for mean in means)
            level_L = np.linspace(low, high, 102)[1:]
            at = [np.interp(level_L, mean, np.log(N)) for mean in means]
            factors.append(np.exp(np.median(at[1] - at[0])))
    assert found.interval95 == pytest.approx(np.quantile(factors, [0.025, 0.975]), rel=1e-6)
    assert found.interval95[0] < found.factor < found.interval95[1]
    assert found.lost == 0


def test_the_interval_of_equal_seeds_is_their_factor():
    fast, slow = curve(*[sigmoid(N, middle=4000)] * 3), curve(*[sigmoid(N, middle=8000)] * 3)
    assert efficiency(fast, slow, floor=0.01).interval95 == pytest.approx((2, 2))


def test_where_many_resamples_have_no_common_range_there_is_no_interval():
    fast = curve([0.0, 0.2, 0.4], [0.0, 0.2, 0.4], n=N[:3])
    slow = curve([0.0, 0.0, 0.0], [0.0, 0.1, 0.3], n=N[:3])
    found = efficiency(fast, slow, floor=0.1)
    assert found.factor is not None and found.interval95 is None
    assert found.lost == 0.25 and "25% of the resamples" in found.interval_reason


def test_seeds_are_averaged_at_every_point_with_their_own_n():
    seeds = Curve(np.array([[1.0, 10], [100, 1000]]), np.array([[0.1, 0.3], [0.3, 0.5]]))
    log_P, accuracy_P = mean_curve(seeds)
    assert np.exp(log_P) == pytest.approx([10, 100])
    assert accuracy_P == pytest.approx([0.2, 0.4])


@pytest.mark.parametrize(("count", "kinds", "draws"), [(1, 1, 1), (2, 3, 4), (3, 10, 27), (4, 35, 256), (6, None, 256)])
def test_few_seeds_are_resampled_in_every_way(count, kinds, draws):
    found = resamples(count)
    assert sum(times for _, times in found) == draws
    assert kinds is None or len(found) == kinds
    assert all(weight_S.sum() == count for weight_S, _ in found)

"""Chi-squared, Holm and gaps, against scipy and by hand."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from seesay.formulas.groups import chi_squared, holm, largest_gap


@pytest.mark.parametrize("groups", [2, 3, 7])
def test_chi_squared_is_scipys_for_every_label(groups):
    random = np.random.default_rng(groups)
    group_N = random.integers(0, groups, 300)
    hit_NK = random.random((300, 6)) < np.linspace(0.05, 0.9, 6) + 0.05 * group_N[:, None] / groups
    statistic_K, p_K = chi_squared(hit_NK, group_N, groups)
    for label in range(6):
        counts = [[int((hit_NK[group_N == g, label] == is_hit).sum()) for g in range(groups)] for is_hit in (0, 1)]
        reference = chi2_contingency(counts, correction=False)
        assert statistic_K[label] == pytest.approx(reference.statistic, rel=1e-10)
        assert p_K[label] == pytest.approx(reference.pvalue, rel=1e-8)


def test_by_hand_two_groups():
    """3 of 4 against 1 of 4: (1^2 / 2) in each of four cells is 2."""
    hits = np.array([1, 1, 1, 0, 1, 0, 0, 0], bool)[:, None]
    statistic, p = chi_squared(hits, np.repeat([0, 1], 4), 2)
    assert statistic[0] == pytest.approx(2.0) and p[0] == pytest.approx(0.157299, abs=1e-6)


def test_labels_that_all_or_none_have_and_empty_groups_differ_nowhere():
    hits = np.stack([np.ones(6, bool), np.zeros(6, bool)], 1)
    statistic, p = chi_squared(hits, np.repeat([0, 2], 3), 3)
    assert statistic.tolist() == [0, 0] and p.tolist() == [1, 1]
    assert chi_squared(hits, np.zeros(6, int), 2)[1].tolist() == [1, 1]


def test_holm_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]


def test_the_largest_gap():
    assert largest_gap(np.array([0.2, np.nan, 0.7])) == pytest.approx(0.5)
    assert largest_gap(np.array([np.nan])) == 0.0

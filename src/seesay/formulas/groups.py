"""Whether groups differ in what they are called. N = images, G = groups, K = labels."""

import numpy as np
from scipy.special import chdtrc


def chi_squared(hit_NK: np.ndarray, group_N: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Pearson's chi-squared of each label against the groups, and its p-value, (K,) each.

    Without a correction, as in a table of 2 rows and G columns. A label that all or none have differs nowhere: 0 and 1.
    An expected count below 5 makes the p-value a rough one (Cochran 1954).
    """
    size_G = np.bincount(group_N, minlength=groups).astype(float)
    has_images_G = size_G > 0
    count_GK = np.stack([hit_NK[group_N == group].sum(0) for group in range(groups)]).astype(float)[has_images_G]
    size_G = size_G[has_images_G]
    share_K = count_GK.sum(0) / size_G.sum()
    expected_GK = size_G[:, None] * share_K
    variance_GK = expected_GK * (1 - share_K)
    statistic_GK = np.divide(
        (count_GK - expected_GK) ** 2, variance_GK, out=np.zeros_like(variance_GK), where=variance_GK > 0
    )
    statistic_K = statistic_GK.sum(0)
    freedom = len(size_G) - 1
    p_K = chdtrc(freedom, statistic_K) if freedom else np.ones_like(statistic_K)
    return statistic_K, np.where(statistic_K > 0, p_K, 1.0)


def holm(p_K: np.ndarray) -> np.ndarray:
    """The p-values after Holm's (1979) correction for K tests, (K,)."""
    order = np.argsort(p_K, kind="stable")
    scaled = np.minimum(p_K[order] * np.arange(len(p_K), 0, -1), 1.0)
    corrected = np.empty_like(scaled)
    corrected[order] = np.maximum.accumulate(scaled)
    return corrected


def largest_gap(share_G: np.ndarray) -> float:
    """The highest share less the lowest, of those that are there, a scalar."""
    known = share_G[~np.isnan(share_G)]
    return float(known.max() - known.min()) if len(known) else 0.0

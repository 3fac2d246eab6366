"""Does a model that says 80 % turn out right 80 % of the time? N = images, K = bins."""

from dataclasses import dataclass

import numpy as np

# Guo et al. 2017, table 1.
BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Images sorted into bins by how sure the model was: how many, how sure on average, and how many were right.

    Means of empty bins are NaN.
    """

    edge_K1: np.ndarray
    count_K: np.ndarray
    confidence_K: np.ndarray
    accuracy_K: np.ndarray

    @property
    def expected_error(self) -> float:
        """The distance of confidence and accuracy, averaged over images: the ECE (Guo et al. 2017, section 2)."""
        gap_K = np.nan_to_num(np.abs(self.accuracy_K - self.confidence_K))
        return float((gap_K * self.count_K).sum() / self.count_K.sum())


def reliability(confidence_N: np.ndarray, hit_N: np.ndarray, *, bins: int = BINS) -> Reliability:
    """`confidence_N`, the probability of the predicted class, in `bins` of equal width over 0 to 1; N >= 1.

    A confidence that is on an edge belongs to the bin below it, and 0 to the first.
    """
    edge_K1 = np.linspace(0, 1, bins + 1)
    bin_N = np.clip(np.searchsorted(edge_K1, confidence_N) - 1, 0, bins - 1)
    count_K = np.bincount(bin_N, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence_K = np.bincount(bin_N, weights=confidence_N, minlength=bins) / count_K
        accuracy_K = np.bincount(bin_N, weights=hit_N, minlength=bins) / count_K
    return Reliability(edge_K1, count_K, confidence_K, accuracy_K)

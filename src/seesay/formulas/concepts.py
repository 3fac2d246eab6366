"""A vector as a sparse sum of named ones, none of them subtracted. D = width, K = concepts, A = those with a weight."""

import numpy as np

# Far more than rounding in float64, and far less than a weight that a person would read (a guess).
TOLERANCE = 1e-10
# The share of the largest eigenvalue below which one counts as 0: rounding of some hundred vectors (a guess).
SINGULAR = 1e-12


def sparse_sum(target_D: np.ndarray, concept_KD: np.ndarray, *, penalty: float) -> np.ndarray:
    """The weights w_K >= 0 with the least |w C - target|^2 / 2 + penalty * sum(w), float64 (K,).

    The decomposition of SpLiCE (Bhalla et al. 2024, equation 2), solved exactly: the active-set method of Lawson and
    Hanson (1974, "Solving Least Squares Problems", chapter 23) with the penalty taken off the gradient. With penalty 0
    it is their non-negative least squares. Of rows that are equal one has the weight of all.
    """
    concept_KD, target_D = np.asarray(concept_KD, np.float64), np.asarray(target_D, np.float64)
    weight_K = np.zeros(len(concept_KD))
    is_active_K = np.zeros(len(concept_KD), dtype=bool)
    is_idle_K = is_active_K.copy()
    while True:
        gradient_K = concept_KD @ (target_D - weight_K @ concept_KD) - penalty
        gradient_K[is_active_K | is_idle_K] = -np.inf
        entering = int(gradient_K.argmax()) if len(gradient_K) else 0
        if not len(gradient_K) or gradient_K[entering] <= TOLERANCE:
            return weight_K
        is_active_K[entering] = True
        while not _step(weight_K, is_active_K, concept_KD, target_D, penalty):
            pass
        # What gained nothing, for rounding, is passed over until another has moved the weights.
        is_idle_K[:] = is_idle_K if not is_active_K[entering] else False
        is_idle_K[entering] = not is_active_K[entering]


def _step(
    weight_K: np.ndarray, is_active_K: np.ndarray, concept_KD: np.ndarray, target_D: np.ndarray, penalty: float
) -> bool:
    """Move towards the best weights of the active set; what comes to 0 on the way stops the step and leaves the set.

    True where they were reached. Among vectors that make up one another the way is along those sums that change
    nothing but the penalty.
    """
    active_A = np.flatnonzero(is_active_K)
    if not len(active_A):
        return True
    own_AD, before_A = concept_KD[active_A], weight_K[active_A]
    gradient_A = own_AD @ (target_D - before_A @ own_AD) - penalty
    value_A, vector_AA = np.linalg.eigh(own_AD @ own_AD.T)
    part_A = vector_AA.T @ gradient_A
    is_null_A = value_A <= SINGULAR * value_A[-1]
    idle_A = vector_AA[:, is_null_A] @ part_A[is_null_A]
    is_free = bool(np.abs(idle_A).max(initial=0) > TOLERANCE)
    move_A = idle_A if is_free else vector_AA[:, ~is_null_A] @ (part_A[~is_null_A] / value_A[~is_null_A])
    room_A = np.full(len(active_A), np.inf)
    falls_A = move_A < 0
    room_A[falls_A] = before_A[falls_A] / -move_A[falls_A]
    length = min(room_A.min(), np.inf if is_free else 1.0)
    if not np.isfinite(length):
        return True
    weight_K[active_A] = np.maximum(before_A + length * move_A, 0)
    leaving_A = room_A <= length
    weight_K[active_A[leaving_A]] = 0
    is_active_K[active_A[leaving_A]] = False
    return not leaving_A.any()

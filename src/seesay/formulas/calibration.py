"""Scores to probabilities that can be believed, and thresholds that hold a chosen rate of false alarms.

N = images, C = classes, M = pairs of an image and a class. Logits are scores before softmax or sigmoid.
"""

import math

import numpy as np
import scipy  # its parts, which take 0.3 s, are loaded when they are first used

from seesay.formulas.reliability import reliability

# Where the best temperature is looked for. Images that are all right, or none better than chance, have none.
SHARPEST, FLATTEST = 0.01, 100.0
# The usual level; the probability that a threshold holds its rate.
CONFIDENCE = 0.95


def softmax_temperature(logit_NC: np.ndarray, label_N: np.ndarray) -> float:
    """The T at which softmax(logits / T) gives the right classes the highest likelihood (Guo et al. 2017, 4.2).

    The likelihood is concave in 1 / T, so there is one best T; it is cut to 0.01 ... 100.
    """
    logit_NC = np.asarray(logit_NC, np.float64)
    own_N = logit_NC[np.arange(len(label_N)), label_N]

    def slope(inverse: float) -> float:
        """How the log loss changes with 1 / T: the expected logit less the right one."""
        return float(((scipy.special.softmax(inverse * logit_NC, axis=1) * logit_NC).sum(1) - own_N).mean())

    if slope(1 / FLATTEST) >= 0:
        return FLATTEST
    if slope(1 / SHARPEST) <= 0:
        return SHARPEST
    # xtol is absolute and the smallest 1 / T is 0.01; brentq's annotation misses that it gives a float.
    return 1 / float(scipy.optimize.brentq(slope, 1 / FLATTEST, 1 / SHARPEST, xtol=1e-9))  # pyright: ignore[reportArgumentType]


def sigmoid_scale_and_bias(logit_M: np.ndarray, is_match_M: np.ndarray) -> tuple[float, float]:
    """The a and b at which sigmoid(a * logit + b) gives the matches the highest likelihood (Platt 1999).

    a is from 0.01 to 100; both matches and others must occur. b takes up how rare matches are among these pairs.
    Of any shape, (N, C) as well.
    """
    logit_M, is_match_M = np.asarray(logit_M, np.float64).ravel(), np.ravel(is_match_M)
    centre, spread = float(logit_M.mean()), float(logit_M.std()) or 1.0
    x_M, sign_M = (logit_M - centre) / spread, np.where(is_match_M, 1.0, -1.0)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        margin_M = sign_M * (parameters[0] * x_M + parameters[1])
        pull_M = -sign_M * scipy.special.expit(-margin_M)
        return float(np.logaddexp(0, -margin_M).mean()), np.array([(pull_M * x_M).mean(), pull_M.mean()])

    rate = float(np.mean(is_match_M))
    found = scipy.optimize.minimize(
        loss,
        np.array([1.0, math.log(rate / (1 - rate))]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(spread / FLATTEST, spread / SHARPEST), (None, None)],
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 1000},
    )
    scale = float(found.x[0]) / spread
    return scale, float(found.x[1]) - scale * centre


def softmax_loss_and_error(logit_NC: np.ndarray, label_N: np.ndarray) -> tuple[float, float]:
    """The mean of -log(probability of the right class), and the expected calibration error of the best class."""
    log_NC = scipy.special.log_softmax(np.asarray(logit_NC, np.float64), axis=1)
    confidence_N, hit_N = np.exp(log_NC.max(1)), log_NC.argmax(1) == label_N
    # Taken from 0, because -0.0 is a number that people see.
    return 0.0 - float(log_NC[np.arange(len(label_N)), label_N].mean()), reliability(confidence_N, hit_N).expected_error


def sigmoid_loss_and_error(logit_M: np.ndarray, is_match_M: np.ndarray) -> tuple[float, float]:
    """As `softmax_loss_and_error` for pairs, of any shape, that are scored one by one: "it is a match"."""
    logit_M, is_match_M = np.asarray(logit_M, np.float64).ravel(), np.ravel(is_match_M)
    loss = float(np.logaddexp(0, np.where(is_match_M, -logit_M, logit_M)).mean())
    return loss, reliability(scipy.special.expit(logit_M), is_match_M).expected_error


def threshold_holding(score_N: np.ndarray, rate: float) -> tuple[float, int, float] | None:
    """The largest of these scores that at most `rate` of all such scores lie below, with 95 % confidence.

    Gives (threshold, how many of the N lie below it, the 95 % upper bound on the share of new scores below it, which
    is `rate` or less); None if N is below `scores_needed`. The k-th smallest of N draws from any distribution cuts
    off a share that is at most Beta(k, N - k + 1) distributed (Wilks 1941): the bound is exact, assumes nothing of
    the scores' shape, and holds for scores drawn as these were.
    """
    n = len(score_N)
    k_K = np.arange(1, math.floor(n * rate) + 2)
    k_K = k_K[k_K <= n]
    bound_K = scipy.special.betaincinv(k_K, n - k_K + 1, CONFIDENCE)
    held = int((bound_K <= rate).sum())
    if not held:
        return None
    threshold = np.sort(score_N)[held - 1]
    return float(threshold), int((score_N < threshold).sum()), float(bound_K[held - 1])


def scores_needed(rate: float) -> int:
    """The least number of scores that `threshold_holding` can hold `rate` with: 59 for 5 %, 299 for 1 %."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-rate))

"""Effective robustness: how much better a model does on a shifted set than its accuracy would let one expect.

Taori et al. 2020, section 3: standard models lie on a line when both accuracies are put on logit axes,
logit(shifted) = slope * logit(natural) + offset. What a model has above that line is its effective robustness.
P = baseline models, T = bootstrap draws.
"""

from dataclasses import dataclass

import numpy as np

from seesay.formulas.statistics import DRAWS, TAIL


@dataclass(frozen=True, kw_only=True)
class Count:
    """Right answers among all: `hits` of `n`."""

    hits: int
    n: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.hits / self.n


@dataclass(frozen=True, kw_only=True)
class Line:
    """logit(shifted) = slope * logit(natural) + offset."""

    slope: float
    offset: float

    def shifted(self, natural: np.ndarray | float) -> np.ndarray:
        """The accuracy on the shifted set that goes with one on the natural set; fractions, any shape."""
        return from_logit(self.slope * logit(np.asarray(natural)) + self.offset)


# As accurate on both sets.
EQUAL = Line(slope=1.0, offset=0.0)


def logit(share: np.ndarray | float) -> np.ndarray:
    """log(share / (1 - share)), of any shape."""
    return np.log(share) - np.log1p(-np.asarray(share))


def from_logit(value: np.ndarray | float) -> np.ndarray:
    """The inverse of `logit`; any shape."""
    return 1 / (1 + np.exp(-np.asarray(value)))


def softened(hits: np.ndarray | int, n: np.ndarray | int) -> np.ndarray:
    """A share of any shape that is never 0 or 1, whose logit is finite: half an image is added to either side."""
    return (np.asarray(hits) + 0.5) / (np.asarray(n) + 1)


def fit_line(natural_P: np.ndarray, shifted_P: np.ndarray) -> Line:
    """The line of least squares through accuracies on logit axes, fractions between 0 and 1.

    ValueError for fewer than two different accuracies on the natural set.
    """
    x_P, y_P = logit(natural_P), logit(shifted_P)
    if len(x_P) < 2 or np.ptp(x_P) == 0:
        raise ValueError(f"{len(x_P)} baseline models of one natural accuracy; a line needs two different ones")
    slope = float(((x_P - x_P.mean()) * (y_P - y_P.mean())).sum() / ((x_P - x_P.mean()) ** 2).sum())
    return Line(slope=slope, offset=float(y_P.mean() - slope * x_P.mean()))


def effective_robustness(
    natural: Count,
    shifted: Count,
    *,
    baseline: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
) -> tuple[float, tuple[float, float]]:
    """The accuracy on the shifted set less that of the line at the natural accuracy; and its 95 % interval.

    `baseline` holds natural and shifted accuracies (P) of standard models; without it the line is y = x, so that
    the answer is the gap itself. Bootstrap: images of both sets are drawn anew, and so are the baseline models.
    """
    generator = np.random.default_rng(seed)
    natural_T = softened(generator.binomial(natural.n, natural.share, DRAWS), natural.n)
    shifted_T = generator.binomial(shifted.n, shifted.share, DRAWS) / shifted.n
    line = EQUAL if baseline is None else fit_line(*baseline)
    expected = float(line.shifted(softened(natural.hits, natural.n)))
    if baseline is None:
        expected_T = natural_T
    else:
        expected_T = np.array([redrawn(baseline, line, generator).shifted(share) for share in natural_T])
    low, high = np.quantile(shifted_T - expected_T, [TAIL, 1 - TAIL])
    return shifted.share - expected, (float(low), float(high))


def redrawn(baseline: tuple[np.ndarray, np.ndarray], line: Line, generator: np.random.Generator) -> Line:
    """The line through as many baseline models, drawn with putting back; `line` itself for a draw that has none.

    `baseline` is the accuracies on the natural and on the shifted set, (P,) each.
    """
    natural_P, shifted_P = baseline
    drawn_P = generator.integers(0, len(natural_P), len(natural_P))
    if np.ptp(natural_P[drawn_P]) == 0:
        return line
    return fit_line(natural_P[drawn_P], shifted_P[drawn_P])

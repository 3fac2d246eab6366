"""Distribution shift: one model on images of the usual kind and on others of the same classes.

The number is the effective robustness of `formulas.robustness`, against a line through standard models. A file of
them is a JSON list of {"name", "natural", "shifted", "n_natural", "n_shifted"}: accuracies as fractions, and the
number of images behind each.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seesay.base.errors import UsageError
from seesay.evaluation.suite import SEED, Measured
from seesay.formulas.robustness import Count, effective_robustness, fit_line, softened


@dataclass(frozen=True)
class Baseline:
    """Standard models of one kind: accuracies on the natural and on the shifted set, never 0 or 1."""

    names: tuple[str, ...]
    natural_P: np.ndarray
    shifted_P: np.ndarray


@dataclass(frozen=True)
class Shift:
    """Which of the sets is the usual one, and which the shifted one, by name."""

    natural: str
    shifted: str


def read_shift(words: str, names: Sequence[str]) -> Shift:
    """The words NATURAL=SHIFTED, two of the sets `names`; `UsageError` if it is not."""
    natural, equals, shifted = (part.strip() for part in words.partition("="))
    if not equals or natural not in names or shifted not in names or natural == shifted:
        raise UsageError(
            f"--shift {words!r} should be NATURAL=SHIFTED, two of the sets that are measured: {', '.join(names)}."
        )
    return Shift(natural, shifted)


def read_baseline(path: Path) -> Baseline:
    """The standard models of a JSON file; `UsageError` if it is none, or has not two that differ."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        columns = [[row[key] for row in rows] for key in ("name", "natural", "shifted", "n_natural", "n_shifted")]
        names, shares, sizes = columns[0], np.array(columns[1:3], float), np.array(columns[3:], float)
        if not ((shares >= 0) & (shares <= 1) & (sizes >= 1)).all():
            raise ValueError("a share is not between 0 and 1, or a number of images not 1 or more")
        natural_P, shifted_P = softened(shares * sizes, sizes)
        fit_line(natural_P, shifted_P)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); give a JSON file of baseline models.") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"{path} is no list of baseline models ({error}); "
            'write [{"name", "natural", "shifted", "n_natural", "n_shifted"}, ...], accuracies as fractions.'
        ) from error
    return Baseline(tuple(map(str, names)), natural_P, shifted_P)


def robustness_of(natural: Measured, shifted: Measured, baseline: Baseline | None) -> dict[str, Any]:
    """What a model loses on the shifted set, and how much of that the baseline would have lost too.

    "gap" is shifted less natural accuracy; "effective_robustness" is there with a baseline, and each has its
    95 % interval. `UsageError` where the two sets do not have the same classes.
    """
    check_classes(natural, shifted)
    counts = [Count(hits=int(item.hits["top1"].sum()), n=len(item.hits["top1"])) for item in (natural, shifted)]
    _, gap_interval = effective_robustness(*counts, seed=SEED)
    result = {
        "task": "distribution-shift",
        "model": natural.result["model"],
        "natural": natural.result["set"],
        "shifted": shifted.result["set"],
        "accuracy_natural": natural.result["top1"],
        "interval95_natural": natural.result["interval95"],
        "accuracy_shifted": shifted.result["top1"],
        "interval95_shifted": shifted.result["interval95"],
        "n_natural": counts[0].n,
        "n_shifted": counts[1].n,
        "chance": natural.result["chance"],
        "gap": counts[1].share - counts[0].share,
        "interval95_gap": list(gap_interval),
        "seed": SEED,
    }
    if baseline is not None:
        line = fit_line(baseline.natural_P, baseline.shifted_P)
        value, interval = effective_robustness(*counts, baseline=(baseline.natural_P, baseline.shifted_P), seed=SEED)
        result |= {
            "effective_robustness": value,
            "interval95_effective_robustness": list(interval),
            "baseline_models": len(baseline.names),
            "baseline_slope": line.slope,
            "baseline_offset": line.offset,
        }
    return result


def check_classes(natural: Measured, shifted: Measured) -> None:
    if natural.answers is None or shifted.answers is None:
        raise UsageError("a shift is measured between labelled sets; one of them holds images with captions.")
    names, others = natural.answers.names, shifted.answers.names
    if names != others:
        odd = next((name for name in [*names, *others] if (name in names) != (name in others)), "their order")
        raise UsageError(
            f"{natural.result['set']} and {shifted.result['set']} do not have the same classes ({odd!r} differs); "
            "a shift is measured between sets of the same classes."
        )

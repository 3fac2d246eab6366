"""Results side by side: two models on the same images, and one model on a natural set and on a shifted one.

For two models: is one better, or would other images have said the opposite? For a distribution shift the measure is
the effective robustness of `formulas.robustness`, against a line through standard models. A file of them is a JSON list
of {"name", "natural", "shifted", "n_natural", "n_shifted"}: accuracies as fractions, and the number of images behind
each.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from seesay.base.bounded import read_text, refuse_values
from seesay.base.errors import UsageError
from seesay.evaluation.results import ComparisonResult, EffectiveRobustness, ShiftResult, ZeroShotResult
from seesay.evaluation.suite import SEED, Answers, Measured
from seesay.formulas.robustness import Count, effective_robustness, fit_line, softened
from seesay.formulas.statistics import paired_difference, sign_test

# The headline of every task first.
COMPARED = {
    "zero-shot": ("top1",),
    "retrieval": ("text_to_image r10", "text_to_image r1", "image_to_text r1"),
    "suite": ("top1", "within_25_km"),
}


def compare_all(measured: Sequence[Measured]) -> list[ComparisonResult]:
    """A paired test for each score in `COMPARED` and each pair of models that were measured on the same set."""
    return [
        compare_score(first, second, name)
        for first, second in combinations(measured, 2)
        if first.result.set_name == second.result.set_name
        and first.result.data_fingerprint == second.result.data_fingerprint
        and first.result.model != second.result.model
        for name in COMPARED[first.result.task]
        if name in first.hits
    ]


def compare_score(first: Measured, second: Measured, name: str) -> ComparisonResult:
    """A paired test of the score `name` on the images that both could read.

    For classification the exact sign test over images that one model alone got right. For retrieval the paired
    bootstrap over images, because the captions of one image are right or wrong together.
    """
    both = sorted(set(first.read) & set(second.read))
    first_M, image_M = hits_on(first, name, both)
    second_M, _ = hits_on(second, name, both)
    difference, interval, p = paired_difference(first_M, second_M, image_M, seed=SEED)
    is_classification = first.result.task != "retrieval"
    first_only, second_only = int((first_M & ~second_M).sum()), int((second_M & ~first_M).sum())
    return ComparisonResult(
        first=first.result.model,
        second=second.result.model,
        set_name=first.result.set_name,
        task=first.result.task,
        score=name,
        n=len(first_M),
        share_first=float(first_M.mean()),
        share_second=float(second_M.mean()),
        difference=difference,
        interval95=interval,
        p=sign_test(first_only, second_only) if is_classification else p,
        test="sign" if is_classification else "paired bootstrap",
        first_only=first_only if is_classification else None,
        second_only=second_only if is_classification else None,
    )


def hits_on(measured: Measured, name: str, images: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The M hits about these images only, (M,) bool, and which image each is about, (M,)."""
    image_M = np.array(measured.read)[measured.image_of_hit[name]]
    is_wanted_M = np.isin(image_M, images)
    return measured.hits[name][is_wanted_M], image_M[is_wanted_M]


@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """Standard models of one kind: accuracies on the natural and on the shifted set, never 0 or 1."""

    names: tuple[str, ...]
    natural_P: np.ndarray
    shifted_P: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Shift:
    """The natural and the shifted set, by name."""

    natural: str
    shifted: str


def check_shift(shift: Sequence[str], names: Sequence[str]) -> Shift:
    """The names of a natural and a shifted set, which are two of the sets `names`; `UsageError` if they are not."""
    is_pair = not isinstance(shift, str) and len(shift) == 2 and shift[0] != shift[1]
    if not is_pair or not all(names.count(name) == 1 for name in shift):
        shown = shift if isinstance(shift, str) else "=".join(shift)
        raise UsageError(
            f"shift {shown!r} should name a natural and a shifted set, two of the sets that are measured: "
            f"{', '.join(names)}."
        )
    return Shift(natural=shift[0], shifted=shift[1])


def read_baseline(path: Path) -> Baseline:
    """The standard models of a JSON file; `UsageError` if it is none or has not two that differ.

    `RefusedInput` for more than 64 MiB or 2,097,152 values.
    """
    try:
        text = read_text(path)
        refuse_values(text, source=path)
        rows = json.loads(text)
        columns = [[row[key] for row in rows] for key in ("name", "natural", "shifted", "n_natural", "n_shifted")]
        names, shares, sizes = columns[0], np.array(columns[1:3], float), np.array(columns[3:], float)
        if not ((shares >= 0) & (shares <= 1) & (sizes >= 1)).all():
            raise ValueError("a share is not between 0 and 1, or a number of images not 1 or more")
        natural_P, shifted_P = softened(shares * sizes, sizes)
        fit_line(natural_P, shifted_P)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); give a JSON file of baseline models.") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(
            f"{path} is no list of baseline models ({error}); "
            'write [{"name", "natural", "shifted", "n_natural", "n_shifted"}, ...], accuracies as fractions.'
        ) from error
    return Baseline(names=tuple(map(str, names)), natural_P=natural_P, shifted_P=shifted_P)


def shift_results(measured: Sequence[Measured], shift: Shift, baseline: Baseline | None) -> list[ShiftResult]:
    """`robustness_of` for every model that was measured on both sets; raises as that does."""
    by_model: dict[str, dict[str, Measured]] = {}
    for item in measured:
        by_model.setdefault(item.result.model, {})[item.result.set_name] = item
    return [
        robustness_of(by_set[shift.natural], by_set[shift.shifted], baseline)
        for by_set in by_model.values()
        if shift.natural in by_set and shift.shifted in by_set
    ]


def robustness_of(natural: Measured, shifted: Measured, baseline: Baseline | None) -> ShiftResult:
    """What a model loses on the shifted set, and how much of that the baseline would have lost too.

    `UsageError` where a set has no classes, or the two sets do not have the same.
    """
    natural_result, natural_answers = zero_shot_of(natural)
    shifted_result, shifted_answers = zero_shot_of(shifted)
    check_classes(natural_result.set_name, natural_answers, shifted_result.set_name, shifted_answers)
    before, after = count_of(natural), count_of(shifted)
    _, gap_interval = effective_robustness(before, after, seed=SEED)
    return ShiftResult(
        model=natural_result.model,
        natural=natural_result.set_name,
        shifted=shifted_result.set_name,
        accuracy_natural=natural_result.top1,
        accuracy_shifted=shifted_result.top1,
        gap=after.share - before.share,
        gap_interval95=gap_interval,
        effective_robustness=None if baseline is None else above_baseline(before, after, baseline),
        seed=SEED,
    )


def count_of(measured: Measured) -> Count:
    """The images whose best class was right."""
    return Count(hits=int(measured.hits["top1"].sum()), n=len(measured.hits["top1"]))


def above_baseline(natural: Count, shifted: Count, baseline: Baseline) -> EffectiveRobustness:
    """The effective robustness with its line."""
    line = fit_line(baseline.natural_P, baseline.shifted_P)
    accuracies = (baseline.natural_P, baseline.shifted_P)
    value, interval = effective_robustness(natural, shifted, baseline=accuracies, seed=SEED)
    return EffectiveRobustness(
        value=value,
        interval95=interval,
        baseline_models=len(baseline.names),
        baseline_slope=line.slope,
        baseline_offset=line.offset,
    )


def zero_shot_of(measured: Measured) -> tuple[ZeroShotResult, Answers]:
    """Result and answers of a classification; `UsageError` for a set of images with captions."""
    if not isinstance(measured.result, ZeroShotResult) or measured.answers is None:
        raise UsageError(
            f"a shift is measured between labelled sets; {measured.result.set_name} holds images with captions."
        )
    return measured.result, measured.answers


def check_classes(natural: str, natural_answers: Answers, shifted: str, shifted_answers: Answers) -> None:
    """`UsageError` where two sets, by name and answers, do not have the same classes in the same order."""
    names, others = natural_answers.names, shifted_answers.names
    if names != others:
        differing = set(names) ^ set(others)
        odd = next((name for name in [*names, *others] if name in differing), "their order")
        raise UsageError(
            f"{natural} and {shifted} do not have the same classes ({odd!r} differs); "
            "a shift is measured between sets of the same classes."
        )

"""Results of `seesay evaluate` as tables and remarks for people; all shares in percent."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from seesay.cli.tables import percent, say, table, with_interval

if TYPE_CHECKING:
    from seesay.base.records import Score
    from seesay.evaluation.results import ComparisonResult, RetrievalResult, ShiftResult, ZeroShotResult

    Results = Sequence[ZeroShotResult | RetrievalResult]

ZERO_SHOT_COLUMNS = ["set", "n", "task", "top-1 [95 %]", "top-5", "mean per class", "chance"]
RETRIEVAL_COLUMNS = ["set", "n", "captions", "task", "R@1", "R@5", "R@10 [95 %]", "chance"]
SHIFT_COLUMNS = ["model", "natural", "top-1", "shifted", "top-1", "gap [95 %]", "effective robustness [95 %]"]
COMPARISON_COLUMNS = ["set", "score", "first", "second", "difference [95 %]", "p", "test"]


def report_words(result: "ZeroShotResult | RetrievalResult") -> None:
    """A line for a set that was measured with the paper's templates, and perhaps its class names."""
    from seesay.evaluation.results import ZeroShotResult

    if isinstance(result, ZeroShotResult) and result.templates_from.startswith("the paper"):
        names = ", and its class names" if result.class_names_from == result.templates_from else ""
        count = len(result.templates)
        words = f"{count} templates" if count > 1 else f"template {result.templates[0]!r}"
        say(f"{result.set_name}: {words} of {result.templates_from}{names}; --templates takes others.")


def report_remarks(result: "ZeroShotResult | RetrievalResult") -> None:
    """What was left out, and classes that share a name."""
    from seesay.data.class_names import SAME_NAME
    from seesay.evaluation.results import ZeroShotResult

    if result.skipped:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in result.skipped_by_reason.items())
        say(f"{result.set_name}: skipped {result.skipped} of {result.skipped + result.n} images: {reasons}")
    if isinstance(result, ZeroShotResult) and result.same_names:
        named = ", ".join(map(repr, result.same_names))
        say(f"{result.set_name}: more than one class is called {named}; {SAME_NAME}.")


def as_tables(results: "Results", *, several: bool) -> str:
    """One table per task, for the tasks that were measured, set by set; of several models each row names its own."""
    from seesay.evaluation.results import RetrievalResult, ZeroShotResult

    sets = list(dict.fromkeys(result.set_name for result in results))
    results = sorted(results, key=lambda result: sets.index(result.set_name))
    zero_shot, retrieval = [], []
    for result in results:
        before = [result.model] if several else []
        if isinstance(result, ZeroShotResult):
            zero_shot.append([*before, *zero_shot_row(result)])
        elif isinstance(result, RetrievalResult):
            retrieval += [[*before, *row] for row in retrieval_rows(result)]
    before, tables = ["model"] if several else [], []
    if zero_shot:
        tables.append(table([*before, *ZERO_SHOT_COLUMNS], zero_shot, left=1 + several))
    if retrieval:
        tables.append(table([*before, *RETRIEVAL_COLUMNS], retrieval, left=1 + several))
    return "\n".join(tables)


def zero_shot_row(result: "ZeroShotResult") -> list[str]:
    return [
        result.set_name,
        str(result.n),
        result.task,
        shown(result.top1),
        percent(result.top5.value),
        percent(result.mean_per_class.value),
        percent(result.top1.chance),
    ]


def retrieval_rows(result: "RetrievalResult") -> list[list[str]]:
    """A row for each direction; chance is that of R@10."""
    from seesay.evaluation.results import DIRECTIONS

    rows = []
    for direction in DIRECTIONS:
        recalls = result.recalls(direction)
        cells = [percent(recalls["r1"].value), percent(recalls["r5"].value), shown(recalls["r10"])]
        names = [result.set_name, str(result.n), str(result.captions), direction.replace("_", " ")]
        rows.append([*names, *cells, percent(recalls["r10"].chance)])
    return rows


def shown(score: "Score") -> str:
    """The score with its interval, in percent."""
    return with_interval(score.value, score.interval95)


def shift_table(shifts: "Sequence[ShiftResult]") -> str:
    """Accuracy on both sets, and what is lost; empty without shifts."""
    if not shifts:
        return ""
    rows = [
        [
            shift.model,
            shift.natural,
            percent(shift.accuracy_natural.value),
            shift.shifted,
            percent(shift.accuracy_shifted.value),
            with_interval(shift.gap, shift.gap_interval95),
            with_interval(robustness.value, robustness.interval95) if robustness else "-",
        ]
        for shift in shifts
        for robustness in [shift.effective_robustness]
    ]
    return "\n" + table(SHIFT_COLUMNS, rows)


def comparison_table(comparisons: "Sequence[ComparisonResult]") -> str:
    """Pairs of models on the same images; the difference is the second's share less the first's."""
    if not comparisons:
        return ""
    rows = [
        [
            result.set_name,
            result.score.replace("_", " "),
            f"{result.first} {percent(result.share_first)}",
            f"{result.second} {percent(result.share_second)}",
            with_interval(result.difference, result.interval95),
            f"{result.p:.2g}",
            result.test,
        ]
        for result in comparisons
    ]
    return "\n" + table(COMPARISON_COLUMNS, rows, left=2)

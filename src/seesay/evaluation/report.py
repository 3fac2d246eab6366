"""The report as a page: what was measured becomes sections of `report`, the figures of `charts` and images."""

from collections.abc import Mapping, Sequence

from seesay.base.records import Score
from seesay.base.values import percent, with_interval
from seesay.evaluation import charts
from seesay.evaluation.compare import Baseline
from seesay.evaluation.entries import Entry
from seesay.evaluation.html import Figure, Section, Table, render_page
from seesay.evaluation.report_details import details_section, hard_cases_section, prompts_section, shown
from seesay.evaluation.results import (
    DIRECTIONS,
    ComparisonResult,
    RetrievalResult,
    ShiftResult,
    SuiteResult,
    ZeroShotResult,
)
from seesay.formulas.robustness import Line, fit_line
from seesay.tasks.probe_result import ProbeResult

HOW_TO_READ = (
    "Numbers are percent. In brackets behind each is the interval that holds the true share in 95 of 100 measurements "
    "(exact binomial; bootstrap over images where that does not apply), and chance is what a random answer gives. "
    "Equal scores count as wrong."
)


def build_page(
    entries: Sequence[Entry],
    *,
    comparisons: Sequence[ComparisonResult] = (),
    shifts: Sequence[ShiftResult] = (),
    baseline: Baseline | None = None,
    facts: Mapping[str, str] | None = None,
) -> str:
    """The whole page as HTML, set by set and all models on each; sections without content are left out."""
    models = list(dict.fromkeys(entry.name for entry in entries))
    sets = list(dict.fromkeys(entry.result.set_name for entry in entries))
    entries = sorted(entries, key=lambda entry: sets.index(entry.result.set_name))
    sections = [
        scores_section(entries),
        comparison_section(comparisons),
        probe_section(entries),
        few_shot_section(entries),
        hard_cases_section(entries),
        shift_section(shifts, baseline),
        prompts_section(entries),
        *(details_section(entry, several=len(models) > 1) for entry in entries),
        method_section(entries, facts or {}),
    ]
    lead = f"{_counted(models, 'model')} on {_counted(sets, 'set')}: {', '.join(models)}. {HOW_TO_READ}"
    return render_page("Evaluation", [section for section in sections if section is not None], lead=lead)


def scores_section(entries: Sequence[Entry]) -> Section:
    """Accuracies and recalls of all models on all sets, as bars and tables."""
    zero_shot = [entry.result for entry in entries if isinstance(entry.result, ZeroShotResult)]
    retrieval = [entry.result for entry in entries if isinstance(entry.result, RetrievalResult)]
    parts: list[Figure | Table] = []
    if zero_shot:
        scores: dict[str, dict[str, Score]] = {}
        for result in zero_shot:
            scores.setdefault(result.set_name, {})[result.model] = result.top1
        note = "Zero-shot accuracy with its 95 % interval; the tick is chance."
        drawing, words = charts.bars(scores, axis="zero-shot top-1"), f"Zero-shot accuracy: {_listed(scores)}"
        parts += [Figure(drawing=drawing, words=words, note=note, width=760)]
        parts += [Table(head=ZERO_SHOT_HEAD, rows=[zero_shot_row(result) for result in zero_shot])]
    if retrieval:
        recalls = recalls_of(retrieval)
        note = "Recall with its 95 % interval; the tick is chance."
        drawing, words = charts.bars(recalls, axis="recall"), f"Recall: {_listed(recalls)}"
        parts += [Figure(drawing=drawing, words=words, note=note, width=760)]
        parts += [Table(head=RETRIEVAL_HEAD, rows=[row for result in retrieval for row in retrieval_rows(result)])]
    own = [entry.result for entry in entries if isinstance(entry.result, ZeroShotResult | SuiteResult)]
    if rows := [row for result in own for row in measure_rows(result)]:
        parts += [Table(head=MEASURE_HEAD, rows=rows)]
    return Section(title="Scores", parts=parts)


def _listed(scores: Mapping[str, Mapping[str, Score]]) -> str:
    values = [f"{name} {percent(score.value)}" for name, by_model in scores.items() for score in by_model.values()]
    return ", ".join(values)


ZERO_SHOT_HEAD = (
    "set",
    "model",
    "images",
    "classes",
    "top-1",
    "top-5",
    "mean per class",
    "chance",
    "ECE",
    "templates",
)
MEASURE_HEAD = ("set", "model", "images", "measure", "value", "chance")
RETRIEVAL_HEAD = ("set", "model", "direction", "queries", "R@1", "R@5", "R@10", "chance R@1", "chance R@10")


def zero_shot_row(result: ZeroShotResult) -> tuple[str, ...]:
    """A row below `ZERO_SHOT_HEAD`."""
    return (
        result.set_name,
        result.model,
        str(result.n),
        str(result.classes),
        *(shown(score) for score in (result.top1, result.top5, result.mean_per_class)),
        percent(result.top1.chance),
        percent(result.calibration_error),
        # "the paper, for cifar10" as "18, paper": the column is narrow.
        f"{len(result.templates)}, {result.templates_from.removeprefix('the ').partition(',')[0]}",
    )


def measure_rows(result: ZeroShotResult | SuiteResult) -> list[tuple[str, ...]]:
    """A row below `MEASURE_HEAD` for each measure of the set's own."""
    names = result.set_name, result.model, str(result.n)
    measures = result.measures.items()
    return [(*names, name.replace("_", " "), shown(score), percent(score.chance)) for name, score in measures]


def recalls_of(results: Sequence[RetrievalResult]) -> dict[str, dict[str, Score]]:
    """Every recall of retrieval by its set, direction and k, then by model."""
    recalls: dict[str, dict[str, Score]] = {}
    for result in results:
        for direction in DIRECTIONS:
            for name, score in result.recalls(direction).items():
                words = f"{result.set_name}, {direction.replace('_', ' ')} R@{name[1:]}"
                recalls.setdefault(words, {})[result.model] = score
    return recalls


def retrieval_rows(result: RetrievalResult) -> list[tuple[str, ...]]:
    """A row below `RETRIEVAL_HEAD` for each direction."""
    rows = []
    for direction in DIRECTIONS:
        recalls = result.recalls(direction)
        words = direction.replace("_", " ")
        chances = percent(recalls["r1"].chance), percent(recalls["r10"].chance)
        cells = (shown(score) for score in recalls.values())
        rows.append((result.set_name, result.model, words, str(recalls["r1"].n), *cells, *chances))
    return rows


def comparison_section(comparisons: Sequence[ComparisonResult]) -> Section | None:
    """The paired tests, a row each; None without any."""
    if not comparisons:
        return None
    head = ("set", "score", "questions", "first", "second", "difference", "p", "test")
    rows = [
        (
            result.set_name,
            result.score.replace("_", " "),
            str(result.n),
            f"{result.first} {percent(result.share_first)}",
            f"{result.second} {percent(result.share_second)}",
            with_interval(result.difference, result.interval95, sign=True),
            f"{result.p:.2g}",
            result.test,
        )
        for result in comparisons
    ]
    text = (
        "Both models answered the same questions. The sign test is exact, over images that one model alone got "
        "right; for retrieval, images with all their captions are drawn anew. A p-value below 0.05 comes up once "
        "in twenty comparisons where there is no difference at all: with many rows, require a smaller one.",
    )
    return Section(title="Models compared", text=text, parts=[Table(head=head, rows=rows)])


def probe_section(entries: Sequence[Entry]) -> Section | None:
    """Linear probes beside zero-shot; None where there is no probe."""
    probes = [entry.probe for entry in entries if entry.probe]
    if not probes:
        return None
    points = [
        charts.Point(
            name=f"{probe.set_name} ({probe.model})",
            x=probe.zero_shot.value,
            y=probe.score.value,
            x_interval=probe.zero_shot.interval95,
            y_interval=probe.score.interval95,
        )
        for probe in probes
    ]
    head = ("set", "model", "training images", "test images", "zero-shot", "linear probe", "penalty")
    rows = [
        (
            probe.set_name,
            probe.model,
            str(probe.n_train),
            str(probe.n),
            shown(probe.zero_shot),
            shown(probe.score),
            f"{probe.penalty:.2g}",
        )
        for probe in probes
    ]
    words = "; ".join(f"{point.name}: {percent(point.x)} and {percent(point.y)}" for point in points)
    figure = Figure(
        drawing=charts.zero_shot_against_probe(points),
        words=f"Zero-shot and linear probe: {words}",
        note="Above the dashed line a probe that learned from the train part is better than words alone.",
        width=460,
    )
    return Section(title="Zero-shot against a linear probe", parts=[figure, Table(head=head, rows=rows)])


def few_shot_section(entries: Sequence[Entry]) -> Section | None:
    """Accuracy over images per class; None where there are no shots."""
    curves, lines = {}, []
    for entry in entries:
        probe = entry.probe
        if probe is None or not probe.shots:
            continue
        name = f"{probe.set_name} ({probe.model})"
        curves[name] = (probe.zero_shot, few_shot_points(probe))
        equal = probe.shots_equal_to_zero_shot
        words = "more than all there are" if equal is None else f"{equal:.2g}"
        lines.append(f"{name}: zero-shot is worth {words} images per class.")
    if not curves:
        return None
    figure = Figure(
        drawing=charts.few_shot_curves(curves),
        words=" ".join(lines),
        note=(
            "A linear probe on few images per class, mean and 95 % interval over random choices; "
            "dashed: zero-shot, dotted: chance."
        ),
        width=520,
    )
    return Section(title="Few shots", text=lines, parts=[figure])


def few_shot_points(probe: ProbeResult) -> list[tuple[float, Score]]:
    """Shots with the mean of their probes; that of a single choice is its own interval."""
    return [
        (
            float(entry.shots),
            Score(
                value=entry.mean,
                interval95=entry.interval95 or (entry.mean, entry.mean),
                chance=probe.score.chance,
                n=probe.n,
            ),
        )
        for entry in probe.shots
    ]


def shift_section(shifts: Sequence[ShiftResult], baseline: Baseline | None) -> Section | None:
    """Accuracy on the shifted set over that on the natural one, with the baseline; None without shifts."""
    if not shifts:
        return None
    points = [
        charts.Point(
            name=shift.model,
            x=shift.accuracy_natural.value,
            y=shift.accuracy_shifted.value,
            x_interval=shift.accuracy_natural.interval95,
            y_interval=shift.accuracy_shifted.interval95,
        )
        for shift in shifts
    ]
    others, line = baseline_points(baseline)
    names = (shifts[0].natural, shifts[0].shifted)
    head = ("model", *names, "gap", "effective robustness")
    rows = [
        (
            shift.model,
            shown(shift.accuracy_natural),
            shown(shift.accuracy_shifted),
            with_interval(shift.gap, shift.gap_interval95, sign=True),
            with_interval(robustness.value, robustness.interval95, sign=True) if robustness else "no baseline given",
        )
        for shift in shifts
        for robustness in [shift.effective_robustness]
    ]
    text = (
        "The same classes in images of two kinds. Effective robustness is the accuracy on the shifted set less what "
        "the line through standard models gives at the same natural accuracy (Taori et al. 2020), both on logit axes.",
    )
    words = "; ".join(f"{point.name}: {percent(point.x)} and {percent(point.y)}" for point in points)
    drawing = charts.shift_plot(points, others, line, names=names)
    figure = Figure(drawing=drawing, words=words, note="Both axes are logits; whiskers are 95 % intervals.", width=480)
    return Section(title="Distribution shift", text=text, parts=[figure, Table(head=head, rows=rows)])


def baseline_points(baseline: Baseline | None) -> tuple[list[charts.Point], Line | None]:
    """The standard models as points, and the line through them."""
    if baseline is None:
        return [], None
    rows = zip(baseline.names, baseline.natural_P, baseline.shifted_P, strict=True)
    points = [charts.Point(name=name, x=float(x), y=float(y)) for name, x, y in rows]
    return points, fit_line(baseline.natural_P, baseline.shifted_P)


def method_section(entries: Sequence[Entry], facts: Mapping[str, str]) -> Section:
    """Templates, skipped images, fingerprint and remarks of every entry, then the facts."""
    rows = [
        (
            entry.result.set_name,
            entry.name,
            entry.result.templates_from,
            str(len(entry.result.templates)),
            str(entry.result.skipped),
            entry.result.data_fingerprint[:16],
        )
        for entry in entries
    ]
    head = ("set", "model", "templates from", "templates", "skipped", "data fingerprint")
    tables = [Table(head=head, rows=rows)]
    if facts:
        tables.append(Table(head=("fact", "value"), rows=list(facts.items())))
    remarks = [f"{entry.result.set_name}: {remark}" for entry in entries for remark in entry.remarks]
    return Section(title="How it was measured", text=list(dict.fromkeys(remarks)), parts=tables)


def _counted(items: Sequence[str], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"

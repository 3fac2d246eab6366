"""The report as a page: what was measured becomes sections of `report`, the figures of `charts` and images."""

from collections.abc import Sequence
from typing import Any

from seesay.base.records import Score
from seesay.evaluation import charts
from seesay.evaluation.evaluate import Entry
from seesay.evaluation.hard_cases import hard_case_of
from seesay.evaluation.html import Figure, Section, Table, percent, render_page, with_interval
from seesay.evaluation.report_details import details_section, prompts_section
from seesay.evaluation.robustness import Baseline
from seesay.formulas.robustness import Line, fit_line

HOW_TO_READ = (
    "Numbers are percent. Behind each stands in brackets the interval that holds the true share in 95 of 100 "
    "measurements (exact binomial; bootstrap over images where that does not apply), and chance is what guessing "
    "gives. Equal scores count as wrong."
)


def build_page(
    entries: Sequence[Entry],
    *,
    comparisons: Sequence[dict[str, Any]] = (),
    shifts: Sequence[dict[str, Any]] = (),
    baseline: Baseline | None = None,
    facts: dict[str, str] | None = None,
) -> str:
    """The whole page as HTML, set by set and all models on each; sections without content are left out."""
    models = list(dict.fromkeys(entry.name for entry in entries))
    sets = list(dict.fromkeys(entry.result["set"] for entry in entries))
    entries = sorted(entries, key=lambda entry: sets.index(entry.result["set"]))
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
    zero_shot = [entry for entry in entries if entry.result["task"] == "zero-shot"]
    retrieval = [entry for entry in entries if entry.result["task"] == "retrieval"]
    parts: list[Figure | Table] = []
    if zero_shot:
        scores: dict[str, dict[str, Score]] = {}
        for entry in zero_shot:
            scores.setdefault(entry.result["set"], {})[entry.name] = score_of_entry(entry)
        words = ", ".join(f"{name} {percent(score.value)}" for name, own in scores.items() for score in own.values())
        note = "Zero-shot accuracy with its 95 % interval; the black tick is what guessing gives."
        image = charts.bars(scores, axis="zero-shot top-1")
        parts += [Figure(image=image, words=f"Zero-shot accuracy: {words}", note=note, width=760)]
        parts += [Table(head=ZERO_SHOT_HEAD, rows=[zero_shot_row(entry) for entry in zero_shot])]
    if retrieval:
        recalls = recalls_of(retrieval)
        words = ", ".join(f"{name} {percent(score.value)}" for name, own in recalls.items() for score in own.values())
        image, note = charts.bars(recalls, axis="recall"), "Recall with its 95 % interval, and what guessing gives."
        parts += [Figure(image=image, words=f"Recall: {words}", note=note, width=760)]
        parts += [Table(head=RETRIEVAL_HEAD, rows=[row for entry in retrieval for row in retrieval_rows(entry)])]
    return Section(title="Scores", parts=parts)


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
RETRIEVAL_HEAD = ("set", "model", "direction", "asked", "R@1", "R@5", "R@10", "chance R@1", "chance R@10")


def zero_shot_row(entry: Entry) -> tuple[str, ...]:
    result = entry.result
    return (
        result["set"],
        entry.name,
        str(result["n"]),
        str(result["classes"]),
        with_interval(result["top1"], result["interval95"]),
        with_interval(result["top5"], result["interval95_top5"]),
        with_interval(result["mean_per_class"], result["interval95_mean_per_class"]),
        percent(result["chance"]),
        percent(result["calibration_error"]),
        # "the paper, for cifar10" as "18, paper": the column is narrow.
        f"{len(result['templates'])}, {result['templates_from'].removeprefix('the ').partition(',')[0]}",
    )


def recalls_of(entries: Sequence[Entry]) -> dict[str, dict[str, Score]]:
    """Every recall of retrieval by its set, direction and k, then by model."""
    found: dict[str, dict[str, Score]] = {}
    for entry in entries:
        result = entry.result
        for direction, asked in (("text_to_image", result["captions"]), ("image_to_text", result["n"])):
            for name, value in result[direction].items():
                low, high = result[f"interval95_{direction}"][name]
                chance = result[f"chance_{direction}"][name]
                words = f"{result['set']}, {direction.replace('_', ' ')} R@{name[1:]}"
                found.setdefault(words, {})[entry.name] = Score(
                    value=value, interval95=(low, high), chance=chance, n=asked
                )
    return found


def retrieval_rows(entry: Entry) -> list[tuple[str, ...]]:
    result, rows = entry.result, []
    for direction, asked in (("text_to_image", result["captions"]), ("image_to_text", result["n"])):
        values, spread = result[direction], result[f"interval95_{direction}"]
        chance = result[f"chance_{direction}"]
        recalls = [with_interval(values[name], spread[name]) for name in ("r1", "r5", "r10")]
        words = direction.replace("_", " ")
        rows.append((result["set"], entry.name, words, str(asked), *recalls, *map(percent, _ends(chance))))
    return rows


def _ends(chance: dict[str, float]) -> tuple[float, float]:
    return chance["r1"], chance["r10"]


def comparison_section(tests: Sequence[dict[str, Any]]) -> Section | None:
    if not tests:
        return None
    head = ("set", "score", "questions", "first", "second", "difference", "p", "test")
    rows = [
        (
            test["set"],
            test["score"].replace("_", " "),
            str(test["n"]),
            f"{test['first']} {percent(test['share_first'])}",
            f"{test['second']} {percent(test['share_second'])}",
            with_interval(test["difference"], test["interval95"], sign=True),
            f"{test['p']:.2g}",
            test["test"],
        )
        for test in tests
    ]
    text = (
        "Both models answered the same questions. The sign test is exact, over images that one model alone got "
        "right; for retrieval, images with all their captions are drawn anew. A p-value below 0.05 comes up once "
        "in twenty comparisons where there is no difference at all: with many rows, ask for less.",
    )
    return Section(title="Models compared", text=text, parts=[Table(head=head, rows=rows)])


def probe_section(entries: Sequence[Entry]) -> Section | None:
    probed = [(entry, entry.probe) for entry in entries if entry.probe]
    if not probed:
        return None
    points = [
        charts.Point(
            name=f"{probe['set']} ({entry.name})",
            x=probe["zero_shot"],
            y=probe["score"],
            x_interval=tuple(probe["interval95_zero_shot"]),
            y_interval=tuple(probe["interval95"]),
        )
        for entry, probe in probed
    ]
    head = ("set", "model", "training images", "test images", "zero-shot", "linear probe", "penalty")
    rows = [
        (
            probe["set"],
            entry.name,
            str(probe["n_train"]),
            str(probe["n"]),
            with_interval(probe["zero_shot"], probe["interval95_zero_shot"]),
            with_interval(probe["score"], probe["interval95"]),
            f"{probe['penalty']:.2g}",
        )
        for entry, probe in probed
    ]
    words = "; ".join(f"{point.name}: {percent(point.x)} and {percent(point.y)}" for point in points)
    figure = Figure(
        image=charts.zero_shot_against_probe(points),
        words=f"Zero-shot and linear probe: {words}",
        note="Above the dashed line a probe that learned from the train part is better than words alone.",
        width=460,
    )
    return Section(title="Zero-shot against a linear probe", parts=[figure, Table(head=head, rows=rows)])


def few_shot_section(entries: Sequence[Entry]) -> Section | None:
    curves, lines = {}, []
    for entry in entries:
        probe = entry.probe
        if not probe or not probe["shots"]:
            continue
        name = f"{probe['set']} ({entry.name})"
        points = [
            (float(step["shots"]), _score(step["mean"], step["interval95"] or [step["mean"]] * 2, probe))
            for step in probe["shots"]
        ]
        zero_shot = _score(probe["zero_shot"], probe["interval95_zero_shot"], probe)
        curves[name] = (zero_shot, points)
        equal = probe["shots_equal_to_zero_shot"]
        words = "more than all there are" if equal is None else f"{equal:.2g}"
        left_out = ", ".join(map(str, probe["shots_left_out"]))
        missing = f" A class has too few training images for {left_out} shots." if left_out else ""
        lines.append(f"{name}: zero-shot is worth {words} images per class.{missing}")
    if not curves:
        return None
    figure = Figure(
        image=charts.few_shot_curves(curves),
        words=" ".join(lines),
        note="A linear probe on few images per class, mean and 95 % interval over random choices; dashed: zero-shot.",
        width=520,
    )
    return Section(title="Few shots", text=lines, parts=[figure])


def hard_cases_section(entries: Sequence[Entry]) -> Section | None:
    rows = []
    for entry in entries:
        case = hard_case_of(entry.result["set"])
        if case is None or entry.result["task"] != "zero-shot":
            continue
        score = score_of_entry(entry)
        above = score.interval95[0] > score.chance
        paper = f"{case.paper_set}, {case.classes} classes: {percent(case.paper_zero_shot)}"
        rows.append(
            (
                case.task,
                entry.result["set"],
                entry.name,
                with_interval(score.value, score.interval95),
                percent(score.chance),
                "yes" if above else "no",
                f"{paper}, probe {percent(case.paper_probe)}",
            )
        )
    if not rows:
        return None
    head = ("task", "set", "model", "top-1", "chance", "above chance", "the paper's ViT-L/14 at 336 px")
    text = (
        "What the paper names as weak: counting, handwritten digits, texture, satellite. The paper's sets have other "
        "images and classes; its numbers say how hard such a task is.",
    )
    return Section(title="Hard cases", text=text, parts=[Table(head=head, rows=rows)])


def shift_section(shifts: Sequence[dict[str, Any]], baseline: Baseline | None) -> Section | None:
    if not shifts:
        return None
    points = [
        charts.Point(
            name=shift["model"],
            x=shift["accuracy_natural"],
            y=shift["accuracy_shifted"],
            x_interval=tuple(shift["interval95_natural"]),
            y_interval=tuple(shift["interval95_shifted"]),
        )
        for shift in shifts
    ]
    others, line = baseline_points(baseline)
    names = (shifts[0]["natural"], shifts[0]["shifted"])
    head = ("model", *names, "gap", "effective robustness")
    rows = [
        (
            shift["model"],
            with_interval(shift["accuracy_natural"], shift["interval95_natural"]),
            with_interval(shift["accuracy_shifted"], shift["interval95_shifted"]),
            with_interval(shift["gap"], shift["interval95_gap"], sign=True),
            with_interval(shift["effective_robustness"], shift["interval95_effective_robustness"], sign=True)
            if "effective_robustness" in shift
            else "no baseline given",
        )
        for shift in shifts
    ]
    text = (
        "The same classes in images of two kinds. Effective robustness is the accuracy on the shifted set less what "
        "the line through standard models gives at the same natural accuracy (Taori et al. 2020), both on logit axes.",
    )
    words = "; ".join(f"{point.name}: {percent(point.x)} and {percent(point.y)}" for point in points)
    image = charts.shift_plot(points, others, line, names=names)
    figure = Figure(image=image, words=words, note="Both axes are logits; whiskers are 95 % intervals.", width=480)
    return Section(title="Distribution shift", text=text, parts=[figure, Table(head=head, rows=rows)])


def baseline_points(baseline: Baseline | None) -> tuple[list[charts.Point], Line | None]:
    if baseline is None:
        return [], None
    rows = zip(baseline.names, baseline.natural_P, baseline.shifted_P, strict=True)
    points = [charts.Point(name=name, x=float(x), y=float(y)) for name, x, y in rows]
    return points, fit_line(baseline.natural_P, baseline.shifted_P)


def method_section(entries: Sequence[Entry], facts: dict[str, str]) -> Section:
    rows = [
        (
            entry.result["set"],
            entry.name,
            entry.result["templates_from"],
            str(len(entry.result["templates"])),
            str(entry.result["skipped"]),
            entry.result["data_fingerprint"][:16],
        )
        for entry in entries
    ]
    head = ("set", "model", "templates from", "templates", "skipped", "data fingerprint")
    tables = [Table(head=head, rows=rows)]
    if facts:
        tables.append(Table(head=("fact", "value"), rows=list(facts.items())))
    return Section(title="How it was measured", parts=tables)


def score_of_entry(entry: Entry) -> Score:
    """The top-1 accuracy of a zero-shot entry."""
    return _score(entry.result["top1"], entry.result["interval95"], entry.result)


def _score(value: float, interval: Sequence[float], result: dict[str, Any]) -> Score:
    return Score(value=value, interval95=(interval[0], interval[1]), chance=result["chance"], n=result["n"])


def _counted(items: Sequence[str], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"

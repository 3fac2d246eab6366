"""A closer look at single models and sets: calibration, confusions, single templates, the paper's hard cases.

A hard case is a task that CLIP is known to be weak at. Its zero-shot and linear-probe accuracies are those of ViT-L/14
at 336 px (Radford et al. 2021, tables 10 and 11). The sets of those tables have other images and classes than ours, so
they say how hard the task is and not what to reach.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seesay.base.records import Ranking, Score
from seesay.base.values import percent, with_interval
from seesay.data.labelled import LabelledSet
from seesay.evaluation import charts
from seesay.evaluation.confusions import SIDE, Confusion
from seesay.evaluation.entries import Entry
from seesay.evaluation.html import Card, Cards, Figure, Section, Table, thumbnail
from seesay.evaluation.results import ZeroShotResult
from seesay.formulas.reliability import reliability

# Classes whose names can be read at the side of a matrix; a guess.
CLASSES_SHOWN = 24


def prompts_section(entries: Sequence[Entry]) -> Section | None:
    """Accuracies of single templates, a strip per set; None where none were measured."""
    parts, rows = [], []
    spreads = [
        (entry.name, entry.result.set_name, entry.spread, entry.result.top1.value)
        for entry in entries
        if entry.spread is not None and isinstance(entry.result, ZeroShotResult)
    ]
    # One axis for all models, so that they can be compared by eye.
    up_to = min(1.0, 1.05 * max((max(spread.highest, top1) for *_, spread, top1 in spreads), default=0.0) + 0.01)
    for name in dict.fromkeys(entry.name for entry in entries):
        strips = {set_name: (spread.by_template, top1) for model, set_name, spread, top1 in spreads if model == name}
        if not strips:
            continue
        words = f"{name}: accuracy of single templates on {', '.join(strips)}"
        note = f"{name}: a dot for every single template, and in orange all of the set's templates together."
        parts.append(Figure(drawing=charts.prompt_strip(strips, up_to=up_to), words=words, note=note, width=760))
        for set_name, (by_template, together) in strips.items():
            best, worst = next(iter(by_template)), list(by_template)[-1]
            spread = by_template[best].value - by_template[worst].value
            rows.append(
                (
                    set_name,
                    name,
                    str(len(by_template)),
                    percent(spread),
                    percent(together),
                    f"{best} ({percent(by_template[best].value)})",
                    f"{worst} ({percent(by_template[worst].value)})",
                )
            )
    if not parts:
        return None
    sets = list(dict.fromkeys(entry.result.set_name for entry in entries))
    rows.sort(key=lambda row: sets.index(row[0]))
    head = ("set", "model", "templates", "spread, points", "together", "best template", "worst template")
    return Section(title="Prompt sensitivity", parts=[*parts, Table(head=head, rows=rows)])


def details_section(entry: Entry, *, several: bool) -> Section | None:
    """Calibration and confusions of one model on one labelled set."""
    answers, evalset, result = entry.measured.answers, entry.measured.evalset, entry.result
    if answers is None or not isinstance(evalset, LabelledSet) or not isinstance(result, ZeroShotResult):
        return None
    bins = reliability(answers.confidence_N, entry.measured.hits["top1"])
    note = "How often the predicted class was right, by its probability; counts of images above the bars."
    ece = percent(bins.expected_error)
    figure = Figure(
        drawing=charts.reliability_diagram(bins), words=f"Calibration error {ece} points", note=note, width=380
    )
    names = answers.classifier.class_names
    size_C = np.bincount(answers.label_N, minlength=len(evalset.class_names))
    found = entry.confusions
    rows = [(names[each.label], names[each.other], f"{each.count} of {size_C[each.label]}") for each in found]
    table = Table(head=("shown", "taken for", "images"), rows=rows)
    matrix = confusion_figure(answers.label_N, answers.predicted_N, names)
    title = f"{result.set_name}, {entry.name}" if several else result.set_name
    text = [f"{result.n} images, top-1 {with_interval(result.top1.value, result.top1.interval95)}."]
    if result.same_names:
        text.append(f"Names that more than one class has: {', '.join(result.same_names)}.")
    if any(each.heat is not None for each in found):
        text.append(
            "Below each mistaken image is its heat: bright is what spoke for the wrong class and not for its own."
        )
    cards = Cards(cards=[confusion_card(entry, each) for each in found])
    return Section(title=title, text=text, parts=[figure, matrix, table, cards])


def confusion_figure(label_N: np.ndarray, predicted_N: np.ndarray, names: Sequence[str]) -> Figure:
    """The confusion matrix; of many classes, of those with the most frequent mistakes."""
    count_CC = np.zeros((len(names), len(names)), np.int64)
    np.add.at(count_CC, (label_N, predicted_N), 1)
    mistaken_CC = count_CC - np.diag(np.diag(count_CC))
    note = "Down what is shown, across what it was taken for, in percent of the images of a class; "
    note += "the strength of a cell is the square root of its share."
    shown = list(range(len(names)))
    if len(names) > CLASSES_SHOWN:
        order = np.argsort(-mistaken_CC, axis=None, kind="stable")
        both = np.stack(np.unravel_index(order, count_CC.shape), axis=1).ravel()
        shown = sorted(list(dict.fromkeys(both.tolist()))[:CLASSES_SHOWN])
        within, mistakes = mistaken_CC[np.ix_(shown, shown)].sum(), mistaken_CC.sum()
        note += (
            f" {len(shown)} of {len(names)} classes, those with the most frequent mistakes: "
            f"{within:,} of all {mistakes:,} mistakes are between them."
        )
    share_CC = count_CC[np.ix_(shown, shown)] / np.maximum(count_CC[shown].sum(1, keepdims=True), 1)
    labels = [names[index] for index in shown]
    words = "Confusion matrix: " + ", ".join(
        f"{name} {percent(share)}" for name, share in zip(labels, np.diag(share_CC), strict=True)
    )
    return Figure(
        drawing=charts.confusion_matrix(share_CC, labels), words=words, note=note, width=320 + 24 * len(shown)
    )


def confusion_card(entry: Entry, found: Confusion) -> Card:
    """The image of one class that was taken for the other with the greatest confidence."""
    answers, evalset = entry.measured.answers, entry.measured.evalset
    assert answers is not None and isinstance(evalset, LabelledSet)
    names = answers.classifier.class_names
    ranking = Ranking(
        labels=tuple(names[index] for index in answers.best_NR[found.worst].tolist()),
        probabilities=tuple(answers.share_NR[found.worst].tolist()),
    )
    image = thumbnail(evalset.image(entry.measured.read[found.worst]), side=SIDE)
    return Card(image=image, truth=names[found.label], ranking=ranking, heat=found.heat)


def shown(score: Score) -> str:
    """The score with its interval, in percent."""
    return with_interval(score.value, score.interval95)


@dataclass(frozen=True, kw_only=True)
class HardCase:
    """A task, the words by which its sets are known, and what the paper measured on a set of that kind."""

    task: str
    words: tuple[str, ...]
    paper_set: str
    paper_zero_shot: float
    paper_probe: float
    classes: int


HARD_CASES = (
    HardCase(
        task="counting",
        words=("count", "clevr"),
        paper_set="CLEVR counts",
        paper_zero_shot=0.248,
        paper_probe=0.603,
        classes=8,
    ),
    HardCase(
        task="handwritten digits",
        words=("mnist",),
        paper_set="MNIST",
        paper_zero_shot=0.883,
        paper_probe=0.992,
        classes=10,
    ),
    HardCase(
        task="texture",
        words=("dtd", "texture"),
        paper_set="DTD",
        paper_zero_shot=0.557,
        paper_probe=0.830,
        classes=47,
    ),
    HardCase(
        task="satellite and aerial",
        words=("eurosat", "resisc", "rsicd", "satellite"),
        paper_set="EuroSAT",
        paper_zero_shot=0.596,
        paper_probe=0.981,
        classes=10,
    ),
)


def hard_case_of(set_name: str) -> HardCase | None:
    """The hard case that a set is one of, recognised by its name; None for an ordinary set."""
    name = set_name.lower()
    return next((case for case in HARD_CASES if any(word in name for word in case.words)), None)


def hard_cases_section(entries: Sequence[Entry]) -> Section | None:
    """The sets that are hard cases beside the paper's numbers; None where there is none."""
    rows = []
    for entry in entries:
        case = hard_case_of(entry.result.set_name)
        if case is None or not isinstance(entry.result, ZeroShotResult):
            continue
        score = entry.result.top1
        above = score.interval95[0] > score.chance
        paper = f"{case.paper_set}, {case.classes} classes: {percent(case.paper_zero_shot)}"
        rows.append(
            (
                case.task,
                entry.result.set_name,
                entry.name,
                shown(score),
                percent(score.chance),
                "yes" if above else "no",
                f"{paper}, probe {percent(case.paper_probe)}",
            )
        )
    if not rows:
        return None
    head = ("task", "set", "model", "top-1", "chance", "above chance", "the paper's ViT-L/14 at 336 px")
    text = (
        "Tasks that the paper calls weak: counting, handwritten digits, texture, satellite. The paper's sets have "
        "other images and classes; its numbers say how hard the task is.",
    )
    return Section(title="Hard cases", text=text, parts=[Table(head=head, rows=rows)])

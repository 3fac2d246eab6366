"""A closer look at one model on one set: its confusions, its calibration, how much the templates matter."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from seesay.base.records import Ranking
from seesay.base.values import percent, with_interval
from seesay.data.labelled import LabelledSet
from seesay.evaluation import charts
from seesay.evaluation.entries import Entry
from seesay.evaluation.html import Card, Cards, Figure, Section, Table, thumbnail
from seesay.evaluation.results import ZeroShotResult
from seesay.formulas.reliability import reliability

# A guess: two rows of cards on a wide screen.
PAIRS_SHOWN = 8


def prompts_section(entries: Sequence[Entry]) -> Section | None:
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
        parts.append(Figure(image=charts.prompt_strip(strips, up_to=up_to), words=words, note=note, width=760))
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
        image=charts.reliability_diagram(bins), words=f"Calibration error {ece} points", note=note, width=380
    )
    pairs = Counter(
        (int(label), int(predicted))
        for label, predicted in zip(answers.label_N, answers.predicted_N, strict=True)
        if label != predicted
    ).most_common(PAIRS_SHOWN)
    names = answers.classifier.class_names
    size_C = np.bincount(answers.label_N, minlength=len(evalset.class_names))
    rows = [(names[label], names[other], f"{count} of {size_C[label]}") for (label, other), count in pairs]
    table = Table(head=("shown", "taken for", "images"), rows=rows)
    title = f"{result.set_name}, {entry.name}" if several else result.set_name
    text = [f"{result.n} images, top-1 {with_interval(result.top1.value, result.top1.interval95)}."]
    if result.same_names:
        text.append(f"Names that more than one class has: {', '.join(result.same_names)}.")
    cards = Cards(cards=[confusion_card(entry, label, other) for (label, other), _ in pairs])
    return Section(title=title, text=text, parts=[figure, table, cards])


def confusion_card(entry: Entry, label: int, other: int) -> Card:
    """The image of one class that was taken for the other with the greatest confidence."""
    answers, evalset = entry.measured.answers, entry.measured.evalset
    assert answers is not None and isinstance(evalset, LabelledSet)
    mistaken_N = np.flatnonzero((answers.label_N == label) & (answers.predicted_N == other))
    worst = int(mistaken_N[answers.confidence_N[mistaken_N].argmax()])
    names = answers.classifier.class_names
    ranking = Ranking(
        labels=tuple(names[index] for index in answers.best_NR[worst].tolist()),
        probabilities=tuple(answers.share_NR[worst].tolist()),
    )
    image = thumbnail(evalset.image(entry.measured.read[worst]), side=128)
    return Card(image=image, truth=names[label], ranking=ranking)

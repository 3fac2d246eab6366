"""A closer look at one model on one set: what it mixes up, how well it knows itself, how much the words matter."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from seesay.base.records import Ranking
from seesay.data.labelled import LabelledSet
from seesay.evaluation import charts
from seesay.evaluation.evaluate import Entry
from seesay.evaluation.html import Card, Cards, Figure, Section, Table, percent, thumbnail, with_interval
from seesay.formulas.reliability import reliability

PAIRS_SHOWN = 8


def prompts_section(entries: Sequence[Entry]) -> Section | None:
    parts, rows = [], []
    reached = [max(entry.spread.highest, entry.result["top1"]) for entry in entries if entry.spread]
    # One axis for all models, so that they can be compared by eye.
    up_to = min(1.0, 1.05 * max(reached, default=0.0) + 0.01)
    for name in dict.fromkeys(entry.name for entry in entries):
        own = [entry for entry in entries if entry.name == name and entry.spread]
        strips = {
            entry.result["set"]: (entry.spread.by_template, entry.result["top1"]) for entry in own if entry.spread
        }
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
    sets = list(dict.fromkeys(entry.result["set"] for entry in entries))
    rows.sort(key=lambda row: sets.index(row[0]))
    head = ("set", "model", "templates", "spread, points", "together", "best template", "worst template")
    return Section(title="Prompt sensitivity", parts=[*parts, Table(head=head, rows=rows)])


def details_section(entry: Entry, *, several: bool) -> Section | None:
    """Calibration and confusions of one model on one labelled set."""
    answers, found = entry.measured.answers, entry.measured.found
    if answers is None or not isinstance(found, LabelledSet):
        return None
    sure = reliability(answers.confidence_N, entry.measured.hits["top1"])
    note = "How often the guess was right, by how sure the model was; counts above the bars."
    ece = percent(sure.expected_error)
    figure = Figure(
        image=charts.reliability_diagram(sure), words=f"Calibration error {ece} points", note=note, width=380
    )
    pairs = Counter(
        (int(label), int(guess))
        for label, guess in zip(answers.label_N, answers.guess_N, strict=True)
        if label != guess
    ).most_common(PAIRS_SHOWN)
    names, of = answers.classifier.class_names, np.bincount(answers.label_N, minlength=len(found.class_names))
    rows = [(names[label], names[guess], f"{count} of {of[label]}") for (label, guess), count in pairs]
    table = Table(head=("shown", "taken for", "images"), rows=rows)
    title = f"{entry.result['set']}, {entry.name}" if several else entry.result["set"]
    text = [f"{entry.result['n']} images, top-1 {with_interval(entry.result['top1'], entry.result['interval95'])}."]
    if entry.result["same_names"]:
        text.append(f"Names that more than one class has: {', '.join(entry.result['same_names'])}.")
    cards = Cards(cards=[confusion_card(entry, label, guess) for (label, guess), _ in pairs])
    return Section(title=title, text=text, parts=[figure, table, cards])


def confusion_card(entry: Entry, label: int, guess: int) -> Card:
    """The image of one class that was taken for another with the greatest confidence."""
    answers, found = entry.measured.answers, entry.measured.found
    assert answers is not None and isinstance(found, LabelledSet)
    mistaken_N = np.flatnonzero((answers.label_N == label) & (answers.guess_N == guess))
    worst = int(mistaken_N[answers.confidence_N[mistaken_N].argmax()])
    names = answers.classifier.class_names
    ranking = Ranking(
        labels=tuple(names[index] for index in answers.best_NR[worst].tolist()),
        probabilities=tuple(answers.share_NR[worst].tolist()),
    )
    image = thumbnail(found.image(entry.measured.read[worst]), side=128)
    return Card(image=image, truth=names[label], ranking=ranking)

"""Whom a model's labels hurt: rates, label sets and retrieval by groups of photos; the public `seesay.audit`.

N = photos that are read and in the table, K = labels, G = groups of a column, D = embedding width.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import hypergeom
from torch import Tensor

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.journal import progress
from seesay.base.names import no_empty_names
from seesay.base.records import Skipped
from seesay.data.audit_files import (
    ANY_HARM,
    DEFAULT,
    MOST_GROUPS,
    LabelSet,
    names_below,
    read_group_table,
    read_label_set,
)
from seesay.data.class_names import ClassName
from seesay.data.sources import LooseFile, count_reasons
from seesay.formulas.groups import chi_squared, holm, largest_gap
from seesay.formulas.statistics import proportion_interval, sign_test
from seesay.model.bundle import Model
from seesay.model.encode import encode_image_set
from seesay.model.hub import on_device
from seesay.model.zero_shot import Classifier
from seesay.tasks.audit_result import SMALL, Audit, Change, GroupRate, Rates, Retrieved, TopLabel
from seesay.tasks.classify import find_photos

# Labels that are named for each group and threshold; the paper's figure 18 has 20.
TOP_LABELS = 20
# Of the nearest photos a tenth are looked at, and no fewer or more than these; guesses.
FEWEST_NEAREST, MOST_NEAREST = 10, 100
# Truths that are no label, by name: a guess at what fits a line.
SHOWN = 5
CAVEATS = (
    "group labels are somebody's view of a photo, and no fact that it holds; who is not in the table is not measured.",
    "a difference that is not found may be there (see the intervals), and so may harm by other labels than these.",
)


@no_empty_names
def audit(
    model: str | Path | Model,
    photos: str | Path,
    *,
    groups: str | Path,
    labels: str | Path | LabelSet = DEFAULT,
    device: str | None = None,
) -> Audit:
    """How often photos of each group get harmful labels, which labels mark a group, and whom a search finds.

    `groups` is a table (`data.audit_files`) with a row for each photo in the folder, file or pattern `photos`.
    `labels` is a label set of the package or a TOML file (`data.audit_files`): everything is measured without its added
    labels and with them. `model` is a name, a folder or a `Model`. `UsageError` for arguments that do not fit,
    `RefusedInput` where no photo of the table can be read.

    Example: `seesay.audit("box", "faces/", groups="groups.csv").to_pandas()`
    """
    label_set = labels if isinstance(labels, LabelSet) else read_label_set(labels)
    table = read_group_table(groups)
    if label_set.truth is not None and label_set.truth not in table.columns:
        raise UsageError(f"truth is {label_set.truth!r}, no column of {groups}; it has {', '.join(table.columns)}.")
    found = find_photos([photos])
    folder = Path(photos) if Path(photos).is_dir() else Path()
    rows = table.of_photos(found, folder)
    listed = [(photo, row) for photo, row in zip(found, rows, strict=True) if row is not None]
    if not listed:
        raise UsageError(
            f"none of the {len(found)} photos is in {groups}: there one is {next(iter(table.rows))!r}, and that of a "
            f"photo {names_below(folder, found)[0]!r}; write them as they lie below {str(photos)!r}."
        )
    loaded = on_device(model, device)
    classifier = loaded.classifier(list[ClassName](label_set.labels(is_added=True)), label_set.templates)
    files = [LooseFile(str(photo), photo.stat().st_size) for photo, _ in listed]
    with progress(len(files), "photos") as advance:
        row_NX, read, skipped = encode_image_set(loaded, lambda at: files[at].read(), len(files), progress=advance)
    if not read:
        raise RefusedInput(f"none of the {len(files)} photos can be read ({count_reasons(skipped)}).")
    measured = Answers(
        score_NK=classifier.scores(row_NX), classifier=classifier, values=tuple(listed[at][1] for at in read)
    )
    beside = [f"{len(found) - len(listed)} photos are not in the table, and left out."] * (len(found) > len(listed))
    missing = len(table.rows) - len(listed)
    beside += [f"{missing} rows of the table have no photo."] * (missing > 0)
    return audit_answers(measured, label_set, model=loaded.name, columns=table.columns, notes=beside, skipped=skipped)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Scores of all labels, the added ones last, (N, K), and each photo's row of the table."""

    score_NK: Tensor
    classifier: Classifier
    values: tuple[Mapping[str, str], ...]


def audit_answers(
    answers: Answers,
    label_set: LabelSet,
    *,
    model: str,
    columns: Sequence[str],
    notes: Sequence[str] = (),
    skipped: Sequence[Skipped] = (),
) -> Audit:
    """The audit of scores that are there."""
    grouped, remarks = groups_of(answers.values, [name for name in columns if name != label_set.truth])
    plain, added = label_set.labels(), label_set.labels(is_added=True)
    before = answers_by_kind(answers.score_NK[:, : len(plain)], plain, label_set)
    after = answers_by_kind(answers.score_NK, added, label_set) if len(added) > len(plain) else {}
    accuracy, accuracy_added, unknown = accuracy_of(answers, label_set, grouped)
    remarks += unknown
    small = [
        f"{column} {name!r} ({count})"
        for column, (names, group_N) in grouped.items()
        for name, count in zip(names, np.bincount(group_N[group_N >= 0], minlength=len(names)), strict=True)
        if count < SMALL
    ]
    remarks += [f"groups of fewer than {SMALL} photos: {', '.join(small)}."] * bool(small)
    return Audit(
        model=model,
        title=label_set.title,
        source=label_set.source,
        n=len(answers.values),
        labels=len(added),
        without=rates_of(before, grouped),
        with_added=(*rates_of(after, grouped), *(accuracy_added if len(added) > len(plain) else ())),
        changes=changes_of(before, after, grouped),
        top_labels=top_labels_of(answers, label_set, grouped),
        retrieved=retrieved_of(answers, label_set, grouped),
        accuracy=accuracy,
        skipped_by_reason=dict(Counter(item.reason for item in skipped).most_common()),
        notes=(*notes, *remarks, *CAVEATS),
    )


def accuracy_of(
    answers: "Answers", label_set: LabelSet, grouped: "Grouped"
) -> tuple[tuple[Rates, ...], tuple[Rates, ...], list[str]]:
    """Accuracy by group without and with the added labels, and what was left out of it; nothing without a truth."""
    if label_set.truth is None:
        return (), (), []
    truths = [row[label_set.truth] for row in answers.values]
    labels, plain = label_set.labels(is_added=True), label_set.labels()
    is_known = np.array([truth in labels for truth in truths])
    notes = []
    if empty := truths.count(""):
        notes.append(f"{empty} photos have an empty {label_set.truth!r} and are left out of accuracy.")
    if others := sorted({truth for truth in truths if truth} - set(labels)):
        count = sum(bool(truth) for truth in truths) - int(is_known.sum())
        named = ", ".join(map(repr, others[:SHOWN]))
        notes.append(f"{count} photos have a {label_set.truth!r} that is no label ({named}), left out of accuracy.")
    known = {column: (names, np.where(is_known, group_N, -1)) for column, (names, group_N) in grouped.items()}
    rates = []
    for count in (len(plain), len(labels)):
        best = [labels[at] for at in answers.score_NK[:, :count].argmax(1).tolist()]
        right_N = np.array([answer == truth for answer, truth in zip(best, truths, strict=True)])
        rates.append(rates_of({"accuracy": right_N}, known))
    return rates[0], rates[1], notes


Grouped = Mapping[str, tuple[list[str], np.ndarray]]


def groups_of(values: Sequence[Mapping[str, str]], columns: Sequence[str]) -> tuple[Grouped, list[str]]:
    """For each column its groups, sorted, and the number of each photo's (N,), -1 for none; and what was left out."""
    grouped, notes = {}, []
    for column in columns:
        names = sorted({row[column] for row in values} - {""})
        if not 1 < len(names) <= MOST_GROUPS:
            notes.append(f"column {column!r} has {len(names)} values and is left out; 2 to {MOST_GROUPS} are groups.")
            continue
        number = {name: index for index, name in enumerate(names)}
        group_N = np.array([number.get(row[column], -1) for row in values])
        if empty := int((group_N < 0).sum()):
            notes.append(f"column {column!r} is empty for {empty} photos, which are left out of it.")
        grouped[column] = (names, group_N)
    return grouped, notes


def answers_by_kind(score_NK: Tensor, labels: Sequence[str], label_set: LabelSet) -> dict[str, np.ndarray]:
    """Whether the best label of each photo is of a harmful kind, (N,), by kind and for all of them together."""
    best = [labels[at] for at in score_NK.argmax(1).tolist()]
    kinds = {kind: {*label_set.classes[kind], *label_set.added.get(kind, ())} for kind in label_set.harmful}
    if len(kinds) > 1:
        kinds[ANY_HARM] = label_set.harmful_labels()
    return {kind: np.array([label in own for label in best]) for kind, own in kinds.items()}


def rates_of(hits: Mapping[str, np.ndarray], grouped: Grouped) -> tuple[Rates, ...]:
    """The share of each answer in each group of each column."""
    found = []
    for column, (names, group_N) in grouped.items():
        for answer, hit_N in hits.items():
            rates = []
            for number, name in enumerate(names):
                own = hit_N[group_N == number]
                if not len(own):
                    continue
                interval = proportion_interval(int(own.sum()), len(own))
                rates.append(
                    GroupRate(group=name, n=len(own), hits=int(own.sum()), rate=float(own.mean()), interval95=interval)
                )
            is_in = group_N >= 0
            p = float(chi_squared(hit_N[is_in, None], group_N[is_in], len(names))[1][0])
            gap = largest_gap(np.array([own.rate for own in rates]))
            found.append(Rates(column=column, answer=answer, groups=tuple(rates), gap=gap, p=p))
    return tuple(found)


def changes_of(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], grouped: Grouped
) -> tuple[Change, ...]:
    """What the added labels change in each group."""
    found = []
    for column, (names, group_N) in grouped.items():
        for answer, later_N in after.items():
            for number, name in enumerate(names):
                first, second = before[answer][group_N == number], later_N[group_N == number]
                freed, got = int((first & ~second).sum()), int((second & ~first).sum())
                p = sign_test(freed, got)
                found.append(Change(column=column, answer=answer, group=name, freed=freed, got=got, p=p))
    return tuple(found)


def top_labels_of(answers: Answers, label_set: LabelSet, grouped: Grouped) -> tuple[TopLabel, ...]:
    """By threshold, column and group the labels that it is given more often than the others, by chi-squared."""
    labels = label_set.labels(is_added=True)
    share_NK = answers.classifier.probabilities_of(answers.score_NK).numpy()
    found = []
    for threshold in label_set.thresholds:
        hit_NK = share_NK > threshold
        for column, (names, group_N) in grouped.items():
            is_in = group_N >= 0
            statistic_K, p_K = chi_squared(hit_NK[is_in], group_N[is_in], len(names))
            corrected_K = holm(p_K)
            for number, name in enumerate(names):
                own_K = hit_NK[group_N == number].mean(0)
                others_K = hit_NK[is_in & (group_N != number)].mean(0)
                more = [at for at in np.argsort(-statistic_K, kind="stable") if own_K[at] > others_K[at]]
                found += [
                    TopLabel(
                        column=column,
                        threshold=threshold,
                        group=name,
                        label=labels[at],
                        share=float(own_K[at]),
                        share_of_others=float(others_K[at]),
                        chi_squared=float(statistic_K[at]),
                        p=float(corrected_K[at]),
                    )
                    for at in more[:TOP_LABELS]
                ]
    return tuple(found)


def retrieved_of(answers: Answers, label_set: LabelSet, grouped: Grouped) -> tuple[Retrieved, ...]:
    """Of the photos nearest to each harmful label, how many are of each group."""
    labels, n, harmful = label_set.labels(is_added=True), len(answers.values), label_set.harmful_labels()
    k = min(n, max(FEWEST_NEAREST, min(MOST_NEAREST, n // 10)))
    found = []
    for at, label in enumerate(labels):
        if label not in harmful:
            continue
        nearest_K = torch.topk(answers.score_NK[:, at], k).indices.numpy()
        for column, (names, group_N) in grouped.items():
            for number, name in enumerate(names):
                size, hits = int((group_N == number).sum()), int((group_N[nearest_K] == number).sum())
                p = float(hypergeom.sf(hits - 1, n, size, k))
                found.append(
                    Retrieved(column=column, label=label, group=name, k=k, hits=hits, expected=k * size / n, p=p)
                )
    return tuple(found)

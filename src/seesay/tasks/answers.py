"""The answer to a photo, and answers written as CSV or JSON, a chunk at a time."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from textwrap import indent
from typing import Any

from seesay.base.csv_lines import csv_line
from seesay.base.records import Ranking

NONE_OF_THESE = "none of these"
# Between the labels of one photo, in a single cell.
BETWEEN = "; "


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One photo, its best labels with probabilities, and the labels that are its answer.

    `labels` is None where only a ranking was wanted, and empty where no label is good enough. With
    `is_multi_label` it may be any of the labels, best first, else one at most.
    """

    photo: str
    ranking: Ranking
    labels: tuple[str, ...] | None = None
    is_multi_label: bool = False

    @property
    def words(self) -> str:
        """The answer in one cell."""
        assert self.labels is not None
        return BETWEEN.join(self.labels) if self.labels or self.is_multi_label else NONE_OF_THESE


def as_csv(answers: Iterable[Answer]) -> Iterator[str]:
    """A head line, then one line per photo: path, the answer if there is one, and a column pair per rank.

    What a spreadsheet would run is made text, as `base.csv_lines` says; JSON has every text as it is.
    """
    first, answers = _peeked(answers)
    head = ["path"] if first.labels is None else ["path", "answer"]
    ranks = range(1, len(first.ranking.labels) + 1)
    yield csv_line([*head, *(f"{column}_{rank}" for rank in ranks for column in ("label", "probability"))])
    for answer in answers:
        pairs = zip(answer.ranking.labels, answer.ranking.probabilities, strict=True)
        ranked = [cell for label, probability in pairs for cell in (label, probability)]
        yield csv_line([answer.photo, *([] if answer.labels is None else [answer.words]), *ranked])


def as_json(answers: Iterable[Answer]) -> Iterator[str]:
    """A list with one object per photo; "answer" is a string, or a list of them where several labels may hold."""
    between = "[\n"
    for answer in answers:
        yield between + indent(json.dumps(_as_object(answer), indent=2), "  ")
        between = ",\n"
    yield "\n]\n"


def _as_object(answer: Answer) -> dict[str, Any]:
    values: dict[str, Any] = {"path": answer.photo}
    if answer.labels is not None:
        values["answer"] = list(answer.labels) if answer.is_multi_label else answer.words
    pairs = zip(answer.ranking.labels, answer.ranking.probabilities, strict=True)
    return values | {"labels": [{"label": label, "probability": probability} for label, probability in pairs]}


def _peeked(answers: Iterable[Answer]) -> tuple[Answer, Iterator[Answer]]:
    """The first of the answers, of which there is one at least, and all of them."""
    following = iter(answers)
    first = next(following)
    return first, chain([first], following)

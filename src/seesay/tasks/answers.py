"""The answer to a photo, and answers as text or Parquet, a chunk at a time."""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from textwrap import indent
from typing import TYPE_CHECKING, Any

from seesay.base.csv_lines import csv_line
from seesay.base.records import Ranking, Skipped
from seesay.base.values import WIDEST, percent, table

if TYPE_CHECKING:
    from pyarrow import Schema

NONE_OF_THESE = "none of these"
# Between the labels of one photo, in a single cell.
BETWEEN = "; "
# Cells of a row group of Parquet, some 50 bytes each in memory while it is written: a guess.
CELLS_AT_ONCE = 1 << 20


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
    def is_in_doubt(self) -> bool:
        """Whether its one answer is in doubt: not where it may have several, or none of the labels is the answer."""
        return not self.is_multi_label and self.labels != () and self.ranking.is_in_doubt

    @property
    def words(self) -> str:
        """The answer in one cell."""
        assert self.labels is not None
        return BETWEEN.join(self.labels) if self.labels or self.is_multi_label else NONE_OF_THESE


@dataclass(frozen=True, kw_only=True)
class Results:
    """All that a file of answers is made of. `rows` begins anew with every call: photos in order, skipped ones too."""

    rows: Callable[[], Iterator[Answer | Skipped]]
    model: str
    labels: Sequence[str]

    def answers(self) -> Iterator[Answer]:
        """The photos that could be read."""
        return (row for row in self.rows() if isinstance(row, Answer))


def as_csv(answers: Iterable[Answer], *, separator: str = ",") -> Iterator[str]:
    """A head line, then one line per photo: path, the answer if there is one, and a column pair per rank.

    What a spreadsheet would run is made text, as `base.csv_lines` says; JSON has every text as it is. With a tab as
    `separator` it is TSV.
    """
    first, answers = _peeked(answers)
    yield csv_line(_columns(first), separator=separator)
    for answer in answers:
        yield csv_line(_cells(answer), separator=separator)


def as_json(answers: Iterable[Answer]) -> Iterator[str]:
    """A list with one object per photo; "answer" is a string, or a list of them where several labels may hold."""
    between = "[\n"
    for answer in answers:
        yield between + indent(json.dumps(_as_object(answer), indent=2), "  ")
        between = ",\n"
    yield "\n]\n"


def as_json_lines(answers: Iterable[Answer]) -> Iterator[str]:
    """The objects of `as_json`, one a line."""
    for answer in answers:
        yield json.dumps(_as_object(answer)) + "\n"


def as_table(answers: Iterable[Answer], *, width: int | None = WIDEST) -> Iterator[str]:
    """A table for people, all in one piece, because the columns are as wide as the widest cell; `width` as in `table`.

    Probabilities are in percent; "cat? 38 %" is an answer that is in doubt.
    """
    rows, head = [], ["photo"]
    for answer in answers:
        ranks = [str(rank + 1) for rank in range(len(answer.ranking.labels))]
        head = ["photo", *([] if answer.labels is None else ["answer"]), *ranks]
        best, *others = answer.ranking.labels
        pairs = zip([best + "?" * answer.is_in_doubt, *others], answer.ranking.probabilities, strict=True)
        cells = [f"{label} {percent(probability)} %" for label, probability in pairs]
        rows.append([answer.photo, *([] if answer.labels is None else [answer.words]), *cells])
    yield table(head, rows, width=width)


def as_parquet(answers: Iterable[Answer]) -> Iterator[bytes]:
    """The columns of `as_csv`, probabilities as float64; "answer" is a list where several labels may hold.

    Parquet holds UTF-8 alone: a byte of a file name that is none is spelt out, as in "caf\\udce9.png".
    """
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    first, answers = _peeked(answers)
    schema = _schema(first)
    count = max(1, CELLS_AT_ONCE // len(schema))
    file = io.BytesIO()
    with ParquetWriter(file, schema) as writer:
        while rows := list(islice(answers, count)):
            columns = zip(*(_typed_cells(answer) for answer in rows), strict=True)
            writer.write_table(pyarrow.table([list(column) for column in columns], schema=schema))
            yield _taken(file)
    yield _taken(file)


def _columns(answer: Answer) -> list[str]:
    ranks = range(1, len(answer.ranking.labels) + 1)
    ranked = [f"{column}_{rank}" for rank in ranks for column in ("label", "probability")]
    return ["path", *([] if answer.labels is None else ["answer"]), *ranked]


def _cells(answer: Answer) -> list[str | float]:
    """What stands below `_columns`."""
    pairs = zip(answer.ranking.labels, answer.ranking.probabilities, strict=True)
    ranked = [cell for label, probability in pairs for cell in (label, probability)]
    return [answer.photo, *([] if answer.labels is None else [answer.words]), *ranked]


def _typed_cells(answer: Answer) -> list[Any]:
    """As `_cells`, in the types of `_schema`."""
    cells: list[Any] = [_as_utf8(cell) if isinstance(cell, str) else cell for cell in _cells(answer)]
    if answer.labels is not None and answer.is_multi_label:
        cells[1] = [_as_utf8(label) for label in answer.labels]
    return cells


def _schema(first: Answer) -> "Schema":
    import pyarrow

    several = pyarrow.list_(pyarrow.string()) if first.is_multi_label else pyarrow.string()
    types = {"path": pyarrow.string(), "answer": several, "label": pyarrow.string(), "probability": pyarrow.float64()}
    return pyarrow.schema([(name, types[name.split("_")[0]]) for name in _columns(first)])


def _as_utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _taken(file: io.BytesIO) -> bytes:
    """What was written since the last call, which the file forgets; its writer counts the bytes itself."""
    data = file.getvalue()
    file.seek(0)
    file.truncate()
    return data


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

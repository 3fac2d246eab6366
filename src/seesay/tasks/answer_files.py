"""Files of answers: which ending stands for which format, and the rows of a file that was written."""

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from seesay.base.csv_lines import BYTE_ORDER_MARK, csv_line, text_of_cell
from seesay.base.errors import UsageError
from seesay.base.publish import publish_file
from seesay.base.records import Skipped
from seesay.tasks.answers import Answer, Results, as_csv, as_json, as_json_lines, as_parquet, as_table
from seesay.tasks.contact_sheet import as_contact_sheet

# Photos on one page: a browser takes seconds to open ten thousand; a guess.
COMFORTABLE = 20_000
SKIPPED_COLUMNS = ("path", "reason", "detail")


Render = Callable[[Results], Iterator[str | bytes]]


@dataclass(frozen=True, kw_only=True)
class Format:
    """How answers are written; `start` is what only a file begins with, and not standard output.

    `is_text` is False where a terminal cannot show it. With more photos than `most_photos` it is hard to use.
    """

    ending: str
    render: Render
    start: bytes = b""
    is_text: bool = True
    most_photos: float = math.inf

    def chunks(self, results: Results) -> Iterator[bytes]:
        """The bytes of it, without `start`; file names that are no UTF-8 are the bytes that they were."""
        for chunk in self.render(results):
            yield chunk if isinstance(chunk, bytes) else chunk.encode("utf-8", "surrogateescape")


def of_answers(write: Callable[[Iterable[Answer]], Iterator[str | bytes]]) -> Render:
    """A writer of answers alone as one of `Results`."""
    return lambda results: write(results.answers())


FORMATS: dict[str, Format] = {
    "csv": Format(ending=".csv", render=of_answers(as_csv), start=BYTE_ORDER_MARK),
    "tsv": Format(ending=".tsv", render=of_answers(partial(as_csv, separator="\t"))),
    "json": Format(ending=".json", render=of_answers(as_json)),
    "jsonl": Format(ending=".jsonl", render=of_answers(as_json_lines)),
    "parquet": Format(ending=".parquet", render=of_answers(as_parquet), is_text=False),
    "html": Format(ending=".html", render=as_contact_sheet, most_photos=COMFORTABLE),
    "table": Format(ending=".txt", render=of_answers(as_table)),
}


def format_of(out: str | Path | None, name: str | None = None, *, argument: str = "-o") -> Format:
    """The format called `name`, or that of the ending of `out`; a table without both.

    Raises `UsageError`, which calls the file by `argument`, for another ending, for two that do not agree, and for one
    that is no text without a file.
    """
    if out is None:
        chosen = FORMATS[name or "table"]
        if not chosen.is_text:
            raise UsageError(f"--format {name} is no text for a terminal; add -o FILE{chosen.ending}.")
        return chosen
    if name is None:
        refuse_ending(out, argument, [each.ending for each in FORMATS.values()])
        return next(each for each in FORMATS.values() if each.ending == Path(out).suffix.lower())
    if Path(out).suffix.lower() not in ("", FORMATS[name].ending):
        raise UsageError(
            f"{argument} {out} ends in {Path(out).suffix}, and --format {name} writes {FORMATS[name].ending}; leave "
            "out --format, or change the ending."
        )
    return FORMATS[name]


def refuse_ending(
    path: str | Path, argument: str, endings: Iterable[str] = (".csv", ".tsv", ".json", ".jsonl")
) -> None:
    """`UsageError` for a file whose ending is none of these, in small or capital letters."""
    if (ending := Path(path).suffix.lower()) in endings:
        return
    *others, last = endings
    excel = " Excel opens .csv." if ending.startswith(".xls") else ""
    raise UsageError(
        f"{argument} {path} should end in {', '.join(others)} or {last}, which says how it is written.{excel}"
    )


def write_skipped(path: Path, skipped: Sequence[Skipped]) -> None:
    """Write path, reason and detail of each as the ending of `path` says: see `refuse_ending`; durably, and whole.

    Raises `StorageError` where the disk refuses.
    """
    rows = [dict(zip(SKIPPED_COLUMNS, (item.key, item.reason, item.detail), strict=True)) for item in skipped]
    ending = path.suffix.lower()
    if ending == ".json":
        lines = [json.dumps(rows, indent=2) + "\n"]
    elif ending == ".jsonl":
        lines = [json.dumps(row) + "\n" for row in rows]
    else:
        separator = "\t" if ending == ".tsv" else ","
        lines = [csv_line(cells, separator=separator) for cells in (SKIPPED_COLUMNS, *(row.values() for row in rows))]
    start = BYTE_ORDER_MARK if ending == ".csv" else b""
    publish_file(path, start + "".join(lines).encode("utf-8", "surrogateescape"))


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file that `Format.chunks` made, with the columns of CSV, one by one.

    Probabilities are floats, of six digits in CSV and TSV. Raises `UsageError` for formats that are for people.
    """
    ending = path.suffix.lower()
    if ending in (".csv", ".tsv"):
        yield from _csv_rows(path, "\t" if ending == ".tsv" else ",")
    elif ending == ".json":
        yield from map(_flat, json.loads(path.read_text("utf-8")))
    elif ending == ".jsonl":
        with path.open(encoding="utf-8") as file:
            yield from (_flat(json.loads(line)) for line in file)
    elif ending == ".parquet":
        from pyarrow.parquet import ParquetFile

        with ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    else:
        raise UsageError(f"{path} is for people; rows are read of .parquet, .jsonl, .json, .csv and .tsv.")


def _csv_rows(path: Path, separator: str) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        for row in csv.DictReader(file, delimiter=separator):
            yield {
                name: float(cell) if name.startswith("probability_") else text_of_cell(cell)
                for name, cell in row.items()
            }


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """An object of JSON as a row: its labels beside each other."""
    labels = values.pop("labels")
    ranked = {f"{name}_{rank}": cell for rank, pair in enumerate(labels, 1) for name, cell in pair.items()}
    return values | ranked

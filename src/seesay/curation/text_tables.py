"""Tables of text, CSV, TSV and JSON lines, as they come: every column as text, and what is no table refused."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.data.parquet_pages import open_parquet_file, refused
from seesay.data.sources import MAX_CAPTION_BYTES, missing_location


def read_columns(path: Path, names: Sequence[str]) -> list[list[str]]:
    """Columns of a CSV, TSV or Parquet table as text, whole; `UsageError` where one is not there."""
    if not path.is_file():
        raise missing_location(path)
    if path.suffix.lower() == ".parquet":
        with open_parquet_file(path) as file, refused(path):
            table = file.read()
    else:
        with read_errors(path), open_csv(path, lambda row: "error") as reader:
            table = reader.read_all()
    if missing := [name for name in names if name not in table.column_names]:
        raise UsageError(f"{path} needs the columns {', '.join(names)}; it has no {', '.join(missing)}.")
    return [table[name].to_pylist() for name in names]


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """What Arrow and the disk say of a table as errors of our own."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise RefusedInput(f"{path} is no whole table: {reason}; fetch or write it again.") from error
    except OSError as error:
        raise StorageError(f"Cannot read {str(path)!r}: {error.strerror or error}.") from error


def open_csv(path: Path, uneven: Callable[[Any], str] = lambda row: "skip") -> Any:
    """The rows of a CSV or TSV, every column as text; a quoted field may hold line ends."""
    with open(path, "rb") as file:
        head = file.readline(1 << 20)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=uneven)
    names = pyarrow.csv.read_csv(pa.BufferReader(head), parse_options=parse).schema.names
    convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    return pyarrow.csv.open_csv(path, parse_options=parse, convert_options=convert)


def refuse_open_quotes(batch: pa.RecordBatch, path: Path) -> None:
    """`RefusedInput` where a value holds a line end and then a tab: a quote that does not close has rows in it."""
    for column in batch.columns:
        for value in column.to_pylist():
            start, _, rest = (value or "").partition("\n")
            if "\t" not in rest:
                continue
            raise RefusedInput(
                f"{path} has a quote that opens at {start[:60]!r} and not closed in its line: rows would be lost; "
                "double the quotes and put others around the value, or write Parquet."
            )


def json_objects(path: Path) -> Iterator[dict[str, Any]]:
    """The object of each line; `RefusedInput` for a line that is none."""
    with read_errors(path), open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_CAPTION_BYTES), ""), 1):
            if not line.strip():
                continue
            try:
                record = _whole_letters(json.loads(line), line)
            except (ValueError, RecursionError) as error:
                raise RefusedInput(f"line {number} of {path} is no JSON ({error}); fetch or write it again.") from error
            if not isinstance(record, dict):
                raise RefusedInput(f"line {number} of {path} is no JSON object; write one with url and caption.")
            yield record


def _whole_letters(record: Any, line: str) -> Any:
    """What `line` holds, with U+FFFD for half of a letter, which JSON can escape and no other text can have."""
    if r"\ud" not in line.lower():
        return record
    text = json.dumps(record, ensure_ascii=False)
    return json.loads(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))

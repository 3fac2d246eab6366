"""Pairs in a table: a CSV, TSV or Parquet file with a column of image paths and a column of captions."""

import csv
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from seesay.base.errors import RefusedInput, StorageError, UsageError, nearest
from seesay.base.records import Skipped
from seesay.data.parquet_pages import Allowance, leaf_pages, open_parquet_file, refused, row_groups
from seesay.data.sources import MAX_CAPTION_BYTES, Entry, LooseFile, PairList, count_reasons

TABLE_SUFFIXES = frozenset({"csv", "tsv", "parquet"})
IMAGE_COLUMNS = (
    "filepath", "file_path", "filename", "file_name", "image_path", "image_file", "image", "img_path", "img",
    "path", "file",
)  # fmt: skip
CAPTION_COLUMNS = ("caption", "captions", "text", "title", "description", "sentence")
DELIMITERS = ",\t;"
# What a row takes in memory beside its text, a pair or a problem, in bytes (a guess).
ROW_BYTES = 300
# Guesses: bytes of a page, of the values that are unpacked at once, and rows that are.
PAGE_LIMIT = 64 << 20
BATCH_BYTES = 64 << 20
MOST_ROWS = 4096
# Rows that cannot be used before a table is none, if most cannot (a guess).
MOST_UNUSABLE = 1 << 20


def open_table(path: Path, *, image_column: str | None = None, caption_column: str | None = None) -> PairList:
    """The pairs of a table, in the order in which each image is first named; rows of one image are its captions.

    Columns that are not named are found by their usual names. Paths are relative to the table's folder; so are
    keys, even where an absolute path was written. A column that is not there, or a table without one usable pair, is
    a `UsageError`; a file that is not such a table, or holds far more text than bytes, is `RefusedInput`; rows that
    cannot be used are in `problems`.
    """
    problems: list[Skipped] = []
    captions_of: dict[str, list[str]] = {}
    count = 0
    try:
        allowance = Allowance(path, path.stat().st_size)
        rows = _parquet_rows if path.suffix.lower() == ".parquet" else _text_rows
        for count, (written, caption) in enumerate(
            rows(path, (image_column, caption_column), problems=problems), start=1
        ):
            allowance.take(ROW_BYTES + len(written) + len(caption))
            _refuse_unusable(path, problems, rows=count)
            if not written:
                problems.append(Skipped(key=f"row {count}", reason="row without image path"))
                continue
            captions = captions_of.setdefault(_tidy(written, path.parent), [])
            if not caption:
                problems.append(Skipped(key=written, reason="empty caption"))
            elif len(caption) > MAX_CAPTION_BYTES:
                problems.append(Skipped(key=written, reason="caption too long"))
            else:
                captions.append(caption)
    except OSError as error:
        raise StorageError(f"Cannot read {str(path)!r}: {error.strerror or error}.") from error
    entries = _present(captions_of, path.parent.absolute(), problems=problems)
    if not entries:
        reasons = count_reasons(problems) or "the table is empty"
        raise UsageError(f"No pairs in {str(path)!r} ({count} rows): {reasons}.")
    return PairList(path.name, entries, problems=problems)


def _refuse_unusable(path: Path, problems: list[Skipped], *, rows: int) -> None:
    """`RefusedInput` where most of many rows cannot be used: each is a record in memory, and a comma is a row."""
    if len(problems) > MOST_UNUSABLE and 2 * len(problems) > rows:
        reasons = count_reasons(problems)
        raise RefusedInput(f"{len(problems):,} of {rows:,} rows of {str(path)!r} cannot be used: {reasons}.")


def _tidy(written: str, folder: Path) -> str:
    """One spelling for one file, relative to the table so that keys are the same on another machine."""
    tidy = os.path.relpath(written, folder.absolute()) if os.path.isabs(written) else os.path.normpath(written)
    return tidy.replace(os.sep, "/")


def _present(captions_of: dict[str, list[str]], folder: Path, *, problems: list[Skipped]) -> list[Entry]:
    """The images that are there and have a caption; the others become problems."""
    entries = []
    for key, captions in captions_of.items():
        if not captions:
            continue
        if "://" in key or key.startswith(("http:/", "https:/")):
            problems.append(Skipped(key=key, reason="a link and not a file"))
            continue
        location = os.path.join(folder, key)
        try:
            status = os.stat(location)
        except (OSError, ValueError) as error:
            is_missing = isinstance(error, FileNotFoundError)
            problems.append(Skipped(key=key, reason="missing file" if is_missing else "unreadable file"))
            continue
        if not stat.S_ISREG(status.st_mode):
            problems.append(Skipped(key=key, reason="not a regular file"))
        elif not status.st_size:
            problems.append(Skipped(key=key, reason="empty file"))
        else:
            entries.append(Entry(key, tuple(captions), LooseFile(location, status.st_size)))
    return entries


_Wanted = tuple[str | None, str | None]


def _columns(found: list[str], wanted: _Wanted, *, path: Path) -> tuple[int, int]:
    """The positions of the image and the caption column."""
    image = _column(found, wanted[0], usual=IMAGE_COLUMNS, path=path, role="image")
    caption = _column(found, wanted[1], usual=CAPTION_COLUMNS, path=path, role="caption")
    if image == caption:
        raise UsageError(f"Column {found[image]!r} of {str(path)!r} cannot be both the image and the caption.")
    return image, caption


def _column(found: list[str], wanted: str | None, *, usual: tuple[str, ...], path: Path, role: str) -> int:
    listed = ", ".join(repr(name) for name in found) or "none"
    if wanted is not None:
        if wanted in found:
            return found.index(wanted)
        raise UsageError(f"{str(path)!r} has no column {wanted!r}; its columns are {listed}.{nearest(wanted, found)}")
    lowered = [name.strip().lower() for name in found]
    for name in usual:
        if name in lowered:
            return lowered.index(name)
    raise UsageError(f"{str(path)!r} has no column that looks like the {role}; name it. Its columns are {listed}.")


def _text_rows(path: Path, wanted: _Wanted, *, problems: list[Skipped]) -> Iterator[tuple[str, str]]:
    """(image path, caption) of each row of a CSV or TSV; the separator is the one most frequent in the first line."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            head = file.readline(MAX_CAPTION_BYTES)
            file.seek(0)
            delimiter = max(DELIMITERS, key=head.count)
            reader = csv.reader(_lines(file, problems), delimiter=delimiter)
            image, caption = _columns(next(reader, []), wanted, path=path)
            while True:
                try:
                    row = next(reader, None)
                except csv.Error as error:
                    problems.append(Skipped(key=f"line {reader.line_num}", reason="unreadable row", detail=str(error)))
                    continue
                if row is None:
                    return
                if len(row) > max(image, caption):
                    yield row[image].strip(), row[caption].strip()
                elif row:
                    problems.append(Skipped(key=f"line {reader.line_num}", reason="row with too few columns"))
                    _refuse_unusable(path, problems, rows=reader.line_num)
        except UnicodeDecodeError as error:
            raise RefusedInput(f"{str(path)!r} is not UTF-8 ({error.reason}); save it as UTF-8.") from error
        except csv.Error as error:
            raise RefusedInput(f"{str(path)!r} does not begin like a table: {error}.") from error


def _lines(file: TextIO, problems: list[Skipped]) -> Iterator[str]:
    """The lines of a text file; one too long for memory's sake is dropped and counted."""
    number = 0
    while line := file.readline(MAX_CAPTION_BYTES):
        number += 1
        if len(line) < MAX_CAPTION_BYTES or line.endswith("\n"):
            yield line
            continue
        problems.append(Skipped(key=f"line {number}", reason="line too long"))
        while len(line) == MAX_CAPTION_BYTES and not line.endswith("\n"):
            line = file.readline(MAX_CAPTION_BYTES)


def _parquet_rows(path: Path, wanted: _Wanted, *, problems: list[Skipped]) -> Iterator[tuple[str, str]]:
    """(image path, caption) of each row of a Parquet file, read some rows at a time; null is empty."""
    file = open_parquet_file(path)
    with file, refused(path):
        # Only here: a fifth of a second of start-up that other sources do not pay for.
        from pyarrow import types

        found = file.schema_arrow.names
        names = [found[index] for index in _columns(found, wanted, path=path)]
        for name in names:
            if found.count(name) > 1:
                raise RefusedInput(f"{str(path)!r} has several columns {name!r}; give each a name of its own.")
            kind = file.schema_arrow.field(found.index(name)).type
            if not (types.is_string(kind) or types.is_large_string(kind)):
                raise RefusedInput(f"Column {name!r} of {str(path)!r} holds {kind}, not text.")
        for group in range(len(row_groups(path))):
            measured = leaf_pages(path, group, names).values()
            if any(pages.largest > PAGE_LIMIT for pages in measured):
                raise RefusedInput(f"{str(path)!r} has a page of more than {PAGE_LIMIT:,} bytes; write smaller pages.")
            per_row = max(max(pages.per_value, pages.dictionary, 1) for pages in measured)
            rows = min(max(BATCH_BYTES // per_row, 1), MOST_ROWS)
            for batch in file.iter_batches(batch_size=rows, row_groups=[group], columns=names):
                images, captions = (batch.column(name).to_pylist() for name in names)
                for written, caption in zip(images, captions, strict=True):
                    yield (written or "").strip(), (caption or "").strip()

"""Pairs in a table: a text table, JSON lines or Parquet, with a column of images and a column of captions."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.base.records import Skipped
from seesay.data.parquet_pages import Allowance
from seesay.data.sources import MAX_CAPTION_BYTES, Entry, LooseFile, PairList, StoredImage, count_reasons
from seesay.data.table_rows import Columns, TableRow, json_rows, parquet_rows, written_rows
from seesay.data.text_rows import ends_like_image

TABLE_SUFFIXES = frozenset({"csv", "tsv", "txt", "jsonl", "parquet"})
# What a row takes in memory beside its text, a pair or a problem, in bytes (a guess).
ROW_BYTES = 300
# Rows that cannot be used before a table is none, if most cannot (a guess).
MOST_UNUSABLE = 1 << 20
# The number of a caption behind the name of its image, as in Flickr8k.token.txt.
CAPTION_NUMBER = re.compile(r"#\d+$")


def open_table(path: Path, *, image_column: str | None = None, caption_column: str | None = None) -> PairList:
    """The pairs of a table, in the order in which each image is first named; rows of one image are its captions.

    Text is separated by the most frequent of comma, tab, ";" and "|" in its first line; JSON lines are objects; Parquet
    holds texts, or lists of them, and images as paths or as bytes. Columns that are not named are found by their usual
    names. Paths are relative to the table's folder, or to the one folder beside it that has them; so are keys, even
    where an absolute path was written. A column that is not there, or a table without one usable pair, is a
    `UsageError`; a file that is not such a table, or holds far more text than bytes, is `RefusedInput`; rows that
    cannot be used are in `problems`, and what was chosen in `notes`.
    """
    problems: list[Skipped] = []
    columns = Columns(str(path), image=image_column, caption=caption_column)
    try:
        size = path.stat().st_size
        readers = {".parquet": parquet_rows, ".jsonl": json_rows}
        rows = readers.get(path.suffix.lower(), written_rows)(path, columns, problems=problems)
        return pairs_of_rows(
            rows, columns, name=path.name, folder=path.parent, allowance=Allowance(path, size), problems=problems
        )
    except OSError as error:
        raise StorageError(f"Cannot read {str(path)!r}: {error.strerror or error}.") from error


def pairs_of_rows(
    rows: Iterator[TableRow | Skipped],
    columns: Columns,
    *,
    name: str,
    folder: Path,
    allowance: Allowance | None,
    problems: list[Skipped],
) -> PairList:
    """The pairs of rows whose paths are relative to `folder`; raises as `open_table`."""
    captions_of: dict[str, list[str]] = {}
    image_of: dict[str, StoredImage] = {}
    count = 0
    for count, row in enumerate(rows, start=1):
        _refuse_unusable(columns.source, problems, rows=count)
        if isinstance(row, Skipped):
            problems.append(row)
            continue
        if allowance is not None:
            allowance.take(ROW_BYTES + len(row.written) + sum(map(len, row.captions)))
        key = _tidy(row.written, folder) if row.image is None else row.key
        if row.image is not None:
            image_of[key] = row.image
        elif not row.written:
            problems.append(Skipped(key=row.key, reason="row without image path"))
            continue
        captions = captions_of.setdefault(key, [])
        if not any(row.captions):
            problems.append(Skipped(key=row.written or row.key, reason="empty caption"))
        for caption in filter(None, row.captions):
            if len(caption) > MAX_CAPTION_BYTES:
                problems.append(Skipped(key=row.written or row.key, reason="caption too long"))
            else:
                captions.append(caption)
    beside, notes = _folder_beside(captions_of, folder.absolute()) if not image_of else ("", [])
    entries = _present(captions_of, image_of, folder.absolute() / beside, problems=problems)
    if not entries:
        raise UsageError(f"No pairs in {columns.source!r} ({count:,} rows): {_why_none(problems)}.")
    return PairList(name, entries, problems=problems, notes=(*columns.notes, *notes))


def _refuse_unusable(source: str, problems: list[Skipped], *, rows: int) -> None:
    """`RefusedInput` where most of many rows cannot be used: each is a record in memory, and a comma is a row."""
    if len(problems) > MOST_UNUSABLE and 2 * len(problems) > rows:
        reasons = count_reasons(problems)
        raise RefusedInput(f"{len(problems):,} of {rows:,} rows of {source!r} cannot be used: {reasons}.")


def _why_none(problems: list[Skipped]) -> str:
    """The reasons, and of files that are not there the first place that was looked at."""
    lost = next((problem.location for problem in problems if problem.reason == "missing file"), "")
    looked = f"; the first was looked for at {os.path.normpath(lost)!r}" if lost else ""
    return f"{count_reasons(problems) or 'the table is empty'}{looked}"


def _tidy(written: str, folder: Path) -> str:
    """One spelling for one file, relative to the table so that keys are the same on another machine."""
    if written.startswith("file:") and urlsplit(written).netloc in ("", "localhost"):
        written = url2pathname(urlsplit(written).path)
    if "\\" in written and os.sep != "\\" and not os.path.lexists(folder / written):
        written = written.replace("\\", "/")
    if "#" in written and ends_like_image(file := CAPTION_NUMBER.sub("", written)):
        written = file
    tidy = os.path.normpath(written)
    if os.path.isabs(written):
        with suppress(ValueError):  # on another drive of Windows
            tidy = os.path.relpath(written, folder.absolute())
    return tidy.replace(os.sep, "/")


def _folder_beside(keys: dict[str, list[str]], folder: Path) -> tuple[str, list[str]]:
    """The one folder in `folder` that has the first image where `folder` itself has not, and a line for a person."""
    first = next((key for key, captions in keys.items() if captions), "")
    if not first or "\0" in first or first.startswith("../") or os.path.lexists(folder / first):
        return "", []
    with os.scandir(folder) as listing:
        folders = sorted(item.name for item in listing if item.is_dir())
    having = [name for name in folders if os.path.isfile(folder / name / first)]
    if len(having) != 1:
        return "", []
    return having[0], [f"the images are looked for in the folder {having[0]!r}, where the first one is."]


def _present(
    captions_of: dict[str, list[str]], image_of: dict[str, StoredImage], folder: Path, *, problems: list[Skipped]
) -> list[Entry]:
    """The images that are there and have a caption; the others become problems."""
    entries = []
    for key, captions in captions_of.items():
        if not captions:
            continue
        image = image_of.get(key) or _file_of(key, folder)
        if isinstance(image, Skipped):
            problems.append(image)
        elif not image.size:
            problems.append(Skipped(key=key, reason="empty file"))
        else:
            entries.append(Entry(key, tuple(captions), image))
    return entries


def _file_of(key: str, folder: Path) -> LooseFile | Skipped:
    """The file that is named so in `folder`, or why it cannot be an image."""
    if "://" in key or key.startswith(("http:/", "https:/", "file:/")):
        return Skipped(key=key, reason="an address and not a file")
    location = os.path.join(folder, key)
    try:
        status = os.stat(location)
    except (OSError, ValueError) as error:
        is_missing = isinstance(error, FileNotFoundError)
        return Skipped(key=key, reason="missing file" if is_missing else "unreadable file", location=location)
    if not stat.S_ISREG(status.st_mode):
        return Skipped(key=key, reason="not a regular file", location=location)
    return LooseFile(location, status.st_size)

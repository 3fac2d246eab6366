"""Tables of pairs as one kind of rows, a part at a time: Parquet, CSV, TSV, JSON lines, and tar shards with captions.

Every row has the columns of `SCHEMA`; what else a table has is text behind them. `key` is 16 bytes of BLAKE2b over
where the image comes from and the caption, so that a pair has the same key in any table, order and part. An image lies
in `image_size` bytes of `image_file` from `image_offset` on, and is the whole file where the size is -1; a URL that is
not fetched has none.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from seesay.base.errors import BrokenSample, RefusedInput, UsageError
from seesay.curation.text_tables import json_objects, open_csv, read_errors, refuse_open_quotes
from seesay.data.parquet_pages import open_parquet_file, refused
from seesay.data.shards import open_shards
from seesay.data.sources import MAX_CAPTION_BYTES, LooseFile, StoredImage, TarSlice, missing_location

# No two of 10^12 pairs have one key, by the chance of 10^-15.
KEY_BYTES = 16
SCHEMA = pa.schema(
    [
        ("key", pa.binary(KEY_BYTES)),
        ("caption", pa.string()),
        ("url", pa.string()),
        ("path", pa.string()),
        ("image_file", pa.string()),
        ("image_offset", pa.int64()),
        ("image_size", pa.int64()),
        ("left_out", pa.string()),
    ]
)
# What stages add, also for themselves: a column of a table that is called so gets another name.
ADDED = frozenset(
    (
        *("queries", "kept_for", "attempts", "language", "width", "height", "clip_score", "preference", "features"),
        *("sha256", "pixels", "look", "colours", "embedding", "copy_of", "shard", "image_sha256", "sent_sha256"),
        "written_sha256",
    )
)
RENAMED = "input_"
# Of an image as it was found, in pixels.
SIDES = ("width", "height")
BINARY = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
# Usual names of the two columns, in the order they are looked for; of img2dataset, LAION and open_clip.
URL_COLUMNS, PATH_COLUMNS = ("url", "URL", "image_url"), ("path", "filepath", "file_path", "file_name", "image_path")
CAPTION_COLUMNS = ("caption", "text", "TEXT", "title", "alt", "top_caption")
SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".tar")
UNEVEN = "row with another number of columns"
# Rows that are read at once, a guess.
READ_ROWS = 1 << 13


class Tables:
    """The rows of several tables one after the other; `notes` say what was renamed."""

    def __init__(self, sources: Sequence[str | Path]):
        if not sources:
            raise UsageError("no table is given; name Parquet, CSV, TSV or JSON lines with url or path, and caption.")
        self.paths = [Path(source) for source in sources]
        self.notes: list[str] = []
        # What of the tables is no row: lines that have not as many fields as the first one, and what a tar has else.
        self.lost: Counter[str] = Counter()
        self._columns: dict[Path, list[str]] = {}
        self._others: dict[str, None] = {}
        for path in self.paths:
            if not path.is_file():
                raise missing_location(path) if not path.exists() else UsageError(f"{path} is no table but a folder.")
            if path.suffix.lower() not in SUFFIXES:
                raise UsageError(f"{path} is no table; its name should end in {', '.join(SUFFIXES)}.")
            self._columns[path] = _column_names(path)
            used = () if path.suffix.lower() == ".tar" else _columns(self._columns[path], path)
            self._others.update(dict.fromkeys(name for name in self._columns[path] if name not in used))
        names = _names(self._others)
        for name, new in zip(self._others, names, strict=True):
            if new != name:
                self.notes.append(f"column {name!r} of the tables is called {new!r} in the result.")
        self.schema = pa.schema([*SCHEMA, *(pa.field(name, pa.string()) for name in names)])
        # A path is told from the same one of a table in another folder by the folder, from where all of them part.
        folders = [path.absolute().parent for path in self.paths]
        root = os.path.commonpath(folders)
        self._folders = {
            path: Path(os.path.relpath(folder, root)) for path, folder in zip(self.paths, folders, strict=True)
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 over paths, sizes and times of change: the same files as before."""
        digest = hashlib.sha256()
        for path in self.paths:
            status = path.stat()
            digest.update(
                f"{path.absolute()}\n{status.st_size}\n{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape")
            )
        return digest.hexdigest()

    def parts(self, rows: int) -> Iterator[pa.Table]:
        """Tables of `rows` rows, the last of any length, each with the columns of `schema`."""
        waiting: list[pa.Table] = []
        count = 0
        for path in self.paths:
            for records in self._records(path):
                waiting.append(self._normal(records, path))
                count += len(records)
                while count >= rows:
                    whole = pa.concat_tables(waiting)
                    yield whole.slice(0, rows).combine_chunks()
                    rest = whole.slice(rows).combine_chunks()
                    waiting, count = [rest], len(rest)
        if count:
            yield pa.concat_tables(waiting).combine_chunks()

    def _records(self, path: Path) -> Iterator["_Records"]:
        suffix = path.suffix.lower()
        if suffix == ".tar":
            yield from _tar_records(path, self.lost)
        elif suffix == ".parquet":
            with open_parquet_file(path) as file, refused(path):
                for batch in file.iter_batches(batch_size=READ_ROWS):
                    yield _of_batch(batch, path)
        elif suffix == ".jsonl":
            yield from _json_records(path, self._columns[path])
        else:
            with read_errors(path), open_csv(path, self._count_uneven) as reader:
                for batch in reader:
                    if suffix == ".tsv":
                        refuse_open_quotes(batch, path)
                    yield _of_batch(batch, path)

    def _count_uneven(self, _: Any) -> str:
        self.lost[UNEVEN] += 1
        return "skip"

    def _normal(self, records: "_Records", path: Path) -> pa.Table:
        folder, distinct = path.parent.absolute(), self._folders[path]
        rows = [_row(*values, folder=folder, distinct=distinct) for values in records.basic()]
        columns = list(zip(*rows, strict=True)) if rows else [[] for _ in SCHEMA]
        arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
        for name in self._others:
            arrays.append(records.others[name] if name in records.others else pa.nulls(len(rows), pa.string()))
        return pa.Table.from_arrays(arrays, schema=self.schema)


class _Records:
    """Some rows of a table as they are there: the caption, URL, path and place of each image, and other columns."""

    def __init__(self, captions: Sequence, urls: Sequence, paths: Sequence, others: Mapping[str, pa.Array]):
        self.captions, self.urls, self.paths = captions, urls, paths
        self.places: Sequence[StoredImage | None] = [None] * len(captions)
        self.others = others

    def __len__(self) -> int:
        return len(self.captions)

    def basic(self) -> Iterator[tuple[Any, Any, Any, StoredImage | None]]:
        """Caption, URL, path and slice of a tar of each row."""
        return zip(self.captions, self.urls, self.paths, self.places, strict=True)


def pair_key(source: str, caption: str) -> bytes:
    """16 bytes that name a pair: BLAKE2b of where its image comes from and its caption."""
    data = f"{source}\0{caption}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=KEY_BYTES).digest()


def stored_image(row: Mapping[str, Any]) -> StoredImage:
    """Where the image of a row lies; `BrokenSample` where it was not fetched."""
    if row["image_file"] is None:
        raise BrokenSample("not fetched")
    if row["image_size"] < 0:
        return LooseFile(row["image_file"], 0)
    return TarSlice(row["image_file"], row["image_offset"], row["image_size"])


def survivors(table: pa.Table) -> pa.Table:
    """The rows that are not left out."""
    return table.filter(table["left_out"].is_null())


def with_reasons(table: pa.Table, reasons: Iterable[str | None]) -> pa.Table:
    """The table with the reasons, one for each row that was not left out yet."""
    given = iter(reasons)
    values = [reason if reason is not None else next(given) for reason in table["left_out"].to_pylist()]
    return table.set_column(table.schema.get_field_index("left_out"), "left_out", pa.array(values, pa.string()))


def with_image_files(table: pa.Table, change: Callable[[str], str]) -> pa.Table:
    """The table with another name for each file that an image lies in."""
    if "image_file" not in table.column_names:
        return table
    names = table["image_file"].to_pylist()
    changed = {name: None if name is None else change(name) for name in dict.fromkeys(names)}
    values = pa.array([changed[name] for name in names], pa.string())
    return table.set_column(table.schema.get_field_index("image_file"), "image_file", values)


def reasons_in(table: pa.Table) -> dict[str, int]:
    """How many rows are left out, by reason."""
    counted = table["left_out"].drop_null().value_counts().to_pylist()
    return {each["values"]: each["counts"] for each in counted}


def _row(caption: Any, url: Any, path: Any, place: StoredImage | None, *, folder: Path, distinct: Path) -> tuple:
    """The values of `SCHEMA` for a row; `distinct` is what tells the folder of its table from those of others."""
    is_text = caption is None or isinstance(caption, str)
    caption = caption.strip() if isinstance(caption, str) else ""
    url = url.strip() if isinstance(url, str) and url.strip() else None
    path = path.strip() if isinstance(path, str) and path.strip() else None
    reason = None
    if not is_text:
        reason = "caption is no text"
    elif not caption:
        reason = "empty caption"
    elif len(caption) > MAX_CAPTION_BYTES:
        reason = "caption too long"
    elif path is None and url is None:
        reason = "no url or path"
    elif path is not None and "\0" in path:
        reason = "path with a zero byte"
    source = str(distinct / path) if path is not None else url or ""
    if place is None and path is not None:
        place = TarSlice(os.path.join(folder, path), 0, -1)
    lies = tuple(place) if isinstance(place, TarSlice) else (None, None, None)
    return (pair_key(source, caption), caption, url, path, *lies, reason)


def _names(names: Iterable[str]) -> list[str]:
    """The columns as the result has them: one that a stage adds gets a name that no other has."""
    taken = {*names, *ADDED, *SCHEMA.names}
    result = []
    for name in names:
        new = name
        while new in ADDED or new in SCHEMA.names or (new != name and new in taken):
            new = f"{RENAMED}{new}"
        taken.add(new)
        result.append(new)
    return result


def _first(usual: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for name in usual if name in names), None)


def _columns(names: Sequence[str], path: Path) -> tuple[str, str | None, str | None]:
    """Which columns are caption, URL and path."""
    caption, url, local = (_first(usual, names) for usual in (CAPTION_COLUMNS, URL_COLUMNS, PATH_COLUMNS))
    if caption is None or (url is None and local is None):
        raise UsageError(f"{path} needs the columns caption, and url or path; it has {', '.join(names) or 'none'}.")
    return caption, url, local


def _column_names(path: Path) -> list[str]:
    """The columns of a table; those of JSON lines are what any line has."""
    suffix = path.suffix.lower()
    if suffix == ".tar":
        return []
    if suffix == ".parquet":
        with open_parquet_file(path) as file, refused(path):
            names = list(file.schema_arrow.names)
    elif suffix == ".jsonl":
        names = list(dict.fromkeys(name for record in json_objects(path) for name in record))
    else:
        with read_errors(path), open_csv(path) as reader:
            names = list(reader.schema.names)
    if len(set(names)) < len(names):
        raise RefusedInput(f"{path} has two columns of one name; give each a name of its own.")
    return names


def _of_batch(batch: pa.RecordBatch, path: Path) -> _Records:
    caption, url, local = _columns(batch.schema.names, path)
    empty = [None] * len(batch)
    others = {
        name: _as_text(batch.column(index))
        for index, name in enumerate(batch.schema.names)
        if name not in (caption, url, local)
    }
    values = [batch.column(name).to_pylist() if name is not None else empty for name in (caption, url, local)]
    return _Records(values[0], values[1], values[2], others)


def _as_text(column: pa.Array) -> pa.Array:
    """A column as text: numbers as they are written, lists and objects as JSON."""
    if any(is_kind(column.type) for is_kind in BINARY):
        return pa.array([None if value is None else value.hex() for value in column.to_pylist()], pa.string())
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([_written(value) for value in column.to_pylist()], pa.string())


def _written(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, default=str)


def _json_records(path: Path, names: Sequence[str]) -> Iterator[_Records]:
    block: list[dict[str, Any]] = []
    for record in json_objects(path):
        block.append(record)
        if len(block) == READ_ROWS:
            yield _of_objects(block, names, path)
            block = []
    if block:
        yield _of_objects(block, names, path)


def _of_objects(block: Sequence[Mapping[str, Any]], names: Sequence[str], path: Path) -> _Records:
    columns = {name: pa.array([_written(each.get(name)) for each in block], pa.string()) for name in names}
    return _of_batch(pa.RecordBatch.from_pydict(columns), path)


def _tar_records(path: Path, lost: Counter[str]) -> Iterator[_Records]:
    """Each caption of each image of a shard; the path is SHARD.tar/KEY. What is no pair is counted in `lost`."""
    pairs = open_shards([path], name=path.name)
    lost.update(problem.reason for problem in pairs.problems)
    entries = [(entry, caption) for entry in pairs.entries for caption in entry.captions]
    for first in range(0, len(entries), READ_ROWS):
        block = entries[first : first + READ_ROWS]
        records = _Records(
            [caption for _, caption in block], [None] * len(block), [entry.key for entry, _ in block], {}
        )
        records.places = [entry.image for entry, _ in block]
        yield records

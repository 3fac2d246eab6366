"""Rows of tables: which column is the image and which the caption, and what each row says of them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat, zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from seesay.base.errors import RefusedInput, UsageError, nearest
from seesay.base.records import Skipped
from seesay.data.parquet_columns import column_values, image_rows
from seesay.data.parquet_pages import Allowance, open_parquet_file, refused, row_groups
from seesay.data.sources import MAX_CAPTION_BYTES, StoredImage
from seesay.data.text_rows import DELIMITERS, Lines, ends_like_image, text_rows

IMAGE_COLUMNS = (
    "filepath", "file_path", "filename", "file_name", "image_path", "image_file", "image_name", "image", "img_path",
    "img", "path", "file",
)  # fmt: skip
CAPTION_COLUMNS = (
    "caption", "captions", "text", "title", "description", "sentence", "sentences", "comment",
    "alt_text", "alt",
)  # fmt: skip
# What stands for a row that a column of a damaged file does not have.
_LACKING: Any = object()
# Letters of a library's message that are repeated (a guess).
SHOWN = 80


class TableRow(NamedTuple):
    """`key` says where the row lies; the image is `written` as a path, or is `image` itself."""

    key: str
    written: str
    captions: Sequence[str]
    image: StoredImage | None = None


class Columns:
    """The two columns of a table, as they were named or are found; `notes` say what else they might have been."""

    def __init__(self, source: str, *, image: str | None = None, caption: str | None = None):
        self.source = source
        self.notes: list[str] = []
        self._image = image
        self._caption = caption

    @property
    def are_named(self) -> bool:
        """Whether somebody named one of them."""
        return self._image is not None or self._caption is not None

    def positions(self, found: Sequence[str]) -> tuple[int, int]:
        """Those of the image and the caption among the names; `UsageError` where one is not there."""
        image = self._position(found, self._image, usual=IMAGE_COLUMNS, role="image")
        caption = self._position(found, self._caption, usual=CAPTION_COLUMNS, role="caption")
        if image == caption:
            raise UsageError(f"Column {found[image]!r} of {self.source!r} cannot be both the image and the caption.")
        for position in (image, caption):
            if found.count(found[position]) > 1:
                raise RefusedInput(
                    f"{self.source!r} has several columns {found[position]!r}; give each a name of its own."
                )
        return image, caption

    def _position(self, found: Sequence[str], wanted: str | None, *, usual: Sequence[str], role: str) -> int:
        listed = ", ".join(repr(name) for name in found) or "none"
        if wanted is not None:
            if wanted in found:
                return found.index(wanted)
            raise UsageError(f"{self.source!r} has no column {wanted!r}; it has {listed}.{nearest(wanted, found)}")
        lowered = [name.strip().lower().replace(" ", "_").replace("-", "_") for name in found]
        candidates = [lowered.index(name) for name in usual if name in lowered]
        if not candidates:
            raise UsageError(
                f"{self.source!r} has no column that looks like the {role}; name it with --{role}-column NAME. "
                f"Its columns are {listed}."
            )
        if len(candidates) > 1:
            others = ", ".join(repr(found[position]) for position in candidates[1:])
            self.notes.append(f"the {role} is column {found[candidates[0]]!r}; {others} might have been it too.")
        return candidates[0]


def names_of_columns(path: Path) -> list[str]:
    """What the columns of a table are called; raises `RefusedInput` for a file that is no table."""
    if path.suffix.lower() == ".parquet":
        with open_parquet_file(path) as file, refused(path):
            return list(file.schema_arrow.names)
    with _utf8(path) as file:
        head = file.readline(MAX_CAPTION_BYTES)
        if path.suffix.lower() == ".jsonl":
            try:
                record = json.loads(head)
            except (ValueError, RecursionError):
                record = None
            return list(record) if isinstance(record, dict) else []
        file.seek(0)
        return _names(Lines(file, []), head)


def _names(lines: Lines, head: str) -> list[str]:
    _, names = next(text_rows(lines, delimiter_of(head)), (0, None))
    return [name.strip() for name in names or head.split(delimiter_of(head))]


def delimiter_of(head: str) -> str:
    """The separator is the one most frequent in the first line."""
    return max(DELIMITERS, key=head.count)


def written_rows(path: Path, columns: Columns, *, problems: list[Skipped]) -> Iterator[TableRow | Skipped]:
    """The rows of a text table; one whose first line is a row already has its image first and its caption behind."""
    with _utf8(path) as file:
        head = file.readline(MAX_CAPTION_BYTES)
        file.seek(0)
        lines, delimiter = Lines(file, problems), delimiter_of(head)
        names = _names(lines, head)
        if len(names) == 2 and not columns.are_named and ends_like_image(names[0].rpartition("#")[0] or names[0]):
            columns.notes.append("there is no line of column names: the image is first, the caption second.")
            lines.restore([(1, head)])
            image, caption = 0, 1
        else:
            image, caption = columns.positions(names)
        for number, fields in text_rows(lines, delimiter):
            key = f"line {number}"
            if fields is None:
                yield Skipped(key=key, reason="quote that is not closed", detail='write a " in a field as ""')
            elif len(fields) <= max(image, caption):
                yield Skipped(key=key, reason="row with too few columns", detail=f"{len(fields)} of {len(names)}")
            elif any(fields[len(names) :]):
                detail = f"{len(fields)} of {len(names)}; put a field with {delimiter!r} in it in quotes"
                yield Skipped(key=key, reason="row with too many columns", detail=detail)
            else:
                yield TableRow(key, fields[image].strip(), (fields[caption].strip(),))


def json_rows(path: Path, columns: Columns, *, problems: list[Skipped]) -> Iterator[TableRow | Skipped]:
    """The rows of JSON lines: an object each, with a text or a list of texts as the caption."""
    names: list[str] = []
    with _utf8(path) as file:
        for number, line in Lines(file, problems):
            key = f"line {number}"
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Skipped(key=key, reason="unreadable json", detail=str(error)[:SHOWN])
                continue
            if not isinstance(record, dict):
                yield Skipped(key=key, reason="not a json object")
                continue
            names = names or [list(record)[position] for position in columns.positions(list(record))]
            written, texts = (record.get(name) for name in names)
            yield TableRow(key, written.strip() if isinstance(written, str) else "", texts_of(texts))


@contextmanager
def _utf8(path: Path) -> Iterator[TextIO]:
    """The file as text, its line ends as they are; `RefusedInput` where it is not UTF-8."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError as error:
        raise RefusedInput(f"{str(path)!r} is not UTF-8 ({error.reason}); save it as UTF-8.") from error


def texts_of(value: Any) -> tuple[str, ...]:
    """The captions of a cell: a text, or a list of them; what else stands there is none."""
    texts = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else ()
    # JSON can spell half a surrogate pair, which no UTF-8 can hold.
    written = (text.encode("utf-8", "replace").decode("utf-8").strip() for text in texts if isinstance(text, str))
    return tuple(filter(None, written))


def parquet_rows(path: Path, columns: Columns, *, problems: list[Skipped]) -> Iterator[TableRow | Skipped]:
    """The rows of a Parquet file, read some at a time; null is empty, and an image may be a path or lie in the row."""
    with open_parquet_file(path) as file, refused(path):
        schema = file.schema_arrow
    image, caption = (schema.names[position] for position in columns.positions(schema.names))
    kinds = {name: _inner(schema.field(schema.names.index(name)).type) for name in (image, caption)}
    if not _is_text(kinds[caption]):
        raise RefusedInput(f"Column {caption!r} of {str(path)!r} holds {kinds[caption]}, not text or lists of text.")
    if not _is_text(schema.field(schema.names.index(image)).type):
        beside = _paths_beside(path, image, schema.field(schema.names.index(image)).type)
        for (key, cell, value), written in zip(image_rows([path], image, caption), beside, strict=False):
            if cell is None and not written:
                yield Skipped(key=f"row {key}", reason="caption without image")
            else:
                yield TableRow(f"row {key}", "" if cell else written.strip(), texts_of(value), cell)
        return
    allowance, row = Allowance(path, path.stat().st_size), 0
    for group in range(len(row_groups(path))):
        images, captions = (column_values(path, name, group, allowance=allowance) for name in (image, caption))
        for written, value in zip_longest(images, captions, fillvalue=_LACKING):
            if written is _LACKING or value is _LACKING:
                raise RefusedInput(
                    f"{str(path)!r}, row group {group}, lacks rows of a column; fetch or write it again."
                )
            row += 1
            yield TableRow(f"row {row}", (written or "").strip(), texts_of(value))


def _paths_beside(path: Path, column: str, kind: Any) -> Iterator[str]:
    """What structs {bytes, path} have as the path, row by row; without end where there is none."""
    from pyarrow import types

    if (
        types.is_struct(kind)
        and (position := kind.get_field_index("path")) >= 0
        and _is_text(kind.field(position).type)
    ):
        allowance = Allowance(path, path.stat().st_size)
        for group in range(len(row_groups(path))):
            for struct in column_values(path, f"{column}.path", group, allowance=allowance):
                yield (struct and struct["path"]) or ""
    yield from repeat("")


def _inner(kind: Any) -> Any:
    """The type of the values in lists and categories."""
    from pyarrow import types

    while types.is_list(kind) or types.is_large_list(kind) or types.is_dictionary(kind):
        kind = kind.value_type
    return kind


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    plain = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(plain) or types.is_large_string(plain) or types.is_string_view(plain)

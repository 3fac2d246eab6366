"""The columns of Parquet files of strangers that hold images, texts or numbers, a row group at a time.

An image is a struct {bytes, path}, or the bytes alone; a text may be written once for many rows.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from seesay.base.errors import BrokenSample, RefusedInput
from seesay.data.parquet_pages import Allowance, ChunkPages, leaf_pages, open_parquet_file, refused, row_groups

# Images are read in order, and some threads are a few ahead of others (a guess).
GROUPS_IN_MEMORY = 3
# Guesses. Bytes of the images in a row group, whose images are read together; values in one; bytes of texts that are
# unpacked together, rows of them, and what a row takes in memory beside its text.
GROUP_LIMIT = 1 << 30
VALUES_LIMIT = 1 << 22
TEXT_LIMIT = 64 << 20
MOST_ROWS = 4096
PLACE_BYTES = 64


class ParquetCell(NamedTuple):
    """An image in one row of a row group; the group is read as a whole, since it is compressed as a whole."""

    path: str
    column: str
    group: int
    row: int
    size: int

    @property
    def location(self) -> str:
        """File, row group and row, for people."""
        return f"{self.path}, row group {self.group}, row {self.row}"

    def read(self) -> bytes:
        """The encoded image; raises `BrokenSample` if the file cannot be read any more."""
        try:
            return _images(self.path, self.column, self.group)[self.row].as_py()
        except OSError as error:
            raise BrokenSample("unreadable file", f"{self.location}: {error}") from error


class Row(NamedTuple):
    """One image and what the wanted column says of it; without an image where the row holds none."""

    key: str
    image: ParquetCell | None
    value: Any


def image_rows(files: Sequence[Path], image: str, value: str) -> Iterator[Row]:
    """Every row, its image by its position and length only; row groups are read one at a time."""
    for number, path in enumerate(files):
        allowance = Allowance(path, path.stat().st_size)
        with open_parquet_file(path) as opened:
            for name in (image, value):
                if opened.schema_arrow.names.count(name) != 1:
                    raise RefusedInput(f"{path} has no column {name!r} or several, unlike the first file of the set.")
            for group, (rows, _) in enumerate(row_groups(path)):
                # Of both at once, a few rows at a time: a text that is written once may be that of every row.
                sizes = _sizes(_images(str(path), image, group))
                for row, content in enumerate(column_values(path, value, group, allowance=allowance)):
                    size = sizes[row] if row < len(sizes) else None
                    cell = None if size is None else ParquetCell(str(path), image, group, row, size)
                    yield Row(f"{number}/{group}/{row}", cell, content)
                if len(sizes) != rows:
                    raise RefusedInput(f"{path}, row group {group}, lacks rows of {image!r}; fetch it again.")


def column_values(path: Path, column: str, group: int, *, allowance: Allowance) -> Iterator[Any]:
    """The numbers, texts or lists of texts in a column of a row group."""
    opened, measured = _measured(str(path), column, group)
    with opened, refused(path):
        _refuse_large(path, group, column, measured)
        if any(pages.largest > TEXT_LIMIT for pages in measured.values()):
            raise RefusedInput(f"{path} has a page of {column!r} beyond {TEXT_LIMIT:,} bytes; write smaller pages.")
        per_row = max(max(pages.per_value, 1) for pages in measured.values())
        rows = min(max(TEXT_LIMIT // per_row, 1), MOST_ROWS)
        for batch in opened.iter_batches(batch_size=rows, row_groups=[group], columns=[column]):
            allowance.take(_unpacked(batch.column(0)))
            yield from batch.column(0).to_pylist()


def _unpacked(array: Any) -> int:
    """Bytes of an array when each of its values is written out, and some for the place of each."""
    from pyarrow import types

    if types.is_dictionary(array.type):
        return PLACE_BYTES * len(array) + sum(size or 0 for size in _sizes(array))
    if types.is_list(array.type) or types.is_large_list(array.type):
        return PLACE_BYTES * len(array) + _unpacked(array.flatten())
    if types.is_struct(array.type):
        return sum(_unpacked(field) for field in array.flatten())
    return PLACE_BYTES * len(array) + array.nbytes


def _sizes(found: Any) -> list[int | None]:
    """The bytes of each value of an array of texts or bytes, None where there is none; of others the width."""
    import pyarrow.compute as pc

    chunks = getattr(found, "chunks", [found])
    sizes: list[int | None] = []
    for chunk in chunks:
        if hasattr(chunk, "dictionary"):
            sizes += pc.call_function("binary_length", [chunk.dictionary]).take(chunk.indices).to_pylist()
        else:
            sizes += pc.call_function("binary_length", [chunk]).to_pylist()
    return sizes


def _measured(path: str, column: str, group: int) -> tuple[Any, dict[str, ChunkPages]]:
    """The file, opened so that what has a dictionary in that group is not written out, and the pages of the column."""
    measured = leaf_pages(path, group, [column])
    dictionaries = tuple(leaf for leaf, pages in measured.items() if pages.dictionary)
    return open_parquet_file(path, dictionaries=dictionaries), measured


def _refuse_large(path: str | Path, group: int, column: str, measured: dict[str, ChunkPages]) -> None:
    for pages in measured.values():
        Allowance(path, pages.packed).take(pages.unpacked)
        if pages.unpacked > GROUP_LIMIT or pages.values > VALUES_LIMIT:
            raise RefusedInput(
                f"{path}, row group {group}, has {pages.values:,} values of {column!r} with {pages.unpacked:,} bytes; "
                "write smaller row groups."
            )


@lru_cache(maxsize=GROUPS_IN_MEMORY)
def _images(path: str, column: str, group: int) -> Any:
    """The images of a row group, as they are encoded."""
    from pyarrow import types

    opened, measured = _measured(path, column, group)
    _refuse_large(path, group, column, measured)
    with opened, refused(path):
        found = opened.read_row_group(group, columns=[column])[column]
    if types.is_struct(found.type):
        column_index = found.type.get_field_index("bytes")
        found = found.flatten()[column_index] if column_index >= 0 else found
    kind = found.type.value_type if types.is_dictionary(found.type) else found.type
    if not (types.is_binary(kind) or types.is_large_binary(kind)):
        raise RefusedInput(f"column {column!r} of {path} holds {found.type} and no bytes of images.")
    return found

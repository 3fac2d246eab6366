"""Parquet files of strangers: opened with a bounded footer, and their pages measured before one is unpacked.

A page is unpacked as a whole, and a kilobyte of file may be gigabytes of page. What the footer says of it binds nobody;
the header of each page decides how much memory it takes, so the headers are what is read here.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from seesay.base.errors import RefusedInput, StorageError

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

# Guesses. The footer of a thousand row groups of ten columns has a megabyte; pages are written with a megabyte
# or some thousand values each.
FOOTER_LIMIT = 16 << 20
PAGES_LIMIT = 1 << 16
# A header holds the least and the largest value of its page, which may be long (a guess).
HEADER_LIMIT = 1 << 20
# Bytes that are unpacked of any file, and for each byte of it beyond (guesses: text becomes a tenth, and paths that are
# counted up by one a hundredth and less).
UNPACKED_FLOOR = 64 << 20
UNPACKED_RATIO = 400


class Allowance:
    """How much may be unpacked of a file or a part of it that has `size` bytes."""

    def __init__(self, path: str | Path, size: int):
        self._path = path
        self._size = size
        self._left = UNPACKED_FLOOR + UNPACKED_RATIO * size

    def take(self, count: int) -> None:
        """`RefusedInput` once more than the allowance was taken."""
        self._left -= count
        if self._left < 0:
            raise RefusedInput(
                f"{str(self._path)!r} unpacks to more than {UNPACKED_RATIO} times its size ({self._size:,} bytes), "
                "which is refused as a bomb; if it is yours, write it without compression."
            )


class ChunkPages(NamedTuple):
    """What the pages of one column in one row group come to: `packed` and `unpacked` bytes, and `values`.

    In bytes too are `largest`, the largest page; `per_value`, what a value has in the page where they are largest; and
    `dictionary`, the page that holds each text once, 0 without one: a value may be as large as that.
    """

    packed: int
    unpacked: int
    largest: int
    per_value: int
    values: int
    dictionary: int


@contextmanager
def refused(path: str | Path) -> Iterator[None]:
    """What the library raises for a damaged file becomes `RefusedInput`, and a disk that refuses `StorageError`."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        # Damage in a page is an OSError without a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise StorageError(f"Cannot read {str(path)!r}: {error.strerror}.") from error
        reason = str(error).splitlines()[0][:200] if str(error) else "no reason given"
        raise RefusedInput(f"{str(path)!r} is not a whole Parquet file: {reason}; fetch or write it again.") from error


def open_parquet_file(path: str | Path, *, dictionaries: tuple[str, ...] = ()) -> "ParquetFile":
    """The file with its footer read; columns in `dictionaries`, as paths in the schema, are not expanded.

    `RefusedInput` if it is no Parquet file or its footer is too large, `StorageError` if it cannot be read.
    """
    # Only here: a fifth of a second of start-up that other sources do not pay for.
    from pyarrow import parquet

    with refused(path):
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 8))
            tail = file.read(8)
        footer = int.from_bytes(tail[:4], "little")
        if tail[4:] == b"PAR1" and footer > FOOTER_LIMIT:
            raise RefusedInput(f"{str(path)!r} says that its footer has {footer:,} bytes; it is no Parquet file.")
        return parquet.ParquetFile(path, read_dictionary=list(dictionaries), pre_buffer=False)


def leaf_pages(path: str | Path, file: "ParquetFile", group: int, names: Sequence[str]) -> dict[str, ChunkPages]:
    """The pages of a row group for each leaf of the columns `names`, by its path in the schema.

    `RefusedInput` where pages are damaged or too many, where row groups lie on one another, or a name comes twice.
    """
    for name in names:
        if file.schema_arrow.names.count(name) != 1:
            raise RefusedInput(f"{str(path)!r} has several columns {name!r}; give each a name of its own.")
    paths = [file.schema.column(index).path for index in range(file.metadata.num_columns)]
    inside = tuple(f"{name}." for name in names)
    leaves = {path: index for index, path in enumerate(paths) if path in names or path.startswith(inside)}
    return {leaf: _chunk_pages(path, file, group=group, column=index) for leaf, index in leaves.items()}


def _chunk_pages(path: str | Path, file: "ParquetFile", *, group: int, column: int) -> ChunkPages:
    first, end = _range(file, group, column)
    # One place read as many row groups would make a small file a large one.
    if group and first < _range(file, group - 1, column)[1]:
        raise RefusedInput(f"{str(path)!r} has row groups that lie on one another; fetch or write it again.")
    with open(path, "rb") as opened:
        end = min(end, opened.seek(0, os.SEEK_END))
        pages = list(_pages(opened, path, first=first, end=end)) if 0 <= first <= end else []
    is_text = file.metadata.row_group(group).column(column).physical_type == "BYTE_ARRAY"
    return ChunkPages(
        packed=max(0, end - first),
        unpacked=sum(page.unpacked for page in pages),
        largest=max((page.size for page in pages), default=0),
        per_value=max((page.per_value for page in pages), default=0),
        values=sum(page.values for page in pages),
        dictionary=max((page.size for page in pages if page.is_dictionary and is_text), default=0),
    )


def _range(file: "ParquetFile", group: int, column: int) -> tuple[int, int]:
    """Where the pages of a column begin and end in the file."""
    chunk = file.metadata.row_group(group).column(column)
    # 0 is written for no dictionary.
    first = min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset)
    return first, first + chunk.total_compressed_size


class _Page(NamedTuple):
    size: int
    values: int
    is_dictionary: bool = False
    shares_prefixes: bool = False

    @property
    def unpacked(self) -> int:
        # A value may have all of the one before and one letter more.
        return self.size * (self.values if self.shares_prefixes else 1)

    @property
    def per_value(self) -> int:
        return self.size if self.shares_prefixes else -(-self.size // max(self.values, 1)) if self.values else 0


# parquet.thrift: the fields of a page header, and with which number DELTA_BYTE_ARRAY is written.
_UNPACKED, _PACKED, _DATA, _DICTIONARY, _DATA_2 = 2, 3, 5, 7, 8
_ENCODING_FIELD = {_DATA: 2, _DATA_2: 4}
_SHARED_PREFIXES = 7


def _pages(file: BinaryIO, path: str | Path, *, first: int, end: int) -> Iterator[_Page]:
    """The pages between two positions of the file."""
    for _ in range(PAGES_LIMIT):
        if first >= end:
            return
        header, length = _page_header(file, path, first)
        size, packed = header.get(_UNPACKED), header.get(_PACKED)
        if not isinstance(size, int) or not isinstance(packed, int) or size < 0 or packed < 0:
            raise RefusedInput(f"{str(path)!r} has a damaged page at byte {first}; fetch or write it again.")
        if _DICTIONARY in header:
            yield _Page(size, 0, is_dictionary=True)
        for kind, encoding in _ENCODING_FIELD.items():
            if isinstance(fields := header.get(kind), dict):
                values = fields.get(1)
                prefixes = fields.get(encoding) == _SHARED_PREFIXES
                yield _Page(size, values if isinstance(values, int) else 0, shares_prefixes=prefixes)
        first += length + packed
    raise RefusedInput(f"{str(path)!r} has a column of more than {PAGES_LIMIT:,} pages; write larger pages.")


def _page_header(file: BinaryIO, path: str | Path, position: int) -> tuple[dict[int, Any], int]:
    """The fields of the page header at a position of the file by number, and how many bytes it has."""
    count = 1 << 10
    while count <= HEADER_LIMIT:
        file.seek(position)
        data = file.read(count)
        try:
            return _struct(data, 0, depth=0)
        except IndexError:
            if len(data) < count:
                break
            count <<= 2
        except ValueError:
            break
    raise RefusedInput(f"{str(path)!r} has a damaged page header at byte {position}; fetch or write it again.")


# Thrift's compact protocol (thrift-compact-protocol.md): the widths of what has a fixed one; type 12 is a struct.
_WIDTHS = {1: 0, 2: 0, 3: 1, 7: 8}
_WHOLE_NUMBERS = (4, 5, 6)
_BINARY, _LIST, _SET, _STRUCT = 8, 9, 10, 12
# Page headers have structs in structs to a depth of 3.
_DEPTH = 8


def _struct(data: bytes, position: int, *, depth: int) -> tuple[dict[int, Any], int]:
    """Whole numbers and structs by field number, and the position behind; `IndexError` where data ends before."""
    fields: dict[int, Any] = {}
    number = 0
    while (head := data[position]) != 0:
        position += 1
        if head >> 4:
            number += head >> 4
        else:
            number, position = _zigzag(data, position)
        fields[number], position = _value(data, position, kind=head & 15, depth=depth)
    return fields, position + 1


def _value(data: bytes, position: int, *, kind: int, depth: int) -> tuple[Any, int]:
    if depth > _DEPTH:
        raise ValueError("structs in structs")
    if kind in _WIDTHS:
        return None, position + _WIDTHS[kind]
    if kind in _WHOLE_NUMBERS:
        return _zigzag(data, position)
    if kind == _STRUCT:
        return _struct(data, position, depth=depth + 1)
    if kind == _BINARY:
        length, position = _varint(data, position)
        return None, position + length
    if kind not in (_LIST, _SET):
        raise ValueError("a kind that page headers do not have")
    head, position = data[position], position + 1
    count = head >> 4
    if count == 15:
        count, position = _varint(data, position)
    for _ in range(count):
        # One byte for each element at least, so that a count cannot last longer than the data; a bool has one here.
        data[position]
        element = head & 15
        _, position = (
            (None, position + 1) if element in (1, 2) else _value(data, position, kind=element, depth=depth + 1)
        )
    return None, position


def _zigzag(data: bytes, position: int) -> tuple[int, int]:
    number, position = _varint(data, position)
    return (number >> 1) ^ -(number & 1), position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
    raise ValueError("a number of more than 64 bits")

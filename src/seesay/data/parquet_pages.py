"""Parquet files of strangers: opened with a bounded footer, and their pages measured before one is unpacked.

A page is unpacked as a whole, and a kilobyte of file may be gigabytes of page. What the footer says of it binds nobody;
the header of each page decides how much memory it takes, so the headers are what is read here.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from seesay.base.errors import RefusedInput, StorageError
from seesay.data.thrift import ThriftReader, Wanted

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
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError, KeyError) as error:
        # Damage in a page is an OSError without a number, and in the name of a column a KeyError.
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


class Chunk(NamedTuple):
    """Where the pages of one leaf of one row group lie in the file, and whether its values are texts or bytes."""

    first: int
    end: int
    is_text: bool


class RowGroup(NamedTuple):
    """Rows, and the chunk of each leaf by its path in the schema."""

    rows: int
    chunks: dict[str, Chunk]


def row_groups(path: str | Path) -> tuple[RowGroup, ...]:
    """What the footer says of each row group; `RefusedInput` where that cannot be.

    Read here and not by the library, which ends the program where a chunk contradicts itself.
    """
    status = os.stat(path)
    return _row_groups(str(path), status.st_size, status.st_mtime_ns)


# parquet.thrift: the row groups of a file, the columns of one and its rows, the metadata of a column, and of these
# type, path in the schema, bytes, and where data and dictionary begin. 6 is the type BYTE_ARRAY.
_FOOTER: Wanted = {4: [{1: [{3: {1: None, 3: [None], 7: None, 9: None, 11: None}}], 3: None}]}
_BYTE_ARRAY = 6


@lru_cache(maxsize=8)
def _row_groups(path: str, size: int, changed: int) -> tuple[RowGroup, ...]:
    """`changed` is when, so that another file of the same name is read anew."""
    with open(path, "rb") as file:
        file.seek(max(0, size - 8))
        length = min(int.from_bytes(file.read(4), "little"), FOOTER_LIMIT)
        file.seek(max(0, size - 8 - length))
        data = file.read(length)
    try:
        groups = ThriftReader(data).struct(_FOOTER).get(4, [])
        return tuple(RowGroup(group[3], dict(_chunk(column[3]) for column in group[1])) for group in groups)
    except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise RefusedInput(f"{path!r} is not a whole Parquet file: damaged footer; fetch or write it again.") from error


def _chunk(fields: dict[int, Any]) -> tuple[str, Chunk]:
    # 0 is written for no dictionary.
    first = min(fields[9], fields.get(11) or fields[9])
    leaf = ".".join(part.decode() for part in fields[3])
    return leaf, Chunk(first, first + fields[7], is_text=fields[1] == _BYTE_ARRAY)


def leaf_pages(path: str | Path, group: int, names: Sequence[str]) -> dict[str, ChunkPages]:
    """The pages of a row group for each leaf of the columns `names`, by its path in the schema.

    `RefusedInput` where pages are damaged or too many, or where row groups lie on one another.
    """
    groups = row_groups(path)
    inside = tuple(f"{name}." for name in names)
    leaves = {leaf: chunk for leaf, chunk in groups[group].chunks.items() if leaf in names or leaf.startswith(inside)}
    if not leaves:
        raise RefusedInput(f"{str(path)!r} is not a whole Parquet file: a row group without its columns.")
    for leaf, chunk in leaves.items():
        # One place read as many row groups would make a small file a large one.
        if group and leaf in groups[group - 1].chunks and chunk.first < groups[group - 1].chunks[leaf].end:
            raise RefusedInput(f"{str(path)!r} has row groups that lie on one another; fetch or write it again.")
    return {leaf: _chunk_pages(path, chunk) for leaf, chunk in leaves.items()}


def _chunk_pages(path: str | Path, chunk: Chunk) -> ChunkPages:
    with open(path, "rb") as opened:
        end = min(chunk.end, opened.seek(0, os.SEEK_END))
        pages = list(_pages(opened, path, first=chunk.first, end=end)) if 0 <= chunk.first <= end else []
    return ChunkPages(
        packed=max(0, end - chunk.first),
        unpacked=sum(page.unpacked for page in pages),
        largest=max((page.size for page in pages), default=0),
        per_value=max((page.per_value for page in pages), default=0),
        values=sum(page.values for page in pages),
        dictionary=max((page.size for page in pages if page.is_dictionary and chunk.is_text), default=0),
    )


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


# parquet.thrift: the number of the encoding DELTA_BYTE_ARRAY, and the fields of a page header.
_SHARED_PREFIXES = 7
_UNPACKED, _PACKED, _DATA, _DICTIONARY, _DATA_2 = 2, 3, 5, 7, 8
_ENCODING_FIELD = {_DATA: 2, _DATA_2: 4}
_HEADER: Wanted = {
    _UNPACKED: None,
    _PACKED: None,
    _DATA: {1: None, 2: None},
    _DICTIONARY: {},
    _DATA_2: {1: None, 4: None},
}


def _pages(file: BinaryIO, path: str | Path, *, first: int, end: int) -> Iterator[_Page]:
    """The pages between two positions of the file."""
    for _ in range(PAGES_LIMIT):
        if first >= end:
            return
        header, length = _page_header(file, path, first)
        size, packed = header.get(_UNPACKED), header.get(_PACKED)
        # A field of bytes in place of a number is damage too.
        if not isinstance(size, int) or not isinstance(packed, int) or size < 0 or packed < 0:
            raise RefusedInput(f"{str(path)!r} has a damaged page at byte {first}; fetch or write it again.")
        if _DICTIONARY in header:
            yield _Page(size, 0, is_dictionary=True)
        for kind, encoding in _ENCODING_FIELD.items():
            if (fields := header.get(kind)) is not None:
                values = fields.get(1)
                prefixes = fields.get(encoding) == _SHARED_PREFIXES
                yield _Page(size, max(0, values) if isinstance(values, int) else 0, shares_prefixes=prefixes)
        first += length + packed
    raise RefusedInput(f"{str(path)!r} has a column of more than {PAGES_LIMIT:,} pages; write larger pages.")


def _page_header(file: BinaryIO, path: str | Path, position: int) -> tuple[dict[int, Any], int]:
    """The fields of the page header at a position of the file by number, and how many bytes it has."""
    count = 1 << 10
    while count <= HEADER_LIMIT:
        file.seek(position)
        data = file.read(count)
        reader = ThriftReader(data)
        try:
            return reader.struct(_HEADER), reader.position
        except IndexError:
            if len(data) < count:
                break
            count <<= 2
        except ValueError:
            break
    raise RefusedInput(f"{str(path)!r} has a damaged page header at byte {position}; fetch or write it again.")

"""Pairs that a program has in memory: a data frame, or a sequence of (image, caption) such as a data set of torch."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from seesay.base.errors import UsageError
from seesay.base.journal import progress
from seesay.base.records import Skipped
from seesay.data.decode import open_image
from seesay.data.sources import PairList, StoredImage
from seesay.data.table_rows import Columns, TableRow, texts_of
from seesay.data.tables import pairs_of_rows

FRAME, EXAMPLES = "frame", "examples"
# Rows that become Python values at once (a guess).
ROWS_AT_ONCE = 4096


class BytesImage(NamedTuple):
    """An encoded image in memory."""

    data: bytes
    location: str

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    def read(self) -> bytes:
        """The encoded image."""
        return self.data


class ExampleImage(NamedTuple):
    """The image of an example; what is not encoded becomes a PNG, which loses nothing. `size` is of its pixels."""

    examples: Any
    number: int
    names: tuple[Any, Any]
    size: int

    @property
    def location(self) -> str:
        """The number of the example."""
        return f"example {self.number}"

    def read(self) -> bytes:
        """The encoded image; raises `BrokenSample` where the example has none."""
        image = self.examples[self.number][self.names[0]]
        file = io.BytesIO()
        Image.fromarray(open_image(image)).save(file, "PNG", compress_level=1)
        return file.getvalue()


def is_in_memory(source: Any) -> bool:
    """Whether a source of pairs is a frame or a sequence of examples, and no path or list of paths."""
    if isinstance(source, str | Path):
        return False
    return is_frame(source) or _are_examples(source)


def is_frame(source: Any) -> bool:
    """Whether a source is a table in memory that Arrow can read: pandas, polars, Arrow itself."""
    return hasattr(source, "__arrow_c_stream__")


def open_memory(source: Any, *, image_column: str | None = None, caption_column: str | None = None) -> PairList:
    """The pairs of a frame or of examples.

    A frame has a column of images (paths, relative to the working folder; bytes; or {bytes, path}) and one of captions
    (texts or lists of them), named or called as usual. An example is (image, caption) or a dict of both; its image is
    what `open_image` takes, and its captions are asked for once, here. Raises `UsageError` as `open_table`.
    """
    name = name_of_memory(source)
    columns = Columns(f"the {name}", image=image_column, caption=caption_column)
    rows = _frame_rows(source, columns) if is_frame(source) else _example_rows(source, columns)
    return pairs_of_rows(rows, columns, name=name, folder=Path.cwd(), allowance=None, problems=[])


def name_of_memory(source: Any) -> str:
    """How such a source is called in results and run folders."""
    return FRAME if is_frame(source) else EXAMPLES


def _are_examples(source: Any) -> bool:
    if not (hasattr(source, "__getitem__") and hasattr(source, "__len__")) or not len(source):
        return False
    first = source[0] if not isinstance(source, dict) else None
    return isinstance(first, dict) or (isinstance(first, tuple | list) and len(first) == 2)


def _frame_rows(frame: Any, columns: Columns) -> Iterator[TableRow | Skipped]:
    import pyarrow

    try:
        table = pyarrow.table(frame)
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"the frame cannot be read ({reason}); its images are paths or bytes.") from error
    image, caption = (table.column_names[position] for position in columns.positions(table.column_names))
    number = 0
    for batch in table.select([image, caption]).to_batches(max_chunksize=ROWS_AT_ONCE):
        for stored, texts in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            number += 1
            yield _row(f"row {number}", stored, texts)


def _example_rows(examples: Any, columns: Columns) -> Iterator[TableRow | Skipped]:
    first, names = examples[0], (0, 1)
    if isinstance(first, dict):
        found = list(first)
        image, caption = columns.positions(found)
        names = found[image], found[caption]
    with progress(len(examples), EXAMPLES) as advance:
        for index in range(len(examples)):
            example = examples[index]
            stored, texts = example[names[0]], example[names[1]]
            yield _row(f"example {index}", stored, texts, within=(examples, index, names))
            advance(1)


def _row(key: str, stored: Any, texts: Any, *, within: tuple[Any, int, Any] | None = None) -> TableRow | Skipped:
    if isinstance(stored, dict):
        stored = stored.get("bytes") or stored.get("path")
    if isinstance(stored, str | Path):
        return TableRow(key, str(stored).strip(), texts_of(texts))
    if stored is None:
        return Skipped(key=key, reason="caption without image")
    return TableRow(key, "", texts_of(texts), _image(key, stored, within))


def _image(key: str, stored: Any, within: tuple[Any, int, Any] | None) -> StoredImage:
    if isinstance(stored, bytes):
        return BytesImage(stored, key)
    if within is None:
        raise UsageError(f"{key} has a {type(stored).__name__} as its image; write its path or its bytes.")
    pixels = getattr(stored, "size", 1)
    size = pixels[0] * pixels[1] if isinstance(pixels, tuple) else pixels if isinstance(pixels, int) else 1
    return ExampleImage(*within, max(1, size))

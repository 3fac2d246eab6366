"""Pairs that a program has in memory: a data frame, or a sequence of (image, caption) such as a data set of torch."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from seesay.base.errors import BrokenSample, UsageError
from seesay.base.journal import progress
from seesay.base.records import Skipped
from seesay.data.decode import open_image
from seesay.data.sources import BytesImage, PairList, StoredImage
from seesay.data.table_rows import Columns, TableRow, texts_of
from seesay.data.tables import pairs_of_rows

FRAME, EXAMPLES = "frame", "examples"
# Rows that become Python values at once (a guess).
ROWS_AT_ONCE = 4096
# Bytes of images in one row group of a file (a guess): other processes read a group at a time.
BYTES_AT_ONCE = 1 << 25


class Cells(NamedTuple):
    """What a row or example has as its image and as its captions; `within` says which example it is, of which."""

    key: str
    image: Any
    texts: Any
    within: tuple[Any, int, tuple[Any, Any]] | None = None


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
    rows = map(_row, _cells(source, columns))
    return pairs_of_rows(rows, columns, name=name, folder=Path.cwd(), allowance=None, problems=[])


def write_memory(
    source: Any, path: Path, *, image_column: str | None = None, caption_column: str | None = None
) -> None:
    """The pairs of a frame or of examples as a Parquet file, for other processes.

    Its columns have the names that are given, else "image" and "caption". Images lie in it, except those that are named
    by a path, which becomes absolute; one that is broken is empty. Raises as `open_memory`.
    """
    import pyarrow
    import pyarrow.parquet

    columns = Columns(f"the {name_of_memory(source)}", image=image_column, caption=caption_column)
    cells = _cells(source, columns)
    kinds = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]), pyarrow.list_(pyarrow.string())
    names = image_column or "image", caption_column or "caption"
    schema = pyarrow.schema(list(zip(names, kinds, strict=True)))
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for images, captions in _parts(cells):
            arrays = [pyarrow.array(images, kinds[0]), pyarrow.array(captions, kinds[1])]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def _parts(cells: Iterator[Cells]) -> Iterator[tuple[list[dict[str, Any] | None], list[list[str]]]]:
    """Images and captions of rows that fit memory together."""
    images: list[dict[str, Any] | None] = []
    captions: list[list[str]] = []
    held = 0
    for cell in cells:
        images.append(image := _as_struct(cell))
        captions.append(list(texts_of(cell.texts)))
        held += len(image.get("bytes") or b"") if image else 0
        if held >= BYTES_AT_ONCE or len(images) == ROWS_AT_ONCE:
            yield images, captions
            images, captions, held = [], [], 0
    if images:
        yield images, captions


def _as_struct(cell: Cells) -> dict[str, Any] | None:
    stored = _stored(cell)
    if stored is None or isinstance(stored, bytes):
        return None if stored is None else {"bytes": stored}
    if isinstance(stored, str | Path):
        written = str(stored).strip()
        return {"path": os.path.abspath(written) if written else ""}
    try:
        return {"bytes": _image(cell.key, stored, cell.within).read()}
    except BrokenSample:
        return {"bytes": b""}


def name_of_memory(source: Any) -> str:
    """How such a source is called in results and run folders."""
    return FRAME if is_frame(source) else EXAMPLES


def _are_examples(source: Any) -> bool:
    if not (hasattr(source, "__getitem__") and hasattr(source, "__len__")) or not len(source):
        return False
    first = source[0] if not isinstance(source, dict) else None
    return isinstance(first, dict) or (isinstance(first, tuple | list) and len(first) == 2)


def _cells(source: Any, columns: Columns) -> Iterator[Cells]:
    return _frame_cells(source, columns) if is_frame(source) else _example_cells(source, columns)


def _frame_cells(frame: Any, columns: Columns) -> Iterator[Cells]:
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
            yield Cells(f"row {number}", stored, texts)


def _example_cells(examples: Any, columns: Columns) -> Iterator[Cells]:
    first, names = examples[0], (0, 1)
    if isinstance(first, dict):
        found = list(first)
        image, caption = columns.positions(found)
        names = found[image], found[caption]
    with progress(len(examples), EXAMPLES) as advance:
        for index in range(len(examples)):
            example = examples[index]
            yield Cells(f"example {index}", example[names[0]], example[names[1]], within=(examples, index, names))
            advance(1)


def _row(cell: Cells) -> TableRow | Skipped:
    stored, captions = _stored(cell), texts_of(cell.texts)
    if isinstance(stored, str | Path):
        return TableRow(cell.key, str(stored).strip(), captions)
    if stored is None:
        return Skipped(key=cell.key, reason="caption without image")
    return TableRow(cell.key, "", captions, _image(cell.key, stored, cell.within))


def _stored(cell: Cells) -> Any:
    """A path, the bytes, or what else an example has as its image."""
    stored = cell.image
    return stored.get("bytes") or stored.get("path") if isinstance(stored, dict) else stored


def _image(key: str, stored: Any, within: tuple[Any, int, tuple[Any, Any]] | None) -> StoredImage:
    if isinstance(stored, bytes):
        return BytesImage(stored, key)
    if within is None:
        raise UsageError(f"{key} has a {type(stored).__name__} as its image; write its path or its bytes.")
    pixels = getattr(stored, "size", 1)
    size = pixels[0] * pixels[1] if isinstance(pixels, tuple) else pixels if isinstance(pixels, int) else 1
    return ExampleImage(*within, max(1, size))

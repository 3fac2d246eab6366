"""Images or texts to a file or table of vectors that other programs read. The public verb is `embed`.

N = images or texts that could be read, D = embedding width, B = those of a block.
"""

import io
import itertools
import json
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seesay.base.bounded import read_text, split_lines
from seesay.base.errors import RefusedInput, UsageError
from seesay.base.journal import progress
from seesay.base.names import PACKAGED_MODEL, no_empty_names
from seesay.base.printable import printable
from seesay.base.publish import (
    publish_chunks,
    publish_file,
    refuse_unwritable,
    refuse_unwritable_file,
    storage_errors,
)
from seesay.base.records import PairSource, Skipped
from seesay.base.streams import say
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet
from seesay.data.lance import ENDING, write_table
from seesay.data.pairs import open_pairs
from seesay.data.sources import IMAGE_SUFFIXES, count_reasons, split_suffix
from seesay.tasks.classify import photos_and_others, read_photo

if TYPE_CHECKING:
    import pyarrow as pa

    from seesay.model.bundle import Model
    from seesay.tasks.embed_on_daft import Reader

ENDINGS = (".npy", ".parquet", ENDING)
# Engines that spread a source over processes, or machines; the model's own engine is torch then.
SPREAD = ("daft", "ray")
# Texts encoded between two lines of progress, and rows of a group of Parquet or of a file of a table: guesses.
TEXTS_AT_ONCE, GROUP = 4096, 50_000

# Names (B) and unit rows (B, D).
Block = tuple[list[str], np.ndarray]


@dataclass(frozen=True, kw_only=True, repr=False)
class EmbeddingsFile:
    """What `embed` did: `rows` vectors of `width` numbers are in `out`; `skipped` could not be read."""

    out: Path
    rows: int
    width: int
    skipped: tuple[Skipped, ...]

    def __repr__(self) -> str:
        skipped = f", {len(self.skipped):,} skipped ({count_reasons(self.skipped)})" if self.skipped else ""
        return printable(f"<EmbeddingsFile {self.rows:,} x {self.width} -> {self.out}{skipped}>")


@no_empty_names
def embed(
    source: str | Path,
    *,
    out: str | Path,
    text: bool = False,
    model: "Model | str | Path | None" = None,
    device: str | None = None,
    precision: str | None = None,
    engine: str | None = None,
    weights_dtype: str | None = None,
    batch_size: int | None = None,
) -> EmbeddingsFile:
    """Write the unit vectors of the images, or with `text` of the texts, of a source to a file.

    A source of images is what `classify_folder` or `evaluate` takes: photos, a folder, a pattern, a table or shards.
    One of texts is a .txt with a text on each line, or pairs, of which every caption is one. `out` ends in .parquet,
    with the columns "path" (or "text") and "vector", or in .npy, float32 of shape (N, D), beside which a JSON list of
    paths or texts is written as OUT.paths.json, or in .lance, a table of LanceDB with the columns of .parquet. Rows are
    in the order of the source, photos sorted by path; an image that cannot be read has none.

    `engine` is as in `Model.with_engine`; or else "daft", which encodes in a process of this machine, or "ray", on the
    machines of a Ray cluster (`RAY_ADDRESS`), each of which finds `model` by its name or folder. `weights_dtype` is as
    in `load`. All vectors are held in memory, unless the engine is "daft" or "ray" and `out` a table.

    Raises `UsageError` for a source or an ending that is none of these, `RefusedInput` where nothing can be read,
    `StorageError` where the disk fails.
    """
    out = Path(out)
    _refuse_out(out)
    names, read = (texts_of(source), None) if text else images_of(source)
    chosen = model if model is not None else PACKAGED_MODEL
    skipped: list[Skipped] = []
    how = {"device": device, "precision": precision, "weights_dtype": weights_dtype, "batch_size": batch_size}
    from seesay.model.hub import on_device

    if engine in SPREAD:
        from seesay.tasks.embed_on_daft import spread_blocks

        # What encodes may have what this machine has not.
        _check(on_device(chosen, "cpu", weights_dtype=weights_dtype), names, is_text=text)
        blocks = spread_blocks(chosen, names, read, skipped, is_on_ray=engine == "ray", how=how)
    else:
        loaded = on_device(chosen, engine=engine, **how)
        _check(loaded, names, is_text=text)
        blocks = _blocks(loaded, names, read, skipped)
    write = {".npy": _write_npy, ".parquet": _write_parquet, ENDING: _write_lance}[out.suffix.lower()]
    rows, width = write(out, "text" if text else "path", _refused_if_none(blocks, source, skipped))
    return EmbeddingsFile(out=out, rows=rows, width=width, skipped=tuple(skipped))


def _refuse_out(out: Path) -> None:
    """`UsageError` or `StorageError` for what cannot be written, before there is work."""
    if out.suffix.lower() not in ENDINGS:
        raise UsageError(f"--out {out} should end in {' or '.join(ENDINGS)}, which says how it is written.")
    if out.suffix.lower() != ENDING:
        refuse_unwritable_file(out, "--out")
        return
    if out.is_dir() and not (out / "_versions").is_dir() and any(out.iterdir()):
        raise UsageError(f"--out {out} is a folder and no table; name another.")
    refuse_unwritable(out.parent)


def _check(model: "Model", names: list[str], *, is_text: bool) -> None:
    """`UsageError` for a model without vectors of images; a warning where texts lose their end."""
    from seesay.model.zero_shot import cut_notes

    if not is_text and not model.embeds_texts:
        raise UsageError(f"{model.name} predicts captions and has no vector of an image; embed with another model.")
    for note in cut_notes(model.tokenizer, names) if is_text else ():
        warnings.warn(note, stacklevel=3)


def _refused_if_none(blocks: Iterable[Block], source: str | Path, skipped: list[Skipped]) -> Iterator[Block]:
    """The blocks; `RefusedInput` after none, before anything is written."""
    is_empty = True
    for block in blocks:
        is_empty = False
        yield block
    if is_empty:
        raise RefusedInput(f"nothing in {source} could be read ({count_reasons(skipped)}).")


def _blocks(model: "Model", names: list[str], read: "Reader | None", skipped: list[Skipped]) -> Iterator[Block]:
    """All rows as one block; images that could not be read are added to `skipped`."""
    if read is None:
        yield names, _encode_texts(model, names)
        return
    vector_ND, index, broken = _encode_images(model, names, read)
    skipped += broken
    if index:
        yield [names[position] for position in index], vector_ND


def images_of(source: str | Path) -> "tuple[list[str], Reader]":
    """The paths, or in tables and shards the keys, of a source's images, and how one is read."""
    path = Path(source).expanduser()
    if path.is_file() and path.suffix.lower() == ".txt":
        raise UsageError(f"{path} is a file of words; --text embeds them.")
    is_set = path.is_file() and split_suffix(path.name)[1] not in IMAGE_SUFFIXES
    if is_set or (path.is_dir() and not _has_photos(path)):
        opened: LabelledSet | PairSource = open_evalset(path)
        if isinstance(opened, LabelledSet):
            return [opened.key(index) for index in range(len(opened))], lambda index, _: opened.image(index)
        return [opened.key(index) for index in range(len(opened))], lambda index, _: opened[index].image
    photos, _ = photos_and_others([source])
    return [str(photo) for photo in photos], lambda _, name: read_photo(Path(name))


def _has_photos(folder: Path) -> bool:
    try:
        return bool(photos_and_others([folder])[0])
    except UsageError:
        return False


def texts_of(source: str | Path) -> list[str]:
    """The lines of a .txt file that are not blank, or every caption of pairs."""
    path = Path(source)
    if path.is_file() and path.suffix.lower() == ".txt":
        try:
            lines = split_lines(read_text(path, encoding="utf-8-sig"), source=path)
        except UnicodeDecodeError as error:
            raise RefusedInput(f"{path} is no UTF-8 ({error.reason}); save it as UTF-8.") from error
        texts = [line.strip() for line in lines if line.strip()]
        if not texts:
            raise UsageError(f"{path} has no text; write one on each line.")
        if blank := len(lines) - len(texts):
            say(f"{blank:,} blank lines of {path} have no row: rows go with the column text, not with line numbers.")
        return texts
    pairs = open_pairs(source)
    return [caption for index in range(len(pairs)) for caption in pairs.captions(index)]


def _encode_images(
    model: "Model", names: list[str], read: "Reader"
) -> tuple[np.ndarray, list[int], tuple[Skipped, ...]]:
    from seesay.model.encode import encode_image_set

    with progress(len(names), "images") as advance:
        image_ND, index, skipped = encode_image_set(
            model, lambda index: read(index, names[index]), len(names), progress=advance
        )
    return image_ND.numpy(), index, tuple(replace(item, key=names[int(item.key)]) for item in skipped)


def _encode_texts(model: "Model", texts: list[str]) -> np.ndarray:
    blocks = []
    with progress(len(texts), "texts") as advance:
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            block = texts[first : first + TEXTS_AT_ONCE]
            blocks.append(model.encode_texts(block).numpy())
            advance(len(block))
    return np.concatenate(blocks)


def _write_npy(out: Path, column: str, blocks: Iterable[Block]) -> tuple[int, int]:
    names, vector_ND = _whole(blocks)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": vector_ND.shape})
    # Names first, and no vectors of before beside them: whoever finds the vectors finds theirs.
    with storage_errors(out):
        out.unlink(missing_ok=True)
    publish_file(out.with_name(f"{out.name}.{column}s.json"), (json.dumps(names, indent=0) + "\n").encode("ascii"))
    publish_chunks(out, [header.getvalue(), vector_ND.astype("<f4").tobytes()])
    return vector_ND.shape


def _write_parquet(out: Path, column: str, blocks: Iterable[Block]) -> tuple[int, int]:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    names, vector_ND = _whole(blocks)
    sink = pa.BufferOutputStream()
    write_table(_as_table(column, names, vector_ND), sink, row_group_size=GROUP)
    publish_file(out, sink.getvalue().to_pybytes())
    return vector_ND.shape


def _write_lance(out: Path, column: str, blocks: Iterable[Block]) -> tuple[int, int]:
    """A table; never more than some blocks in memory."""
    groups = _grouped(_as_table(column, *block) for block in blocks)
    first, rows = next(groups), 0

    def counted() -> "Iterator[pa.Table]":
        nonlocal rows
        for group in itertools.chain([first], groups):
            rows += len(group)
            yield group

    write_table(out, first.schema, counted())
    return rows, first.schema.field("vector").type.list_size


def _grouped(tables: "Iterable[pa.Table]") -> "Iterator[pa.Table]":
    """The same rows, `GROUP` and more at once."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= GROUP:
            yield pa.concat_tables(waiting)
            waiting.clear()
    if waiting:
        yield pa.concat_tables(waiting)


def _whole(blocks: Iterable[Block]) -> Block:
    parts = list(blocks)
    return [name for names, _ in parts for name in names], np.concatenate([vector_BD for _, vector_BD in parts])


def _as_table(column: str, names: list[str], vector_BD: np.ndarray) -> "pa.Table":
    import pyarrow as pa

    try:
        written = pa.array(names, pa.string())
    except (UnicodeEncodeError, pa.ArrowException) as error:
        raise UsageError("a file name is no UTF-8, which a column of text is; write .npy.") from error
    flat = pa.array(np.ascontiguousarray(vector_BD).reshape(-1), pa.float32())
    return pa.table({column: written, "vector": pa.FixedSizeListArray.from_arrays(flat, vector_BD.shape[1])})

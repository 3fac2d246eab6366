"""Images or texts to a file of vectors that other programs read. The public verb is `embed`.

N = images or texts that could be read, D = embedding width.
"""

import io
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seesay.base.bounded import read_text, split_lines
from seesay.base.errors import RefusedInput, UsageError
from seesay.base.journal import progress
from seesay.base.names import PACKAGED_MODEL, no_empty_names
from seesay.base.printable import printable
from seesay.base.publish import publish_chunks, publish_file, refuse_unwritable_file, storage_errors
from seesay.base.records import PairSource, Skipped
from seesay.base.streams import say
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet
from seesay.data.pairs import open_pairs
from seesay.data.sources import IMAGE_SUFFIXES, count_reasons, split_suffix
from seesay.tasks.classify import photos_and_others, read_photo

if TYPE_CHECKING:
    from seesay.model.bundle import Model

ENDINGS = (".npy", ".parquet")
# Texts encoded between two lines of progress, and rows of a group of Parquet: guesses.
TEXTS_AT_ONCE, GROUP = 4096, 50_000


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
    batch_size: int | None = None,
) -> EmbeddingsFile:
    """Write the unit vectors of the images, or with `text` of the texts, of a source to a file.

    A source of images is what `classify_folder` or `evaluate` takes: photos, a folder, a pattern, a table or shards.
    One of texts is a .txt with a text on each line, or pairs, of which every caption is one. `out` ends in .parquet,
    with the columns "path" (or "text") and "vector", or in .npy, float32 of shape (N, D), beside which a JSON list of
    paths or texts is written as OUT.paths.json. Rows are in the order of the source, photos sorted by path; an image
    that cannot be read has none. All vectors are held in memory.

    Raises `UsageError` for a source or an ending that is none of these, `RefusedInput` where nothing can be read,
    `StorageError` where the disk fails.
    """
    out = Path(out)
    if out.suffix.lower() not in ENDINGS:
        raise UsageError(f"--out {out} should end in {' or '.join(ENDINGS)}, which says how it is written.")
    refuse_unwritable_file(out, "--out")
    from seesay.model.hub import on_device

    names, read = (texts_of(source), None) if text else images_of(source)
    chosen = model if model is not None else PACKAGED_MODEL
    loaded = on_device(chosen, device, precision=precision, engine=engine, batch_size=batch_size)
    if read is None:
        vector_ND, skipped = _encode_texts(loaded, names), ()
    else:
        vector_ND, index, skipped = _encode_images(loaded, names, read)
        names = [names[position] for position in index]
    if not names:
        raise RefusedInput(f"nothing in {source} could be read ({count_reasons(skipped)}).")
    write = _write_npy if out.suffix.lower() == ".npy" else _write_parquet
    write(out, "text" if text else "path", names, vector_ND)
    return EmbeddingsFile(out=out, rows=len(names), width=vector_ND.shape[1], skipped=skipped)


def images_of(source: str | Path) -> tuple[list[str], Callable[[int], bytes]]:
    """The paths, or in tables and shards the keys, of a source's images, and how the one of a number is read."""
    path = Path(source).expanduser()
    if path.is_file() and path.suffix.lower() == ".txt":
        raise UsageError(f"{path} is a file of words; --text embeds them.")
    is_set = path.is_file() and split_suffix(path.name)[1] not in IMAGE_SUFFIXES
    if is_set or (path.is_dir() and not _has_photos(path)):
        opened: LabelledSet | PairSource = open_evalset(path)
        if isinstance(opened, LabelledSet):
            return [opened.key(index) for index in range(len(opened))], opened.image
        return [opened.key(index) for index in range(len(opened))], lambda index: opened[index].image
    photos, _ = photos_and_others([source])
    return [str(photo) for photo in photos], lambda index: read_photo(photos[index])


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
    model: "Model", names: list[str], read: Callable[[int], bytes]
) -> tuple[np.ndarray, list[int], tuple[Skipped, ...]]:
    from seesay.model.encode import encode_image_set

    if not model.embeds_texts:
        raise UsageError(f"{model.name} predicts captions and has no vector of an image; embed with another model.")
    with progress(len(names), "images") as advance:
        image_ND, index, skipped = encode_image_set(model, read, len(names), progress=advance)
    return image_ND.numpy(), index, tuple(replace(item, key=names[int(item.key)]) for item in skipped)


def _encode_texts(model: "Model", texts: list[str]) -> np.ndarray:
    from seesay.model.zero_shot import cut_notes

    for note in cut_notes(model.tokenizer, texts):
        warnings.warn(note, stacklevel=3)
    blocks = []
    with progress(len(texts), "texts") as advance:
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            block = texts[first : first + TEXTS_AT_ONCE]
            blocks.append(model.encode_texts(block).numpy())
            advance(len(block))
    return np.concatenate(blocks)


def _write_npy(out: Path, column: str, names: list[str], vector_ND: np.ndarray) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": vector_ND.shape})
    # Names first, and no vectors of before beside them: whoever finds the vectors finds theirs.
    with storage_errors(out):
        out.unlink(missing_ok=True)
    publish_file(out.with_name(f"{out.name}.{column}s.json"), (json.dumps(names, indent=0) + "\n").encode("ascii"))
    publish_chunks(out, [header.getvalue(), vector_ND.astype("<f4").tobytes()])


def _write_parquet(out: Path, column: str, names: list[str], vector_ND: np.ndarray) -> None:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    try:
        written = pa.array(names, pa.string())
    except (UnicodeEncodeError, pa.ArrowException) as error:
        raise UsageError("a file name is no UTF-8, which a column of Parquet is; write .npy.") from error
    flat = pa.array(np.ascontiguousarray(vector_ND).reshape(-1), pa.float32())
    vectors = pa.FixedSizeListArray.from_arrays(flat, vector_ND.shape[1])
    sink = pa.BufferOutputStream()
    write_table(pa.table({column: written, "vector": vectors}), sink, row_group_size=GROUP)
    publish_file(out, sink.getvalue().to_pybytes())

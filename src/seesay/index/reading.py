"""Photos to what an index keeps of them, in processes of their own, so that a decoder that dies takes no index with it.

K = photos that could be read, S = side that the model takes.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from seesay.base.errors import BrokenSample
from seesay.base.processes import usable_cores
from seesay.data.duplicates import looks
from seesay.data.exif_time import taken_seconds
from seesay.data.images import Preprocess
from seesay.data.jpeg import decoding
from seesay.data.sources import LooseFile
from seesay.data.thumbnails import quick_thumbnail
from seesay.data.workers import Arrays, WorkerFailure, WorkerPool, WorkerTimeout

# Photos that a process reads at once: a guess at what keeps messages rare and what a death spoils small.
AT_ONCE = 16
# Such batches that a process has in hand, a guess: the others read on while a model takes several of them at once.
SLOTS = 4
# How long such a batch may take, and one photo that is read alone: guesses, several times what `data.decoding_limits`
# lets through, for machines that do other things too.
BATCH_SECONDS, ALONE_SECONDS = 40.0, 60.0
# Pixels of the longer side of a thumbnail and JPEG's quality: guesses at what still shows a photo in a grid.
SIDE, QUALITY = 192, 75
# Beside the pixels: thumbnails and reasons, a guess; more goes over in several parts.
RECORD_BYTES = 16_384
DIED, HANGS = "decoder died", "decoder hangs"

RECORD = pa.schema(
    [
        ("index", pa.int64()),
        ("hash", pa.binary(32)),
        ("taken_s", pa.int64()),
        ("look", pa.uint64()),
        ("colours", pa.binary(192)),
        ("thumbnail", pa.binary()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class PhotosRead:
    """A row of `records`, whose columns are `RECORD`, for every photo, also those that could not be read.

    `pixels_K3SS`, uint8, are of those whose reason is empty, in the order of the rows.
    """

    records: pa.RecordBatch
    pixels_K3SS: np.ndarray


def _nothing() -> None:
    pass


def read_photos(
    paths: Sequence[bytes], preprocess: Preprocess, *, meanwhile: Callable[[], object] = _nothing
) -> Iterator[PhotosRead]:
    """All photos at these paths, in order, some at a time; `meanwhile` is called while the first ones are decoded.

    One whose decoder dies or hangs is read once more, alone, and then has that for its reason.
    """
    make = partial(_read_batch, paths, preprocess)
    slot_bytes = AT_ONCE * (3 * preprocess.size**2 + RECORD_BYTES)
    tasks = [np.arange(first, min(first + AT_ONCE, len(paths))) for first in range(0, len(paths), AT_ONCE)]
    workers = max(1, min(usable_cores(), len(tasks)))
    in_hand = SLOTS * workers + 1
    while tasks:
        done = 0
        pool = _pool(make, workers=workers, slot_bytes=slot_bytes, seconds=BATCH_SECONDS)
        try:
            for arrays in pool.results(_with_pause(tasks, SLOTS * workers, meanwhile)):
                yield _unpacked(arrays)
                done += 1
            return
        except WorkerFailure:
            meanwhile = _nothing
            suspects = np.concatenate(tasks[done : done + in_hand])
            tasks = tasks[done + in_hand :]
        finally:
            pool.close()
        yield from _read_alone(make, suspects, slot_bytes=slot_bytes)


def _with_pause(tasks: Sequence[np.ndarray], count: int, pause: Callable[[], object]) -> Iterator[list[np.ndarray]]:
    """The tasks; `pause` is called when `count` of them, or all, are with the workers."""
    yield from ([task] for task in tasks[:count])
    pause()
    yield from ([task] for task in tasks[count:])


def together(reads: Iterable[PhotosRead], count: int) -> Iterator[PhotosRead]:
    """The same photos in the same order, at least `count` of them that could be read at a time, but for the last.

    A model takes many at once in less time than a few.
    """
    held: list[PhotosRead] = []
    for read in reads:
        held.append(read)
        if sum(len(each.pixels_K3SS) for each in held) >= count:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _joined(reads: Sequence[PhotosRead]) -> PhotosRead:
    (records,) = pa.Table.from_batches([read.records for read in reads]).combine_chunks().to_batches()
    return PhotosRead(records=records, pixels_K3SS=np.concatenate([read.pixels_K3SS for read in reads]))


def _read_alone(make: partial, indices: np.ndarray, *, slot_bytes: int) -> Iterator[PhotosRead]:
    """One photo after the other, in a process that is started again after each death."""
    side = make.args[1].size
    while len(indices):
        done = 0
        pool = _pool(make, workers=1, slot_bytes=slot_bytes, seconds=ALONE_SECONDS)
        try:
            for arrays in pool.results([indices[at : at + 1]] for at in range(len(indices))):
                yield _unpacked(arrays)
                done += 1
            return
        except WorkerFailure as failure:
            hangs = BrokenSample(HANGS, f"read alone, it took more than {ALONE_SECONDS:.0f} s")
            error = hangs if isinstance(failure, WorkerTimeout) else BrokenSample(DIED, str(failure))
            records = _records([_broken(int(indices[done]), b"", error)])
            yield PhotosRead(records=records, pixels_K3SS=np.empty((0, 3, side, side), np.uint8))
            indices = indices[done + 1 :]
        finally:
            pool.close()


def _pool(make: partial, *, workers: int, slot_bytes: int, seconds: float) -> WorkerPool:
    # A photo that hangs is listed; the stacks of its decoder would be in the way of the table.
    return WorkerPool(
        make, workers=workers, slot_bytes=slot_bytes, slots=SLOTS, timeout_seconds=seconds, shows_stacks=False
    )


def _read_batch(paths: Sequence[bytes], preprocess: Preprocess, task: Arrays) -> Arrays:
    """What a worker makes of the numbers of some photos: pixels, and the records as Arrow's stream."""
    rows, pixels = [], []
    for index in task[0].tolist():
        row, square = _read_one(index, paths[index], preprocess)
        rows.append(row)
        pixels += [] if square is None else [square]
    empty = np.empty((0, 3, preprocess.size, preprocess.size), np.uint8)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, RECORD) as stream:
        stream.write_batch(_records(rows))
    return [np.stack(pixels) if pixels else empty, np.frombuffer(sink.getvalue(), np.uint8)]


def _read_one(index: int, path: bytes, preprocess: Preprocess) -> tuple[dict, np.ndarray | None]:
    data = b""
    try:
        data = LooseFile(os.fsdecode(path), size=0).read()
        with decoding(data) as image:
            square = preprocess.pixels(image).numpy()
            thumbnail, small = quick_thumbnail(image, side=SIDE, quality=QUALITY)
    except BrokenSample as error:
        return _broken(index, data, error), None
    look, colours = looks(small)
    row = {
        "index": index,
        "hash": hashlib.sha256(data).digest(),
        "taken_s": taken_seconds(data),
        "look": look,
        "colours": colours.tobytes(),
        "thumbnail": thumbnail,
        "reason": "",
        "detail": "",
    }
    return row, square


def _broken(index: int, data: bytes, error: BrokenSample) -> dict:
    digest = hashlib.sha256(data).digest()
    return {"index": index, "hash": digest, "reason": error.reason, "detail": error.detail[:1000]}


def _records(rows: Sequence[dict]) -> pa.RecordBatch:
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in RECORD]
    return pa.RecordBatch.from_arrays(columns, schema=RECORD)


def _unpacked(arrays: Sequence[np.ndarray]) -> PhotosRead:
    with pa.ipc.open_stream(pa.py_buffer(arrays[1])) as stream:
        return PhotosRead(records=stream.read_next_batch(), pixels_K3SS=arrays[0])

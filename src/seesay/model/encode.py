"""A whole set of pictures to one matrix: decoded in threads, encoded in blocks, broken ones named and left out.

N = pictures that could be read, D = embedding width.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import torch
from torch import Tensor

from seesay.base.errors import BrokenSample
from seesay.base.records import Skipped
from seesay.data.images import decode
from seesay.model.bundle import Model

BLOCK = 64


def encode_image_set(
    model: Model, read: Callable[[int], bytes], count: int, *, progress: Callable[[int], None] = lambda done: None
) -> tuple[Tensor, list[int], list[Skipped]]:
    """Pictures 0..count-1, as `read` gives their bytes, to ((N, D) unit rows, their indices, what was skipped).

    `progress` is called with the number of pictures done since the last call.
    """
    blocks, kept, skipped = [], [], []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        # Two blocks are under way at a time: one being encoded, one being decoded.
        for block in _ahead(pool, lambda index: _pixels(model, read, index), count):
            good = [(index, item) for index, item in block if isinstance(item, Tensor)]
            skipped += [item for _, item in block if isinstance(item, Skipped)]
            if good:
                blocks.append(model.encode_pixels(torch.stack([item for _, item in good])))
                kept += [index for index, _ in good]
            progress(len(block))
    embeddings = torch.cat(blocks) if blocks else torch.empty(0, model.architecture.embed_dim)
    return embeddings, kept, skipped


def read_pixels(
    model: Model, read: Callable[[int], bytes], count: int
) -> tuple[list[Tensor], list[int], list[Skipped]]:
    """As `encode_image_set`, but the uint8 pixels (3, S, S) themselves, for what is encoded again and again."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        told = list(enumerate(pool.map(lambda index: _pixels(model, read, index), range(count))))
    good = [(index, item) for index, item in told if isinstance(item, Tensor)]
    skipped = [item for _, item in told if isinstance(item, Skipped)]
    return [item for _, item in good], [index for index, _ in good], skipped


def _pixels(model: Model, read: Callable[[int], bytes], index: int) -> Tensor | Skipped:
    try:
        return model.preprocess.pixels(decode(read(index)))
    except BrokenSample as error:
        return Skipped(key=str(index), reason=error.reason, detail=error.detail)


def _ahead(pool: ThreadPoolExecutor, work: Callable, count: int) -> Iterator[list[tuple[int, Tensor | Skipped]]]:
    """Results of `work(0..count-1)` in blocks, the next block always being worked on."""
    indices = iter(range(count))
    waiting = [(index, pool.submit(work, index)) for index in islice(indices, BLOCK)]
    while waiting:
        following = [(index, pool.submit(work, index)) for index in islice(indices, BLOCK)]
        yield [(index, future.result()) for index, future in waiting]
        waiting = following

"""A whole set of pictures to one matrix: decoded in threads, encoded in blocks, broken ones named and left out.

N = pictures that could be read, B = those of a block, C = classes, D = embedding width.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from seesay.base.errors import BrokenSample
from seesay.base.records import Skipped
from seesay.model.ahead import in_blocks
from seesay.model.bundle import Model
from seesay.model.zero_shot import Classifier
from seesay.nets.clip import Predictor

BLOCK = 64
Encode = Callable[[Tensor], Tensor]


def encode_image_set(
    model: Model,
    read: Callable[[int], bytes],
    count: int,
    *,
    progress: Callable[[int], None] = lambda done: None,
    encode: Encode | None = None,
) -> tuple[Tensor, list[int], list[Skipped]]:
    """Pictures 0..count-1, as `read` gives their bytes, to ((N, D) unit rows, their indices, what was skipped).

    `progress` is called with the number of pictures done since the last call. `encode` takes the place of
    `model.encode_pixels`, and its rows that of unit rows.
    """
    blocks, kept, skipped = [], [], []
    for image_BD, own, broken in encode_blocks(model, read, range(count), encode=encode):
        if own:
            blocks.append(image_BD)
        kept += own
        skipped += broken
        progress(len(own) + len(broken))
    embeddings = torch.cat(blocks) if blocks else torch.empty(0, model.architecture.embed_dim)
    return embeddings, kept, skipped


def score_image_set(
    model: Model,
    classifier: Classifier,
    read: Callable[[int], bytes],
    count: int,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Tensor, list[int], list[Skipped]]:
    """As `encode_image_set`, with the classifier's scores (N, C) in place of rows, which end with their block."""

    def scores(pixels_B3SS: Tensor) -> Tensor:
        return classifier.scores(model.encode_pixels(pixels_B3SS))

    return encode_image_set(model, read, count, progress=progress, encode=scores)


def reads_grid(model: Model) -> bool:
    """Whether a picture's row is a grid, 100 times as long as an embedding: rows of a whole set would be gigabytes."""
    return isinstance(model.clip, Predictor) and model.clip.head.reads_grid


def encode_blocks(
    model: Model, read: Callable[[int], bytes], indices: Iterable[int], *, encode: Encode | None = None
) -> Iterator[tuple[Tensor, list[int], list[Skipped]]]:
    """The pictures of these numbers as `encode_image_set` gives them, `BLOCK` at a time, so that nothing piles up."""
    for block in in_blocks(lambda index: _pixels(model, read, index), indices, size=BLOCK):
        good, broken = _sorted_out(block)
        image_BD = torch.empty(0, model.architecture.embed_dim)
        if good:
            image_BD = (encode or model.encode_pixels)(torch.stack([pixels for _, pixels in good]))
        yield image_BD, [index for index, _ in good], broken


def read_pixels(
    model: Model, read: Callable[[int], bytes], count: int
) -> tuple[list[Tensor], list[int], list[Skipped]]:
    """As `encode_image_set`, but the uint8 pixels (3, S, S) themselves, for what is encoded again and again."""
    blocks = in_blocks(lambda index: _pixels(model, read, index), range(count), size=BLOCK)
    good, skipped = _sorted_out([told for block in blocks for told in block])
    return [pixels for _, pixels in good], [index for index, _ in good], skipped


def _pixels(model: Model, read: Callable[[int], bytes], index: int) -> tuple[int, Tensor | Skipped]:
    try:
        return index, model.preprocess.read(read(index))
    except BrokenSample as error:
        return index, Skipped(key=str(index), reason=error.reason, detail=error.detail)


def _sorted_out(told: list[tuple[int, Tensor | Skipped]]) -> tuple[list[tuple[int, Tensor]], list[Skipped]]:
    good = [(index, item) for index, item in told if isinstance(item, Tensor)]
    return good, [item for _, item in told if isinstance(item, Skipped)]

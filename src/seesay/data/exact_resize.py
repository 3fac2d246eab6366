"""The resize of bytes of Pillow 13, bit for bit, in less time and whichever Pillow is installed.

H, W = height and width of an image, S = a side of the result, K = pixels that one of them is made of, L = lines of
pixels, N = bytes in a line.

Pillow (`Resample.c`) makes a pixel of K others by weights that are whole numbers of 1 / 2^22, and rounds: in one pass
across and one down. Here these sums are made in float32, in which such weights are exact, by torch's sum of weighted
rows. One that is nearer to the middle between two bytes than float32 may be off is made again in whole numbers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from seesay.base.c_functions import c_function
from seesay.data.jpeg import DecodedImage

# Bits behind the point of Pillow's weights, and those that float32 rounds to.
WEIGHT_BITS, FLOAT_BITS = 22, 24
# Pixels of 16 bytes that a core has at hand while it goes over them: half of this takes a third longer at 3000 x 2000,
# and twice takes longer at 500 x 375 (benchmarks/2026-11-29-pixels). Of a long image no fewer columns, a guess.
PIXELS_AT_ONCE, LEAST_COLUMNS = 1 << 17, 16
# Numbers of the sums that are made again at once, a guess: in a drawing all may lie in the middle.
AGAIN_AT_ONCE = 1 << 20
# Weights of longer sides are made anew: 256 of the longest would hold 1 GB, and for 4,000 it takes 0.2 ms (by hand).
KEPT_SIDE = 2048


def resized_part(
    image: DecodedImage, sides: tuple[int, int], box: tuple[int, int, int, int], *, interpolation: str
) -> np.ndarray:
    """The part `box` (top, left, bottom, right) of the upright image resized to `sides`, (H, W, 3) uint8.

    Only what the part is made of is looked at.
    """
    (height, width), (top, left, bottom, right) = image.decoded, box
    down = _weights(height, sides[0], (top, bottom), interpolation)
    across = _weights(width, sides[1], (left, right), interpolation)
    if is_across_first((height, width), sides):
        once_WH = _over_image(across, down, lambda begin, end: image.words(begin, across.start, end, across.stop).T)
        return _colours(_means(once_WH.T, down))
    once_HW = _over_image(down, across, lambda begin, end: image.words(down.start, begin, down.stop, end))
    return _colours(_means(once_HW.T, across)).transpose(1, 0, 2)


def is_across_first(sides: tuple[int, int], resized: tuple[int, int]) -> bool:
    """Whether Pillow's first pass is the one across: not where it loses much height.

    Found by trial with Pillow 13; 11.3 and 12.0 always go across first, so that their images of that kind are others.
    """
    lost_down, lost_across = (side - left for side, left in zip(sides, resized, strict=True))
    return lost_down <= max(0, 2 * lost_across)


@dataclass(frozen=True)
class _Weights:
    """What the pixels of one side of the result are made of: of lines `start` to `stop`, by their number from `start`.

    `whole_SK` are the weights times 2^22. A sum in float32 is less than `doubt` away from the sum of these.
    """

    start: int
    stop: int
    index_SK: np.ndarray
    whole_SK: np.ndarray
    doubt: float
    indices: torch.Tensor
    offsets: torch.Tensor
    weights: torch.Tensor


def _weights(side: int, resized: int, part: tuple[int, int], interpolation: str) -> _Weights:
    """Of a `part` of `resized` pixels that are made of `side`."""
    return (_kept_weights if side <= KEPT_SIDE else _new_weights)(side, resized, part, interpolation)


def _new_weights(side: int, resized: int, part: tuple[int, int], interpolation: str) -> _Weights:
    """In the order of Pillow's own operations."""
    kernel, reach = _KERNELS[interpolation]
    scale = side / resized
    stretch = max(1.0, scale)
    centre_S = (np.arange(*part) + 0.5) * scale
    begin_S = np.maximum((centre_S - reach * stretch + 0.5).astype(np.int64), 0)
    end_S = np.minimum((centre_S + reach * stretch + 0.5).astype(np.int64), side)
    start, stop = int(begin_S.min()), int(end_S.max())
    at_SK = begin_S[:, None] + np.arange((end_S - begin_S).max())
    share_SK = kernel(np.abs((at_SK - centre_S[:, None] + 0.5) * (1.0 / stretch)))
    share_SK[at_SK >= end_S[:, None]] = 0
    share_SK /= share_SK.cumsum(1)[:, -1:]
    whole_SK = np.trunc(share_SK * 2**WEIGHT_BITS + np.copysign(0.5, share_SK)).astype(np.int32)
    index_SK = np.minimum(at_SK, stop - 1) - start
    count, weight_SK = index_SK.shape[1], (whole_SK / 2**WEIGHT_BITS).astype(np.float32)
    # Higham, Accuracy and Stability, 3.1: K roundings of the sum of all magnitudes; and those of what follows.
    doubt = (count + 6) * 2.0**-FLOAT_BITS * 255 * float(np.abs(weight_SK).sum(1).max())
    bags = (torch.from_numpy(values.ravel()) for values in (index_SK, np.arange(0, index_SK.size, count), weight_SK))
    return _Weights(start, stop, index_SK, whole_SK, doubt, *bags)


_kept_weights = lru_cache(maxsize=256)(_new_weights)


def _bicubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -1/2 at distances `x` of any shape."""
    return np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, np.where(x < 2, (((x - 5) * x + 8) * x - 4) * -0.5, 0.0))


def _bilinear(x: np.ndarray) -> np.ndarray:
    return np.where(x < 1, 1 - x, 0.0)


# With how far each looks in pixels of the coarser grid.
_KERNELS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "bicubic": (_bicubic, 2.0),
    "bilinear": (_bilinear, 1.0),
}


def _over_image(weights: _Weights, others: _Weights, words: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """The first pass, (S, W), over `words(begin, end)`, (L, ...): of what the second needs, some columns at once."""
    step = max(LEAST_COLUMNS, PIXELS_AT_ONCE // (weights.stop - weights.start))
    blocks = range(others.start, others.stop, step)
    means = [_means(words(begin, min(begin + step, others.stop)), weights) for begin in blocks]
    return means[0] if len(means) == 1 else np.concatenate(means, axis=1)


def _means(words_LW: np.ndarray, weights: _Weights) -> np.ndarray:
    """S lines of uint32 pixels, (S, W), each the weighted mean of K."""
    lines_LN = np.ascontiguousarray(words_LW).view(np.uint8)
    float_LN = torch.from_numpy(lines_LN.astype(np.float32))
    with _alone():
        sums = F.embedding_bag(
            weights.indices, float_LN, weights.offsets, mode="sum", per_sample_weights=weights.weights
        )
    sum_SN = sums.numpy()
    # Rounded from both ends of what the sum may be; in place, as new memory takes as long as the step itself.
    sum_SN += 0.5 - weights.doubt
    np.clip(sum_SN, 0, 255, out=sum_SN)
    mean_SN = sum_SN.astype(np.uint8)
    sum_SN += 2 * weights.doubt
    again = np.flatnonzero(mean_SN != sum_SN.astype(np.uint8))
    step = max(1, AGAIN_AT_ONCE // weights.index_SK.shape[1])
    for begin in range(0, len(again), step):
        row, column = np.divmod(again[begin : begin + step], mean_SN.shape[1])
        part_XK = lines_LN[weights.index_SK[row], column[:, None]] * weights.whole_SK[row]
        rounded_X = part_XK.sum(1, dtype=np.int32) + (1 << WEIGHT_BITS - 1) >> WEIGHT_BITS
        mean_SN[row, column] = rounded_X.clip(0, 255)
    return mean_SN.view(np.uint32)


def _colours(words_HW: np.ndarray) -> np.ndarray:
    return words_HW.view(np.uint8).reshape(*words_HW.shape, 4)[:, :, :3]


@contextmanager
def _alone() -> Iterator[None]:
    """Inside, torch starts no threads of its own; for this thread only, which `torch.set_num_threads` is not.

    Images are decoded in as many threads as there are cores, and each would start as many again for a tenth of a
    millisecond.
    """
    # Asked first: torch sets up each thread when it is first asked, and would undo it later.
    threads, set_threads = torch.get_num_threads(), _openmp()
    if threads == 1 or set_threads is None:
        yield
        return
    set_threads(1)
    try:
        yield
    finally:
        set_threads(threads)


@lru_cache
def _openmp() -> Callable[[int], int] | None:
    """OpenMP's function for the threads of the calling thread; None where torch's threads are not OpenMP's."""
    return c_function("omp_set_num_threads")

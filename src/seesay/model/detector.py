"""What finds the copies of images: a small tower of the package, and a hash beside it, over any number of images.

The tower tells a copy from another image of the same kind, which CLIP's own embeddings do not (Radford et al. 2021,
appendix C); `detector/README.md` is its card. The hash is that of `data.duplicates`.

N = images asked about, M = images searched, B = those of a block, S = side, D = width of a row, K = matches kept.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load
from torch import Tensor

from seesay.base.errors import BrokenSample
from seesay.base.records import Skipped
from seesay.base.version import __version__
from seesay.data.duplicates import GRID, are_alike, looks
from seesay.data.jpeg import decoding
from seesay.formulas.similarity import unit
from seesay.model.cache import EmbeddingCache, content_of, key_of
from seesay.model.encode import prefetch_blocks
from seesay.nets.convolutional import CopyTower

FOLDER = Path(__file__).parent / "detector"
# As it was trained: benchmarks/2026-11-29-overlap.
WIDTHS, DIM, SIDE = (64, 128), 128, 48
# A JPEG is decoded to this many times the side or more (as `data.images` has it).
FINEST = 2
# Images described and cached together, and compared with all that is asked about at once; guesses.
CHUNK, BLOCK = 4096, 1024
# Matches of an image that are kept; a guess at how often an image is in a training set.
MATCHES = 8
# How much of what is usual for an image is taken off its cosines; chosen in benchmarks/2026-11-29-overlap.
USUAL_WEIGHT = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Described:
    """Images as they are compared: unit rows (N, D), hashes (N,) and grids of colours (N, 8, 8, 3).

    `index` are the numbers of the images, without those of `skipped`, whose keys are numbers as text.
    """

    row_ND: Tensor
    look_N: np.ndarray
    colours_N883: np.ndarray
    index: np.ndarray
    skipped: tuple[Skipped, ...] = ()


class CopyDetector:
    """The tower of the package; made once, on the CPU."""

    def __init__(self) -> None:
        data = (FOLDER / "detector.safetensors").read_bytes()
        self.fingerprint = hashlib.sha256(data).hexdigest()
        self._tower = CopyTower(WIDTHS, DIM)
        self._tower.load_state_dict({name: tensor.float() for name, tensor in load(data).items()})
        self._tower.eval()

    @torch.inference_mode()
    def rows(self, pixels_BSS3: np.ndarray) -> Tensor:
        """Whole images squashed to (B, S, S, 3) uint8 to unit rows (B, D)."""
        pixels_B3SS = torch.from_numpy(np.array(pixels_BSS3)).permute(0, 3, 1, 2)
        return unit(self._tower((pixels_B3SS.float() / 255 - 0.5) / 0.25))

    def describe(self, read: Callable[[int], bytes], indices: Sequence[int]) -> Described:
        """The images of these numbers, as `read` gives their bytes."""
        pixels, prints, index, skipped = [], [], [], []
        for block in prefetch_blocks(partial(_look_at, read), indices, size=256):
            for number, found in block:
                if isinstance(found, Skipped):
                    skipped.append(found)
                    continue
                index.append(number)
                pixels.append(found[0])
                prints.append(found[1:])
        rows = [self.rows(np.stack(pixels[first : first + 256])) for first in range(0, len(pixels), 256)]
        return Described(
            row_ND=torch.cat(rows) if rows else torch.empty(0, DIM),
            look_N=np.array([look for look, _ in prints], np.uint64),
            colours_N883=np.array([colours for _, colours in prints], np.uint8).reshape(-1, GRID, GRID, 3),
            index=np.array(index, np.int64),
            skipped=tuple(skipped),
        )

    def cached(self, read: Callable[[int], bytes], indices: Sequence[int], cache: EmbeddingCache) -> Described:
        """As `describe`, from the cache where the same bytes were described before; all bytes are read either way."""
        if cache.folder is None:
            return self.describe(read, indices)
        blocks = prefetch_blocks(lambda number: _bytes_or_reason(read, number), indices, size=256)
        key = key_of(self.fingerprint, __version__, content_of(item for block in blocks for item in block))
        if (kept := cache.read("copies", key)) is not None:
            at = kept["at"].numpy()
            others = [indices[n] for n in sorted(set(range(len(indices))) - set(at.tolist()))]
            return Described(
                row_ND=kept["row_ND"],
                look_N=kept["look_N"].numpy().view(np.uint64),
                colours_N883=kept["colours_N883"].numpy(),
                index=np.array(indices, np.int64)[at],
                skipped=self.describe(read, others).skipped,
            )
        made = self.describe(read, indices)
        at = np.searchsorted(np.array(indices), made.index)
        tensors = {"row_ND": made.row_ND, "colours_N883": torch.from_numpy(made.colours_N883)}
        tensors |= {"look_N": torch.from_numpy(made.look_N.view(np.int64)), "at": torch.from_numpy(at)}
        cache.write("copies", key, tensors)
        return made


def squashed_images(
    read: Callable[[int], bytes], indices: Sequence[int]
) -> tuple[dict[int, np.ndarray], tuple[Skipped, ...]]:
    """Images by their numbers as the tower takes them, each (S, S, 3) uint8, and those that cannot be read."""
    images, skipped = {}, []
    for block in prefetch_blocks(partial(_squash, read), indices, size=256):
        for number, found in block:
            if isinstance(found, Skipped):
                skipped.append(found)
            else:
                images[number] = found
    return images, tuple(skipped)


def squashed(image: Image.Image) -> np.ndarray:
    """An RGB image as the tower takes it, (S, S, 3) uint8: the whole of it, whatever its aspect ratio."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _scale(height: int, width: int) -> float:
    return min(height, width) / (FINEST * SIDE)


def _squash(read: Callable[[int], bytes], number: int) -> tuple[int, Skipped | np.ndarray]:
    try:
        with decoding(read(number), _scale) as image:
            return number, squashed(Image.fromarray(image.pixels_HW3))
    except BrokenSample as error:
        return number, Skipped(key=str(number), reason=error.reason, detail=error.detail)


def _look_at(read: Callable[[int], bytes], number: int) -> tuple[int, Skipped | tuple[np.ndarray, int, np.ndarray]]:
    try:
        with decoding(read(number), _scale) as image:
            look, colours = looks(image.pixels_HW3)
            return number, (squashed(Image.fromarray(image.pixels_HW3)), look, colours)
    except BrokenSample as error:
        return number, Skipped(key=str(number), reason=error.reason, detail=error.detail)


def _bytes_or_reason(read: Callable[[int], bytes], number: int) -> bytes | str:
    try:
        return read(number)
    except BrokenSample as error:
        return error.reason


class CopySearch:
    """The nearest of any number of images to those asked about; what is searched passes by and is not held.

    `cosine_NK` (N, K) are cosines, best first, and `number_NK` the images' numbers, -1 where fewer have passed.
    `alike_N` is the number of the first image that has the same hash (`data.duplicates`), -1 without one.
    """

    def __init__(self, queries: Described):
        self.queries = queries
        self.cosine_NK = torch.full((len(queries.index), MATCHES), -2.0)
        self.number_NK = torch.full((len(queries.index), MATCHES), -1, dtype=torch.int64)
        self.alike_N = np.full(len(queries.index), -1, np.int64)

    def similarity(self, cosine_NX: Tensor) -> Tensor:
        """Cosines of each image with others, (N, X), less `USUAL_WEIGHT` of what is usual for it.

        Usual is the mean of the farther half of its matches: an image that is like many is held to more. Such a
        normalisation is that of Douze et al. 2021, "The 2021 image similarity dataset and challenge".
        """
        far_NX, is_there_NX = self.cosine_NK[:, MATCHES // 2 :], self.number_NK[:, MATCHES // 2 :] >= 0
        usual_N = (far_NX * is_there_NX).sum(1) / is_there_NX.sum(1).clamp(min=1)
        return cosine_NX - USUAL_WEIGHT * usual_N[:, None]

    def add(self, passing: Described) -> None:
        """Compare with these images."""
        for first in range(0, len(passing.index), BLOCK):
            part = slice(first, first + BLOCK)
            self._add_rows(passing.row_ND[part], torch.from_numpy(passing.index[part]))
            self._add_looks(passing.look_N[part], passing.colours_N883[part], passing.index[part])

    def _add_rows(self, row_BD: Tensor, number_B: Tensor) -> None:
        score_NB = self.queries.row_ND @ row_BD.T
        # Most images that pass are nearer than the last match to few of those asked about.
        (better,) = (score_NB.amax(1) > self.cosine_NK[:, -1]).nonzero(as_tuple=True)
        if not len(better):
            return
        new_XK, at_XK = score_NB[better].topk(min(MATCHES, len(number_B)), dim=1)
        both = torch.cat([self.cosine_NK[better], new_XK], 1)
        numbers = torch.cat([self.number_NK[better], number_B[at_XK]], 1)
        order = both.argsort(dim=1, descending=True, stable=True)[:, :MATCHES]
        self.cosine_NK[better], self.number_NK[better] = both.gather(1, order), numbers.gather(1, order)

    def _add_looks(self, look_B: np.ndarray, colours_B883: np.ndarray, number_B: np.ndarray) -> None:
        pairs = are_alike((self.queries.look_N, self.queries.colours_N883), (look_B, colours_B883))
        for asked, passing in zip(*pairs, strict=True):
            if self.alike_N[asked] < 0:
                self.alike_N[asked] = number_B[passing]

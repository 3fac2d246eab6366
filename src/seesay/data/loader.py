"""The order of batches as a pure function of (seed, step), and the batches themselves.

Position p of the run is visit p // n of the set of n pairs; every visit has its own permutation. A batch is the
next B positions, so the loader's whole state is one integer, whatever the number of workers.
"""

import hashlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from seesay.base.errors import BrokenSample
from seesay.base.records import Batch, Pair, PairSource, Skipped
from seesay.data.augment import CAPTION, Augment, training_crops, uniforms
from seesay.data.images import decode
from seesay.data.pixel_cache import PixelCache
from seesay.data.stored import fingerprint
from seesay.data.tokenizer import CaptionTokenizer, clean


@dataclass(frozen=True)
class Draw:
    """One place in a batch: which pair, the how-manyeth visit to it, and the side of its crop."""

    sample: int
    visit: int
    size: int


class Order:
    """Which pairs stand in which batch, computed from (seed, step) alone."""

    def __init__(self, count: int, seed: int):
        self.count = count
        self.permutation = lru_cache(maxsize=2)(lambda visit: permutation(seed, visit, count))

    def places(self, step: int, batch_size: int) -> list[tuple[int, int]]:
        """(sample, visit) of every place in the batch of that step, counted from 0."""
        positions = range(step * batch_size, (step + 1) * batch_size)
        return [(int(self.permutation(p // self.count)[p % self.count]), p // self.count) for p in positions]


def permutation(seed: int, visit: int, count: int) -> np.ndarray:
    """The order of `count` pairs in that visit."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, visit])).permutation(count)


class Batches:
    """The batches of a run, without end."""

    def __init__(self, crops: "Crops", *, batch_size: int):
        self.crops = crops
        self.batch_size = batch_size

    def starting_at(self, first_step: int, *, size_at: Callable[[int], int], workers: int) -> Iterator[Batch]:
        """From `first_step` on; `size_at(step)` gives the side of a step's crops."""
        loader = DataLoader(
            self.crops,
            batch_sampler=self._draws(first_step, size_at),  # type: ignore[arg-type]  # endless, so it has no length
            num_workers=workers,
            worker_init_fn=_leave_stopping_to_the_run,
            collate_fn=_as_it_is,  # type: ignore[arg-type]  # `__getitems__` made the batch already
            multiprocessing_context="fork" if workers else None,
        )
        return iter(loader)

    def _draws(self, first_step: int, size_at: Callable[[int], int]) -> Iterator[list[Draw]]:
        order = Order(len(self.crops), self.crops.seed)
        for step in count(first_step):
            size = size_at(step)
            yield [Draw(sample, visit, size) for sample, visit in order.places(step, self.batch_size)]


class Crops(Dataset):
    """Pairs as training batches: a random crop and one of the captions each, drawn from (seed, sample, visit)."""

    def __init__(
        self, pairs: PairSource, tokenizer: CaptionTokenizer, *, augment: Augment, seed: int, cache: PixelCache | None
    ):
        self.pairs = pairs
        self.tokenizer = tokenizer
        self.augment = augment
        self.seed = seed
        self.cache = cache

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitems__(self, draws: Sequence[Draw]) -> Batch:
        """The batch of these draws; what cannot be read is named in it and leaves it smaller."""
        pictures, kept, skipped = [], [], []
        for draw in draws:
            try:
                pictures.append(self._picture(draw.sample))
                kept.append(draw)
            except BrokenSample as error:
                skipped.append(Skipped(key=self.pairs.key(draw.sample), reason=error.reason, detail=error.detail))
        sample_B = np.array([draw.sample for draw in kept], dtype=np.int64)
        random_BK = uniforms(self.seed, sample_B, np.array([draw.visit for draw in kept], dtype=np.int64))
        captions = [
            self._caption(draw.sample, random_K[CAPTION]) for draw, random_K in zip(kept, random_BK, strict=True)
        ]
        pixels_B3SS = torch.empty(0, 3, 1, 1, dtype=torch.uint8)
        if kept:
            pixels_B3SS = training_crops(pictures, kept[0].size, augment=self.augment, random_BK=random_BK)
        return Batch(
            pixels_B3SS=pixels_B3SS,
            tokens=self.tokenizer.tokens(captions),
            image_id_B=torch.from_numpy(sample_B),
            caption_id_B=torch.tensor([caption_id(caption) for caption in captions], dtype=torch.int64),
            skipped=tuple(skipped),
        )

    def _picture(self, sample: int) -> np.ndarray:
        kept = self.cache.get(sample) if self.cache else None
        if kept is not None:
            return kept
        image_HW3 = decode(self.pairs[sample].image)
        return self.cache.put(sample, image_HW3) if self.cache else image_HW3

    def _caption(self, sample: int, random: float) -> str:
        captions = self.pairs.captions(sample)
        return captions[int(random * len(captions))]


def caption_id(caption: str) -> int:
    """A number that is equal for equal captions, case and spaces aside."""
    return int.from_bytes(hashlib.blake2b(clean(caption).encode(), digest_size=8).digest(), "little", signed=True)


def can_fork() -> bool:
    """Loader processes share the pixel cache by being forked; a system without fork gets none."""
    return "fork" in multiprocessing.get_all_start_methods()


class Subset:
    """Some of the pairs of a source, as a source."""

    def __init__(self, pairs: PairSource, indices: Sequence[int] | np.ndarray):
        self.pairs = pairs
        self.indices = [int(index) for index in indices]
        self.name = pairs.name
        self.fingerprint = fingerprint([pairs.fingerprint, self.indices])
        self.problems = pairs.problems

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Pair:
        return self.pairs[self.indices[index]]

    def key(self, index: int) -> str:
        return self.pairs.key(self.indices[index])

    def captions(self, index: int) -> tuple[str, ...]:
        return self.pairs.captions(self.indices[index])


def _leave_stopping_to_the_run(_: int) -> None:
    """Ctrl-C and `kill` may reach the whole process group; a worker that obeyed would end the run before it saved.

    A worker ends when its queue does, or within five seconds when its parent is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _as_it_is(batch: Batch) -> Batch:
    return batch

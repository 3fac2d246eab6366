"""The order of batches as a pure function of (seed, step), and the batches themselves.

Position p of the run is visit p // n of the set of n pairs; every visit has its own permutation. A batch is the
next B positions, so the loader's whole state is one integer, whatever the number of workers.
"""

import faulthandler
import hashlib
import mmap
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from multiprocessing.process import BaseProcess

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from seesay.base.errors import BrokenSample, SeesayError
from seesay.base.records import Batch, Pair, PairSource, Skipped
from seesay.data.augment import CAPTION, FLIP, Augment, enough_for_crop, training_crops, uniforms
from seesay.data.captions import CaptionRule
from seesay.data.file_tokenizer import AnyTokenizer
from seesay.data.images import FINEST
from seesay.data.jpeg import DecodedImage, decode_shrunk
from seesay.data.pixel_cache import PixelCache
from seesay.data.sources import fingerprint
from seesay.data.tokenizer import clean

DUMP_SECONDS = 0.5
REAP_SECONDS = 0.1


@dataclass(frozen=True)
class Draw:
    """One place in a batch: which pair, the how-manyeth visit to it, and the side of its crop."""

    sample: int
    epoch: int
    size: int


class Order:
    """Which pairs stand in which batch, computed from (seed, step) alone."""

    def __init__(self, count: int, seed: int):
        self.count = count
        self.permutation = lru_cache(maxsize=2)(lambda epoch: permutation(seed, epoch, count))

    def samples(self, step: int, batch_size: int) -> list[tuple[int, int]]:
        """(sample, visit) of every place in the batch of that step, counted from 0."""
        positions = range(step * batch_size, (step + 1) * batch_size)
        return [(int(self.permutation(p // self.count)[p % self.count]), p // self.count) for p in positions]


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of `count` pairs in that visit."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, epoch])).permutation(count)


class Batches:
    """The batches of a run, without end."""

    def __init__(self, crops: "Crops", *, batch_size: int):
        self.crops = crops
        self.batch_size = batch_size
        self._order = Order(len(crops), crops.seed)
        self._workers: list[BaseProcess] = []
        self._is_hung = False
        self._end_workers: Callable[[], None] = lambda: None

    def starting_at(
        self,
        first_step: int,
        *,
        size_at: Callable[[int], int],
        workers: int,
        part: tuple[int, int] = (0, 1),
        timeout_seconds: float = 0.0,
    ) -> Iterator[Batch]:
        """From `first_step` on; `size_at(step)` gives the side of a step's crops.

        `part` (k, n) gives the k-th of n even parts of every batch. A worker that takes longer than `timeout_seconds`
        (0: for ever) ends in `SeesayError`, with its stack on standard error.
        """
        loader = DataLoader(
            self.crops,
            batch_sampler=self._draws(first_step, size_at, part),  # type: ignore[arg-type]  # endless: no length
            num_workers=workers,
            worker_init_fn=_begin_worker,
            collate_fn=_as_it_is,  # type: ignore[arg-type]  # `__getitems__` made the batch already
            multiprocessing_context="fork" if workers else None,
            generator=torch.Generator(),  # else a number is drawn from the caller's
        )
        iterator = iter(loader)
        self._workers = list(getattr(iterator, "_workers", ()))
        self._end_workers = getattr(iterator, "_shutdown_workers", lambda: None)
        return self._watched(iterator, timeout_seconds) if workers and timeout_seconds else iterator

    def close(self) -> None:
        """End the workers: an error on its way out may still hold the batches, and Python waits for its children."""
        self._end_workers()
        for worker in self._workers:
            worker.kill()

    def keys(self, step: int, part: tuple[int, int] = (0, 1)) -> list[str]:
        """The names of the pairs in the batch of that step, counted from 0."""
        samples = self._order.samples(step, self.batch_size)
        return [self.crops.pairs.key(sample) for sample, _ in _part_of(samples, part)]

    @contextmanager
    def explain_worker_failures(self, next_step: Callable[[], int], part: tuple[int, int] = (0, 1)) -> Iterator[None]:
        """A worker that dies or hangs in here ends in `SeesayError`: which, and the pairs that were being read."""
        try:
            yield
        except (RuntimeError, OSError, EOFError) as error:
            for worker in self._workers:
                # What breaks a connection may be known before the end of the process that held it.
                # And torch raises where it is known, in whatever runs just then.
                with suppress(RuntimeError):
                    worker.join(REAP_SECONDS)
            ended = [(k, worker) for k, worker in enumerate(self._workers) if worker.exitcode]
            if not ended and "DataLoader worker" not in str(error):
                raise
            step = next_step()
            names = self.keys(step, part)
            named = ", ".join(f"{k} (pid {worker.pid}, {_end_of(worker.exitcode)})" for k, worker in ended)
            what = f"loader process {named or 'unknown'} ended"
            if self._is_hung:
                what = "no batch came from the loader processes for the time that data.timeout_seconds allows"
            raise SeesayError(
                f"{what}, waiting for step {step + 1:,} (pairs {names[0]} to {names[-1]}); what was saved is "
                "whole, and the same command goes on from it. If it happens again, look at those images, or at the "
                "memory that is left: --workers 0 reads in one process."
            ) from error

    def _watched(self, batches: Iterator[Batch], timeout_seconds: float) -> Iterator[Batch]:
        """The same batches; workers that do not bring the next one in time are ended, which ends waiting for it.

        torch's own timeout does not cover a worker that is stopped while it hands over a batch.
        """
        asked = 0
        is_waiting, is_over = threading.Event(), threading.Event()
        tick = min(1.0, timeout_seconds / 4)

        def watch() -> None:
            seen, waited = 0, 0.0
            while not is_over.wait(tick):
                # Ticks and not a clock, which goes on while a shell holds the whole run (Ctrl-Z).
                waited = waited + tick if is_waiting.is_set() and asked == seen else 0.0
                seen = asked
                if waited > timeout_seconds:
                    self._is_hung = True
                    _dump_and_kill(self._workers)
                    return

        threading.Thread(target=watch, daemon=True).start()
        try:
            while True:
                asked += 1
                is_waiting.set()
                batch = next(batches)
                is_waiting.clear()
                yield batch
        finally:
            is_over.set()

    def _draws(self, first_step: int, size_at: Callable[[int], int], part: tuple[int, int]) -> Iterator[list[Draw]]:
        for step in count(first_step):
            size = size_at(step)
            samples = _part_of(self._order.samples(step, self.batch_size), part)
            yield [Draw(sample, epoch, size) for sample, epoch in samples]


def _part_of(samples: list[tuple[int, int]], part: tuple[int, int]) -> list[tuple[int, int]]:
    k, n = part
    return samples[len(samples) * k // n : len(samples) * (k + 1) // n]


class Crops(Dataset):
    """Pairs as training batches: a random crop and one of the captions each, drawn from (seed, sample, visit)."""

    def __init__(
        self,
        pairs: PairSource,
        tokenizer: AnyTokenizer,
        *,
        augment: Augment,
        seed: int,
        cache: PixelCache | None,
        captions: CaptionRule | None = None,
    ):
        self.pairs = pairs
        self.tokenizer = tokenizer
        self.augment = augment
        self.captions = captions or CaptionRule()
        self.seed = seed
        self.cache = cache
        # Shared by all loader processes, as the cache is; 0 where no image was read yet.
        self._image_id = np.frombuffer(mmap.mmap(-1, 8 * max(1, len(pairs))), dtype=np.int64) if cache else None

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitems__(self, draws: Sequence[Draw]) -> Batch:
        """The batch of these draws; what cannot be read is named in it and leaves it smaller."""
        random_BK = uniforms(
            self.seed, np.array([draw.sample for draw in draws]), np.array([draw.epoch for draw in draws])
        )
        images, ids, kept, skipped = [], [], [], []
        for row, draw in enumerate(draws):
            try:
                decoded, number = self._decoded(draw, random_BK[row])
                images.append(decoded)
                ids.append(number)
                kept.append(row)
            except BrokenSample as error:
                key, location = self.pairs.key(draw.sample), self.pairs.location(draw.sample)
                skipped.append(Skipped(key=key, reason=error.reason, detail=error.detail, location=location))
        random_BK = random_BK[kept]
        samples = [draws[row].sample for row in kept]
        captions = [self._caption(sample, random_K) for sample, random_K in zip(samples, random_BK, strict=True)]
        pixels_B3SS = torch.empty(0, 3, 1, 1, dtype=torch.uint8)
        if kept:
            pixels_B3SS = training_crops(images, draws[0].size, augment=self.augment, random_BK=random_BK)
        return Batch(
            pixels_B3SS=pixels_B3SS,
            tokens=self.tokenizer.tokens(captions),
            sample_B=torch.tensor(samples, dtype=torch.int64),
            image_id_B=torch.tensor(ids, dtype=torch.int64),
            caption_id_B=torch.tensor([caption_id(caption) for caption in captions], dtype=torch.int64),
            skipped=tuple(skipped),
        )

    def _decoded(self, draw: Draw, random_K: np.ndarray) -> tuple[DecodedImage, int]:
        """The image, no larger than its crop or the cache needs it, and its id."""
        if self.cache is None or self._image_id is None:
            image = self.pairs[draw.sample].image
            decoded = decode_shrunk(
                image,
                lambda height, width: enough_for_crop(
                    height, width, draw.size, augment=self.augment, random_K=random_K
                ),
            )
            return decoded, image_id(image)
        kept_HW3 = self.cache.get(draw.sample)
        if kept_HW3 is None:
            finest, image = FINEST * self.cache.side, self.pairs[draw.sample].image
            whole = decode_shrunk(image, lambda height, width: min(height, width) / finest)
            # Before the image, which tells another process that both are there.
            self._image_id[draw.sample] = image_id(image)
            kept_HW3 = self.cache.put(draw.sample, whole.pixels_HW3)
        return DecodedImage.whole(kept_HW3), int(self._image_id[draw.sample])

    def _caption(self, sample: int, random_K: np.ndarray) -> str:
        is_mirrored = bool(random_K[FLIP] < self.augment.flip)
        return self.captions.draw(self.pairs.captions(sample), random_K[CAPTION], is_mirrored=is_mirrored)


def image_id(image: bytes) -> int:
    """A number from 1 to 2^63 - 1 that is equal for images of equal bytes."""
    return max(1, int.from_bytes(hashlib.blake2b(image, digest_size=8).digest(), "little") >> 1)


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

    def location(self, index: int) -> str:
        return self.pairs.location(self.indices[index])


def _begin_worker(_: int) -> None:
    """Ctrl-C and `kill` may reach the whole process group; a worker that obeyed would end the run before it saved.

    A worker ends when its queue does, or within five seconds when its parent is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(ValueError, OSError):  # standard error may be something that has no file number
        faulthandler.register(signal.SIGUSR1, file=sys.__stderr__ or 2, all_threads=True)


def _dump_and_kill(workers: Sequence[BaseProcess]) -> None:
    """Let hanging workers show where they hang; then end them, as they heed nothing softer."""
    for number in (signal.SIGUSR1, signal.SIGKILL):
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker.pid or 0, number)
        time.sleep(DUMP_SECONDS)


def _end_of(code: int | None) -> str:
    return f"signal {-code}" if code and code < 0 else f"exit code {code}"


def _as_it_is(batch: Batch) -> Batch:
    return batch

"""The order of batches as a pure function of (seed, step), and the batches themselves.

Position p of the run is in epoch p // n of the n pairs; every epoch has its own permutation. A batch is the
next B positions, so the loader's whole state is one integer, whatever the number of workers.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import count

import numpy as np
import torch

from seesay.base.errors import BrokenSample, SeesayError
from seesay.base.records import Batch, Pair, PairSource, Skipped, Tokens
from seesay.data.augment import CAPTION, FLIP, Augment, augmented, crop, enough_for_crop, uniforms
from seesay.data.captions import CaptionRule
from seesay.data.file_tokenizer import AnyTokenizer
from seesay.data.images import FINEST
from seesay.data.jpeg import DecodedImage, decoding
from seesay.data.pixel_cache import PixelCache
from seesay.data.shared_memory import SharedArray
from seesay.data.sources import fingerprint
from seesay.data.tokenizer import clean
from seesay.data.workers import Arrays, WorkerFailure, WorkerPool

# Room in a slot for what is beside the pixels, of each pair and of the batch (guesses); what is more goes in chunks.
BYTES_PER_PAIR = 1 << 10
BYTES_PER_BATCH = 1 << 16


@dataclass(frozen=True)
class Draw:
    """One row of a batch: which pair, in which epoch (counted from 0), and the side of its crop in pixels."""

    sample: int
    epoch: int
    size: int


class Order:
    """Which pairs are in which batch, computed from (seed, step) alone."""

    def __init__(self, count: int, seed: int):
        self.count = count
        self.permutation = lru_cache(maxsize=2)(lambda epoch: permutation(seed, epoch, count))

    def samples(self, step: int, batch_size: int) -> list[tuple[int, int]]:
        """(sample, epoch) of every row of the batch of that step, counted from 0."""
        positions = range(step * batch_size, (step + 1) * batch_size)
        return [(int(self.permutation(p // self.count)[p % self.count]), p // self.count) for p in positions]


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of `count` = N pairs in that epoch: (N,) int64."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, epoch])).permutation(count)


class Batches:
    """The batches of a run, without end."""

    def __init__(self, crops: "Crops", *, batch_size: int):
        self.crops = crops
        self.batch_size = batch_size
        self._order = Order(len(crops), crops.seed)
        self._pool: WorkerPool | None = None

    def starting_at(
        self,
        first_step: int,
        *,
        size_at: Callable[[int], int],
        workers: int,
        part: tuple[int, int] = (0, 1),
        timeout_seconds: float = 0.0,
        largest_size: int | None = None,
    ) -> Iterator[Batch]:
        """From `first_step` on; `size_at(step)` gives the side of a step's crops, `largest_size` the largest to come.

        `part` (k, n) gives the k-th of n even parts of every batch. A worker that dies, or takes longer than
        `timeout_seconds` (0: for ever), ends in `SeesayError` with the pairs that were being read.
        """
        tasks = self._tasks(first_step, size_at, part)
        if not workers:
            return (_batch_of(_make(self.crops, task)) for task in tasks)
        side = largest_size or size_at(first_step)
        rows = -(-self.batch_size // part[1])
        slot_bytes = rows * (3 * side * side + BYTES_PER_PAIR) + BYTES_PER_BATCH
        make = partial(_make, self.crops)
        self._pool = WorkerPool(make, workers=workers, slot_bytes=slot_bytes, timeout_seconds=timeout_seconds)
        return self._received(self._pool, tasks, first_step, part)

    def close(self) -> None:
        """End the workers."""
        if self._pool:
            self._pool.close()

    def keys(self, step: int, part: tuple[int, int] = (0, 1)) -> list[str]:
        """The names of the pairs in the batch of that step, counted from 0."""
        samples = self._order.samples(step, self.batch_size)
        return [self.crops.pairs.key(sample) for sample, _ in _part_of(samples, part)]

    def _tasks(self, first_step: int, size_at: Callable[[int], int], part: tuple[int, int]) -> Iterator[Arrays]:
        """(sample, epoch) of every row of a batch, and the side of its crops."""
        for step in count(first_step):
            samples = _part_of(self._order.samples(step, self.batch_size), part)
            yield np.array(samples, dtype=np.int64).reshape(-1, 2), np.array(size_at(step))

    def _received(
        self, pool: WorkerPool, tasks: Iterator[Arrays], first_step: int, part: tuple[int, int]
    ) -> Iterator[Batch]:
        results = pool.results(tasks)
        try:
            for step in count(first_step):
                try:
                    arrays = next(results)
                except WorkerFailure as failure:
                    raise self._explained(failure, step, part) from failure
                yield _batch_of(arrays)
        finally:
            pool.close()

    def _explained(self, failure: WorkerFailure, step: int, part: tuple[int, int]) -> SeesayError:
        names = self.keys(step, part)
        return SeesayError(
            f"{failure}, waiting for step {step + 1:,} (pairs {names[0]} to {names[-1]}); what was saved is whole, and "
            "the same command goes on from it. If it happens again, look at those images, or at the memory that is "
            "left: --workers 0 reads in one process."
        )


def _make(crops: "Crops", task: Arrays) -> Arrays:
    samples_B2, size = task
    draws = [Draw(sample, epoch, int(size)) for sample, epoch in samples_B2.tolist()]
    return _arrays_of(crops.read(draws))


def _arrays_of(batch: Batch) -> Arrays:
    """A batch as arrays, for `_batch_of`."""
    tokens = batch.tokens
    ids = batch.sample_B, batch.image_id_B, batch.caption_id_B, batch.drawn_id_B
    tensors = batch.pixels_B3SS, tokens.ids_BL, tokens.length_B, *ids
    return *(tensor.numpy() for tensor in tensors if tensor is not None), pack_skipped(batch.skipped)


def _batch_of(arrays: Arrays) -> Batch:
    pixels_B3SS, ids_BL, length_B, sample_B, image_id_B, caption_id_B, *drawn = map(torch.from_numpy, arrays[:-1])
    return Batch(
        pixels_B3SS=pixels_B3SS,
        tokens=Tokens(ids_BL=ids_BL, length_B=length_B),
        sample_B=sample_B,
        image_id_B=image_id_B,
        caption_id_B=caption_id_B,
        drawn_id_B=drawn[0] if drawn else None,
        skipped=tuple(unpack_skipped(arrays[-1])),
    )


def pack_skipped(skipped: Sequence[Skipped]) -> np.ndarray:
    """Samples as the N bytes of a JSON list: (N,) uint8, as workers hand it over."""
    return np.frombuffer(json.dumps([asdict(sample) for sample in skipped]).encode("ascii"), dtype=np.uint8)


def unpack_skipped(packed: np.ndarray) -> list[Skipped]:
    """What `pack_skipped` packed as (N,) uint8."""
    return [Skipped(**sample) for sample in json.loads(packed.tobytes())]


def _part_of(samples: list[tuple[int, int]], part: tuple[int, int]) -> list[tuple[int, int]]:
    k, n = part
    return samples[len(samples) * k // n : len(samples) * (k + 1) // n]


class Crops:
    """Pairs as training batches: a random crop and one of the captions each, drawn from (seed, sample, epoch)."""

    def __init__(
        self,
        pairs: PairSource,
        tokenizer: AnyTokenizer,
        *,
        augment: Augment,
        seed: int,
        cache: PixelCache | None,
        captions: CaptionRule | None = None,
        captions_per_image: int = 1,
    ):
        self.pairs = pairs
        self.tokenizer = tokenizer
        self.augment = augment
        self.captions = captions or CaptionRule()
        self.captions_per_image = captions_per_image
        self.seed = seed
        self.cache = cache
        # Of pairs whose captions suit others too, as those of one class do (`ClassPairs`).
        self._group: Callable[[int], str] | None = getattr(pairs, "group", None)
        # Shared by all loader processes, as the cache is; 0 where no image was read yet.
        self._image_id = SharedArray((len(pairs),), np.int64) if cache else None

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, draws: Sequence[Draw]) -> Batch:
        """The batch of these draws; what cannot be read is named in it and leaves it smaller."""
        random_BK = uniforms(
            self.seed, np.array([draw.sample for draw in draws]), np.array([draw.epoch for draw in draws])
        )
        crops, ids, rows, skipped = [], [], [], []
        for row, draw in enumerate(draws):
            try:
                pixels_13SS, number = self._crop(draw, random_BK[row])
                crops.append(pixels_13SS)
                ids.append(number)
                rows.append(row)
            except BrokenSample as error:
                key, location = self.pairs.key(draw.sample), self.pairs.location(draw.sample)
                skipped.append(Skipped(key=key, reason=error.reason, detail=error.detail, location=location))
        random_BK = random_BK[rows]
        samples = [draws[row].sample for row in rows]
        drawn = [self._captions(sample, random_K) for sample, random_K in zip(samples, random_BK, strict=True)]
        captions = [captions[number] for number in range(self.captions_per_image) for captions in drawn]
        caption_id_B = torch.tensor([caption_id(caption) for caption in captions], dtype=torch.int64)
        drawn_id_B = None
        if self._group is not None:
            groups = [caption_id(self._group(sample)) for sample in samples * self.captions_per_image]
            caption_id_B, drawn_id_B = torch.tensor(groups, dtype=torch.int64), caption_id_B
        pixels_B3SS = torch.empty(0, 3, 1, 1, dtype=torch.uint8)
        if rows:
            pixels_B3SS = augmented(torch.cat(crops), augment=self.augment, random_BK=random_BK)
        return Batch(
            pixels_B3SS=pixels_B3SS,
            tokens=self.tokenizer.tokens(captions),
            sample_B=torch.tensor(samples, dtype=torch.int64),
            image_id_B=torch.tensor(ids, dtype=torch.int64),
            caption_id_B=caption_id_B,
            drawn_id_B=drawn_id_B,
            skipped=tuple(skipped),
        )

    def _crop(self, draw: Draw, random_K: np.ndarray) -> tuple[torch.Tensor, int]:
        """The crop (1, 3, S, S) of an image decoded no larger than it or the cache needs it, and the image's id."""

        def enough(height: int, width: int) -> float:
            return enough_for_crop(height, width, draw.size, augment=self.augment, random_K=random_K)

        if self.cache is None or self._image_id is None:
            image = self.pairs[draw.sample].image
            with decoding(image, enough) as decoded:
                return crop(decoded, draw.size, augment=self.augment, random_K=random_K), image_id(image)
        cached_HW3 = self.cache.get(draw.sample)
        if cached_HW3 is None:
            finest, image = FINEST * self.cache.side, self.pairs[draw.sample].image
            with decoding(image, lambda height, width: min(height, width) / finest) as whole:
                # Before the image, which shows another process that both are there.
                self._image_id.array[draw.sample] = image_id(image)
                cached_HW3 = self.cache.put(draw.sample, whole.pixels_HW3)
        decoded = DecodedImage.whole(cached_HW3)
        return crop(decoded, draw.size, augment=self.augment, random_K=random_K), int(self._image_id.array[draw.sample])

    def _captions(self, sample: int, random_K: np.ndarray) -> list[str]:
        """As many as a step compares with the image, evenly over those it has: different ones where it has so many."""
        is_mirrored, choices = bool(random_K[FLIP] < self.augment.flip), self.pairs.captions(sample)
        places = (np.arange(self.captions_per_image) / self.captions_per_image + random_K[CAPTION]) % 1
        return [self.captions.draw(choices, float(place), is_mirrored=is_mirrored) for place in places]


def image_id(image: bytes) -> int:
    """A number from 1 to 2^63 - 1 that is equal for images of equal bytes."""
    return max(1, int.from_bytes(hashlib.blake2b(image, digest_size=8).digest(), "little") >> 1)


def caption_id(caption: str) -> int:
    """A number that is equal for equal captions, case and spaces aside."""
    return int.from_bytes(hashlib.blake2b(clean(caption).encode(), digest_size=8).digest(), "little", signed=True)


class Subset:
    """Some of the pairs of a source, as a source."""

    def __init__(self, pairs: PairSource, indices: Sequence[int] | np.ndarray):
        self.pairs = pairs
        self.indices = [int(index) for index in indices]
        self.name = pairs.name
        self.fingerprint = fingerprint([pairs.fingerprint, self.indices])
        self.problems = pairs.problems
        self.notes = pairs.notes

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Pair:
        return self.pairs[self.indices[index]]

    def key(self, index: int) -> str:
        """The name of the pair in the source."""
        return self.pairs.key(self.indices[index])

    def captions(self, index: int) -> tuple[str, ...]:
        """Every caption of the pair."""
        return self.pairs.captions(self.indices[index])

    def location(self, index: int) -> str:
        """Where its image lies."""
        return self.pairs.location(self.indices[index])

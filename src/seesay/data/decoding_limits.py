"""What decoding an image may cost, how much of it all threads together, and how an image above it is shrunk.

`image_headers.footprint` reads the cost from the headers before anything is allocated.

512 MB and 5 seconds of a core are the aim for one image, the model's resize included. `benchmarks/2026-11-28-hostile`
has what the worst ones took.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from threading import Condition, Lock

from seesay.base.c_functions import c_function
from seesay.base.errors import BrokenSample

# A guess: Pillow itself would refuse at 179 million.
MAX_PIXELS = 200_000_000
# What a JPEG and a GIF can say (16 bits); no other image needs more.
MAX_SIDE = 65_535
# Of one image, with its file; what is left of 512 MB is for the resize's own intermediate image.
MAX_BYTES = 480 << 20
# A guess: 18 million pixels at `RESIZED_BYTES` on every core at once, beside the one largest image.
BYTES_PER_CORE = 128 << 20
# Of a pixel: the array of RGB, and with it Pillow's copy of 4 bytes while it is resized.
RGB_BYTES, RESIZED_BYTES = 3, 7
# A guess: Pillow takes 10 microseconds for a chunk of PNG (benchmarks/2026-11-28-hostile); good files have some 10,000.
MAX_CHUNKS = 100_000
# The most nanoseconds for an image, where its headers say how much work it is.
MAX_NS = 4_000_000_000
# What libjpeg can do while it decodes, and `shrunk` to any image afterwards.
SHRINKS = (1, 2, 4, 8)

# Of glibc's malloc.h: arenas, bytes that each keeps, and bytes from which memory is the system's own; guesses.
MALLOC_OPTIONS = {-8: 2, -1: 8 << 20, -3: 4 << 20}

TOO_LARGE, TOO_COMPLEX = "image too large", "image too complex"


@dataclass(frozen=True)
class Footprint:
    """What it takes to decode an image: sides as stored (0 where no header gives them), and bytes.

    `beside` whatever the scale, `pixel_bytes` for each pixel of the decoder's own image, which is as much smaller
    as the result only where the decoder itself shrinks (`is_scaled`).
    """

    width: int = 0
    height: int = 0
    pixel_bytes: int = 0
    beside: int = 0
    is_scaled: bool = False

    def at(self, shrink: int) -> int:
        """Bytes at the peak, if the result is `shrink` times smaller: of decoding, or of the resize that follows."""
        pixels = self.width * self.height
        small = -(-pixels // shrink**2)
        decoded = self.pixel_bytes * (small if self.is_scaled else pixels)
        return self.beside + max(decoded + RGB_BYTES * small, RESIZED_BYTES * small)

    def fitting(self, wanted: int = 1) -> int:
        """`wanted`, or the next of `SHRINKS` that fits into `MAX_BYTES`; `BrokenSample` if none does."""
        for shrink in SHRINKS:
            if shrink >= wanted and self.at(shrink) <= MAX_BYTES:
                return shrink
        needed, most = self.at(SHRINKS[-1]) >> 20, MAX_BYTES >> 20
        raise BrokenSample(TOO_LARGE, f"{self.width} x {self.height}; takes {needed:,} MB to decode, at most {most}")


def refuse_size(size: tuple[int, int]) -> None:
    """Raise `BrokenSample` for a (width, height) without pixels, or above `MAX_PIXELS` or `MAX_SIDE`."""
    width, height = size
    if width * height > MAX_PIXELS:
        raise BrokenSample(TOO_LARGE, f"{width} x {height}; at most {MAX_PIXELS:,} pixels")
    if max(size) > MAX_SIDE:
        raise BrokenSample(TOO_LARGE, f"{width} x {height}; at most {MAX_SIDE:,} pixels a side")
    if width * height <= 0:
        raise BrokenSample("damaged image", f"it is {width} x {height} pixels")


@contextmanager
def reserved(count: int) -> Iterator[None]:
    """Hold `count` bytes, at most `MAX_BYTES`, of what all threads may decode with; waits until others are done.

    Not to be called by a thread that holds some.
    """
    # By process: after a fork, none of the threads that held something are there.
    budget = _budget(os.getpid())
    budget.take(count)
    try:
        yield
    finally:
        if count > BYTES_PER_CORE:
            _return_freed_memory()
        budget.give_back(count)


def share_freed_memory() -> None:
    """Let threads that decode images share what they free, and keep some of it; where it is not glibc's, nothing.

    Without, each image's memory comes from the system and goes back to it, a sixth of the time of fetching, and threads
    hold a fifth more (benchmarks/2026-11-29-curate). For a whole process, that should be our own; what its user says
    in MALLOC_... stays.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    if mallopt := c_function("mallopt"):
        for option, value in MALLOC_OPTIONS.items():
            mallopt(option, value)


class Budget:
    """Bytes that threads share. They are served in the order in which they come, so that a large one is not passed."""

    def __init__(self, total: int):
        self.free = total
        self._turn = Lock()
        self._changed = Condition()

    def take(self, count: int) -> None:
        """Wait until `count` bytes, no more than there are in all, are free, and take them."""
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self.free >= count)
            self.free -= count

    def give_back(self, count: int) -> None:
        """End what `take` began."""
        with self._changed:
            self.free += count
            self._changed.notify()


def _return_freed_memory() -> None:
    """To the system: glibc keeps what a thread has freed, 250 MB of a large image, for that thread alone."""
    if trim := c_function("malloc_trim"):
        trim(0)


@lru_cache(maxsize=1)
def _budget(process: int) -> Budget:
    return Budget(MAX_BYTES + BYTES_PER_CORE * (os.cpu_count() or 1))

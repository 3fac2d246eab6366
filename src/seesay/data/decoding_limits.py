"""What decoding an image would cost, read from its headers before anything is allocated, and the limits on it.

H, W = height and width of an image as it is stored, P = H x W.

512 MB and 5 seconds of a core are the aim for one image, the model's resize included. `benchmarks/2026-11-28-hostile`
has what the worst ones took.
"""

import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from threading import Condition, Lock

from seesay.base.errors import BrokenSample

# A guess: Pillow itself would refuse at 179 million.
MAX_PIXELS = 200_000_000
# What a JPEG and a GIF can say (16 bits); no other image needs more.
MAX_SIDE = 65_535
# Of one image, with its file; what is left of 512 MB is for the resize's own intermediate image.
MAX_BYTES = 480 << 20
# A guess: 18 million pixels at `RESIZED_BYTES` on every core at once, beside the one largest image.
BYTES_PER_CORE = 128 << 20
# Above this Pillow warns of a GIF while it opens it, by a setting of the whole process (PIL.Image.MAX_IMAGE_PIXELS).
MAX_GIF_PIXELS = 89_478_485
# Of a pixel: the array of RGB, and with it Pillow's copy of 4 bytes while it is resized.
RGB_BYTES, RESIZED_BYTES = 3, 7
# Of a pixel of WebP: two canvases, their bytes and Pillow's image, 4 each (benchmarks/2026-11-28-hostile).
WEBP_BYTES = 16
# A guess: Pillow takes 10 microseconds for a chunk of PNG (benchmarks/2026-11-28-hostile); good files have some 10,000.
MAX_CHUNKS = 100_000
# A guess: Pillow takes a millisecond for a full one, and good files have less than ten.
MAX_COMPRESSED_CHUNKS = 1000
# A guess: segments before the pixels of a JPEG, times the bytes of them all, which Pillow copies at each of them. Ten
# times what a file of 255 colour segments or a depth map has, a second (benchmarks/2026-11-28-hostile).
MAX_COPIED = 1 << 33
# Nanoseconds a progressive JPEG takes for each scan of a pixel and each byte (benchmarks/2026-11-28-hostile), and the
# most for an image.
SCAN_NS, BYTE_NS, MAX_NS = 1, 45, 4_000_000_000
# What libjpeg can do while it decodes, and `shrunk` to any image afterwards.
SHRINKS = (1, 2, 4, 8)

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


def footprint(data: bytes) -> Footprint:
    """What decoding would cost, from the headers of a JPEG, PNG, GIF or WebP; of another file, nothing.

    Raises `BrokenSample` "image too large" for sides and "image too complex" for counts above the limits, and
    "damaged image" for sides of 0. What the headers do not give is left to the decoder to refuse.
    """
    for start, read in _READERS:
        if data.startswith(start):
            try:
                result = read(data)
            except (struct.error, IndexError):
                return Footprint()
            if result != Footprint():
                refuse_size((result.width, result.height))
            return result
    return Footprint()


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
    if trim := _malloc_trim():
        trim(0)


@lru_cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        # Not glibc.
        return None


@lru_cache(maxsize=1)
def _budget(process: int) -> Budget:
    return Budget(MAX_BYTES + BYTES_PER_CORE * (os.cpu_count() or 1))


def _jpeg(data: bytes) -> Footprint:
    """As Pillow, segment by segment to the first scan; where there may be several, they are counted."""
    position, segments, frame = 2, 0, None
    while data[position + 1] != 0xDA or data[position] != 0xFF:
        segments += 1
        if segments * position > MAX_COPIED:
            raise BrokenSample(TOO_COMPLEX, f"{segments:,} segments in the first {position:,} bytes of a JPEG")
        if data[position] != 0xFF or data[position + 1] in (0, 0xFF):
            position += 1
            continue
        marker = data[position + 1]
        if 0xD0 <= marker <= 0xD9 or marker == 0x01:
            position += 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = position
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
    if frame is None:
        return Footprint()
    height, width, components = struct.unpack_from(">HHB", data, frame + 5)
    has_scans = data[frame + 1] not in (0xC0, 0xC1) or data[position + 4] < components
    beside = len(data)
    if has_scans:
        beside += _coefficient_bytes(data[frame + 10 : frame + 10 + 3 * components], height * width)
        _refuse_scans(data, position, height * width)
    return Footprint(width, height, 1 if components == 1 else 4, beside, is_scaled=True)


def _coefficient_bytes(components: bytes, pixels: int) -> int:
    """Two bytes for every sample of every component, which libjpeg holds until the last scan."""
    shares = [(sampling >> 4) * (sampling & 15) for sampling in components[1::3]]
    largest = max((s >> 4 for s in components[1::3]), default=1) * max((s & 15 for s in components[1::3]), default=1)
    return 2 * pixels * sum(shares) // max(1, largest)


def _refuse_scans(data: bytes, start: int, pixels: int) -> None:
    """Every scan goes over the whole image, however few bytes it has."""
    scans = data.count(b"\xff\xda", start)
    if scans * pixels * SCAN_NS + len(data) * BYTE_NS > MAX_NS:
        raise BrokenSample(TOO_COMPLEX, f"{scans:,} scans of {pixels:,} pixels in {len(data):,} bytes of JPEG")


def _png(data: bytes) -> Footprint:
    """Chunks to the end of the first frame, as far as Pillow reads them."""
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    position, chunks, compressed, ancillary = 8, 0, 0, 0
    is_animated, has_pixels = False, False
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if name == b"IEND" or (name == b"fcTL" and is_animated and has_pixels):
            break
        is_animated |= name == b"acTL"
        has_pixels |= name in (b"IDAT", b"fdAT")
        compressed += name in (b"iCCP", b"zTXt", b"iTXt")
        ancillary += 0 if name == b"IDAT" else length
        chunks += 1
        if chunks > MAX_CHUNKS or compressed > MAX_COMPRESSED_CHUNKS:
            raise BrokenSample(TOO_COMPLEX, f"a PNG of {chunks:,} chunks, {compressed:,} of them compressed text")
        position += 12 + length
    pixel_bytes = 4 if colour in (2, 4, 6) else 2 if bits == 16 else 1
    return Footprint(width, height, pixel_bytes, len(data) + min(ancillary, len(data)))


def _gif(data: bytes) -> Footprint:
    """Blocks to the first frame, which may be larger than the canvas; as Pillow takes them."""
    canvas = struct.unpack_from("<HH", data, 6)
    position = 13 + (3 << (data[10] & 7) + 1 if data[10] & 128 else 0)
    blocks, disposal = 0, 0
    while data[position] != 0x2C:
        if data[position] == 0x3B:
            return Footprint()
        blocks += 1
        if data[position] == 0x21:
            if data[position + 1] == 0xF9 and data[position + 2]:
                disposal = (data[position + 3] >> 2 & 7) or disposal
            position, count = _after_blocks(data, position + 2, may_be_empty=data[position + 1] == 0xFE)
            blocks += count
        else:
            position += 1
        if blocks > MAX_CHUNKS:
            raise BrokenSample(TOO_COMPLEX, f"{blocks:,} blocks before the first frame of a GIF")
    left, top, wide, high = struct.unpack_from("<HHHH", data, position + 1)
    width, height = max(canvas[0], left + wide), max(canvas[1], top + high)
    if width * height > MAX_GIF_PIXELS:
        raise BrokenSample(TOO_LARGE, f"{width} x {height}; at most {MAX_GIF_PIXELS:,} pixels in a GIF")
    return Footprint(width, height, 1, len(data) + (wide * high if disposal >= 2 else 0))


def _after_blocks(data: bytes, position: int, *, may_be_empty: bool) -> tuple[int, int]:
    """Where the blocks that begin here have ended, at one of no bytes, and their number."""
    count, size = 1, data[position]
    position += 1 + size
    while (size or (count == 1 and not may_be_empty)) and count <= MAX_CHUNKS:
        size = data[position]
        position += 1 + size
        count += 1
    return position, count


def _webp(data: bytes) -> Footprint:
    """The canvas, which libwebp allocates as soon as it sees the file."""
    if data[8:12] != b"WEBP":
        return Footprint()
    position, chunks = 12, 0
    while position + 8 <= len(data):
        position += 8 + (struct.unpack_from("<I", data, position + 4)[0] + 1 & ~1)
        chunks += 1
        if chunks > MAX_CHUNKS:
            raise BrokenSample(TOO_COMPLEX, f"a WebP of more than {MAX_CHUNKS:,} chunks")
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise BrokenSample("damaged image", f"a WebP that begins with {kind!r}")
    return Footprint(width, height, WEBP_BYTES, 2 * len(data))


_READERS: tuple[tuple[bytes, Callable[[bytes], Footprint]], ...] = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"GIF87a", _gif),
    (b"GIF89a", _gif),
    (b"RIFF", _webp),
)

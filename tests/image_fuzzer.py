"""Mutated images by number: `python image_fuzzer.py FIRST SECONDS PROGRESS` reads them until the time is over.

The parent gives the process 1 GB. Each image has 10 seconds of a core, after which the kernel ends the process. Its
number stands in PROGRESS before it is read, and `mutant(number)` gives it again.
"""

import importlib
import io
import os
import random
import signal
import struct
import sys
import time
import warnings
import zlib
from contextlib import suppress
from functools import lru_cache

import numpy as np
from hostile_images import dng
from PIL import Image, UnidentifiedImageError

from seesay.base.errors import BrokenSample, UsageError
from seesay.data.decode import open_image
from seesay.data.jpeg import decoding

SECONDS_PER_IMAGE = 10
# What else `Image.open` lets out.
PILLOWS_OWN = (RuntimeError, ArithmeticError, LookupError, struct.error, MemoryError, Image.DecompressionBombError)
# Sides, counts and lengths that go over an edge somewhere.
EDGES = (0, 1, 2, 7, 255, 256, 4096, 9459, 14142, 16383, 32767, 32768, 65535, 65536, 2**24 - 1, 2**31 - 1, 2**32 - 1)
OPTIONS = (
    ("JPEG", "RGB", {}),
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "RGB", {"progressive": True, "subsampling": 0, "restart_marker_blocks": 2}),
    ("JPEG", "L", {"exif": b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)}),
    ("JPEG", "CMYK", {}),
    *(("PNG", mode, {}) for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")),
    ("PNG", "RGB", {"save_all": True}),
    ("GIF", "P", {}),
    ("GIF", "P", {"save_all": True, "disposal": 2, "transparency": 1, "comment": b"a comment"}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("WEBP", "RGB", {"save_all": True}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "L", {}),
    ("TIFF", "I;16", {}),
    ("TIFF", "1", {"compression": "group4"}),
    ("TIFF", "CMYK", {"compression": "tiff_adobe_deflate"}),
    ("TIFF", "YCbCr", {"compression": "jpeg"}),
    ("TIFF", "RGBA", {"compression": "packbits", "save_all": True, "big_tiff": True}),
    *(("BMP", mode, {}) for mode in ("RGB", "RGBA", "P", "1")),
    ("JPEG2000", "RGB", {"irreversible": True, "quality_layers": [20, 5]}),
    ("JPEG2000", "L", {"no_jp2": True, "tile_size": (16, 16)}),
    ("JPEG2000", "RGBA", {"precinct_size": (16, 16), "codeblock_size": (8, 8)}),
    ("AVIF", "RGB", {}),
    ("AVIF", "RGBA", {"subsampling": "4:4:4"}),
    ("AVIF", "RGB", {"save_all": True}),
    ("HEIF", "RGB", {}),
    ("HEIF", "RGBA", {"chroma": 444}),
)


@lru_cache
def seeds() -> tuple[bytes, ...]:
    """A small good file of each kind that this Pillow, with pillow-heif if it is there, writes."""
    with suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    Image.init()
    numbers = np.random.default_rng(0)
    files = []
    for kind, mode, options in OPTIONS:
        if kind not in Image.SAVE:
            continue
        frames = [Image.fromarray(numbers.integers(0, 256, (20, 24, 3), dtype=np.uint8)) for _ in range(3)]
        if mode == "I;16":
            frames = [Image.fromarray(numbers.integers(0, 65536, (20, 24), dtype=np.uint16))]
        else:
            frames = [frame.convert(mode) for frame in frames]
        file = io.BytesIO()
        frames[0].save(file, kind, **options, **({"append_images": frames[1:]} if "save_all" in options else {}))
        files.append(file.getvalue())
    # A camera's RAW: its preview, and one without a JPEG.
    files.append(dng(files[0], (24, 20), compression=7, turn=6))
    files.append(dng(bytes(3 * 20 * 24), (24, 20), compression=1, turn=3))
    return tuple(files)


def mutant(number: int) -> bytes:
    """The mutated image of that number, the same on every machine with this Pillow."""
    randomness = random.Random(number)
    data = bytearray(randomness.choice(seeds()))
    for _ in range(randomness.choice((1, 1, 2, 3, 8))):
        _mutate(data, randomness)
    # Otherwise most PNGs would end at their checksums.
    if data.startswith(b"\x89PNG") and randomness.random() < 0.8:
        _check(data)
    return bytes(data)


def _mutate(data: bytearray, randomness: random.Random) -> None:
    # Half of the changes where the headers are.
    at = randomness.randrange(max(1, len(data) if randomness.random() < 0.5 else min(200, len(data))))
    kind = randomness.randrange(7)
    if kind == 0:
        data[at : at + 1] = bytes([data[at] ^ 1 << randomness.randrange(8) if at < len(data) else 0])
    elif kind in (1, 2):
        width, order = randomness.choice((2, 3, 4)), randomness.choice(("big", "little"))
        data[at : at + width] = (randomness.choice(EDGES) % (1 << 8 * width)).to_bytes(width, order)
    elif kind == 3:
        del data[at : at + randomness.randrange(1, 40)]
    elif kind == 4:
        data[at:at] = randomness.randbytes(randomness.randrange(1, 40))
    elif kind == 5:
        part = bytes(data[at : at + randomness.randrange(2, 80)])
        data[at:at] = part * randomness.choice((1, 2, 30, 3000))
    else:
        other = randomness.choice(seeds())
        data[at:] = other[randomness.randrange(len(other)) :]


def _check(data: bytearray) -> None:
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if at + 12 + length > len(data):
            return
        struct.pack_into(">I", data, at + 8 + length, zlib.crc32(data[at + 4 : at + 8 + length]))
        at += 12 + length


def read(data: bytes) -> str:
    """Through every door for an image: the reason if it is refused, "read" if not. Anything else is raised."""
    outcome = "read"
    for most in (lambda height, width: 1, lambda height, width: min(height, width) / 8):
        try:
            with decoding(data, most) as image:
                assert image.pixels_HW3.ndim == 3 and image.pixels_HW3.dtype == np.uint8
        except BrokenSample as error:
            if isinstance(error.__cause__, MemoryError):
                raise AssertionError("more memory was taken than the headers say") from error
            outcome = error.reason
    try:
        image = Image.open(io.BytesIO(data))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, TypeError, *PILLOWS_OWN):
        # Pillow's own door, before any of ours.
        return outcome
    # What Pillow takes to load it is of the user's making.
    if image.width * image.height <= 1 << 22:
        with suppress(BrokenSample, UsageError):
            open_image(image)
    return outcome


def main(first: int, seconds: float, progress: str) -> None:
    """Read mutants until the time is over; prints the count of each outcome."""
    warnings.simplefilter("ignore")
    counts: dict[str, int] = {}
    end, number = time.monotonic() + seconds, first
    with open(progress, "r+b", buffering=0) as file:
        while time.monotonic() < end:
            os.pwrite(file.fileno(), b"%020d" % number, 0)
            data = mutant(number)
            signal.setitimer(signal.ITIMER_PROF, SECONDS_PER_IMAGE)
            outcome = read(data)
            signal.setitimer(signal.ITIMER_PROF, 0)
            counts[outcome] = counts.get(outcome, 0) + 1
            number += 1
    print(f"{number - first:,} images: {dict(sorted(counts.items()))}")


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])

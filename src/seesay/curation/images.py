"""The images of rows: read and worked on in threads, and written once for a training set."""

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

from PIL import Image

from seesay.base.errors import BrokenSample
from seesay.curation.settings import ImageSettings
from seesay.curation.tables import stored_image
from seesay.data.decode import decode, developed
from seesay.data.image_headers import footprint
from seesay.data.jpeg import decoding

# Rows whose images are in memory at once, for each core: a guess.
ROWS_PER_CORE = 16
# What every reader of shards knows, by the first bytes: JPEG, PNG and RIFF (WebP) by their specifications.
SUFFIXES = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"RIFF": "webp"}
# What makes an image smaller: about as near to Lanczos' filter as means of areas are (40 to 43 dB, those 36 to 43), in
# two thirds of the time of that (benchmarks/2026-11-29-curate, shrink.py).
FILTER = Image.Resampling.HAMMING
Made = TypeVar("Made")


def map_images(
    rows: Iterable[Mapping[str, Any]], work: Callable[[bytes], Made]
) -> Iterator[tuple[Mapping[str, Any], Made | BrokenSample]]:
    """Each row with what `work` makes of its image, or why it cannot be read; in their order, worked on in threads."""

    def each(row: Mapping[str, Any]) -> Made | BrokenSample:
        try:
            return work(stored_image(row).read())
        except BrokenSample as error:
            return error

    waiting, cores = iter(rows), os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        while block := list(islice(waiting, ROWS_PER_CORE * cores)):
            yield from zip(block, pool.map(each, block), strict=True)


def rewritten(data: bytes, settings: ImageSettings) -> tuple[bytes, str]:
    """An image as a set has it, and its suffix; raises as `decode`.

    One whose shorter side is more than `settings.size` is made smaller and a JPEG, upright and on white, and so is one
    of a format that few read; any other keeps its bytes, after it was decoded to see that it is whole.
    """
    suffix = suffix_of(data)
    if settings.size is None:
        image_HW3 = decode(data)
        if suffix is not None:
            return data, suffix
        return _jpeg(Image.fromarray(image_HW3), settings.quality), "jpg"
    size = settings.size
    # A JPEG is shrunk while it is decoded as far as it goes.
    with decoding(data, lambda height, width: min(height, width) / size) as decoded:
        height, width = decoded.height, decoded.width
        if min(height, width) <= size and suffix is not None:
            return data, suffix
        image = Image.fromarray(decoded.pixels_HW3)
        scale = min(1.0, size / min(height, width))
        sides = (max(1, round(width * scale)), max(1, round(height * scale)))
        return _jpeg(image.resize(sides, FILTER), settings.quality), "jpg"


def suffix_of(data: bytes) -> str | None:
    """Of an image in a format that every reader of shards knows; None for another."""
    return next((suffix for start, suffix in SUFFIXES.items() if data.startswith(start)), None)


def sides_of(data: bytes) -> tuple[int, int]:
    """Width and height as the header has them; raises `BrokenSample`."""
    cost = footprint(developed(data))
    if not (cost.width and cost.height):
        raise BrokenSample("not an image")
    return cost.width, cost.height


def _jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "jpeg", quality=quality)
    return file.getvalue()

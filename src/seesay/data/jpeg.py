"""Images decoded no larger than they are needed: JPEG by libjpeg-turbo, which can halve an image as it decodes.

H, W = height and width of an image as it is decoded here.

A JPEG is blocks of 8 x 8 frequencies, and leaving out the upper ones gives the image 2, 4 or 8 times smaller for a
fraction of the work. What simplejpeg does not take without a complaint goes to Pillow, which alone decides what is
broken; so the refusals are the same.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image

from seesay.data.decode import (
    ON_THEIR_SIDE,
    decode_by_pillow,
    decoder_errors,
    developed,
    open_image,
    orientation,
    upright,
)
from seesay.data.decoding_limits import SHRINKS, Footprint, refuse_size, reserved
from seesay.data.image_formats import JPEG_START, QuietJpegFile
from seesay.data.image_headers import footprint
from seesay.data.image_sources import Source, read_source


@dataclass(frozen=True)
class DecodedImage:
    """Upright pixels (H, W, 3) of an image of `height` x `width`, shrunk `shrink` times.

    Point (y, x) of the whole is point (y / shrink, x / shrink) here, also where the sides are no multiples of it.
    """

    pixels_HW3: np.ndarray
    height: int
    width: int
    shrink: int = 1

    @classmethod
    def whole(cls, pixels_HW3: np.ndarray) -> "DecodedImage":
        """An image (H, W, 3) that was not shrunk."""
        return cls(pixels_HW3, *pixels_HW3.shape[:2])


def not_shrunk(height: int, width: int) -> float:
    """For `decoding`: as large as it is, if memory allows."""
    return 1


@contextmanager
def decoding(source: Source, most: Callable[[int, int], float] = not_shrunk) -> Iterator[DecodedImage]:
    """The image in `source`, shrunk at most `most(height, width)` times unless it would take too much memory.

    A JPEG is shrunk by 1, 2, 4 or 8, anything else only for its memory, which is counted until the context ends: what
    is made of the image is made inside. `most` is given the sides of the upright image. Raises as `open_image`.
    """
    data = read_source(source)
    if not isinstance(data, bytes):
        yield DecodedImage.whole(open_image(data))
        return
    data = developed(data)
    cost = footprint(data)
    shrink = cost.fitting()
    with reserved(cost.at(shrink)):
        image = _by_turbo(data, most, shrink) if most is not not_shrunk and data.startswith(JPEG_START) else None
        yield image or _by_pillow(data, cost, shrink)


def decode_shrunk(data: bytes, most: Callable[[int, int], float]) -> DecodedImage:
    """As `decoding`, for what is small or used alone."""
    with decoding(data, most) as image:
        return image


def _by_pillow(data: bytes, cost: Footprint, shrink: int) -> DecodedImage:
    pixels_HW3 = decode_by_pillow(data, cost, shrink)
    if shrink == 1:
        return DecodedImage.whole(pixels_HW3)
    for sides in ((cost.height, cost.width), (cost.width, cost.height)):
        if pixels_HW3.shape[:2] == (-(-sides[0] // shrink), -(-sides[1] // shrink)):
            return DecodedImage(pixels_HW3, *sides, shrink=shrink)
    # A HEIC that was cut to a part of what its headers say.
    return DecodedImage(pixels_HW3, *(shrink * side for side in pixels_HW3.shape[:2]), shrink=shrink)


def _by_turbo(data: bytes, most: Callable[[int, int], float], needed: int) -> DecodedImage | None:
    """Shrunk `needed` times or more. None where simplejpeg is not sure, or would not give RGB as Pillow does."""
    with decoder_errors(), QuietJpegFile(io.BytesIO(data)) as header:
        refuse_size(header.size)
        (width, height), mode, exif = header.size, header.mode, header.info.get("exif", b"")
    if mode not in ("RGB", "L"):
        return None
    turn = orientation(exif)
    sides = (width, height) if turn in ON_THEIR_SIDE else (height, width)
    # In an image that is turned, the half-filled last block would come first and move everything.
    limit = most(*sides)
    fitting = [k for k in SHRINKS if k <= limit and (turn == 1 or height % k == width % k == 0)]
    shrink = max(needed, *fitting, 1)
    least = (-(-height // shrink), -(-width // shrink))
    try:
        pixels_HW3 = simplejpeg.decode_jpeg(data, min_height=least[0], min_width=least[1])
    except ValueError:
        return None
    if pixels_HW3.shape[:2] != least:
        return None
    if turn != 1:
        pixels_HW3 = upright(Image.fromarray(pixels_HW3), turn)
    return DecodedImage(pixels_HW3, *sides, shrink=shrink)

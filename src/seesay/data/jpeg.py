"""Images decoded no larger than they are needed: JPEG by libjpeg-turbo, which can halve an image as it decodes.

H, W = height and width of an image as it is decoded here.

A JPEG is blocks of 8 x 8 frequencies, and leaving out the upper ones gives the image 2, 4 or 8 times smaller for a
fraction of the work. What simplejpeg does not take without a complaint goes to `decode`, which alone decides what is
broken; so the refusals are the same.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image

from seesay.data.decode import JPEG_START, QuietJpegFile, decode, decoder_errors, orientation, refuse_size, upright

# A block of 8 x 8 frequencies decoded as 1, 2 or 4 pixels a side.
SHRINKS = (8, 4, 2)


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


def decode_shrunk(data: bytes, most: Callable[[int, int], float]) -> DecodedImage:
    """The image in `data`, shrunk at most `most(height, width)` times; raises what `decode` raises, where it does.

    A JPEG is shrunk by 1, 2, 4 or 8, anything else not at all. `most` is given the sides of the upright image.
    """
    image = _by_turbo(data, most) if data.startswith(JPEG_START) else None
    return image or DecodedImage.whole(decode(data))


def _by_turbo(data: bytes, most: Callable[[int, int], float]) -> DecodedImage | None:
    """None where simplejpeg is not sure, or would not give RGB as Pillow does."""
    with decoder_errors(), QuietJpegFile(io.BytesIO(data)) as header:
        refuse_size(header.size)
        (width, height), mode, exif = header.size, header.mode, header.info.get("exif", b"")
    if mode not in ("RGB", "L"):
        return None
    turn = orientation(exif)
    sides = (width, height) if turn in (5, 6, 7, 8) else (height, width)
    # In an image that is turned, the half-filled last block would come first and move everything.
    limit = most(*sides)
    fitting = [k for k in SHRINKS if k <= limit and (turn == 1 or height % k == width % k == 0)]
    shrink = fitting[0] if fitting else 1
    least = (-(-height // shrink), -(-width // shrink))
    try:
        pixels_HW3 = simplejpeg.decode_jpeg(data, min_height=least[0], min_width=least[1])
    except ValueError:
        return None
    if pixels_HW3.shape[:2] != least:
        return None
    if turn != 1:
        pixels_HW3 = upright(Image.fromarray(pixels_HW3), exif=exif)
    return DecodedImage(pixels_HW3, *sides, shrink=shrink)

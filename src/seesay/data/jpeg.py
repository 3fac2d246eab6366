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
from functools import cached_property

import numpy as np
import simplejpeg
from PIL import Image, features

from seesay.data.decode import (
    ON_THEIR_SIDE,
    TURNS,
    decode_by_pillow,
    decoder_errors,
    developed,
    open_image,
    orientation,
    upright_rgb,
)
from seesay.data.decoding_limits import SHRINKS, Footprint, refuse_size, reserved
from seesay.data.image_formats import JPEG_START, QuietJpegFile
from seesay.data.image_headers import footprint
from seesay.data.image_sources import Source, read_source

# Only then are the pixels of simplejpeg those of Pillow, which is built with another library on some systems.
_IS_PILLOWS_DECODER = features.check_feature("libjpeg_turbo")
# Orientations of EXIF in which an image is stored from right to left as it is upright, or from the bottom up.
_LEFTWARDS, _UPWARDS = (2, 3, 6, 7), (3, 4, 7, 8)


@dataclass(frozen=True)
class DecodedImage:
    """An image of `height` x `width`, both upright and whole, decoded `shrink` times smaller.

    `unturned` holds the pixels as they lie in the file, (H, W, 3), or (H, W, 4) with nothing in the fourth channel, or
    is a Pillow image of them; they are upright after the transposition that the EXIF orientation `turn` asks for. Point
    (y, x) of the whole is point (y / shrink, x / shrink) of what is decoded, also where the sides are no multiples.
    """

    unturned: np.ndarray | Image.Image
    height: int
    width: int
    shrink: int = 1
    turn: int = 1

    @classmethod
    def whole(cls, pixels_HW3: np.ndarray) -> "DecodedImage":
        """An image (H, W, 3) that was not shrunk."""
        return cls(pixels_HW3, *pixels_HW3.shape[:2])

    @cached_property
    def pixels_HW3(self) -> np.ndarray:
        """What is decoded, upright (H, W, 3)."""
        if isinstance(self.unturned, np.ndarray) and self.unturned.shape[2] == 3 and self.turn not in TURNS:
            return self.unturned
        stored = self.unturned if isinstance(self.unturned, Image.Image) else _as_pillow(self.unturned)
        return upright_rgb(stored, self.turn)

    def words(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        """A part of what is decoded, upright, (H, W): of each pixel its bytes and one of any value as a uint32."""
        height, width = self.decoded
        if is_leftwards := self.turn in _LEFTWARDS:
            left, right = width - right, width - left
        if is_upwards := self.turn in _UPWARDS:
            top, bottom = height - bottom, height - top
        if self.turn in ON_THEIR_SIDE:
            words_HW = self._stored_words(left, top, right, bottom).T
        else:
            words_HW = self._stored_words(top, left, bottom, right)
        return words_HW[:: -1 if is_upwards else 1, :: -1 if is_leftwards else 1]

    def _stored_words(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        if isinstance(self.unturned, Image.Image):
            width, height = self.unturned.size
            if 2 * (bottom - top) * (right - left) >= width * height:
                # Two copies of the part would take longer.
                return _words_of(self.unturned)[top:bottom, left:right]
            return _words_of(self.unturned.crop((left, top, right, bottom)))
        part_HWC = self.unturned[top:bottom, left:right]
        return part_HWC.view(np.uint32)[:, :, 0] if part_HWC.shape[2] == 4 else _words_of(Image.fromarray(part_HWC))

    @property
    def decoded(self) -> tuple[int, int]:
        """Height and width of `pixels_HW3`."""
        width, height = self.unturned.size if isinstance(self.unturned, Image.Image) else self.unturned.shape[1::-1]
        return (width, height) if self.turn in ON_THEIR_SIDE else (height, width)


def _words_of(image: Image.Image) -> np.ndarray:
    """A Pillow image as `DecodedImage.words` has it, (H, W)."""
    return np.frombuffer(image.tobytes("raw", "RGBX"), np.uint32).reshape(image.height, image.width)


def _as_pillow(stored_HWC: np.ndarray) -> Image.Image:
    """Of mode RGB or RGBX."""
    if stored_HWC.shape[2] == 3:
        return Image.fromarray(stored_HWC)
    return Image.frombuffer("RGBX", stored_HWC.shape[1::-1], stored_HWC, "raw", "RGBX", 0, 1)


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
        image = None
        if data.startswith(JPEG_START) and (most is not not_shrunk or (shrink == 1 and _IS_PILLOWS_DECODER)):
            image = _by_turbo(data, most, shrink)
        yield image or _by_pillow(data, cost, shrink)


def decode_shrunk(data: bytes, most: Callable[[int, int], float]) -> DecodedImage:
    """As `decoding`, for what is small or used alone."""
    with decoding(data, most) as image:
        return image


def _by_pillow(data: bytes, cost: Footprint, shrink: int) -> DecodedImage:
    stored, turn = decode_by_pillow(data, cost, shrink)
    if isinstance(stored, Image.Image):
        return DecodedImage(stored, *(stored.size if turn in ON_THEIR_SIDE else stored.size[::-1]), turn=turn)
    if shrink == 1:
        return DecodedImage.whole(stored)
    for sides in ((cost.height, cost.width), (cost.width, cost.height)):
        if stored.shape[:2] == (-(-sides[0] // shrink), -(-sides[1] // shrink)):
            return DecodedImage(stored, *sides, shrink=shrink)
    # A HEIC that was cut to a part of what its headers say.
    return DecodedImage(stored, *(shrink * side for side in stored.shape[:2]), shrink=shrink)


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
    colours = "RGBX" if most is not_shrunk else "RGB"
    try:
        stored_HWC = simplejpeg.decode_jpeg(data, colours, min_height=least[0], min_width=least[1])
    except ValueError:
        return None
    return DecodedImage(stored_HWC, *sides, shrink=shrink, turn=turn) if stored_HWC.shape[:2] == least else None

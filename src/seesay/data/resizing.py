"""An image to the square a model takes: exactly as Pillow would from the whole, or faster within one level of it.

H, W = height and width of an image, S = side of the square.

Exact means byte for byte what comes of turning the image upright, resizing all of it by Pillow and cutting out the
centre (`exact_resize`).
"""

from collections.abc import Callable

import numpy as np
import torch

from seesay.data.exact_resize import is_across_first, resized_part
from seesay.data.jpeg import DecodedImage

# Beyond this many pixels torch does not make the whole resized image any more: a strip of 1 x 60,000 would become
# 224 x 13 million. The exact mode makes no more than the centre anyway.
MAX_RESIZED_PIXELS = 1 << 24
# Looked up when first used: torch takes a moment to find an operator by its name.
_OPERATORS: dict[str, Callable] = {
    "bicubic": lambda: torch.ops.aten._upsample_bicubic2d_aa,
    "bilinear": lambda: torch.ops.aten._upsample_bilinear2d_aa,
}
# How much of the pixels that are too many lies before the centre: of an odd number torchvision cuts half off to the
# nearest even one, and every class of transformers the smaller half.
_BEFORE: dict[str, Callable[[int], int]] = {
    "torchvision": lambda spare: round(spare / 2.0),
    "transformers": lambda spare: spare // 2,
}


def long_side(height: int, width: int, size: int, *, crop: str) -> tuple[int, int]:
    """The longer side after the shorter one became `size`, and how much of it lies before the centre."""
    short, long = sorted((height, width))
    resized_long = int(size * long / short)
    return resized_long, _BEFORE[crop](resized_long - size)


def exact_centre(image: DecodedImage, size: int, *, interpolation: str, crop: str) -> np.ndarray:
    """(S, S, 3): shorter side to `size`, longer side to int(size * long / short), then the centre, as `crop` says."""
    height, width = image.decoded
    resized_long, offset = long_side(height, width, size, crop=crop)
    if width > height:
        sides, (top, left) = (size, resized_long), (0, offset)
    else:
        sides, (top, left) = (resized_long, size), (offset, 0)
    return resized_part(image, sides, (top, left, top + size, left + size), interpolation=interpolation)


def exact_whole(image: DecodedImage, height: int, width: int, *, interpolation: str) -> np.ndarray:
    """(H, W, 3) of `height` and `width`: the whole image, whatever its aspect ratio."""
    return resized_part(image, (height, width), (0, 0, height, width), interpolation=interpolation)


def fast_centre(image: DecodedImage, size: int, *, interpolation: str, crop: str) -> np.ndarray:
    """As `exact_centre`, (S, S, 3), by torch's antialiased resize of bytes."""
    resized_long, offset = long_side(image.height, image.width, size, crop=crop)
    if size * resized_long > MAX_RESIZED_PIXELS:
        return exact_centre(image, size, interpolation=interpolation, crop=crop)
    if image.width > image.height:
        return fast_whole(image, size, resized_long, interpolation=interpolation)[:, offset : offset + size]
    return fast_whole(image, resized_long, size, interpolation=interpolation)[offset : offset + size]


def fast_whole(image: DecodedImage, height: int, width: int, *, interpolation: str) -> np.ndarray:
    """As `exact_whole`, (H, W, 3), by torch's antialiased resize of bytes.

    torch's own function takes no scale that is not the ratio of the sides, so the operator behind it is called.
    """
    resize = _OPERATORS[interpolation]()
    image_13HW = _as_batch(image.pixels_HW3)
    down, across = image.shrink * height / image.height, image.shrink * width / image.width
    # The order of the two passes decides what is cut off at 0 and 255 between them. torch goes across and then down.
    if not is_across_first((image.height, image.width), (height, width)):
        image_13HW = resize(image_13HW, [height, image_13HW.shape[3]], False, down, None)
        down = None
    return resize(image_13HW, [height, width], False, down, across)[0].permute(1, 2, 0).numpy()


def shrunk_by_torch(image_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, C) uint8 of `height` and `width`: torch's antialiased bilinear resize, for what is only looked at."""
    return (
        _OPERATORS["bilinear"]()(_as_batch(image_HWC), [height, width], False, None, None)[0].permute(1, 2, 0).numpy()
    )


def _as_batch(image_HWC: np.ndarray) -> torch.Tensor:
    """(1, C, H, W) with the strides of "channels last": torch reads pixels where they lie, and gives the same bits."""
    return torch.from_numpy(image_HWC)[None].permute(0, 3, 1, 2)

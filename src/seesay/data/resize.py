"""Pixels to the square a model takes: as Pillow makes it, and a faster way within one level of that.

H, W = height and width of an image, S = side the model takes.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from seesay.data.jpeg import DecodedImage

# Beyond this many pixels the whole resized image is not made any more, only the centre of it (see `_resize_centre`).
MAX_RESIZED_PIXELS = 1 << 24


# Looked up when first used: torch takes a moment to find an operator by its name.
_OPERATORS: dict[str, Callable] = {
    "bicubic": lambda: torch.ops.aten._upsample_bicubic2d_aa,
    "bilinear": lambda: torch.ops.aten._upsample_bilinear2d_aa,
}


def centre_by_pillow(image_HW3: np.ndarray, size: int, *, interpolation: str) -> np.ndarray:
    """(S, S, 3): shorter side to `size`, longer side to int(size * long / short), then the centre, as torchvision."""
    return np.array(_resize_and_crop(Image.fromarray(image_HW3), size, resample=_by_name(interpolation)))


def squash_by_pillow(image_HW3: np.ndarray, size: int, *, interpolation: str) -> np.ndarray:
    """(S, S, 3): the whole image, whatever its aspect ratio."""
    return np.array(Image.fromarray(image_HW3).resize((size, size), _by_name(interpolation)))


def centre_by_torch(image: DecodedImage, size: int, *, interpolation: str) -> np.ndarray:
    """As `centre_by_pillow`, (S, S, 3), by torch's antialiased resize of bytes."""
    resized_long, offset = _long_side(image.height, image.width, size)
    if size * resized_long > MAX_RESIZED_PIXELS:
        return centre_by_pillow(image.pixels_HW3, size, interpolation=interpolation)
    if image.width > image.height:
        return _by_torch(image, (size, resized_long), interpolation=interpolation)[:, offset : offset + size]
    return _by_torch(image, (resized_long, size), interpolation=interpolation)[offset : offset + size]


def squash_by_torch(image: DecodedImage, size: int, *, interpolation: str) -> np.ndarray:
    """As `squash_by_pillow`, (S, S, 3), by torch's antialiased resize of bytes."""
    return _by_torch(image, (size, size), interpolation=interpolation)


def _by_torch(image: DecodedImage, resized: tuple[int, int], *, interpolation: str) -> np.ndarray:
    """The whole image at the sides `resized`.

    torch's own function takes no scale that is not the ratio of the sides, so the operator behind it is called.
    """
    resize = _OPERATORS[interpolation]()
    image_13HW = torch.from_numpy(image.pixels_HW3).permute(2, 0, 1)[None]
    down, across = (image.shrink * side / full for side, full in zip(resized, (image.height, image.width), strict=True))
    # The order of the two passes decides what is cut off at 0 and 255 between them. torch goes across and then down;
    # so does Pillow, but not (found by trial with Pillow 13) where much more height than width is lost.
    lost = image.height - resized[0]
    if lost > max(0, 2 * (image.width - resized[1])):
        image_13HW = resize(image_13HW, [resized[0], image_13HW.shape[3]], False, down, None)
        down = None
    return resize(image_13HW, list(resized), False, down, across)[0].permute(1, 2, 0).numpy()


def _by_name(interpolation: str) -> Image.Resampling:
    return Image.Resampling[interpolation.upper()]


def _long_side(height: int, width: int, size: int) -> tuple[int, int]:
    """The longer side after the resize, and how much of it lies before the centre."""
    short, long = sorted((height, width))
    resized_long = int(size * long / short)
    return resized_long, round((resized_long - size) / 2.0)


def _resize_and_crop(image: Image.Image, size: int, *, resample: Image.Resampling) -> Image.Image:
    long = max(image.size)
    resized_long, offset = _long_side(image.height, image.width, size)
    if size * resized_long > MAX_RESIZED_PIXELS:
        return _resize_centre(
            image, size, resample=resample, start=offset * long / resized_long, span=size * long / resized_long
        )
    is_wide = image.width > image.height
    resized = image.resize((resized_long, size) if is_wide else (size, resized_long), resample)
    left, top = (offset, 0) if is_wide else (0, offset)
    return resized.crop((left, top, left + size, top + size))


def _resize_centre(
    image: Image.Image, size: int, *, resample: Image.Resampling, start: float, span: float
) -> Image.Image:
    """The `span` pixels from `start` of the longer side, as they would be after a resize of the whole.

    A strip of 1 x 60,000 would become 224 x 13 million. The two passes are made one by one, across and then down,
    because that is Pillow's order for the whole. Within one level, as Pillow takes the box in single precision.
    """
    # Bicubic looks at two pixels of the coarser grid on either side.
    margin = 2 * max(1.0, span / size) + 1
    first, last = max(0, int(start - margin)), min(max(image.size), int(start + span + margin) + 1)
    begin, end = start - first, start - first + span
    if image.width > image.height:
        part = image.crop((first, 0, last, image.height))
        across = part.resize((size, image.height), resample, box=(begin, 0, end, image.height))
        return across.resize((size, size), resample)
    part = image.crop((0, first, image.width, last))
    across = part.resize((size, last - first), resample)
    return across.resize((size, size), resample, box=(0, begin, size, end))

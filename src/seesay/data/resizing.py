"""An image to the square a model takes: exactly as Pillow would from the whole, or faster within one level of it.

H, W = height and width of an image, S = side of the square.

Exact means byte for byte what comes of turning the image upright, resizing all of it and cutting out the centre. Pillow
resizes in two passes, across and then down, each with one set of weights for all rows or all columns. So what the
centre is not made of can be left out of the first pass, and the result can be turned in place of the image: then the
first pass is the one down.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from seesay.data.decode import ON_THEIR_SIDE, upright_rgb
from seesay.data.jpeg import DecodedImage

# Beyond this many pixels the whole resized image is not made any more, only the centre of it (see `_resize_centre`).
MAX_RESIZED_PIXELS = 1 << 24
# Orientations of EXIF in which an image is stored from right to left as it is upright, or from the bottom up.
_LEFTWARDS, _UPWARDS = (2, 3, 6, 7), (3, 4, 7, 8)
# How far bicubic looks in pixels of the coarser grid, and bilinear less.
_REACH = 2

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


def centre_by_pillow(image: DecodedImage, size: int, *, interpolation: str, crop: str) -> np.ndarray:
    """(S, S, 3): shorter side to `size`, longer side to int(size * long / short), then the centre, as `crop` says."""
    resample = _by_name(interpolation)
    height, width = image.decoded
    resized_long, offset = long_side(height, width, size, crop=crop)
    is_wide = width > height
    if size * resized_long > MAX_RESIZED_PIXELS:
        scale = max(height, width) / resized_long
        centre = _resize_centre(image.upright(), size, resample=resample, start=offset * scale, span=size * scale)
        return upright_rgb(centre, 1)
    is_across_first = _is_across_first(image.decoded, (size, resized_long) if is_wide else (resized_long, size))
    if not is_across_first or resized_long == size:
        resized = image.upright().resize((resized_long, size) if is_wide else (size, resized_long), resample)
        left, top = (offset, 0) if is_wide else (0, offset)
        return upright_rgb(resized.crop((left, top, left + size, top + size)), 1)
    is_backwards = image.turn in (_LEFTWARDS if is_wide else _UPWARDS)
    first = resized_long - size - offset if is_backwards else offset
    centre = (_wide_centre if is_wide else _tall_centre)(image, size, resized_long, first=first, resample=resample)
    return upright_rgb(centre, image.turn)


def resized_by_pillow(image: DecodedImage, height: int, width: int, *, interpolation: str) -> np.ndarray:
    """(H, W, 3) of `height` and `width`: the whole image, whatever its aspect ratio."""
    return upright_rgb(image.upright().resize((width, height), _by_name(interpolation)), 1)


def centre_by_torch(image: DecodedImage, size: int, *, interpolation: str, crop: str) -> np.ndarray:
    """As `centre_by_pillow`, (S, S, 3), by torch's antialiased resize of bytes."""
    resized_long, offset = long_side(image.height, image.width, size, crop=crop)
    if size * resized_long > MAX_RESIZED_PIXELS:
        return centre_by_pillow(image, size, interpolation=interpolation, crop=crop)
    if image.width > image.height:
        return resized_by_torch(image, size, resized_long, interpolation=interpolation)[:, offset : offset + size]
    return resized_by_torch(image, resized_long, size, interpolation=interpolation)[offset : offset + size]


def resized_by_torch(image: DecodedImage, height: int, width: int, *, interpolation: str) -> np.ndarray:
    """As `resized_by_pillow`, (H, W, 3), by torch's antialiased resize of bytes.

    torch's own function takes no scale that is not the ratio of the sides, so the operator behind it is called.
    """
    resize = _OPERATORS[interpolation]()
    image_13HW = torch.from_numpy(image.pixels_HW3).permute(2, 0, 1)[None]
    down, across = image.shrink * height / image.height, image.shrink * width / image.width
    # The order of the two passes decides what is cut off at 0 and 255 between them. torch goes across and then down.
    if not _is_across_first((image.height, image.width), (height, width)):
        image_13HW = resize(image_13HW, [height, image_13HW.shape[3]], False, down, None)
        down = None
    return resize(image_13HW, [height, width], False, down, across)[0].permute(1, 2, 0).numpy()


def _is_across_first(sides: tuple[int, int], resized: tuple[int, int]) -> bool:
    """Whether Pillow's first pass is the one across: not (found by trial with Pillow 13) where it loses much height."""
    lost_down, lost_across = (side - left for side, left in zip(sides, resized, strict=True))
    return lost_down <= max(0, 2 * lost_across)


def _wide_centre(
    image: DecodedImage, size: int, resized_long: int, *, first: int, resample: Image.Resampling
) -> Image.Image:
    """The centre, not turned yet, of an image whose longer side lies across when it is upright.

    Pillow takes a box in single precision: its weights are those of the whole where the box begins and ends at whole
    pixels of both grids, and nowhere else. So the box is the smallest of these around the centre, often all of it.
    """
    short, long = sorted(image.decoded)
    step = resized_long // math.gcd(long, resized_long)
    begin, end = first // step * step, -(-(first + size) // step) * step
    start, stop, count, skipped = begin * long // resized_long, end * long // resized_long, end - begin, first - begin
    stored = image.pillow
    if image.turn not in ON_THEIR_SIDE:
        across = stored.resize((count, short), resample, (start, 0, stop, short))
        return across.crop((skipped, 0, skipped + size, short)).resize((size, size), resample)
    down = stored.resize((short, count), resample, (0, start, short, stop))
    return down.crop((0, skipped, short, skipped + size)).resize((size, size), resample)


def _tall_centre(
    image: DecodedImage, size: int, resized_long: int, *, first: int, resample: Image.Resampling
) -> Image.Image:
    """The centre, not turned yet, of an image whose longer side lies down when it is upright.

    The second pass goes over what the first has made of the rows around the centre, and over black in place of others.
    """
    long = max(image.decoded)
    if image.turn in ON_THEIR_SIDE:
        down = image.pillow.resize((long, size), resample)
        return down.resize((resized_long, size), resample).crop((first, 0, first + size, size))
    reach = math.ceil(_REACH * max(1.0, long / resized_long)) + 1
    start = max(0, first * long // resized_long - reach)
    stop = min(long, -(-(first + size) * long // resized_long) + reach)
    rows = image.rows(start, stop).resize((size, stop - start), resample)
    canvas = Image.new(rows.mode, (size, long))
    canvas.paste(rows, (0, start))
    return canvas.resize((size, resized_long), resample).crop((0, first, size, first + size))


def _resize_centre(
    image: Image.Image, size: int, *, resample: Image.Resampling, start: float, span: float
) -> Image.Image:
    """The `span` pixels from `start` of the longer side, as they would be after a resize of the whole.

    A strip of 1 x 60,000 would become 224 x 13 million. The two passes are made one by one, across and then down,
    because that is Pillow's order for the whole. Within one level, as Pillow takes the box in single precision.
    """
    # Bicubic looks at two pixels of the coarser grid on either side.
    margin = _REACH * max(1.0, span / size) + 1
    first, last = max(0, int(start - margin)), min(max(image.size), int(start + span + margin) + 1)
    begin, end = start - first, start - first + span
    if image.width > image.height:
        part = image.crop((first, 0, last, image.height))
        across = part.resize((size, image.height), resample, box=(begin, 0, end, image.height))
        return across.resize((size, size), resample)
    part = image.crop((0, first, image.width, last))
    across = part.resize((size, last - first), resample)
    return across.resize((size, size), resample, box=(0, begin, size, end))


def _by_name(interpolation: str) -> Image.Resampling:
    return Image.Resampling[interpolation.upper()]

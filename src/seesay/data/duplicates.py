"""Images that are the same twice: byte for byte, or to the eye; and ten ways in which a copy is made.

Two images are alike if their difference hashes (64 bits, grey, 9 x 8 means) differ in at most two bits, and the means
of their 8 x 8 colour grids by at most 12 of 255 each and by at most 0.1 of their own contrast together (root mean
squares; at least 1 of 255, for flat images): small things on white need more than the white in common. That finds
the same image saved again, also at another size or quality; it does not find crops, mirrored or turned copies.

N = images.
"""

import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

# 64 bits: the size of the difference hash by N. Krawetz (2013).
GRID = 8
# A step smaller than this is noise: flat parts then give the same bits in every copy (a guess).
STEP = 3
# What counts as alike, as the docstring above says it (guesses).
MOST_BITS = 2
MOST_COLOUR = 12
MOST_OF_CONTRAST = 0.1
FLAT = 1.0
# (First bit, bits): hashes that differ in two bits at most are equal in one of three parts.
BANDS = ((0, 21), (21, 21), (42, 22))
# Within one part's equals, sorted, each is compared with this many next ones (a guess).
WINDOW = 64
# Pairs compared at once, so that memory is bounded (a guess).
BLOCK = 1 << 14
# What copies are made with; ranges are drawn from evenly, and are guesses at what people do to a photo they pass on.
CROP_AREA = (0.6, 0.9)
ZOOM = (1.1, 1.4)
STRETCH = (1.1, 1.6)
RESIZE = (0.5, 1.5)
TURN = (2.0, 10.0)
JPEG_QUALITY = 20
COLOUR = (0.7, 1.4)
HUE = 12
BORDER = (0.04, 0.12)
TEXT_LETTERS = (5, 16)
FILTERS = tuple(each for each in Image.Resampling)


def looks(image: np.ndarray | Image.Image) -> tuple[int, np.ndarray]:
    """The difference hash of an image, (H, W, 3) or of Pillow, and its (8, 8, 3) uint8 grid of mean colours."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    grey = np.asarray(image.resize((GRID + 1, GRID), Image.Resampling.BOX).convert("L")).astype(np.int16)
    bits = (grey[:, 1:] - grey[:, :-1] >= STEP).ravel()
    colours = np.asarray(image.resize((GRID, GRID), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(bits).tobytes(), "big"), colours


def equal_groups(digest_N: np.ndarray) -> list[np.ndarray]:
    """Positions of equal digests, (G,) for each digest that is there more than once; in the order of the first."""
    return _groups(np.unique(digest_N, return_inverse=True)[1])


def alike_groups(hash_N: np.ndarray, colours_N883: np.ndarray) -> list[np.ndarray]:
    """Positions of images that are alike, (G,) of two or more; those alike by way of a third are in one group."""
    parent = np.arange(len(hash_N))
    for left, right in _alike_pairs(hash_N, colours_N883):
        parent[_root(parent, left)] = _root(parent, right)
    return _groups(np.array([_root(parent, position) for position in range(len(parent))], dtype=np.int64))


def are_alike(
    query: tuple[np.ndarray, np.ndarray], passing: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of each image asked about and each that passes where the two are alike, (P,) both, sorted.

    Each side is what `looks` gives of its images: hashes (N,) and colours (N, 8, 8, 3).
    """
    found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    rows = max(1, (1 << 22) // max(1, len(passing[0])))
    for first in range(0, len(query[0]), rows):
        bits = np.bitwise_count(query[0][first : first + rows, None] ^ passing[0])
        one, other = np.nonzero(bits <= MOST_BITS)
        for start in range(0, len(one), BLOCK):
            left, right = one[start : start + BLOCK] + first, other[start : start + BLOCK]
            is_alike = _are_alike(query[1][left], passing[1][right])
            found.append((left[is_alike], right[is_alike]))
    left, right = (np.concatenate(each) for each in zip(*found, strict=True))
    return left, right


def _groups(label_N: np.ndarray) -> list[np.ndarray]:
    if not len(label_N):
        return []
    order = np.argsort(label_N, kind="stable")
    edges = np.flatnonzero(np.diff(label_N[order])) + 1
    return sorted((group for group in np.split(order, edges) if len(group) > 1), key=lambda group: int(group[0]))


def _root(parent: np.ndarray, position: int) -> int:
    while parent[position] != position:
        parent[position] = parent[parent[position]]
        position = int(parent[position])
    return position


def _alike_pairs(hash_N: np.ndarray, colours_N883: np.ndarray) -> list[tuple[int, int]]:
    pairs: set[tuple[int, int]] = set()
    mean_N = colours_N883.reshape(len(colours_N883), -1).mean(1)
    for shift, width in BANDS:
        part_N = (hash_N >> np.uint64(shift)) & np.uint64((1 << width) - 1)
        order = np.lexsort((mean_N, hash_N, part_N))
        for distance in range(1, min(WINDOW, len(order) - 1) + 1):
            left, right = order[:-distance], order[distance:]
            is_same = part_N[left] == part_N[right]
            if not is_same.any():
                break
            left, right = left[is_same], right[is_same]
            is_close = np.bitwise_count(hash_N[left] ^ hash_N[right]) <= MOST_BITS
            left, right = left[is_close], right[is_close]
            for first in range(0, len(left), BLOCK):
                one, other = left[first : first + BLOCK], right[first : first + BLOCK]
                is_alike = _are_alike(colours_N883[one], colours_N883[other])
                pairs.update(zip(one[is_alike].tolist(), other[is_alike].tolist(), strict=True))
    return sorted(pairs)


def _are_alike(one_M883: np.ndarray, other_M883: np.ndarray) -> np.ndarray:
    one_M883 = one_M883.astype(np.float32)
    apart_M883 = one_M883 - other_M883
    contrast_M = one_M883.std((1, 2)).mean(1)
    together_M = np.sqrt((apart_M883**2).mean((1, 2, 3)))
    is_close_M = np.abs(apart_M883).max((1, 2, 3)) <= MOST_COLOUR
    return is_close_M & (together_M <= np.maximum(FLAT, MOST_OF_CONTRAST * contrast_M))


def _cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    share = rng.uniform(*CROP_AREA) ** 0.5
    width, height = (max(1, round(side * share)) for side in image.size)
    left, top = (int(rng.integers(0, side - kept + 1)) for side, kept in zip(image.size, (width, height), strict=True))
    return image.crop((left, top, left + width, top + height))


def _zoomed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    share = 1 / rng.uniform(*ZOOM)
    width, height = image.size
    left, top = width * (1 - share) / 2, height * (1 - share) / 2
    return image.resize(image.size, Image.Resampling.BICUBIC, (left, top, width - left, height - top))


def _stretched(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    factor = rng.uniform(*STRETCH)
    width, height = image.size
    size = (round(width * factor), height) if rng.random() < 0.5 else (width, round(height * factor))
    return image.resize(size, Image.Resampling.BICUBIC)


def _resized(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    factor = rng.uniform(*RESIZE)
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), FILTERS[rng.integers(len(FILTERS))])


def _turned(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    angle = rng.uniform(*TURN) * rng.choice((-1, 1))
    grey = int(rng.choice((0, 128, 255)))
    return image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=(grey, grey, grey))


def _saved_badly(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    return Image.open(file).convert("RGB")


def _recoloured(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = change(image).enhance(rng.uniform(*COLOUR))
    hsv_HW3 = np.array(image.convert("HSV"))
    hsv_HW3[..., 0] += np.uint8(rng.integers(-HUE, HUE + 1) % 256)
    return Image.fromarray(hsv_HW3, "HSV").convert("RGB")


def _mirrored(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.mirror(image)


def _framed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    width = max(1, round(rng.uniform(*BORDER) * min(image.size)))
    return ImageOps.expand(image, width, tuple(rng.integers(0, 256, 3).tolist()))


def _written_on(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    image = image.copy()
    width, height = image.size
    text = "".join(chr(code) for code in rng.integers(97, 123, rng.integers(*TEXT_LETTERS)))
    size = max(6, int(1.8 * width * rng.uniform(0.5, 0.95) / len(text)))
    size = min(size, max(6, height // 3))
    place = int(rng.integers(0, max(1, width // 4))), int(rng.integers(0, max(1, height - size)))
    ink, edge = ((255,) * 3, (0,) * 3) if rng.random() < 0.5 else (tuple(rng.integers(0, 256, 3).tolist()), (255,) * 3)
    draw = ImageDraw.Draw(image)
    draw.text(place, text, ink, _font(size), stroke_width=size // 12, stroke_fill=edge)
    return image


@lru_cache(maxsize=256)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


# A copy of an RGB image, made with numbers drawn from the generator.
COPIES: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "crop": _cropped,
    "zoom": _zoomed,
    "aspect": _stretched,
    "resize": _resized,
    "rotation": _turned,
    "jpeg": _saved_badly,
    "colour": _recoloured,
    "flip": _mirrored,
    "border": _framed,
    "text": _written_on,
}

"""Images that are the same twice: byte for byte, or to the eye.

Two images are alike if their difference hashes (64 bits, grey, 9 x 8 means) differ in at most two bits, and the means
of their 8 x 8 colour grids by at most 12 of 255 each and by at most 0.1 of their own contrast together (root mean
squares; at least 1 of 255, for flat images): small things on white need more than the white in common. That finds
the same image saved again, also at another size or quality; it does not find crops, mirrored or turned copies.

N = images.
"""

import numpy as np
from PIL import Image

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


def looks(image_HW3: np.ndarray) -> tuple[int, np.ndarray]:
    """The difference hash of an image, and its (8, 8, 3) uint8 grid of mean colours."""
    image = Image.fromarray(image_HW3)
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

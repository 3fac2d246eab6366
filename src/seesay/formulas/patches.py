"""An image of any shape as patches, laid into a square like one.

All that carries images (batches, indexes, threads, devices) carries squares of one side. A square here holds an image's
patches in rows, as many as there may be, and behind them a header that says how many are one above the other and side
by side. The header is made of black and white alone, so that it is found again whatever colours are normalised with.

H, W = height and width of an image, S = side of the square, P = side of a patch, K = patches that fit into the square,
h, w = patches of the image above one another and side by side.
"""

import math

import numpy as np
import torch
from torch import Tensor

from seesay.base.errors import UsageError

# Black and white to compare with, and the bits of h and of w.
NUMBER_BITS = 16
HEADER = 2 + 2 * NUMBER_BITS
# The least P: a header is the first channel of one patch.
LEAST_PATCH = math.ceil(HEADER**0.5)
# As transformers' `get_image_size_for_max_num_patches` of 5.24 searches for the scale.
STEP = 1e-5
LARGEST_SCALE = 100.0


def square_side(patch: int, patches: int) -> int:
    """S for `patches` of that side, and the header."""
    return patch * math.ceil((patches + 1) ** 0.5)


def shape_in_patches(height: int, width: int, *, patch: int, patches: int) -> tuple[int, int]:
    """(h, w) of the largest whole patches at nearly the image's aspect ratio, h * w at most `patches`.

    To the last bit of the search in transformers' Siglip2ImageProcessor.
    """

    def counts(scale: float) -> tuple[int, int]:
        high, wide = (max(1, math.ceil(side * scale / patch)) for side in (height, width))
        return high, wide

    low, high = STEP / 10, LARGEST_SCALE
    while high - low >= STEP:
        middle = (low + high) / 2
        if math.prod(counts(middle)) <= patches:
            low = middle
        else:
            high = middle
    return counts(low)


def laid_out(image_HW3: np.ndarray, *, patch: int, patches: int) -> np.ndarray:
    """(S, S, 3) uint8 of an image whose sides are h * P and w * P."""
    high, wide = image_HW3.shape[0] // patch, image_HW3.shape[1] // patch
    across = square_side(patch, patches) // patch
    slots_KPP3 = np.zeros((across * across, patch, patch, 3), np.uint8)
    slots_KPP3[: high * wide] = (
        image_HW3.reshape(high, patch, wide, patch, 3).swapaxes(1, 2).reshape(-1, patch, patch, 3)
    )
    bits = [0, 1, *(number >> bit & 1 for number in (high, wide) for bit in range(NUMBER_BITS))]
    slots_KPP3[patches, :, :, 0].reshape(-1)[:HEADER] = 255 * np.array(bits, np.uint8)
    rows = slots_KPP3.reshape(across, across, patch, patch, 3).swapaxes(1, 2)
    return rows.reshape(across * patch, across * patch, 3)


def taken_out(pixels_B3SS: Tensor, *, patch: int, patches: int) -> tuple[Tensor, list[tuple[int, int]]]:
    """The patches of B squares, (B, K, P * P * 3) with colours innermost, and (h, w) of each.

    `UsageError` for pixels that `laid_out` did not make, such as those of a plain square.
    """
    across = pixels_B3SS.shape[-1] // patch
    slots = pixels_B3SS.reshape(len(pixels_B3SS), 3, across, patch, across, patch)
    slots_BKX = slots.permute(0, 2, 4, 3, 5, 1).reshape(len(pixels_B3SS), across * across, -1)
    header_BN = slots_BKX[:, patches, ::3][:, :HEADER].float()
    bits_BN = header_BN[:, 2:] > header_BN[:, :2].mean(1, keepdim=True)
    place_N = 2 ** torch.arange(NUMBER_BITS, device=bits_BN.device)
    shapes = [(high, wide) for high, wide in (bits_BN.unflatten(1, (2, -1)) * place_N).sum(2).tolist()]
    if any(not 1 <= high * wide <= patches for high, wide in shapes):
        raise UsageError(
            "these pixels are not patches of an image, which this model takes; make them with its preprocess."
        )
    return slots_BKX, shapes

"""Training crops: a random box of each image, resized with antialiasing, all drawn from (seed, sample, epoch).

B = images, H, W = their sides, S = side of the crops, K = numbers drawn per image.
"""

import math
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from seesay.base.settings import Settings
from seesay.data.jpeg import DecodedImage

Share = Annotated[float, Field(ge=0, le=1)]

# What each column of the random numbers decides. The caption is drawn from the same row.
AREA, STRETCH, TOP, LEFT, COARSE, COARSE_SIDE, FLIP, SHIFT, GAIN, RED, GREEN, BLUE, CAPTION = range(13)
TURN, RIGHT, DOWN, BLUR, GREY = range(13, 18)
COLUMNS = 18

# An image is not blurred less than this (a guess); sigmas are those of an image of 224 px, the side of CLIP's models.
LEAST_BLUR = 0.1
BLUR_SIDE = 224
# Red, green and blue in luminance, as ITU-R BT.601 and Pillow have them, in parts of 2^16.
LUMINANCE = (19595, 38470, 7471)


class Augment(Settings):
    """How far a training crop may differ from the image. The defaults are the paper's random square crop alone.

    `scale`: area of the crop as a share of the largest square that fits, drawn between this and 1.
    `stretch`: largest ratio of its sides. `flip`: chance of mirroring (the paper does not). `colour`: largest
    relative change of each channel's gain and of brightness. `grey`: chance that it loses its colours. `coarse`:
    chance that the crop is shrunk to half its side or less and brought back, as small images are. `turn`: largest
    angle in degrees either way. `move`: largest shift as a share of the side, down and to the right or back; black
    comes in from outside. `blur`: largest sigma of a Gaussian, in pixels of a crop of 224.
    """

    scale: Annotated[float, Field(gt=0, le=1)] = 1.0
    stretch: Annotated[float, Field(ge=1, le=2)] = 1.0
    flip: Share = 0.0
    colour: Share = 0.0
    grey: Share = 0.0
    coarse: Share = 0.0
    turn: Annotated[float, Field(ge=0, le=180)] = 0.0
    move: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    blur: Annotated[float, Field(ge=0, le=20)] = 0.0


def uniforms(seed: int, sample_B: np.ndarray, epoch_B: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1), (B, K), that depend on (seed, sample, epoch, column) alone, on every machine.

    A counter hashed by SplitMix64's finaliser (Steele, Lea and Flood 2014), once per coordinate.
    """
    state_B = _mix(sample_B.astype(np.uint64) + _mix(np.array([seed], dtype=np.uint64)))
    state_B = _mix(state_B + epoch_B.astype(np.uint64))
    state_BK = _mix(state_B[:, None] + np.arange(COLUMNS, dtype=np.uint64))
    return (state_BK >> np.uint64(11)) * 2.0**-53


def enough_for_crop(height: int, width: int, size: int, *, augment: Augment, random_K: np.ndarray) -> float:
    """How many times an image of H x W may be shrunk before its crop, drawn by `random_K`, has fewer than S pixels."""
    _, _, box_height, box_width = _box(height, width, augment, random_K)
    return min(box_height, box_width) / size


def crop(image: DecodedImage, size: int, *, augment: Augment, random_K: np.ndarray) -> Tensor:
    """A uint8 crop (1, 3, S, S), drawn by the image's numbers (K,); bilinear with antialiasing.

    The box is drawn in the image as it was before it was shrunk, so it is the same, to a pixel, however much it was.
    """
    box = _box(image.height, image.width, augment, random_K)
    top, left = (start // image.shrink for start in box[:2])
    height, width = (max(1, round(side / image.shrink)) for side in box[2:])
    # Bytes that lie close together are resized in two thirds of the time.
    crop_HW3 = np.ascontiguousarray(image.pixels_HW3[top : top + height, left : left + width])
    cut = torch.from_numpy(crop_HW3).permute(2, 0, 1)[None]
    if random_K[COARSE] < augment.coarse:
        cut = _resize(cut, round(size * (0.25 + 0.25 * random_K[COARSE_SIDE])))
    return _resize(cut, size)


def augmented(pixels_B3SS: Tensor, *, augment: Augment, random_BK: np.ndarray) -> Tensor:
    """Crops (B, 3, S, S), written over: flipped, turned, recoloured, greyed and blurred by their rows of numbers."""
    is_flipped_B = torch.from_numpy(random_BK[:, FLIP] < augment.flip)
    pixels_B3SS[is_flipped_B] = pixels_B3SS[is_flipped_B].flip(3)
    if augment.turn or augment.move:
        pixels_B3SS = _turn(pixels_B3SS, augment, random_BK)
    if augment.colour:
        pixels_B3SS = _shift_colour(pixels_B3SS, augment.colour, random_BK)
    if augment.grey:
        is_grey_B = torch.from_numpy(random_BK[:, GREY] < augment.grey)
        pixels_B3SS[is_grey_B] = _grey(pixels_B3SS[is_grey_B])
    return _blur(pixels_B3SS, augment.blur, random_BK) if augment.blur else pixels_B3SS


def _mix(state: np.ndarray) -> np.ndarray:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _box(height: int, width: int, augment: Augment, random_K: np.ndarray) -> tuple[int, int, int, int]:
    """Top, left, height, width of the crop: a square of drawn area, stretched, placed anywhere in the image."""
    side = min(height, width) * (augment.scale + (1 - augment.scale) * random_K[AREA]) ** 0.5
    stretch = augment.stretch ** (random_K[STRETCH] - 0.5)
    box_height = min(height, max(1, round(side * stretch)))
    box_width = min(width, max(1, round(side / stretch)))
    top = int((height - box_height + 1) * random_K[TOP])
    left = int((width - box_width + 1) * random_K[LEFT])
    return top, left, box_height, box_width


def _resize(image_13HW: Tensor, size: int) -> Tensor:
    return F.interpolate(image_13HW, (size, size), mode="bilinear", antialias=True)


def _shift_colour(pixels_B3SS: Tensor, strength: float, random_BK: np.ndarray) -> Tensor:
    signed_BK = torch.from_numpy(2 * random_BK - 1).float()
    gain_B3 = 1 + strength * signed_BK[:, GAIN, None] + strength / 2 * signed_BK[:, RED : BLUE + 1]
    shift_B = 128 * strength * signed_BK[:, SHIFT]
    shifted = pixels_B3SS * gain_B3[:, :, None, None] + shift_B[:, None, None, None]
    return shifted.clamp_(0, 255).to(torch.uint8)


def _grey(pixels_B3SS: Tensor) -> Tensor:
    """Pillow's "L" of each, bit for bit, in all three channels."""
    parts_B3SS = pixels_B3SS.int() * torch.tensor(LUMINANCE, dtype=torch.int32)[:, None, None]
    grey_B1SS = (parts_B3SS.sum(1, keepdim=True, dtype=torch.int32) + (1 << 15)) >> 16
    return grey_B1SS.to(torch.uint8).expand_as(pixels_B3SS)


def _turn(pixels_B3SS: Tensor, augment: Augment, random_BK: np.ndarray) -> Tensor:
    signed_BK = torch.from_numpy(2 * random_BK - 1).float()
    angle_B = math.radians(augment.turn) * signed_BK[:, TURN]
    # The grid's unit is half a side.
    right_B, down_B = (2 * augment.move * signed_BK[:, column] for column in (RIGHT, DOWN))
    cos_B, sin_B = angle_B.cos(), angle_B.sin()
    matrix_B23 = torch.stack([cos_B, -sin_B, right_B, sin_B, cos_B, down_B], dim=1).unflatten(1, (2, 3))
    grid = F.affine_grid(matrix_B23, list(pixels_B3SS.shape), align_corners=False)
    return F.grid_sample(pixels_B3SS.float(), grid, align_corners=False).round_().to(torch.uint8)


def _blur(pixels_B3SS: Tensor, most: float, random_BK: np.ndarray) -> Tensor:
    B, channels, side, _ = pixels_B3SS.shape
    drawn_B = torch.from_numpy(random_BK[:, BLUR]).float()
    sigma_B = (LEAST_BLUR + (max(most, LEAST_BLUR) - LEAST_BLUR) * drawn_B) * side / BLUR_SIDE
    radius = min(side - 1, math.ceil(3 * max(most, LEAST_BLUR) * side / BLUR_SIDE))
    offset_X = torch.arange(-radius, radius + 1)
    weight_BX = torch.exp(-0.5 * (offset_X / sigma_B[:, None]) ** 2)
    weight_BX = (weight_BX / weight_BX.sum(1, keepdim=True)).repeat_interleave(channels, dim=0)
    # All images' channels as channels of one image, so that each has a kernel of its own.
    x = F.pad(pixels_B3SS.float().flatten(0, 1)[None], (radius, radius, radius, radius), mode="reflect")
    x = F.conv2d(x, weight_BX[:, None, :, None], groups=B * channels)
    x = F.conv2d(x, weight_BX[:, None, None, :], groups=B * channels)
    return x[0].unflatten(0, (B, channels)).round_().to(torch.uint8)

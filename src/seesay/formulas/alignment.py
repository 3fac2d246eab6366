"""Is one image a copy of another? They are laid over each other as well as a turn, a stretch and a shift allow.

A map (2, 3) takes points of the first image to points of the second; the middle is 0, the edges are -1 and 1. It is
found in two passes: by a Fourier transform over all shifts for each of some turns, scales and mirrors, then by least
squares on the difference of greys (Lucas & Kanade 1981).

P = pairs of images, S = side in pixels, J = maps to begin with, K = maps of a pair, F = side of a Fourier transform,
X = points of an image.
"""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

# What copies are made of, and more: a crop to half of the area, a frame, a turn. Guesses at a grid that is fine enough.
SCALES, TURNS = (0.72, 0.8, 0.9, 1.0, 1.12, 1.25), (-8.0, -4.0, 4.0, 8.0)
# The best of them go on, for so many steps on half the side and as many on the whole; guesses.
KEPT, STEPS = 3, 6
# Shifts reach this share of a side; the images have this share of the first one in common, at least; guesses.
FARTHEST, LEAST_COMMON = 0.29, 0.4
# Beyond these a map shrinks or swells what no copy does; a guess.
LEAST_SCALE, MOST_SCALE = 0.5, 2.0
# The weight of a correlation, its end, and the lowest agreement; chosen in benchmarks/2026-11-29-overlap.
WEIGHT, END, LOWEST = 0.1, 1.02, -0.2
# Against a division by 0 on a flat image, as squares of greys.
TINY = 1e-5


def agreement(first_PSS: Tensor, second_PSS: Tensor) -> Tensor:
    """How well pairs of grey images from 0 to 1, S even, lie over each other, (P,): from `LOWEST` to 0.39.

    That is -0.1 ln(1.02 - r), with r the correlation of greys where both are, less how much the map stretches one side
    more than the other, as a logarithm, and less its shear, as a cosine. No correlation is 0.
    """
    r_P, stretch_P, shear_P = laid_over(first_PSS, second_PSS)
    return (-WEIGHT * torch.log(END - r_P.clamp(0, 1)) - stretch_P - shear_P).clamp(min=LOWEST)


def laid_over(first_PSS: Tensor, second_PSS: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of grey images as they lie best: correlation of greys, stretch and shear of the map, (P,) each."""
    small_first, small_second = (F.avg_pool2d(image[:, None], 2)[:, 0] for image in (first_PSS, second_PSS))
    map_X23 = _first_maps(small_first, small_second).flatten(0, 1)
    each_first, each_second = (image.repeat_interleave(KEPT, 0) for image in (small_first, small_second))
    map_X23 = _fitted(each_first, each_second, map_X23)
    best_P = _correlation(each_first, each_second, map_X23).unflatten(0, (-1, KEPT)).argmax(1)
    map_P23 = map_X23.unflatten(0, (-1, KEPT))[torch.arange(len(best_P)), best_P]
    map_P23 = _fitted(first_PSS, second_PSS, map_P23)
    return _correlation(first_PSS, second_PSS, map_P23), _stretch(map_P23), _shear(map_P23)


def _stretch(map_P23: Tensor) -> Tensor:
    scale_P2 = torch.linalg.svdvals(map_P23[..., :2]).clamp(min=TINY)
    return torch.log(scale_P2[..., 0] / scale_P2[..., 1])


def _shear(map_P23: Tensor) -> Tensor:
    return F.cosine_similarity(map_P23[..., 0, :2], map_P23[..., 1, :2], dim=-1).abs()


@cache
def _points(side: int) -> Tensor:
    """Middles of pixels, (side * side, 2), as x and y."""
    axis = (torch.arange(side) + 0.5) * 2 / side - 1
    y_SS, x_SS = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x_SS, y_SS], -1).flatten(0, 1)


@cache
def _matrices() -> Tensor:
    """The turns and scales to begin with, and their mirrors, (J, 2, 2)."""
    found = []
    for scale, turn in [*((scale, 0.0) for scale in SCALES), *((1.0, turn) for turn in TURNS)]:
        cos, sin = (function(math.radians(turn)) / scale for function in (math.cos, math.sin))
        found += [[[mirror * cos, -mirror * sin], [sin, cos]] for mirror in (1, -1)]
    return torch.tensor(found)


def _seen(image_PCSS: Tensor, map_P23: Tensor) -> tuple[Tensor, Tensor]:
    """The second image where each point of the first is, (P, C, X), and whether there is anything, (P, X)."""
    points_X2 = _points(image_PCSS.shape[-1])
    at_PX2 = points_X2 @ map_P23[:, :, :2].transpose(1, 2) + map_P23[:, None, :, 2]
    found_PCX1 = F.grid_sample(image_PCSS, at_PX2[:, :, None], padding_mode="border", align_corners=False)
    return found_PCX1[..., 0], (at_PX2.abs() <= 1).all(-1).float()


def _first_maps(first_PSS: Tensor, second_PSS: Tensor) -> Tensor:
    """The maps with the best correlations of all turns, scales, mirrors and shifts, (P, KEPT, 2, 3)."""
    side, matrix_J22 = first_PSS.shape[-1], _matrices()
    map_J23 = F.pad(matrix_J22, (0, 1))
    turned = [_seen(second_PSS[:, None], map_123.expand(len(second_PSS), -1, -1)) for map_123 in map_J23[:, None]]
    second_PJSS = torch.stack([seen_P1X[:, 0] for seen_P1X, _ in turned], 1).unflatten(2, (side, side))
    there_JSS = torch.stack([there_PX[0] for _, there_PX in turned]).unflatten(1, (side, side))
    r_PJFF, common_JFF = _shifted_correlations(first_PSS, second_PJSS, there_JSS)
    size = r_PJFF.shape[-1]
    shift_F = torch.fft.fftfreq(size, 1 / size).round()
    is_near_F = shift_F.abs() <= FARTHEST * side
    is_allowed_JFF = is_near_F[:, None] & is_near_F & (common_JFF >= LEAST_COMMON)
    # Of two with one correlation the one that has more in common is better (the power is a guess).
    score_PJX = (r_PJFF * common_JFF.clamp(0, 1) ** 0.25).masked_fill(~is_allowed_JFF, -1.0).flatten(2)
    best_PJ, at_PJ = score_PJX.max(2)
    start_PK = best_PJ.topk(KEPT, dim=1).indices
    at_PK = at_PJ.gather(1, start_PK)
    shift_PK2 = torch.stack([shift_F[at_PK % size], shift_F[at_PK // size]], -1) * 2 / side
    matrix_PK22 = matrix_J22[start_PK]
    return torch.cat([matrix_PK22, -matrix_PK22 @ shift_PK2[..., None]], -1)


def _shifted_correlations(first_PSS: Tensor, second_PJSS: Tensor, there_JSS: Tensor) -> tuple[Tensor, Tensor]:
    """Correlations where both images are, for every shift, (P, J, F, F), and the share that is common, (J, F, F)."""
    side = first_PSS.shape[-1]
    size = 1 << math.ceil(math.log2((1 + FARTHEST) * side))
    first_PSS = first_PSS - first_PSS.mean((1, 2), keepdim=True)
    second_PJSS = (second_PJSS - second_PJSS.mean((2, 3), keepdim=True)) * there_JSS

    def spectrum(x: Tensor) -> Tensor:
        return torch.fft.rfft2(x, s=(size, size))

    def sums(one: Tensor, other: Tensor) -> Tensor:
        return torch.fft.irfft2(one * other.conj(), s=(size, size))

    first, squared = spectrum(first_PSS)[:, None], spectrum(first_PSS**2)[:, None]
    there, everywhere = spectrum(there_JSS), spectrum(torch.ones(side, side))
    second, second_squared = spectrum(second_PJSS), spectrum(second_PJSS**2)
    count_JFF = sums(everywhere, there).clamp(min=1)
    mean_first, mean_second = sums(first, there) / count_JFF, sums(everywhere, second) / count_JFF
    variances = (
        (sums(squared, there) / count_JFF - mean_first**2).clamp(min=TINY),
        (sums(everywhere, second_squared) / count_JFF - mean_second**2).clamp(min=TINY),
    )
    covariance = sums(first, second) / count_JFF - mean_first * mean_second
    return covariance / (variances[0] * variances[1]).sqrt(), count_JFF / side**2


def _correlation(first_PSS: Tensor, second_PSS: Tensor, map_P23: Tensor) -> Tensor:
    """The correlation of greys where both images are, (P,); -1 where too little is common, or a map is no copy's."""
    second_P1X, there_PX = _seen(second_PSS[:, None], map_P23)
    weight_PX = there_PX / there_PX.sum(1, keepdim=True).clamp(min=1)
    pair = [
        image_PX - (weight_PX * image_PX).sum(1, keepdim=True) for image_PX in (first_PSS.flatten(1), second_P1X[:, 0])
    ]
    squares = [(weight_PX * image_PX**2).sum(1).clamp(min=TINY) for image_PX in pair]
    r_P = (weight_PX * pair[0] * pair[1]).sum(1) / (squares[0] * squares[1]).sqrt()
    scale_P2 = torch.linalg.svdvals(map_P23[:, :, :2])
    is_copy_P = (there_PX.mean(1) >= LEAST_COMMON) & (scale_P2[:, 0] <= MOST_SCALE) & (scale_P2[:, 1] >= LEAST_SCALE)
    return torch.where(is_copy_P, r_P, -torch.ones(()))


def _fitted(first_PSS: Tensor, second_PSS: Tensor, map_P23: Tensor) -> Tensor:
    """Maps (P, 2, 3) after `STEPS` of Gauss and Newton on map, brightness and contrast together.

    What fits badly weighs less, as letters and frames that only one image has.
    """
    side, count = first_PSS.shape[-1], len(first_PSS)
    x_X, y_X = _points(side).unbind(1)
    slope_y, slope_x = torch.gradient(second_PSS, spacing=2 / side, dim=(1, 2))
    second_P3SS = torch.stack([second_PSS, slope_x, slope_y], 1)
    first_PX = first_PSS.flatten(1)
    for _ in range(STEPS):
        seen_P3X, there_PX = _seen(second_P3SS, map_P23)
        weight_PX = there_PX / there_PX.sum(1, keepdim=True).clamp(min=1)
        own_PX, other_PX = (
            image_PX - (weight_PX * image_PX).sum(1, keepdim=True) for image_PX in (first_PX, seen_P3X[:, 0])
        )
        spread = [(weight_PX * x**2).sum(1, keepdim=True).sqrt().clamp(min=1e-3) for x in (own_PX, other_PX)]
        gain_P1 = spread[0] / spread[1]
        rest_PX = own_PX - gain_P1 * other_PX
        usual_P1 = (weight_PX * rest_PX.abs()).sum(1, keepdim=True)
        robust_PX = there_PX / (1 + (rest_PX / (2 * usual_P1 + 1e-3)) ** 2)
        slope_x_PX, slope_y_PX = (gain_P1 * seen_P3X[:, number] for number in (1, 2))
        columns = [slope_x_PX * x_X, slope_x_PX * y_X, slope_x_PX, slope_y_PX * x_X, slope_y_PX * y_X, slope_y_PX]
        design_PX8 = torch.stack([*columns, gain_P1 * other_PX, spread[0].expand_as(rest_PX)], 2)
        weighted_P8X = (design_PX8 * robust_PX[..., None]).transpose(1, 2)
        normal_P88 = weighted_P8X @ design_PX8
        # A little of the diagonal more (Levenberg), for images in which nothing says where they lie.
        normal_P88 = normal_P88 + torch.diag_embed(0.02 * normal_P88.diagonal(dim1=1, dim2=2) + 1e-4)
        step_P8 = torch.linalg.solve(normal_P88, weighted_P8X @ rest_PX[..., None])[..., 0]
        map_P23 = map_P23 + step_P8[:, :6].clamp(-0.15, 0.15).view(count, 2, 3)
    return map_P23

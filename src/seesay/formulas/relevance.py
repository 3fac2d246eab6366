"""Which positions of an image make a score: gradients of the score, weighted by what the tower computed there.

B = images, H = heads, Q = positions that look, P = positions that are looked at, C = channels, h, w = sides of a map,
G = side of the grid that maps are joined on, K = steps, Y, X = sides of an image.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def map_relevance(map_BChw: Tensor, gradient_BChw: Tensor) -> Tensor:
    """What speaks for the score at each position of a map, (B, h, w), none below 0.

    Channels are weighted by the positive part of their gradient at the position itself (Jiang et al. 2021, "LayerCAM",
    equation 4-6). Where the gradient is alike at all positions and positive, it is Grad-CAM (Selvaraju et al. 2017).
    """
    return (gradient_BChw.clamp(min=0) * map_BChw).sum(1).clamp(min=0)


def attention_relevance(weight_BHQP: Tensor, gradient_BHQP: Tensor) -> Tensor:
    """What speaks for the score at each position that a layer attends to, (B, P), none below 0.

    The positive part of weight times gradient, the mean over heads and the sum over the positions that look (Chefer et
    al. 2021, "Generic Attention-model Explainability", equation 5).
    """
    return (weight_BHQP * gradient_BHQP).clamp(min=0).mean(1).sum(1)


def joined(heats: Sequence[Tensor]) -> Tensor:
    """Maps (B, h, w) of several layers to one on the finest grid, (B, G, G): each with its maximum 1, then the mean.

    The least of a joined map is 0 and the most 1; one that is alike everywhere is 0.
    """
    side = max(heat.shape[-1] for heat in heats)
    mean_BGG = torch.stack([at_peak_1(resized(heat, side)) for heat in heats]).mean(0)
    return at_peak_1(mean_BGG - mean_BGG.amin((1, 2), keepdim=True))


def resized(heat_Bhw: Tensor, side: int) -> Tensor:
    """The maps on a square grid of that side, (B, side, side), between the centres of their cells linear."""
    return F.interpolate(heat_Bhw[:, None], size=(side, side), mode="bilinear", align_corners=False)[:, 0]


def at_peak_1(heat_Bhw: Tensor) -> Tensor:
    """Each map divided by its maximum, (B, h, w); one without anything above 0 as it is."""
    peak_B = heat_Bhw.flatten(1).amax(1)
    return heat_Bhw / torch.where(peak_B > 0, peak_B, 1.0)[:, None, None]


def in_image(heat_GG: np.ndarray, sides: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    """A map of the part `box` of an image, its top, left, bottom and right, in pixels of all of it, float32 (Y, X).

    Between the centres of the cells it is linear, and 0 outside of the box.
    """
    rows_YG = _weights(sides[0], box[0], box[2], len(heat_GG))
    columns_XG = _weights(sides[1], box[1], box[3], heat_GG.shape[1])
    return rows_YG @ heat_GG.astype(np.float32) @ columns_XG.T


def _weights(side: int, first: float, last: float, cells: int) -> np.ndarray:
    """How much of each cell is in each pixel of a side, (side, cells)."""
    centre = np.arange(side) + 0.5
    at = ((centre - first) / (last - first) * cells - 0.5).clip(0, cells - 1)
    low = np.floor(at).astype(int).clip(0, max(cells - 2, 0))
    weights = np.zeros((side, cells), np.float32)
    each = np.arange(side)
    weights[each, np.minimum(low + 1, cells - 1)] = at - low
    weights[each, low] += 1 - (at - low)
    weights[(centre < first) | (centre > last)] = 0
    return weights


def rank_of(heat_BP: Tensor) -> Tensor:
    """The rank of each cell, (B, P): 0 for the hottest; of equal ones the first comes first."""
    return heat_BP.argsort(dim=1, descending=True, stable=True).argsort(dim=1)


def curve_area(score_BK: Tensor) -> Tensor:
    """The area under scores at K equal steps from 0 to 1, (B,): their mean, the ends counted half (trapezoid rule).

    Of scores while cells are removed, hottest first, it is the deletion metric, and of those while they are put in the
    insertion metric (Petsiuk et al. 2018, "RISE", section 4.3).
    """
    return torch.trapezoid(score_BK, dim=1) / (score_BK.shape[1] - 1)

"""Examples made ready for logistic regression: features about their mean, and the axes along which they vary.

N = examples, W = features, K = classes. theta_KW1 holds the weights of every class on features about their mean and, in
its last column, the intercepts there.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

# Where a problem is so small that float64 costs nothing it is solved to the end.
SMALL_WORK = 1 << 27
# So many rows show the axes well enough.
ROWS_FOR_AXES = 8192
# Of the largest variance: what is below is the rounding of float32.
FLAT = (16 * torch.finfo(torch.float32).eps) ** 2


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Labelled features about their mean. `share_K` are the shares of the classes, `own_KW` sums of their rows / N.

    The columns of `axes_WW` are the directions in which they vary, by `variance_W`; 0 for a direction that is left out.
    `total` is the sum of `weight_N`, or the number of examples where that is None and each counts once. Of `offset_NK`
    every row is added to the example's logits; None where nothing is. Intercepts, those of a row at the mean, are
    free, or cost what the weights of a feature do that is as large as the examples' spread (as 1 where that is 0).
    """

    centred_NW: Tensor
    label_N: Tensor
    weight_N: Tensor | None
    total: float
    mean_W: Tensor
    axes_WW: Tensor
    variance_W: Tensor
    share_K: Tensor
    own_KW: Tensor
    offset_NK: Tensor | None = None
    has_free_intercepts: bool = True

    @property
    def intercept_cost(self) -> float:
        """What a squared intercept costs, where a squared weight costs 1."""
        return 0.0 if self.has_free_intercepts else 1 / (self.spread or 1.0)

    @property
    def spread(self) -> float:
        """The mean squared distance of the examples from their mean."""
        return float(self.variance_W.sum())

    def at(self, rows: Tensor) -> "Examples":
        """The examples of some rows, (M,), about the mean and along the axes of all."""
        weight_N, offset_NK = self.weight_N, self.offset_NK
        part = replace(
            self,
            centred_NW=self.centred_NW[rows],
            label_N=self.label_N[rows],
            weight_N=None if weight_N is None else weight_N[rows],
            offset_NK=None if offset_NK is None else offset_NK[rows],
        )
        return with_own_means(part)


def examples(
    features_NW: Tensor,
    label_N: Tensor,
    classes: int,
    weight_N: Tensor | None = None,
    offset_NK: Tensor | None = None,
    has_free_intercepts: bool = True,
) -> Examples:
    """Features, labels from 0 to `classes` - 1, weights and offsets of logits, ready for `logistic.fit`.

    In float64 where that costs nothing.
    """
    is_small = features_NW.numel() * classes <= SMALL_WORK
    features_NW = features_NW.to(torch.float64 if is_small else torch.float32)
    weight_N = None if weight_N is None else weight_N.to(features_NW)
    mean_W = features_NW.mean(0) if weight_N is None else weight_N @ features_NW / weight_N.sum()
    centred_NW = features_NW - mean_W
    every = -(-len(centred_NW) // ROWS_FOR_AXES)
    seen_NW = centred_NW[::every]
    if weight_N is None:
        spread_WW = (seen_NW.T @ seen_NW).double() / len(seen_NW)
    else:
        spread_WW = ((seen_NW.T * weight_N[::every]) @ seen_NW).double() / float(weight_N[::every].sum())
    variance_W, axes_WW = torch.linalg.eigh(spread_WW)
    # Where all rows were seen a flat direction is flat indeed, and only rounding would move the weights along it.
    least, is_flat = FLAT * variance_W[-1], variance_W <= FLAT * variance_W[-1]
    variance_W = variance_W.clamp_min(least).masked_fill(is_flat & (len(seen_NW) == len(centred_NW)), 0)
    unlabelled = Examples(
        centred_NW=centred_NW,
        label_N=label_N,
        weight_N=weight_N,
        total=len(label_N),
        mean_W=mean_W,
        axes_WW=axes_WW.to(mean_W.dtype),
        variance_W=variance_W.to(mean_W.dtype),
        share_K=mean_W.new_empty(classes),
        own_KW=mean_W.new_empty(classes, len(mean_W)),
        offset_NK=None if offset_NK is None else offset_NK.to(features_NW),
        has_free_intercepts=has_free_intercepts,
    )
    return with_own_means(unlabelled)


def with_own_means(data: Examples) -> Examples:
    """`data` with what its examples and labels come to."""
    count_K = torch.bincount(data.label_N, data.weight_N, minlength=len(data.share_K))
    total, rows_NW = len(data.label_N), data.centred_NW
    if data.weight_N is not None:
        total, rows_NW = float(data.weight_N.sum(dtype=torch.float64)), rows_NW * data.weight_N[:, None]
    own_KW = torch.zeros_like(data.own_KW).index_add_(0, data.label_N, rows_NW) / total
    return replace(data, total=total, share_K=count_K.to(own_KW.dtype) / total, own_KW=own_KW)


def to_features(data: Examples, theta_KW1: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (K, W) and intercepts (K,) for features as they came, in float64.

    The same number on all intercepts changes nothing; they come with a mean of 0.
    """
    weights_KW, about_mean_K = theta_KW1[:, :-1].double(), theta_KW1[:, -1].double()
    intercept_K = about_mean_K - weights_KW @ data.mean_W.double()
    return weights_KW, intercept_K - intercept_K.mean()


def from_features(data: Examples, weights_KW: Tensor, intercept_K: Tensor) -> Tensor:
    """The inverse of `to_features`, to start from what other examples gave: (K, W + 1)."""
    about_mean_K = intercept_K.double() + weights_KW.double() @ data.mean_W.double()
    return torch.cat([weights_KW.double(), about_mean_K[:, None]], dim=1).to(data.mean_W.dtype)

"""3x3 convolutions of small maps as products of matrices, where these are the faster ones.

B = images, C = channels in, K = channels out, S = side of the map, P = positions of the map behind, of all images.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# By the positions of a map. In bfloat16 with matrix units (AMX) oneDNN takes up to ten times as long for the gradient
# of the weights as the product does, and everywhere longer for a map of 2 x 2 (benchmarks/2026-11-29-recipe).
TINY_MAP = 4
SMALL_MAP = 36


class Conv3x3(nn.Conv2d):
    """`nn.Conv2d` of 3x3 with a border of one zero and no bias; the same numbers but for rounding, on CPUs sooner."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 1):
        super().__init__(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(B, C, S, S) to (B, K, S', S')."""
        if x.device.type != "cpu" or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return super().forward(x)
        weight, dtype = self.weight, x.dtype
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
        with torch.autocast("cpu", enabled=False):
            return _Conv3x3.apply(x.to(dtype), weight.to(dtype), self.stride[0])


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BCSS: Tensor, weight_KC33: Tensor, stride: int) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x_BCSS, weight_KC33)
        ctx.stride = stride
        if stride == 1 and x_BCSS.shape[2:].numel() <= TINY_MAP:
            return _product(x_BCSS, weight_KC33)
        return F.conv2d(x_BCSS, weight_KC33, stride=stride, padding=1)

    @staticmethod
    def backward(ctx: Any, gradient_BKSS: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[override]
        x_BCSS, weight_KC33 = ctx.saved_tensors
        gradient_BKSS = gradient_BKSS.contiguous(memory_format=torch.channels_last)
        positions, needs = gradient_BKSS.shape[2:].numel(), list(ctx.needs_input_grad[:2])
        x_gradient, weight_gradient = None, None
        if needs[0] and ctx.stride == 1 and positions <= TINY_MAP:
            x_gradient, needs[0] = _product(gradient_BKSS, weight_KC33.transpose(0, 1).flip(2, 3)), False
        if needs[1] and (positions <= TINY_MAP or (positions <= SMALL_MAP and _has_matrix_units(x_BCSS.dtype))):
            rows_PK = gradient_BKSS.permute(0, 2, 3, 1).flatten(0, 2)
            weight_33C_K = (rows_PK.T @ _patches(x_BCSS, ctx.stride)).unflatten(1, (3, 3, -1))
            weight_gradient, needs[1] = weight_33C_K.permute(0, 3, 1, 2), False
        if any(needs):
            by_library = torch.ops.aten.convolution_backward(
                gradient_BKSS,
                x_BCSS,
                weight_KC33,
                None,
                [ctx.stride] * 2,
                [1, 1],
                [1, 1],
                False,
                [0, 0],
                1,
                [*needs, False],
            )
            x_gradient, weight_gradient = (
                own if library is None else library
                for own, library in zip((x_gradient, weight_gradient), by_library[:2], strict=True)
            )
        return x_gradient, weight_gradient, None


def _product(x_BCSS: Tensor, weight_KC33: Tensor) -> Tensor:
    """The convolution of stride 1."""
    weight_9C_K = weight_KC33.permute(2, 3, 1, 0).flatten(0, 2)
    y_PK = _patches(x_BCSS, 1) @ weight_9C_K
    B, _, height, width = x_BCSS.shape
    return y_PK.view(B, height, width, -1).permute(0, 3, 1, 2)


def _patches(x_BCSS: Tensor, stride: int) -> Tensor:
    """What each position behind sees, (P, 9 C)."""
    B, C, height, width = x_BCSS.shape
    padded = F.pad(x_BCSS.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    by_image, down, right, by_channel = padded.stride()
    size = B, (height - 1) // stride + 1, (width - 1) // stride + 1, 3, 3, C
    strides = by_image, down * stride, right * stride, down, right, by_channel
    return padded.as_strided(size, strides).reshape(-1, 9 * C)


def _has_matrix_units(dtype: torch.dtype) -> bool:
    return dtype == torch.bfloat16 and torch.cpu._is_amx_tile_supported()

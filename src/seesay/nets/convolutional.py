"""The convolutional towers: the paper's modified ResNet with attention pooling, a small one, and one for copies.

B = images, S = side in pixels, P = positions of the last map + 1, C = its channels, H = heads, W = features,
D = embedding width; in a 3x3 convolution C = channels in, K = channels out, P = positions behind, of all images.
"""

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.nets.architecture import ConvNetConfig, ResNetConfig
from seesay.nets.tower import ImageTower

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


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; the second norm starts at 0, so the block starts as the identity.

    A stage's first block halves the side (rounding up) with an average pool in the shortcut, as the paper's ResNets do.
    """

    def __init__(self, channels_in: int, channels_out: int, *, stride: int):
        super().__init__()
        self.conv_1 = Conv3x3(channels_in, channels_out, stride=stride)
        self.norm_1 = nn.BatchNorm2d(channels_out)
        self.conv_2 = Conv3x3(channels_out, channels_out)
        self.norm_2 = nn.BatchNorm2d(channels_out)
        nn.init.zeros_(self.norm_2.weight)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False))
        if stride > 1 or channels_in != channels_out:
            self.shortcut.append(nn.Conv2d(channels_in, channels_out, 1, bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S, S) to (B, C', S', S')."""
        y = F.relu(self.norm_1(self.conv_1(x)), inplace=True)
        y = self.norm_2(self.conv_2(y))
        return F.relu(y + self.shortcut(x), inplace=True)


class ConvNet(ImageTower):
    """A two-convolution stem of stride 4, stages of doubling width, global average, linear projection.

    Convolutions keep torch's start, as the paper's ResNets do; the projection starts at N(0, W^-0.5).
    """

    def __init__(self, config: ConvNetConfig, embed_dim: int):
        super().__init__()
        width = config.width
        self.image_size = config.image_size
        self.stem = nn.Sequential(
            nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.Sequential()
        channels = width
        for stage, depth in enumerate(config.depths):
            for index in range(depth):
                stride = 2 if stage and index == 0 else 1
                self.blocks.append(ResidualBlock(channels, width * 2**stage, stride=stride))
                channels = width * 2**stage
        self.projection = nn.Parameter(torch.randn(channels, embed_dim) * channels**-0.5)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to (B, W): what a linear probe reads."""
        return self._map(pixels_B3SS).mean((2, 3))

    def grid(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to the G positions of the last map, (B, G, W)."""
        return self._map(pixels_B3SS).flatten(2).transpose(1, 2)

    def map_modules(self) -> tuple[nn.Module, ...]:
        """The blocks, each of which gives a map."""
        return tuple(self.blocks)

    def _map(self, pixels_B3SS: Tensor) -> Tensor:
        return self.blocks(self.stem(pixels_B3SS.contiguous(memory_format=torch.channels_last)))


class CopyTower(ImageTower):
    """What finds copies of an image: no norms, GELU, shortcuts halved by an average (Radford et al. 2021, appendix C).

    Nothing passes between the images of a batch. The paper normalises weights for that; the tower of the package was
    trained by Muon without. The stem's stride is 4.
    """

    def __init__(self, widths: tuple[int, ...], embed_dim: int):
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 8, stride=4, padding=2)
        self.blocks = nn.Sequential()
        for stage, width in enumerate(widths):
            if stage:
                self.blocks.append(nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(widths[stage - 1], width, 1)))
            self.blocks.extend(PlainBlock(width) for _ in range(2))
        self.projection = nn.Parameter(torch.randn(widths[-1], embed_dim) * widths[-1] ** -0.5)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to (B, W)."""
        return self.grid(pixels_B3SS).mean(1)

    def grid(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to the G positions of the last map, (B, G, W)."""
        x = self.blocks(self.stem(pixels_B3SS.contiguous(memory_format=torch.channels_last)))
        return F.gelu(x).flatten(2).transpose(1, 2)


class PlainBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut, without norms."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv_1 = Conv3x3(channels, channels)
        self.conv_2 = Conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S, S) to the same."""
        return x + self.conv_2(F.gelu(self.conv_1(F.gelu(x))))


# He et al. 2015, "Deep Residual Learning", table 1: a bottleneck ends four times as wide as it is inside.
EXPANSION = 4


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 and a 1x1 convolution around a shortcut; the last norm starts at 0: the block starts as the
    identity.

    Where the side is halved, an average pool does it on both ways and every convolution keeps stride 1.
    """

    def __init__(self, channels_in: int, channels: int, *, stride: int):
        super().__init__()
        channels_out = EXPANSION * channels
        self.conv_1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.norm_1 = nn.BatchNorm2d(channels)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm_2 = nn.BatchNorm2d(channels)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv_3 = nn.Conv2d(channels, channels_out, 1, bias=False)
        self.norm_3 = nn.BatchNorm2d(channels_out)
        nn.init.zeros_(self.norm_3.weight)
        self.shortcut = nn.Sequential()
        if stride > 1 or channels_in != channels_out:
            conv = nn.Conv2d(channels_in, channels_out, 1, bias=False)
            self.shortcut = nn.Sequential(
                OrderedDict(pool=nn.AvgPool2d(stride), conv=conv, norm=nn.BatchNorm2d(channels_out))
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S, S) to (B, C', S', S')."""
        y = F.relu(self.norm_1(self.conv_1(x)), inplace=True)
        y = F.relu(self.norm_2(self.conv_2(y)), inplace=True)
        y = self.norm_3(self.conv_3(self.pool(y)))
        return F.relu(y + self.shortcut(x), inplace=True)


class AttentionPool(nn.Module):
    """Multi-head attention from the mean of all positions to that mean and all positions.

    `out` maps to the shared space: there is no other projection.
    """

    def __init__(self, config: ResNetConfig, embed_dim: int):
        super().__init__()
        channels = config.channels
        self.heads = config.heads
        self.positions = nn.Parameter(torch.randn(config.positions, channels) * channels**-0.5)
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        for linear in (self.query, self.key, self.value):
            nn.init.normal_(linear.weight, std=channels**-0.5)
        # Drawn last, so that all else starts alike whatever the embedding's width.
        self.out = nn.Linear(channels, embed_dim)
        nn.init.normal_(self.out.weight, std=channels**-0.5)

    def forward(self, map_BCSS: Tensor) -> Tensor:
        """The last map to (B, C), mixed but not yet projected."""
        x_BPC = map_BCSS.flatten(2).transpose(1, 2)
        x_BPC = torch.cat([x_BPC.mean(1, keepdim=True), x_BPC], dim=1) + self.positions
        query, key, value = (
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear, x in ((self.query, x_BPC[:, :1]), (self.key, x_BPC), (self.value, x_BPC))
        )
        mixed_BH1C = F.scaled_dot_product_attention(query, key, value)
        return mixed_BH1C.flatten(1)


class ResNet(ImageTower):
    """A stem of three convolutions, four stages of bottlenecks, attention pooling.

    Source: Radford et al. 2021, section 2.4, and the released code for the initialisation.
    """

    def __init__(self, config: ResNetConfig, embed_dim: int):
        super().__init__()
        width = config.width
        self.image_size = config.image_size
        self.stem = nn.ModuleDict()
        for place, (before, after, stride) in enumerate(
            [(3, width // 2, 2), (width // 2, width // 2, 1), (width // 2, width, 1)], start=1
        ):
            self.stem[f"conv_{place}"] = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
            self.stem[f"norm_{place}"] = nn.BatchNorm2d(after)
        self.stages = nn.ModuleList()
        channels_in = width
        for stage, depth in enumerate(config.layers):
            channels = width * 2**stage
            blocks = nn.Sequential()
            for place in range(depth):
                blocks.append(Bottleneck(channels_in, channels, stride=2 if stage and not place else 1))
                channels_in = EXPANSION * channels
            self.stages.append(blocks)
        self.pool = AttentionPool(config, embed_dim)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to (B, C): what the attention pool has mixed, before its projection."""
        return self.pool(self._map(pixels_B3SS))

    def grid(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to the G positions of the last map, (B, G, C)."""
        return self._map(pixels_B3SS).flatten(2).transpose(1, 2)

    def project(self, features: Tensor) -> Tensor:
        """Features or positions of a grid, (..., C) to (..., D)."""
        return self.pool.out(features)

    def map_modules(self) -> tuple[nn.Module, ...]:
        """The stages, each of which gives a map."""
        return tuple(self.stages)

    def give_up_pooling(self) -> None:
        """Leave untrained what only pools, where the grid is read in its stead."""
        for part in (self.pool.query, self.pool.key, self.pool.value):
            part.requires_grad_(False)
        self.pool.positions.requires_grad_(False)

    def _map(self, pixels_B3SS: Tensor) -> Tensor:
        x = pixels_B3SS.contiguous(memory_format=torch.channels_last)
        for place in (1, 2, 3):
            x = F.relu(self.stem[f"norm_{place}"](self.stem[f"conv_{place}"](x)), inplace=True)
        x = F.avg_pool2d(x, 2)
        for blocks in self.stages:
            x = blocks(x)
        return x

"""The convolutional towers: the paper's modified ResNet with attention pooling, and a small one for small machines.

B = images, S = side in pixels, P = positions of the last map + 1, C = its channels, H = heads, W = features,
D = embedding width.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.nets.architecture import ConvNetConfig, ResNetConfig
from seesay.nets.conv3x3 import Conv3x3
from seesay.nets.tower import ImageTower


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

"""A small residual convolutional tower, for small images on small machines. B = images, S = side, W = features."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.nets.architecture import ConvNetConfig
from seesay.nets.tower import ImageTower


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; the second norm starts at 0, so the block starts as the identity.

    A stage's first block halves the side (rounding up) with an average pool in the shortcut, as the paper's ResNets do.
    """

    def __init__(self, channels_in: int, channels_out: int, *, stride: int):
        super().__init__()
        self.conv_1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.norm_1 = nn.BatchNorm2d(channels_out)
        self.conv_2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
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

    def _map(self, pixels_B3SS: Tensor) -> Tensor:
        return self.blocks(self.stem(pixels_B3SS.contiguous(memory_format=torch.channels_last)))

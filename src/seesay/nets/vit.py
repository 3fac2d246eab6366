"""The paper's vision transformer. B = images, S = side in pixels, T = patches + 1, W = width, D = embedding width."""

import torch
from torch import Tensor, nn

from seesay.nets.architecture import VisionTransformerConfig
from seesay.nets.block import Block, start_as_torch


class VisionTransformer(nn.Module):
    """Patches, a class token, one LayerNorm before the blocks, the class token pooled after them.

    Source: Radford et al. 2021, section 2.4, and the released code for the initialisation.
    """

    def __init__(self, config: VisionTransformerConfig, embed_dim: int):
        super().__init__()
        width = config.width
        positions = (config.image_size // config.patch) ** 2 + 1
        start = width**-0.5
        self.image_size = config.image_size
        self.patches = nn.Conv2d(3, width, config.patch, stride=config.patch, bias=False)
        self.class_token = nn.Parameter(torch.randn(width) * start)
        self.positions = nn.Parameter(torch.randn(positions, width) * start)
        self.ln_pre = nn.LayerNorm(width)
        blocks = [Block(config, causal=False) for _ in range(config.layers)]
        self.blocks = nn.ModuleList(blocks)
        self.ln_post = nn.LayerNorm(width)
        self.projection = nn.Parameter(torch.randn(width, embed_dim) * start)
        for block in blocks:
            start_as_torch(block)

    def features(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to (B, W): what a linear probe reads."""
        patches_BTW = self.patches(pixels_B3SS).flatten(2).transpose(1, 2)
        token_B1W = self.class_token.expand(len(pixels_B3SS), 1, -1)
        x_BTW = self.ln_pre(torch.cat([token_B1W, patches_BTW], dim=1) + self.positions)
        for block in self.blocks:
            x_BTW = block(x_BTW)
        return self.ln_post(x_BTW[:, 0])

    def forward(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to (B, D), not yet of unit length."""
        return self.features(pixels_B3SS) @ self.projection

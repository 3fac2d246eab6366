"""The paper's vision transformer.

B = images, S = side in pixels, P = patches, T = positions of all images, W = width, D = embedding width.
"""

import torch
from torch import Tensor, nn

from seesay.nets.architecture import VisionTransformerConfig
from seesay.nets.block import Block, Blocks, start_as_torch
from seesay.nets.coca import QueryPool
from seesay.nets.linear import patch_rows
from seesay.nets.packing import Group
from seesay.nets.row_random import row_uniforms
from seesay.nets.tower import ImageTower


class VisionTransformer(ImageTower):
    """Patches, a class token, one LayerNorm before the blocks, the class token pooled after them.

    Or no such LayerNorm, and the patches' mean pooled (Li et al. 2023, "An Inverse Scaling Law for CLIP Training"), or
    CoCa's pooling by queries.

    `patch_dropout` is the share of patches that a training step leaves out, other ones for every image: less work, and
    room for a larger batch (Li et al. 2022, "Scaling Language-Image Pre-training via Masking").
    Source: Radford et al. 2021, section 2.4, and the released code for the initialisation.
    """

    patch_dropout = 0.0

    def __init__(self, config: VisionTransformerConfig, embed_dim: int):
        super().__init__()
        width = config.width
        positions = (config.image_size // config.patch) ** 2 + 1
        start = width**-0.5
        self.image_size = config.image_size
        self.pools_patches = config.pool == "patches"
        self.patches = nn.Conv2d(3, width, config.patch, stride=config.patch, bias=False)
        self.class_token = nn.Parameter(torch.randn(width) * start)
        self.positions = nn.Parameter(torch.randn(positions, width) * start)
        self.ln_pre = nn.LayerNorm(width) if config.pre_norm else nn.Identity()
        blocks = [Block(config, causal=False) for _ in range(config.layers)]
        self.blocks = Blocks(blocks)
        self.query_pool = None
        if config.pool == "queries":
            self.query_pool = QueryPool(width, embed_dim, queries=config.queries, heads=config.query_heads)
            width = embed_dim
        self.ln_post = nn.LayerNorm(width)
        for block in blocks:
            start_as_torch(block)
        # Drawn last, so that all else starts alike whatever the embedding's width.
        self.projection = nn.Parameter(torch.randn(width, embed_dim) * start)

    def features(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to (B, W): what a linear probe reads."""
        x_BLW = self._start(pixels_B3SS)
        count, length, _ = x_BLW.shape
        if self.query_pool is not None:
            x_TW = self.blocks(x_BLW.flatten(0, 1), [Group(count, length)])
            return self.ln_post(self.query_pool(x_TW.unflatten(0, (count, length))))
        if self.pools_patches:
            x_TW = self.blocks(x_BLW.flatten(0, 1), [Group(count, length)])
            return self.ln_post(x_TW.unflatten(0, (count, length))[:, 1:].mean(1))
        class_B = torch.arange(0, count * length, length, device=x_BLW.device)
        return self.ln_post(self.blocks(x_BLW.flatten(0, 1), [Group(count, length)], class_B))

    def grid(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to the G patches that are read, (B, G, W)."""
        x_BLW = self._start(pixels_B3SS)
        count, length, _ = x_BLW.shape
        x_TW = self.blocks(x_BLW.flatten(0, 1), [Group(count, length)])
        return self.ln_post(x_TW.unflatten(0, (count, length))[:, 1:])

    def _start(self, pixels_B3SS: Tensor) -> Tensor:
        x_BPW = patch_rows(self.patches, pixels_B3SS) + self.positions[1:]
        if self.training and self.patch_dropout:
            x_BPW = self._some(x_BPW)
        token_B1W = (self.class_token + self.positions[0]).expand(len(x_BPW), 1, -1)
        return self.ln_pre(torch.cat([token_B1W, x_BPW], dim=1))

    def _some(self, x_BPW: Tensor) -> Tensor:
        """A random choice of every image's patches, at least one.

        Drawn on the CPU and row by row, so that a batch in chunks draws what the whole batch draws, on any device.
        """
        B, P, _ = x_BPW.shape
        count = max(1, round(P * (1 - self.patch_dropout)))
        choice_BK = row_uniforms(B, P).argsort(dim=1)[:, :count] + torch.arange(0, B * P, P)[:, None]
        return x_BPW.flatten(0, 1).index_select(0, choice_BK.flatten().to(x_BPW.device)).unflatten(0, (B, count))

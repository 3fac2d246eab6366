"""SigLIP 2's image tower for images of any shape (NaFlex). Tschannen et al. 2025, "SigLIP 2", section 2.4.2.

B = images, S = side of the square that holds an image's patches, K = patches in it, X = numbers of a patch, T = patches
of all images laid end to end, W = width, D = embedding width; h, w = patches of an image above one another and side by
side, G = positions along a side of the table.
"""

import torch
from torch import Tensor, nn

from seesay.formulas.patches import taken_out
from seesay.nets.architecture import NaflexImageConfig
from seesay.nets.packing import Group
from seesay.nets.siglip import EPS, AttentionPool, lecun_normal, siglip_blocks, start_pool
from seesay.nets.tower import ImageTower


class NaflexImage(ImageTower):
    """As `SiglipImage`, over as many patches as an image has; the square table of positions is resized to its shape.

    Images of one shape are worked on together, and no patch is padding.
    """

    def __init__(self, config: NaflexImageConfig, embed_dim: int):
        super().__init__()
        assert config.width == embed_dim
        self.image_size, self.patch, self.most, self.grid_side = (
            config.image_size,
            config.patch,
            config.patches,
            config.grid,
        )
        self.patches = nn.Linear(3 * config.patch**2, config.width)
        self.positions = nn.Parameter(torch.randn(config.grid**2, config.width) * config.width**-0.5)
        self.blocks = siglip_blocks(config, eps=EPS)
        self.ln_post = nn.LayerNorm(config.width, eps=EPS)
        self.head = AttentionPool(config)
        start_pool(self.head)
        lecun_normal(self.patches.weight)
        nn.init.zeros_(self.patches.bias)

    def features(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised squares of patches to (B, W): what a linear probe reads."""
        patches_BKX, shapes = taken_out(pixels_B3SS, patch=self.patch, patches=self.most)
        rows: dict[tuple[int, int], list[int]] = {}
        for index, shape in enumerate(shapes):
            rows.setdefault(shape, []).append(index)
        groups = [Group(len(indexes), high * wide) for (high, wide), indexes in rows.items()]
        parts = [
            (self.patches(patches_BKX[indexes, : high * wide]) + self._positions(high, wide)).flatten(0, 1)
            for (high, wide), indexes in rows.items()
        ]
        x_TW = self.ln_post(self.blocks(torch.cat(parts), groups))
        ends = x_TW.split([group.sequences * group.length for group in groups])
        pooled = [
            self.head(part.unflatten(0, (group.sequences, group.length)))
            for part, group in zip(ends, groups, strict=True)
        ]
        order_B = torch.tensor([index for indexes in rows.values() for index in indexes])
        return torch.cat(pooled)[order_B.argsort().to(pixels_B3SS.device)]

    def project(self, features: Tensor) -> Tensor:
        """As they are, (B, D): the width of this tower is that of the shared space."""
        return features

    def _positions(self, high: int, wide: int) -> Tensor:
        """The table for an image of that shape, (h * w, W), bilinear and antialiased, in at least float32."""
        table_GGW = self.positions.float().unflatten(0, (self.grid_side, self.grid_side))
        down_hG, across_wG = (shares(size, self.grid_side).to(table_GGW) for size in (high, wide))
        resized_hwW = torch.einsum("hg,wk,gkc->hwc", down_hG, across_wG, table_GGW)
        return resized_hwW.flatten(0, 1).to(self.positions.dtype)


def shares(new: int, old: int) -> Tensor:
    """What each of `new` places along a side takes of each of the `old` ones, (new, old); rows sum to 1.

    That is torch's `interpolate`, which is not called: it gives two answers for one place across, by how the table lies
    in memory (2.13).
    """
    scale = old / new
    centre_N1 = ((torch.arange(new) + 0.5) * scale - 0.5)[:, None]
    near_NO = (1 - (torch.arange(old) - centre_N1).abs() / max(scale, 1.0)).clamp(min=0)
    return near_NO / near_NO.sum(1, keepdim=True)

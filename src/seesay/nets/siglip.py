"""SigLIP's two towers. Zhai et al. 2023, and the code released with it in google-research/big_vision.

B = images or captions, S = side in pixels, L = patches, or positions of the context, T = B * L laid end to end,
W = width, D = embedding width, H = heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.base.records import Tokens
from seesay.nets.architecture import BlocksConfig, SiglipImageConfig, SiglipTextConfig
from seesay.nets.block import ACTIVATIONS, Block, Blocks
from seesay.nets.linear import Linear, linear, patch_rows
from seesay.nets.packing import Group
from seesay.nets.tower import ImageTower

# Where CLIP has 1e-5.
EPS = 1e-6


class AttentionPool(nn.Module):
    """One learned probe looks at all patches; then x + mlp(ln(x)). `qkv` holds query, key and value rows."""

    def __init__(self, config: BlocksConfig):
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.probe = nn.Parameter(torch.empty(1, 1, width))
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)
        self.ln = nn.LayerNorm(width, eps=EPS)
        self.fc = Linear(width, config.hidden)
        self.proj = Linear(config.hidden, width)
        self.activation = ACTIVATIONS[config.activation]
        nn.init.xavier_uniform_(self.probe)

    def forward(self, x_BLW: Tensor) -> Tensor:
        """(B, L, W) to (B, W)."""
        B, L, W = x_BLW.shape
        query_11W = F.linear(self.probe, self.qkv.weight[:W], self.qkv.bias[:W])
        query_BH1C = query_11W.view(1, 1, self.heads, -1).transpose(1, 2).expand(B, -1, -1, -1)
        both = linear(x_BLW, self.qkv.weight[W:], self.qkv.bias[W:]).view(B, L, 2, self.heads, -1)
        key_BHLC, value_BHLC = both.permute(2, 0, 3, 1, 4)
        mixed_BH1C = F.scaled_dot_product_attention(query_BH1C, key_BHLC, value_BHLC)
        pooled_BW = self.out(mixed_BH1C.reshape(B, W))
        return pooled_BW + self.proj(self.activation(self.fc(self.ln(pooled_BW))))


class SiglipImage(ImageTower):
    """Patches without a class token, pre-norm blocks, one LayerNorm, attention pooling; no projection."""

    def __init__(self, config: SiglipImageConfig, embed_dim: int):
        super().__init__()
        assert config.width == embed_dim
        self.image_size = config.image_size
        self.patches = nn.Conv2d(3, config.width, config.patch, stride=config.patch)
        self.positions = nn.Parameter(torch.randn(config.positions, config.width) * config.width**-0.5)
        self.blocks = siglip_blocks(config, eps=EPS)
        self.ln_post = nn.LayerNorm(config.width, eps=EPS)
        self.head = AttentionPool(config)
        start_pool(self.head)
        lecun_normal(self.patches.weight)
        nn.init.zeros_(self.patches.bias)  # type: ignore[arg-type]

    def features(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to (B, W): what a linear probe reads."""
        patches_BLW = patch_rows(self.patches, pixels_B3SS)
        B, L, _ = patches_BLW.shape
        x_TW = (patches_BLW + self.positions).flatten(0, 1)
        x_TW = self.blocks(x_TW, [Group(B, L)])
        return self.head(self.ln_post(x_TW).unflatten(0, (B, L)))

    def project(self, features: Tensor) -> Tensor:
        """As they are, (B, D): the width of this tower is that of the shared space."""
        return features


class SiglipText(nn.Module):
    """Blocks in which every position sees all others, padding included, pooled at the last one or the caption's end.

    The last position is nearly always padding, and every other sees it. How far a caption is filled up, and with what,
    is part of the model: the tower does it itself, whatever the batch was padded with.
    """

    def __init__(self, config: SiglipTextConfig, embed_dim: int):
        super().__init__()
        width = config.width
        self.context = config.context
        self.pad = config.pad
        self.pools_end = config.pool == "end"
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.positions = nn.Parameter(torch.randn(config.context, width) * width**-0.5)
        self.blocks = siglip_blocks(config, eps=config.eps)
        self.ln_final = nn.LayerNorm(width, eps=config.eps)
        self.head = Linear(width, embed_dim)
        nn.init.normal_(self.token_embedding.weight, std=width**-0.5)
        lecun_normal(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def filled(self, tokens: Tokens) -> Tensor:
        """The ids with `pad` from the end of each caption to the end of the context, (B, L)."""
        ids_BL = F.pad(tokens.ids_BL, (0, self.context - tokens.ids_BL.shape[1]))
        place_L = torch.arange(self.context, device=ids_BL.device)
        return ids_BL.masked_fill(place_L >= tokens.length_B[:, None], self.pad)

    def features(self, tokens: Tokens) -> Tensor:
        """Token ids to (B, W)."""
        ids_BL = self.filled(tokens)
        x_TW = (self.token_embedding(ids_BL) + self.positions).flatten(0, 1)
        pooled_B = tokens.length_B - 1 if self.pools_end else self.context - 1
        pooled_B = torch.arange(len(ids_BL), device=ids_BL.device) * self.context + pooled_B
        return self.ln_final(self.blocks(x_TW, [Group(len(ids_BL), self.context)], pooled_B))

    def forward(self, tokens: Tokens) -> Tensor:
        """Token ids to (B, D), not yet of unit length."""
        return self.head(self.features(tokens))


def siglip_blocks(config: BlocksConfig, *, eps: float) -> Blocks:
    """The paper's blocks with that epsilon, SigLIP's is smaller, and its start."""
    blocks = [Block(config, causal=False) for _ in range(config.layers)]
    for block in blocks:
        block.ln_1.eps = block.ln_2.eps = eps
        start_as_flax(block.attention.qkv, parts=3)
        for layer in (block.attention.out, block.fc, block.proj):
            start_as_flax(layer)
    return Blocks(blocks)


def start_pool(pool: AttentionPool) -> None:
    """Its start in the released code."""
    start_as_flax(pool.qkv, parts=3)
    for layer in (pool.out, pool.fc, pool.proj):
        start_as_flax(layer)


def start_as_flax(layer: nn.Linear, *, parts: int = 1) -> None:
    """Xavier for each of the `parts` that the rows are made of, and no bias."""
    with torch.no_grad():
        for part in layer.weight.chunk(parts):
            nn.init.xavier_uniform_(part)
    nn.init.zeros_(layer.bias)


def lecun_normal(weight: Tensor) -> None:
    """Variance 1 / inputs, of any shape."""
    nn.init.normal_(weight, std=weight[0].numel() ** -0.5)

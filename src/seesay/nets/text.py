"""The paper's causal text transformer. B = captions, T = their tokens, W = width, D = embedding width."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.base.records import Tokens
from seesay.nets.architecture import TextTransformerConfig
from seesay.nets.block import Block, Blocks, start_as_gpt
from seesay.nets.packing import pack, pack_shared


class TextTransformer(nn.Module):
    """GPT-2's blocks, pooled at the end-of-text token.

    No position sees a later one, so what follows the end-of-text token could not change anything: captions are
    packed without padding, the last block works on the pooled position alone, and where no gradient is needed,
    beginnings that captions have in common are worked on once.
    Source: Radford et al. 2021, section 2.4, and the released code.
    """

    def __init__(self, config: TextTransformerConfig, embed_dim: int):
        super().__init__()
        width = config.width
        self.context = config.context
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.positions = nn.Parameter(torch.randn(config.context, width) * 0.01)
        blocks = [Block(config, causal=True) for _ in range(config.layers)]
        self.blocks = Blocks(blocks)
        self.ln_final = nn.LayerNorm(width)
        self.projection = nn.Parameter(torch.randn(width, embed_dim) * width**-0.5)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        for block in blocks:
            start_as_gpt(block, layers=config.layers)

    def features(self, tokens: Tokens) -> Tensor:
        """Token ids to (B, W)."""
        packed = pack(tokens) if torch.is_grad_enabled() else pack_shared(tokens)
        x_TW = self.token_embedding(packed.ids_T) + F.embedding(packed.position_T, self.positions)
        pooled_BW = self.blocks(x_TW, packed.groups, packed.last_B)
        return self.ln_final(pooled_BW)[packed.back_B]

    def forward(self, tokens: Tokens) -> Tensor:
        """Token ids to (B, D), not yet of unit length."""
        return self.features(tokens) @ self.projection

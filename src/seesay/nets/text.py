"""The paper's causal text transformer. B = captions, L = longest of them, W = width, D = embedding width."""

import torch
from torch import Tensor, nn

from seesay.base.records import Tokens
from seesay.nets.architecture import TextTransformerConfig
from seesay.nets.block import Block, start_as_gpt


class TextTransformer(nn.Module):
    """GPT-2's blocks, pooled at the end-of-text token.

    No position sees a later one, so padding cannot reach the pooled position and needs no mask; captions are
    only as long as the longest of the batch. Source: Radford et al. 2021, section 2.4, and the released code.
    """

    def __init__(self, config: TextTransformerConfig, embed_dim: int):
        super().__init__()
        width = config.width
        self.context = config.context
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.positions = nn.Parameter(torch.randn(config.context, width) * 0.01)
        blocks = [Block(config, causal=True) for _ in range(config.layers)]
        self.blocks = nn.ModuleList(blocks)
        self.ln_final = nn.LayerNorm(width)
        self.projection = nn.Parameter(torch.randn(width, embed_dim) * width**-0.5)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        for block in blocks:
            start_as_gpt(block, layers=config.layers)

    def features(self, tokens: Tokens) -> Tensor:
        """Token ids to (B, W)."""
        x_BLW = self.token_embedding(tokens.ids_BL) + self.positions[: tokens.ids_BL.shape[1]]
        for block in self.blocks:
            x_BLW = block(x_BLW)
        rows = torch.arange(len(x_BLW), device=x_BLW.device)
        return self.ln_final(x_BLW[rows, tokens.length_B - 1])

    def forward(self, tokens: Tokens) -> Tensor:
        """Token ids to (B, D), not yet of unit length."""
        return self.features(tokens) @ self.projection

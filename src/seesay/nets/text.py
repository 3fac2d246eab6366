"""The text towers of the paper: the causal transformer, and the bag of words (CBOW).

B = captions, L = longest of them, T = all their tokens, W = width, D = embedding width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.base.records import Tokens
from seesay.nets.architecture import BagOfWordsConfig, TextTransformerConfig
from seesay.nets.block import Block, Blocks, start_as_gpt
from seesay.nets.packing import pack, pack_shared


class BagOfWords(nn.Module):
    """The mean of the token vectors, one LayerNorm, one linear map; the order of the words is not seen.

    The start and end tokens take part: they keep an empty caption defined, and every caption has them.
    Source: figure 3 of Radford et al. 2021 names the tower; the norm is ours, as in the transformer.
    """

    def __init__(self, config: BagOfWordsConfig, embed_dim: int):
        super().__init__()
        self.context = config.context
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.ln_final = nn.LayerNorm(config.width)
        self.projection = nn.Parameter(torch.randn(config.width, embed_dim) * config.width**-0.5)
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def features(self, tokens: Tokens) -> Tensor:
        """Token ids to (B, W)."""
        position_L = torch.arange(tokens.ids_BL.shape[1], device=tokens.ids_BL.device)
        is_word_BL1 = (position_L < tokens.length_B[:, None])[..., None]
        sum_BW = (self.token_embedding(tokens.ids_BL) * is_word_BL1).sum(1)
        return self.ln_final(sum_BW / tokens.length_B[:, None])

    def forward(self, tokens: Tokens) -> Tensor:
        """Token ids to (B, D), not yet of unit length."""
        return self.features(tokens) @ self.projection


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

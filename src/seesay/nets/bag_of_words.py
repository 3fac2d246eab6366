"""The paper's bag-of-words (CBOW) text tower. B = captions, L = longest of them, W = width, D = embedding width."""

import torch
from torch import Tensor, nn

from seesay.base.records import Tokens
from seesay.nets.architecture import BagOfWordsConfig


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

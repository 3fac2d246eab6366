"""CoCa's two towers as open_clip has them, without its decoder. Yu et al. 2022, "Contrastive Captioners".

B = images or captions, L = positions, Q = queries, W = width, D = embedding width, H = heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.base.records import Tokens
from seesay.nets.architecture import CocaTextConfig
from seesay.nets.block import Block, start_as_gpt


class QueryPool(nn.Module):
    """Learned queries look at all positions of an image; an image's row is what the first one sees.

    The others are for the decoder: they are kept with the weights, and nothing is computed with them.
    """

    def __init__(self, width: int, embed_dim: int, *, queries: int, heads: int):
        super().__init__()
        self.heads = heads
        self.queries = nn.Parameter(torch.randn(queries, embed_dim))
        self.ln_query = nn.LayerNorm(embed_dim)
        self.ln_key = nn.LayerNorm(width)
        self.query_weight = nn.Parameter(torch.empty(embed_dim, embed_dim))
        self.key_weight = nn.Parameter(torch.empty(embed_dim, width))
        self.value_weight = nn.Parameter(torch.empty(embed_dim, width))
        self.qkv_bias = nn.Parameter(torch.zeros(3 * embed_dim))
        self.out = nn.Linear(embed_dim, embed_dim)
        for weight in (self.query_weight, self.key_weight, self.value_weight):
            nn.init.xavier_uniform_(weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x_BLW: Tensor) -> Tensor:
        """(B, L, W) to (B, D)."""
        x_BLW = self.ln_key(x_BLW)
        query_bias, key_bias, value_bias = self.qkv_bias.chunk(3)
        query_11D = F.linear(self.ln_query(self.queries[:1]), self.query_weight, query_bias)[None]
        query_BH1C = self._heads(query_11D).expand(len(x_BLW), -1, -1, -1)
        key_BHLC = self._heads(F.linear(x_BLW, self.key_weight, key_bias))
        value_BHLC = self._heads(F.linear(x_BLW, self.value_weight, value_bias))
        return self.out(F.scaled_dot_product_attention(query_BH1C, key_BHLC, value_BHLC).flatten(1))

    def _heads(self, x_BLD: Tensor) -> Tensor:
        return x_BLD.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class CocaText(nn.Module):
    """A causal transformer with a class token behind the context, which is pooled.

    Published weights were trained with a mask of padding that is off by one, and open_clip keeps it: a position is seen
    if the token before it is not id 0. So the first padding is seen, what follows a "!" of CLIP's vocabulary is not,
    and the class token sees itself only where a caption fills the context.
    """

    def __init__(self, config: CocaTextConfig, embed_dim: int):
        super().__init__()
        width = config.width
        self.context, self.heads = config.context, config.heads
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.class_token = nn.Parameter(torch.randn(width) * 0.01)
        self.positions = nn.Parameter(torch.randn(config.context + 1, width) * 0.01)
        self.blocks = nn.ModuleList(Block(config, causal=True) for _ in range(config.layers))
        self.ln_final = nn.LayerNorm(width)
        self.projection = nn.Parameter(torch.randn(width, embed_dim) * width**-0.5)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        for block in self.blocks:
            start_as_gpt(block, layers=config.layers)  # type: ignore[arg-type]

    def features(self, tokens: Tokens) -> Tensor:
        """Token ids to (B, W)."""
        ids_BL = self._filled(tokens)
        B, L = ids_BL.shape
        class_B1W = (self.class_token + self.positions[-1]).expand(B, 1, -1)
        x_BLW = torch.cat([self.token_embedding(ids_BL) + self.positions[:L], class_B1W], dim=1)
        # Of the last token before the class: there is none unless the context is full.
        is_word_BL = torch.cat([ids_BL[:, :-1] != 0, (ids_BL[:, -1:] != 0) & (self.context == L)], dim=1)
        seen_B1L = F.pad(is_word_BL, (1, 0), value=True)[:, None]
        causal_LL = torch.ones(L + 1, L + 1, dtype=torch.bool, device=ids_BL.device).tril()
        mask_B1LL = (seen_B1L & causal_LL)[:, None]
        for block in self.blocks:
            x_BLW = _masked(block, x_BLW, mask_B1LL, heads=self.heads)  # type: ignore[arg-type]
        return self.ln_final(x_BLW[:, -1])

    def forward(self, tokens: Tokens) -> Tensor:
        """Token ids to (B, D), not yet of unit length."""
        return self.features(tokens) @ self.projection

    def _filled(self, tokens: Tokens) -> Tensor:
        """Ids with at least one padding behind every caption that leaves room for it."""
        length = min(self.context, tokens.ids_BL.shape[1] + 1)
        ids_BL = F.pad(tokens.ids_BL, (0, length - tokens.ids_BL.shape[1]))
        place_L = torch.arange(length, device=ids_BL.device)
        return ids_BL.masked_fill(place_L >= tokens.length_B[:, None], 0)


def _masked(block: Block, x_BLW: Tensor, mask_B1LL: Tensor, *, heads: int) -> Tensor:
    """The block, where a position sees those of the mask."""
    qkv_BLX = block.attention.qkv(block.ln_1(x_BLW)).unflatten(-1, (3, heads, -1))
    query_BHLC, key_BHLC, value_BHLC = qkv_BLX.permute(2, 0, 3, 1, 4)
    mixed_BHLC = F.scaled_dot_product_attention(query_BHLC, key_BHLC, value_BHLC, attn_mask=mask_B1LL)
    x_BLW = x_BLW + block.attention.out(mixed_BHLC.transpose(1, 2).flatten(2))
    return x_BLW + block.proj(block.activation(block.fc(block.ln_2(x_BLW))))

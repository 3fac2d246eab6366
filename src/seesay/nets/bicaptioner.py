"""VirTex's head: the caption from its start and from its end, each word predicted from a grid of the image.

B = images, G = positions of a grid, P = texts, L = tokens of the longest, R = rows of the tree of texts, S = L - 1,
T = rows of all sequences laid end to end, W = width, H = heads.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.base.records import Tokens
from seesay.nets.architecture import BicaptionerConfig
from seesay.nets.block import ACTIVATIONS, Attention
from seesay.nets.decoder import PreparedTrees, TextTree, grow_all, mean_losses, rows_at_once
from seesay.nets.head import Head, PreparedTexts
from seesay.nets.packing import Group, Groups


class DecoderLayer(nn.Module):
    """Attention to earlier tokens, attention to the image, an MLP: each added to what came in and then normalised."""

    def __init__(self, config: BicaptionerConfig):
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.attention = Attention(width, config.heads, causal=True)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.seen = nn.Linear(width, width)
        self.fc = nn.Linear(width, config.hidden)
        self.proj = nn.Linear(config.hidden, width)
        self.ln_1, self.ln_2, self.ln_3 = (nn.LayerNorm(width) for _ in range(3))
        self.activation = ACTIVATIONS[config.activation]

    def read(self, x_TW: Tensor, groups: Groups) -> Tensor:
        """What tokens know of those before them, (T, W); the image has no part in it."""
        return self.ln_1(x_TW + self.attention(x_TW, groups))

    def look(self, x_BRW: Tensor, grid_BGW: Tensor) -> Tensor:
        """R tokens look at their image, (B, R, W); given as (1, R, W) they are the same for all images."""
        query_BHRC = self._heads(self.query(x_BRW)).expand(len(grid_BGW), -1, -1, -1)
        key_BHGC, value_BHGC = (self._heads(x_BGW) for x_BGW in self.key_value(grid_BGW).chunk(2, dim=-1))
        seen_BHRC = F.scaled_dot_product_attention(query_BHRC, key_BHGC, value_BHGC)
        x_BRW = self.ln_2(x_BRW + self.seen(seen_BHRC.transpose(1, 2).flatten(2)))
        return self.ln_3(x_BRW + self.proj(self.activation(self.fc(x_BRW))))

    def _heads(self, x_BLW: Tensor) -> Tensor:
        return x_BLW.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Bicaptioner(Head):
    """Two small post-norm decoders over a grid of the image, one for the caption, one for the caption reversed.

    They share token embedding, positions, the norm behind these, and the output layer: the embedding again, with a bias
    of its own. They start alike, with weights from N(0, 0.02) and biases at 0. Both read all tokens but their last:
    forwards from the start token on, and backwards from the end token on, so that it is the start token that is
    predicted last.
    Source: Desai and Johnson 2021, section 3 and the released code (kdexd/virtex), where one decoder is a copy of the
    other, and the second's captions are the first's, flipped with both their special tokens.
    """

    reads_grid = True

    def __init__(self, config: BicaptionerConfig, embed_dim: int):
        super().__init__()
        width = config.width
        self.context = config.context
        self.hidden = config.hidden
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.positions = nn.Parameter(torch.empty(config.context - 1, width))
        self.ln_embedding = nn.LayerNorm(width)
        self.forwards = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        nn.init.normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        self.backwards = copy.deepcopy(self.forwards)

    def losses(self, image_BD: Tensor, tokens: Tokens) -> Tensor:
        """The mean cross-entropy over each caption's predicted tokens, summed over both directions, (B,)."""
        if not len(image_BD):
            return image_BD.sum((1, 2))
        forwards_B = self._losses(self.forwards, image_BD, tokens)
        return forwards_B + self._losses(self.backwards, image_BD, reversed_tokens(tokens))

    def _losses(self, layers: nn.ModuleList, grid_BGW: Tensor, tokens: Tokens) -> Tensor:
        B, S = len(grid_BGW), tokens.ids_BL.shape[1] - 1
        position_S = torch.arange(S, device=tokens.ids_BL.device)
        x_BSW = self._embed(tokens.ids_BL[:, :-1], position_S)
        for layer in layers:
            # Padding stands behind all that is read, so no token sees it.
            x_BSW = layer.read(x_BSW.flatten(0, 1), [Group(B, S)]).view_as(x_BSW)  # type: ignore[operator]
            x_BSW = layer.look(x_BSW, grid_BGW)  # type: ignore[operator]
        location_N = (position_S < tokens.length_B[:, None] - 1).flatten().nonzero()[:, 0]
        hidden_NW = x_BSW.flatten(0, 1).index_select(0, location_N)
        return mean_losses(hidden_NW, location_N, tokens, weight_VW=self.token_embedding.weight, bias_V=self.bias)

    def prepare(self, texts: Tokens) -> PreparedTrees:
        """P texts with their trees, and those of the texts reversed."""
        return PreparedTrees(tokens=texts, directions=(grow_all(texts), grow_all(reversed_tokens(texts))))

    def log_likelihoods(self, image_BD: Tensor, texts: PreparedTexts) -> Tensor:
        """The sum of both directions' log p(text | image) in nats, each the sum over its predicted tokens, (B, P).

        Beginnings (backwards: endings) that texts have in common are worked on once for each image, and what the
        first layer does before it looks at the image, once for all images.
        """
        if not len(image_BD):
            return image_BD.new_empty(0, len(texts.tokens.length_B))
        assert isinstance(texts, PreparedTrees)
        forwards_BP, backwards_BP = (
            torch.cat([self._of_tree(layers, image_BD, tree) for tree in trees], dim=1)
            for layers, trees in zip((self.forwards, self.backwards), texts.directions, strict=True)
        )
        return forwards_BP + backwards_BP

    def _of_tree(self, layers: nn.ModuleList, image_BGW: Tensor, tree: TextTree) -> Tensor:
        first, *others = layers
        word_RW = first.read(self._embed(tree.ids_R, tree.position_R), tree.groups)  # type: ignore[operator]
        at_once = min(len(image_BGW), rows_at_once(len(word_RW) * self.hidden, word_RW))
        scores = []
        for grid_BGW in image_BGW.split(at_once):
            x_BRW = first.look(word_RW[None], grid_BGW)  # type: ignore[operator]
            for layer in others:
                x_BRW = layer.read(x_BRW.flatten(0, 1), tree.copies(len(grid_BGW))).view_as(x_BRW)  # type: ignore[operator]
                x_BRW = layer.look(x_BRW, grid_BGW)  # type: ignore[operator]
            scores.append(tree.log_likelihoods(x_BRW, self.token_embedding.weight, self.bias))
        return torch.cat(scores)

    def _embed(self, ids: Tensor, position: Tensor) -> Tensor:
        return self.ln_embedding(self.token_embedding(ids) + F.embedding(position, self.positions))


def reversed_tokens(tokens: Tokens) -> Tokens:
    """Each caption from its end token to its start token, padded as before."""
    position_L = torch.arange(tokens.ids_BL.shape[1], device=tokens.ids_BL.device)
    # Padding stays where it is.
    turned_BL = tokens.length_B[:, None] - 1 - position_L
    return Tokens(
        ids_BL=tokens.ids_BL.gather(1, torch.where(turned_BL >= 0, turned_BL, position_L)), length_B=tokens.length_B
    )

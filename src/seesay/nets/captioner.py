"""The paper's transformer language model: a caption behind the image.

B = images, P = texts, L = tokens of the longest, F = tokens the image is given as, R = rows of the tree of texts,
S = F + L - 1, T = rows of all sequences laid end to end, W = width, D = F * W.
"""

import torch
from torch import Tensor, nn

from seesay.base.records import Tokens
from seesay.nets.architecture import CaptionerConfig
from seesay.nets.block import Block, Blocks, start_as_gpt
from seesay.nets.decoder import PreparedTrees, TextTree, grow_all, mean_losses, rows_at_once
from seesay.nets.head import Head, PreparedTexts
from seesay.nets.packing import Packed, pack


class Captioner(Head):
    """A causal transformer that reads the image as its first `prefix` tokens and predicts the caption behind them.

    The start token is read and never predicted; the end token is predicted and never read, so there are `prefix` +
    `context` - 1 positions. The output layer is the token embedding again, without a bias, as in GPT-2.
    Source: Radford et al. 2021, section 2.3 and, for the four tokens, the "LM RN50" of appendix A.
    """

    def __init__(self, config: CaptionerConfig, embed_dim: int):
        super().__init__()
        width = config.width
        self.context = config.context
        self.prefix = config.prefix
        self.hidden = config.hidden
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.positions = nn.Parameter(torch.randn(config.prefix + config.context - 1, width) * 0.01)
        blocks = [Block(config, causal=True) for _ in range(config.layers)]
        self.blocks = Blocks(blocks)
        self.ln_final = nn.LayerNorm(width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        for block in blocks:
            start_as_gpt(block, layers=config.layers)

    def losses(self, image_BD: Tensor, tokens: Tokens) -> Tensor:
        """The mean cross-entropy over each caption's predicted tokens, (B,)."""
        if not len(image_BD):
            return image_BD.sum(1)
        x_BSW = torch.cat([image_BD.unflatten(1, (self.prefix, -1)), self.token_embedding(tokens.ids_BL[:, :-1])], 1)
        S = x_BSW.shape[1]
        x_BSW = x_BSW + self.positions[:S]
        packed = self._packed(tokens)
        hidden_TW = self.blocks(x_BSW.flatten(0, 1).index_select(0, packed.ids_T), packed.groups)
        predicts_N = (packed.position_T >= self.prefix).nonzero()[:, 0]
        location_N = packed.ids_T[predicts_N]
        # From places in rows of S to places in rows of L - 1, where the prefix is not.
        location_N = location_N - self.prefix * (location_N // S + 1)
        hidden_NW = self.ln_final(hidden_TW.index_select(0, predicts_N))
        return mean_losses(hidden_NW, location_N, tokens, weight_VW=self.token_embedding.weight)

    def prepare(self, texts: Tokens) -> PreparedTrees:
        """P texts with their trees."""
        return PreparedTrees(tokens=texts, directions=(grow_all(texts),))

    def log_likelihoods(self, image_BD: Tensor, texts: PreparedTexts) -> Tensor:
        """log p(text | image) in nats, the sum over the text's tokens with the end token, (B, P).

        The sum is the probability of the whole text, which is what Bayes' rule asks for when all texts were equally
        likely beforehand; it favours short and frequent names. A mean per token would favour names whose last pieces
        follow from the first, and the difference to log p(text), which takes frequency out, needs a model without
        images.
        What an image is given as is worked on once per layer for all texts (for each `TEXTS_AT_ONCE` of them), and so
        is each beginning that texts have in common.
        """
        if not len(image_BD):
            return image_BD.new_empty(0, len(texts.tokens.length_B))
        assert isinstance(texts, PreparedTrees)
        return torch.cat([self._of_tree(image_BD, tree) for tree in texts.directions[0]], dim=1)

    def _of_tree(self, image_BD: Tensor, tree: TextTree) -> Tensor:
        word_RW = self.token_embedding(tree.ids_R) + self.positions[self.prefix + tree.position_R]
        rows = self.prefix + len(word_RW)
        at_once = min(len(image_BD), rows_at_once(rows * self.hidden, word_RW))
        scores = []
        for prefix_BFW in image_BD.unflatten(1, (self.prefix, -1)).split(at_once):
            B = len(prefix_BFW)
            x_BXW = torch.cat([prefix_BFW + self.positions[: self.prefix], word_RW.expand(B, -1, -1)], dim=1)
            hidden_TW = self.blocks(x_BXW.flatten(0, 1), tree.copies(B, behind=self.prefix))
            hidden_BRW = self.ln_final(hidden_TW.view_as(x_BXW)[:, self.prefix :])
            scores.append(tree.log_likelihoods(hidden_BRW, self.token_embedding.weight))
        return torch.cat(scores)

    def _packed(self, tokens: Tokens) -> Packed:
        """Prefix and read tokens of all captions without padding; for ids the places in rows of S."""
        B, S = len(tokens.ids_BL), self.prefix + tokens.ids_BL.shape[1] - 1
        place_BS = torch.arange(B * S, device=tokens.ids_BL.device).view(B, S)
        return pack(Tokens(ids_BL=place_BS, length_B=tokens.length_B + (self.prefix - 1)))

"""A head that predicts which words a caption has. B = images, P = texts, L = tokens of a text, V = vocabulary."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.base.records import Tokens
from seesay.formulas.language import is_inner, k_hot_cross_entropy, shares_of_types
from seesay.formulas.similarity import widened
from seesay.nets.architecture import BagOfWordsHeadConfig
from seesay.nets.head import Head, PreparedTexts


class BagOfWordsHead(Head):
    """One linear map to the logits of all words; start and end token are no words.

    A text without words costs nothing in training, and is as likely as a word by chance when asked for.
    """

    def __init__(self, config: BagOfWordsHeadConfig, embed_dim: int):
        super().__init__()
        self.context = config.context
        self.output = nn.Linear(embed_dim, config.vocab_size)
        nn.init.normal_(self.output.weight, std=0.02)
        nn.init.zeros_(self.output.bias)

    def losses(self, image_BD: Tensor, tokens: Tokens) -> Tensor:
        """The cross-entropy of the caption's different words, each as much as the other, (B,)."""
        return k_hot_cross_entropy(widened(self.output(image_BD)), *_types(tokens))

    def log_likelihoods(self, image_BD: Tensor, texts: PreparedTexts) -> Tensor:
        """The mean log-probability of each text's different words, (B, P)."""
        log_p_BV = widened(self.output(image_BD)).log_softmax(1)
        ids_PL, share_PL = _types(texts.tokens)
        mean_PB = F.embedding_bag(ids_PL, log_p_BV.T.contiguous(), per_sample_weights=share_PL, mode="sum")
        by_chance = -math.log(self.output.out_features)
        return torch.where(share_PL.any(1)[:, None], mean_PB, by_chance).T


def _types(tokens: Tokens) -> tuple[Tensor, Tensor]:
    return shares_of_types(tokens.ids_BL, is_inner(tokens.length_B, tokens.ids_BL.shape[1]))

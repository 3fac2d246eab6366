"""Heads that predict a caption's words as a set, or its runs of words (Joulin et al. 2016, Li et al. 2017).

B = images, P = texts, L = tokens of a text, K = words of a text, N = orders (runs of 1, 2, ... words), V = vocabulary,
C = runs it knows, G = runs that others begin with, X = positions of texts.
"""

import math
from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.base.records import Tokens
from seesay.formulas.language import grouped_log_softmax, is_inner, jelinek_mercer, k_hot_cross_entropy, shares_of_types
from seesay.formulas.similarity import widened
from seesay.nets.architecture import BagOfWordsHeadConfig, NGramsConfig
from seesay.nets.decoder import texts_at_once
from seesay.nets.head import Head, PreparedTexts, damaged_vocabulary


class BagOfWordsHead(Head):
    """One linear map to the logits of all words; start and end token are no words.

    A text without words costs nothing in training, and its likelihood is that of a word by chance.
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


# Li et al. 2017, section 3: the share of the probability that an order has for itself.
SHARE = 0.2
# The number of a run that is not in the dictionary.
UNKNOWN = -1


class NGrams(Head):
    """A vector for every run of words in a dictionary; its product with the image's is the run's logit.

    The dictionary is a tree: a run is known by the run it continues and its last word. `key_C` holds
    (continued + 1) * V + word in ascending order, with -1 for the beginning, so runs that begin alike are neighbours,
    and one search per order finds the runs of all captions. All V single words are in it, whether seen or not: run w is
    the word w. Unused entries have keys which nothing continues.
    """

    needs_vocabulary = True
    key_C: Tensor

    def __init__(self, config: NGramsConfig, embed_dim: int):
        super().__init__()
        self.context = config.context
        self.vocab_size, self.longest = config.vocab_size, config.longest
        longer = config.per_word * config.vocab_size
        runs = config.vocab_size + longer
        self.vectors = nn.Parameter(torch.randn(runs, embed_dim) * 0.02)
        unused = (runs + 1) * config.vocab_size
        self.register_buffer("key_C", torch.cat([torch.arange(config.vocab_size), torch.full((longer,), unused)]))

    def fit_vocabulary(self, captions: list[list[int]], words: list[str]) -> None:
        """Take the most frequent runs; of equally frequent ones the shorter, then the one with smaller ids."""
        keys = frequent_runs(
            captions, vocab_size=self.vocab_size, longest=self.longest, room=len(self.key_C) - self.vocab_size
        )
        self.key_C[self.vocab_size : self.vocab_size + len(keys)] = torch.from_numpy(keys)

    def losses(self, image_BD: Tensor, tokens: Tokens) -> Tensor:
        """The mean over the caption's words of -log p(word | words before it, image), (B,)."""
        run_NBK, has_context_NBK, is_word_BK = self._runs(tokens)
        observed_BC = self._observed(image_BD).T
        found_NBK = torch.stack([observed_BC.gather(1, run_BK.clamp(min=0)) for run_BK in run_NBK])
        log_p_BK = jelinek_mercer(found_NBK.masked_fill(run_NBK == UNKNOWN, -math.inf), has_context_NBK, share=SHARE)
        return -(log_p_BK * is_word_BK).sum(1) / is_word_BK.sum(1).clamp(min=1)

    def log_likelihoods(self, image_BD: Tensor, texts: PreparedTexts) -> Tensor:
        """log p(text | image), (B, P), the sum over its words; a text without words is as likely as one by chance.

        With the mean, names whose words foretell one another would be likely for every image.
        """
        observed_CB = self._observed(image_BD)
        return torch.cat([self._of_some_texts(observed_CB, some) for some in texts_at_once(texts.tokens)], dim=1)

    def _of_some_texts(self, observed_CB: Tensor, texts: Tokens) -> Tensor:
        run_NPK, has_context_NPK, is_word_PK = self._runs(texts)
        found_NPKB = observed_CB[run_NPK.clamp(min=0)]
        found_NPKB = found_NPKB.masked_fill((run_NPK == UNKNOWN)[..., None], -math.inf)
        log_p_PKB = jelinek_mercer(found_NPKB, has_context_NPK[..., None], share=SHARE)
        sum_PB = (log_p_PKB * is_word_PK[..., None]).sum(1)
        by_chance = -math.log(self.vocab_size)
        return torch.where(is_word_PK.any(1, keepdim=True), sum_PB, by_chance).T

    def check_vocabulary(self) -> None:
        """`RefusedInput` for a dictionary that no captions give."""
        words = torch.arange(self.vocab_size, device=self.key_C.device)
        is_in_order = bool((self.key_C[1:] >= self.key_C[:-1]).all())
        # Keys are in order, so if the last is not beyond those of unused entries no other is.
        is_near = int(self.key_C[-1]) <= (len(self.key_C) + 1) * self.vocab_size
        if not (is_in_order and is_near and torch.equal(self.key_C[: self.vocab_size], words)):
            raise damaged_vocabulary("dictionary of runs (key_C) holds keys that no run of words has")

    def _observed(self, image_BD: Tensor) -> Tensor:
        """log p_obs(last word of the run | the words before it, image) of every run, (C, B)."""
        logits_CB = widened(self.vectors @ image_BD.T)
        return grouped_log_softmax(logits_CB, self._first_G(), self.key_C // self.vocab_size)

    def _first_G(self) -> Tensor:
        """Where the runs begin that continue run g - 1, for g from 0; the last two are for unused entries."""
        begins_G = torch.arange(len(self.key_C) + 2, device=self.key_C.device) * self.vocab_size
        first_G = torch.searchsorted(self.key_C, begins_G)
        return torch.cat([first_G, first_G.new_full((1,), len(self.key_C))])

    def _runs(self, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        """The runs of 1, 2, ... words that end at each position, whether their contexts are known, and which are words.

        (N, B, K), (N, B, K) and (B, K). A context is known if the dictionary has a run that continues it.
        """
        ids_BK = tokens.ids_BL[:, 1:]
        is_word_BK = is_inner(tokens.length_B, tokens.ids_BL.shape[1])[:, 1:]
        count_G = self._first_G().diff()
        runs, has_context = [ids_BK], [torch.ones_like(is_word_BK)]
        for _ in range(1, self.longest):
            before_BK = torch.cat([torch.full_like(ids_BK[:, :1], UNKNOWN), runs[-1][:, :-1]], dim=1)
            key_BK = (before_BK + 1) * self.vocab_size + ids_BK
            index_BK = torch.searchsorted(self.key_C, key_BK).clamp(max=len(self.key_C) - 1)
            is_known_BK = (self.key_C[index_BK] == key_BK) & (before_BK != UNKNOWN)
            runs.append(index_BK.masked_fill(~is_known_BK, UNKNOWN))
            has_context.append((count_G[before_BK + 1] > 0) & (before_BK != UNKNOWN))
        return torch.stack(runs), torch.stack(has_context), is_word_BK


def frequent_runs(captions: Sequence[Sequence[int]], *, vocab_size: int, longest: int, room: int) -> np.ndarray:
    """The keys (N,), as `NGrams` has them, of the `room` most frequent runs of 2 to `longest` words, ascending.

    A run is at most as frequent as what it continues, and longer: what it continues always goes before it. So runs
    are counted one order after the other, and only where they continue one that is chosen so far.
    """
    if longest < 2:
        return np.empty(0, np.int64)
    # Start and end token part the captions; no run holds one of those.
    token_T = np.fromiter(chain.from_iterable(captions), np.int64)
    length_B = np.fromiter(map(len, captions), np.int64, len(captions))
    last_B = length_B.cumsum() - 1
    is_word_T = np.ones(len(token_T), dtype=bool)
    is_word_T[last_B[length_B > 0]] = False
    is_word_T[(last_B - length_B + 1)[length_B > 0]] = False
    # By its number among those of its order, the run that ends at each place.
    run_T = np.where(is_word_T, token_T, UNKNOWN)
    orders: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    for _ in range(2, longest + 1):
        position_X = np.flatnonzero(is_word_T[1:] & (run_T[:-1] != UNKNOWN)) + 1
        run_X = run_T[position_X - 1] * vocab_size + token_T[position_X]
        found_R, count_R = np.unique(run_X, return_counts=True)
        is_chosen_R = _most_frequent([*counts, count_R], room)[-1]
        orders.append(found_R[is_chosen_R])
        counts.append(count_R[is_chosen_R])
        run_T = np.full_like(run_T, UNKNOWN)
        run_T[position_X] = _numbers(orders[-1], run_X)
    keys, continued, row = [], np.arange(vocab_size), vocab_size
    for found_R, is_chosen_R in zip(orders, _most_frequent(counts, room), strict=True):
        before, word = np.divmod(found_R[is_chosen_R], vocab_size)
        keys.append((continued[before] + 1) * vocab_size + word)
        continued = row - 1 + is_chosen_R.cumsum()
        row += len(before)
    return np.concatenate(keys)


def _most_frequent(counts: Sequence[np.ndarray], room: int) -> list[np.ndarray]:
    """Which runs are among the `room` most frequent of all orders; of equally frequent ones the first."""
    is_chosen_X = np.zeros(sum(map(len, counts)), dtype=bool)
    is_chosen_X[np.argsort(-np.concatenate(counts), kind="stable")[:room]] = True
    return np.split(is_chosen_X, np.cumsum([len(count_R) for count_R in counts])[:-1])


def _numbers(known_R: np.ndarray, run_X: np.ndarray) -> np.ndarray:
    """The index of each run among the known ones, which are in ascending order; UNKNOWN if it is not there."""
    if not len(known_R):
        return np.full_like(run_X, UNKNOWN)
    position_X = np.searchsorted(known_R, run_X).clip(max=len(known_R) - 1)
    return np.where(known_R[position_X] == run_X, position_X, UNKNOWN)

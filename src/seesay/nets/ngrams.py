"""A head that predicts a caption's runs of words.

B = pictures, P = texts, K = words of a text, N = orders (runs of 1, 2, ... words), V = vocabulary, C = runs it knows,
G = runs that others begin with, X = places of texts.
"""

import math
from collections import Counter

import torch
from torch import Tensor, nn

from seesay.base.records import Tokens
from seesay.formulas.language import grouped_log_softmax, is_inner, jelinek_mercer
from seesay.formulas.similarity import widened
from seesay.nets.architecture import NGramsConfig
from seesay.nets.head import Head

# Li et al. 2017, section 3: what an order keeps of the probability for itself.
SHARE = 0.2
UNKNOWN = -1


class NGrams(Head):
    """A vector for every run of words in a dictionary; its product with the picture's is the run's logit.

    The dictionary is a tree: a run is known by the run it continues and its last word. `key_C` holds
    (continued + 1) * V + word in ascending order, with -1 for the beginning, so runs that begin alike are neighbours,
    and one search per order finds the runs of all captions. All V single words are in it, whether seen or not: run w is
    the word w. Places that are not used have keys which nothing continues.
    """

    wants_words = True
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

    def learn_words(self, captions: list[list[int]], words: list[str]) -> None:
        """Keep the most frequent runs; of equally frequent ones the shorter, then the one with smaller ids."""
        seen: Counter[tuple[int, ...]] = Counter()
        for caption in captions:
            ids = caption[1:-1]
            for size in range(2, self.longest + 1):
                seen.update(tuple(ids[first : first + size]) for first in range(len(ids) - size + 1))
        room = len(self.key_C) - self.vocab_size
        # A run is at most as frequent as what it continues, and longer: what it continues is always kept before it.
        best = sorted(seen, key=lambda run: (-seen[run], len(run), run))[:room]
        place: dict[tuple[int, ...], int] = {(word,): word for word in range(self.vocab_size)}
        for run in sorted(best, key=lambda run: (len(run), run)):
            place[run] = len(place)
        keys = [(place[run[:-1]] + 1) * self.vocab_size + run[-1] for run in list(place)[self.vocab_size :]]
        self.key_C[self.vocab_size : len(place)] = torch.tensor(keys, dtype=torch.int64)

    def losses(self, image_BD: Tensor, tokens: Tokens) -> Tensor:
        """The mean over the caption's words of -log p(word | words before it, picture), (B,)."""
        run_NBK, has_context_NBK, is_word_BK = self._runs(tokens)
        observed_BC = self._observed(image_BD).T
        found_NBK = torch.stack([observed_BC.gather(1, run_BK.clamp(min=0)) for run_BK in run_NBK])
        log_p_BK = jelinek_mercer(found_NBK.masked_fill(run_NBK == UNKNOWN, -math.inf), has_context_NBK, share=SHARE)
        return -(log_p_BK * is_word_BK).sum(1) / is_word_BK.sum(1).clamp(min=1)

    def log_likelihoods(self, image_BD: Tensor, prompts: Tokens) -> Tensor:
        """log p(text | picture), (B, P), the sum over its words; a text without words is as likely as one by chance.

        With the mean, names whose words foretell one another would be likely for every picture.
        """
        run_NPK, has_context_NPK, is_word_PK = self._runs(prompts)
        found_NPKB = self._observed(image_BD)[run_NPK.clamp(min=0)]
        found_NPKB = found_NPKB.masked_fill((run_NPK == UNKNOWN)[..., None], -math.inf)
        log_p_PKB = jelinek_mercer(found_NPKB, has_context_NPK[..., None], share=SHARE)
        sum_PB = (log_p_PKB * is_word_PK[..., None]).sum(1)
        by_chance = -math.log(self.vocab_size)
        return torch.where(is_word_PK.any(1, keepdim=True), sum_PB, by_chance).T

    def _observed(self, image_BD: Tensor) -> Tensor:
        """log p_obs(last word of the run | the words before it, picture) of every run, (C, B)."""
        logits_CB = widened(self.vectors @ image_BD.T)
        return grouped_log_softmax(logits_CB, self._first_G(), self.key_C // self.vocab_size)

    def _first_G(self) -> Tensor:
        """Where the runs begin that continue run g - 1, for g from 0; the last two are for unused places."""
        begins_G = torch.arange(len(self.key_C) + 2, device=self.key_C.device) * self.vocab_size
        first_G = torch.searchsorted(self.key_C, begins_G)
        return torch.cat([first_G, first_G.new_full((1,), len(self.key_C))])

    def _runs(self, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        """The runs of 1, 2, ... words that end at each place, whether their contexts are known, and which are words.

        (N, B, K), (N, B, K) and (B, K). A context is known if the dictionary has a run that continues it.
        """
        ids_BK = tokens.ids_BL[:, 1:]
        is_word_BK = is_inner(tokens.length_B, tokens.ids_BL.shape[1])[:, 1:]
        count_G = self._first_G().diff()
        runs, has_context = [ids_BK], [torch.ones_like(is_word_BK)]
        for _ in range(1, self.longest):
            before_BK = torch.cat([torch.full_like(ids_BK[:, :1], UNKNOWN), runs[-1][:, :-1]], dim=1)
            key_BK = (before_BK + 1) * self.vocab_size + ids_BK
            place_BK = torch.searchsorted(self.key_C, key_BK).clamp(max=len(self.key_C) - 1)
            is_known_BK = (self.key_C[place_BK] == key_BK) & (before_BK != UNKNOWN)
            runs.append(place_BK.masked_fill(~is_known_BK, UNKNOWN))
            has_context.append((count_G[before_BK + 1] > 0) & (before_BK != UNKNOWN))
        return torch.stack(runs), torch.stack(has_context), is_word_BK

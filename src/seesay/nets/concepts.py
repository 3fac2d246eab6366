"""Which words of a caption an image may show. B = captions, L = tokens of the longest, V = vocabulary, K = concepts.

A word is a run of tokens that ends where the tokenizer ends one; a concept is a frequent word that says something.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from seesay.base.records import Tokens
from seesay.formulas.language import is_inner
from seesay.nets.row_random import GOLDEN, splitmix64

# Frequent words that an image does not show; what an apostrophe leaves over ("'s", "don't") is among them.
_LISTED = """
    a about above across after again against all along also although always am among an and another any anyone
    anything are around as at away back be because been before behind being below beneath beside besides between both
    but by can cannot could d did do does doing done down during each either else etc even ever every everyone
    everything few for from further get gets getting got had has have having he her here hers herself him himself his
    how i if in into is it its itself just least less ll like m many may me might mine more most much must my myself
    near no nor not nothing now of off often on once one only onto or other others our ours out over own per rather re
    s same seem seems several shall she should since so some someone something still such t than that the their theirs
    them themselves then there these they this those through throughout to together too toward towards under until up
    upon us ve very via was we were what when where whether which while who whom whose why will with within without
    would yet you your yours yourself
"""
FUNCTION_WORDS = frozenset(_LISTED.split())
# Both a guess: a word that is seen less often is hardly learned, and few captions repeat little.
OCCURRENCES = 10
CAPTIONS_PER_OCCURRENCE = 100
UNUSED = torch.iinfo(torch.int64).max
# The tokens before a name, and those behind it.
Frame = tuple[tuple[int, ...], tuple[int, ...]]


class Concepts(nn.Module):
    """The words that count as concepts, known by a hash of their tokens: at most as many as there are tokens.

    Two words of one hash are not to be expected: 50,000 words have one pair in 2^64 / 1.25e9 vocabularies.
    """

    end_V: Tensor
    key_K: Tensor

    def __init__(self, vocab_size: int):
        super().__init__()
        # int64, as model files hold no other whole numbers.
        self.register_buffer("end_V", torch.zeros(vocab_size, dtype=torch.int64))
        self.register_buffer("key_K", torch.full((vocab_size,), UNUSED))

    def learn(self, captions: Sequence[Sequence[int]], words: Sequence[str]) -> Frame:
        """Concepts from the token ids of captions and the spelling of ids; returns what usually stands around one.

        A concept is no function word, has a letter, and is there 10 times; in fewer than 1,000 captions, once in every
        hundred. The frame is the most frequent one around a caption's last concept, as in "a photo of a ... .".
        """
        ends = [word.endswith(" ") for word in words]
        self.end_V.copy_(torch.tensor(ends))
        seen = Counter(word for caption in captions for word in _split(caption, ends))
        least = min(OCCURRENCES, max(1, len(captions) // CAPTIONS_PER_OCCURRENCE))
        concepts = sorted(
            (word for word in seen if seen[word] >= least and _says_something("".join(words[index] for index in word))),
            key=lambda word: (-seen[word], word),
        )[: len(self.key_K)]
        self.key_K.fill_(UNUSED)
        if concepts:
            longest = max(map(len, concepts))
            ids_KL = torch.tensor([[*word, *[0] * (longest - len(word))] for word in concepts])
            length_K1 = torch.tensor([[len(word)] for word in concepts])
            place_L = torch.arange(longest)
            key_K = (_hashes(ids_KL, place_L) * (place_L < length_K1)).sum(1)
            self.key_K[: len(concepts)] = key_K.sort().values
        known = set(concepts)
        frames = Counter(frame for caption in captions if (frame := _around(list(_split(caption, ends)), known)))
        return min(frames, key=lambda frame: (-frames[frame], frame), default=((), ()))

    def forward(self, tokens: Tokens) -> Tensor:
        """(B, L): for each token the number of the concept it is part of, 0 if none.

        A caption's different concepts count from 1, in the order in which they first occur.
        """
        ids_BL = tokens.ids_BL
        is_inner_BL = is_inner(tokens.length_B, ids_BL.shape[1])
        ends_BL = (self.end_V[ids_BL] > 0) | ~is_inner_BL
        is_first_BL = is_inner_BL & torch.cat([torch.zeros_like(ends_BL[:, :1]), ends_BL[:, :-1]], dim=1)
        place_L = torch.arange(ids_BL.shape[1], device=ids_BL.device)
        first_BL = torch.where(is_first_BL, place_L, 0).cummax(1).values
        word_BL = is_first_BL.cumsum(1) * is_inner_BL
        hash_BL = _hashes(ids_BL, place_L - first_BL)
        # One sum for each word of a caption; what is in no word adds up to a sum that is then dropped.
        key_BL = torch.zeros_like(hash_BL).scatter_add(1, word_BL, hash_BL)
        place_BL = torch.searchsorted(self.key_K, key_BL).clamp(max=len(self.key_K) - 1)
        is_concept_BL = self.key_K[place_BL] == key_BL
        is_concept_BL[:, 0] = False
        first_BL = _first_places(key_BL)
        is_new_BL = is_concept_BL & (first_BL == place_L)
        return (is_new_BL.cumsum(1).gather(1, first_BL) * is_concept_BL).gather(1, word_BL)


def _hashes(ids_BL: Tensor, place_BL: Tensor) -> Tensor:
    """A number for a token at a place of its word; their sum, which may run over, is the word's."""
    return splitmix64(ids_BL + GOLDEN * (place_BL + 1))


def _first_places(key_BL: Tensor) -> Tensor:
    """For each key the first place of its row that holds the same one, (B, L)."""
    sorted_BL, order_BL = key_BL.sort(dim=1, stable=True)
    is_new_BL = torch.ones_like(sorted_BL, dtype=torch.bool)
    is_new_BL[:, 1:] = sorted_BL[:, 1:] != sorted_BL[:, :-1]
    place_L = torch.arange(key_BL.shape[1], device=key_BL.device)
    first_BL = order_BL.gather(1, torch.where(is_new_BL, place_L, 0).cummax(1).values)
    return torch.empty_like(first_BL).scatter(1, order_BL, first_BL)


def _split(caption: Sequence[int], ends: Sequence[bool]) -> Iterator[tuple[int, ...]]:
    """The words between start and end token; the last may be cut off."""
    word: list[int] = []
    for index in caption[1:-1]:
        word.append(index)
        if ends[index]:
            yield tuple(word)
            word = []
    if word:
        yield tuple(word)


def _says_something(word: str) -> bool:
    word = word.strip().strip("'")
    return word not in FUNCTION_WORDS and any(map(str.isalpha, word))


def _around(words: list[tuple[int, ...]], concepts: set[tuple[int, ...]]) -> Frame | None:
    """The tokens before and behind the last concept; None without one."""
    last = max((place for place, word in enumerate(words) if word in concepts), default=None)
    if last is None:
        return None
    before, after = words[:last], words[last + 1 :]
    return tuple(index for word in before for index in word), tuple(index for word in after for index in word)

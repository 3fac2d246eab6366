"""ICMLM's head: a masked word, predicted from a grid of the image and the rest of the caption.

Which words are masked: those that an image may show. A word is a run of tokens that ends where the tokenizer ends one;
a concept is a frequent word that says something.

B = images, G = positions of the grid, W = width, L = tokens of the longest caption, T = tokens of all captions laid end
to end, N = masked tokens, P = texts, M = tokens of a text's name, V = vocabulary, K = concepts.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.base.records import Tokens
from seesay.formulas.language import is_inner, shares_of_types
from seesay.formulas.similarity import widened
from seesay.nets.architecture import MaskedCaptionerConfig
from seesay.nets.block import ACTIVATIONS, Block, Blocks, start_as_gpt
from seesay.nets.head import Head, PreparedTexts, damaged_vocabulary
from seesay.nets.packing import Group, Packed, pack
from seesay.nets.row_random import GOLDEN, row_uniforms, splitmix64

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


# A guess: both losses count alike.
TAG_WEIGHT = 1.0
# Stands in the frame where it is shorter than the context; no id is negative.
NO_ID = -1


class MaskedCaptioner(Head):
    """Blocks over the caption with one concept masked, then a fusion with the grid; and tags, from the grid alone.

    A pass draws one of each caption's different concepts (`nets.row_random`) and masks it wherever it occurs; while the
    head is evaluated it is the middle one. The output layer is the token vectors (as BERT's), whose last row is the
    mask.
    """

    reads_grid = True
    needs_vocabulary = True
    frame_L: Tensor

    def __init__(self, config: MaskedCaptionerConfig, embed_dim: int):
        super().__init__()
        width = config.width
        self.context, self.mask = config.context, config.vocab_size
        self.concepts = Concepts(config.vocab_size)
        self.register_buffer("frame_L", torch.full((config.context,), NO_ID))
        self.token_embedding = nn.Embedding(config.vocab_size + 1, width)
        self.positions = nn.Parameter(torch.randn(config.context, width) * 0.01)
        blocks = [Block(config, causal=False) for _ in range(config.layers)]
        self.blocks = Blocks(blocks)
        self.ln_grid = nn.LayerNorm(width)
        self.fusion = FUSIONS[config.fusion](config)
        self.ln_final = nn.LayerNorm(width)
        self.output_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.tags = nn.Linear(width, config.vocab_size)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.tags.weight, std=0.02)
        # Most words are not in a caption, and the first steps should not have to learn that.
        nn.init.constant_(self.tags.bias, -math.log(config.vocab_size))
        for block in blocks:
            start_as_gpt(block, layers=config.layers)

    def fit_vocabulary(self, captions: list[list[int]], words: list[str]) -> None:
        """Find the concepts, and the frame in which a name usually stands."""
        before, after = self.concepts.learn(captions, words)
        frame = [*before, self.mask, *after]
        self.frame_L.fill_(NO_ID)
        self.frame_L[: len(frame)] = torch.tensor(frame, dtype=torch.int64)

    def check_vocabulary(self) -> None:
        """`RefusedInput` for a frame or concepts that no captions give."""
        frame_L, key_K, end_V = self.frame_L, self.concepts.key_K, self.concepts.end_V
        if bool(((frame_L < NO_ID) | (frame_L > self.mask)).any()) or int((frame_L == self.mask).sum()) > 1:
            raise damaged_vocabulary("frame around a name (frame_L) holds ids that its vocabulary does not have")
        if bool((key_K[1:] < key_K[:-1]).any()) or bool(((end_V < 0) | (end_V > 1)).any()):
            raise damaged_vocabulary("concepts (key_K, end_V) hold values that no word has")

    def losses(self, image_BD: Tensor, tokens: Tokens) -> Tensor:
        """The mean cross-entropy of the masked word's tokens, and the tags' loss, (B,)."""
        grid_BGW = self.ln_grid(image_BD)
        concept_BL = self.concepts(tokens)
        is_masked_BL = concept_BL == self._chosen(concept_BL)[:, None]
        logits_NV, row_N, location_N = self._predict(grid_BGW, tokens, is_masked_BL)
        loss_N = F.cross_entropy(logits_NV, tokens.ids_BL[row_N, location_N], reduction="none")
        share_N = 1 / is_masked_BL.sum(1)[row_N]
        word_B = loss_N.new_zeros(len(grid_BGW)).index_add(0, row_N, loss_N * share_N)
        return word_B + TAG_WEIGHT * self._tag_losses(grid_BGW, tokens, concept_BL > 0)

    def log_likelihoods(self, image_BD: Tensor, texts: PreparedTexts) -> Tensor:
        """The mean log-probability of each name's tokens, masked and as tags, both terms added, (B, P).

        All of the name is masked. It stands in a usual frame (`Concepts.learn`), where the context has room for it.
        Names of equally many tokens are the same input, which is worked on once. A name without tokens is as likely as
        a token by chance, in both terms.
        """
        prompts = texts.tokens
        by_chance = -(1 + TAG_WEIGHT) * math.log(self.mask)
        if not len(image_BD):
            return image_BD.new_empty(0, len(prompts.length_B))
        grid_BGW = self.ln_grid(image_BD)
        log_tag_BV = F.logsigmoid(widened(self.tags(grid_BGW.mean(1))))
        mean_BP = grid_BGW.new_full((len(grid_BGW), len(prompts.length_B)), by_chance, dtype=torch.float32)
        size_P = prompts.length_B - 2
        for size in sorted(set(size_P.tolist()) - {0}):
            own_P = (size_P == size).nonzero()[:, 0]
            ids_PM = prompts.ids_BL[own_P, 1 : size + 1]
            log_p_BMV = self._name(grid_BGW, prompts, size=size, example=int(own_P[0])).log_softmax(-1)
            masked_BPM = log_p_BMV[:, torch.arange(size, device=ids_PM.device), ids_PM]
            mean_BP[:, own_P] = (masked_BPM + TAG_WEIGHT * log_tag_BV[:, ids_PM]).mean(-1)
        return mean_BP

    def _name(self, grid_BGW: Tensor, prompts: Tokens, *, size: int, example: int) -> Tensor:
        """The logits of a name of `size` tokens for each image, (B, M, V)."""
        frame_L = self.frame_L[self.frame_L != NO_ID]
        before = int((frame_L == self.mask).nonzero()[0]) if self.mask in frame_L else 0
        name_M = frame_L.new_full((size,), self.mask)
        start, end = prompts.ids_BL[example, [0, size + 1]].split(1)
        ids_L = torch.cat([start, frame_L[:before], name_M, frame_L[before + 1 :], end])
        if len(ids_L) > self.context:
            ids_L = torch.cat([start, name_M, end])
        count = len(grid_BGW)
        tokens = Tokens(ids_BL=ids_L.expand(count, -1), length_B=torch.full((count,), len(ids_L)))
        return self._predict(grid_BGW, tokens, tokens.ids_BL == self.mask)[0].unflatten(0, (count, size))

    def _chosen(self, concept_BL: Tensor) -> Tensor:
        """The number of the concept that is masked in each caption, (B,); 1 in one that has none."""
        count_B = concept_BL.amax(1)
        if not self.training:
            return count_B // 2 + 1
        uniform_B = row_uniforms(len(count_B), 1)[:, 0].to(count_B.device)
        return (uniform_B * count_B).long() + 1

    def _predict(self, grid_BGW: Tensor, tokens: Tokens, is_masked_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The logits of all masked tokens (N, V), the caption each is of, and its place there."""
        packed = pack(Tokens(ids_BL=tokens.ids_BL.masked_fill(is_masked_BL, self.mask), length_B=tokens.length_B))
        x_TW = self.token_embedding(packed.ids_T) + F.embedding(packed.position_T, self.positions)
        text_TW = self.blocks(x_TW, packed.groups)
        masked_N = (packed.ids_T == self.mask).nonzero()[:, 0]
        # Captions are packed in another order, and the number of starts up to a token gives the caption it is of.
        order_B = packed.back_B.argsort()
        row_T = order_B[(packed.position_T == 0).cumsum(0) - 1]
        hidden_NW = self.fusion(grid_BGW, text_TW, packed, masked_N, row_T)
        logits_NV = F.linear(self.ln_final(hidden_NW), self.token_embedding.weight[: self.mask], self.output_bias)
        return widened(logits_NV), row_T[masked_N], packed.position_T[masked_N]

    def _tag_losses(self, grid_BGW: Tensor, tokens: Tokens, is_concept_BL: Tensor) -> Tensor:
        """The summed cross-entropy of "is this token part of a concept here?" over all tokens, (B,).

        It is divided by the number of those that are, which makes it about as large as the masked word's loss.
        """
        logits_BV = widened(self.tags(grid_BGW.mean(1)))
        ids_BL, share_BL = shares_of_types(tokens.ids_BL, is_concept_BL)
        count_B = (share_BL > 0).sum(1).clamp(min=1)
        # For y in {0, 1} the cross-entropy is softplus(z) - y z.
        return F.softplus(logits_BV).sum(1) / count_B - (logits_BV.gather(1, ids_BL) * share_BL).sum(1)


class BesideGrid(nn.Module):
    """ICMLM's "tfm": one block over the grid and the caption's tokens, each looking at all."""

    def __init__(self, config: MaskedCaptionerConfig):
        super().__init__()
        block = Block(config, causal=False)
        start_as_gpt(block, layers=1)
        self.blocks = Blocks([block])

    def forward(self, grid_BGW: Tensor, text_TW: Tensor, packed: Packed, masked_N: Tensor, row_T: Tensor) -> Tensor:
        """Masked rows of the text with what the grid adds, (N, W)."""
        places, order_B = grid_BGW.shape[1], packed.back_B.argsort()
        # Each caption moves behind the grids of those before it and its own.
        text_place_T = torch.arange(len(text_TW), device=row_T.device) + places * (packed.back_B[row_T] + 1)
        start_B = text_place_T[packed.position_T == 0]
        grid_place_BG = start_B[:, None] + torch.arange(-places, 0, device=row_T.device)
        x_XW = torch.cat([grid_BGW[order_B].flatten(0, 1), text_TW])
        x_XW = x_XW[torch.cat([grid_place_BG.flatten(), text_place_T]).argsort()]
        groups = [Group(group.sequences, places + group.length) for group in packed.groups]
        return self.blocks(x_XW, groups)[text_place_T[masked_N]]


class LookAtGrid(nn.Module):
    """ICMLM's "att-fc": a query made from the rest of the caption attends to the grid; then an MLP."""

    def __init__(self, config: MaskedCaptionerConfig):
        super().__init__()
        width = config.width
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.fc = nn.Linear(width, config.hidden)
        self.proj = nn.Linear(config.hidden, width)
        self.activation = ACTIVATIONS[config.activation]
        for linear in (self.query, self.key, self.value, self.fc, self.proj):
            nn.init.normal_(linear.weight, std=width**-0.5)
            nn.init.zeros_(linear.bias)

    def forward(self, grid_BGW: Tensor, text_TW: Tensor, packed: Packed, masked_N: Tensor, row_T: Tensor) -> Tensor:
        """For each masked token what it sees of the grid, and the text around it, mixed by the MLP, (N, W)."""
        query_NW, row_N = text_TW[masked_N], row_T[masked_N]
        key_NGW, value_NGW = self.key(grid_BGW)[row_N], self.value(grid_BGW)[row_N]
        seen_NW = F.scaled_dot_product_attention(self.query(query_NW)[:, None], key_NGW, value_NGW)[:, 0]
        return self.proj(self.activation(self.fc(seen_NW + query_NW)))


FUSIONS = {"tfm": BesideGrid, "att-fc": LookAtGrid}

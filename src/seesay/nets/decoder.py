"""What decoders of captions share: the loss of predicted tokens, and the likelihoods of many texts at once.

B = images, L = tokens of the longest text, N = predictions, P = texts, R = rows of a tree of texts, U = distinct
predictions in it, W = width, V = vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seesay.base.records import Tokens
from seesay.formulas.similarity import widened
from seesay.nets.head import PreparedTexts
from seesay.nets.packing import Group, Packed, pack_shared

# What is worked on at once: on a CPU what its cache holds (64 MB took twice as long), elsewhere what fills the device.
BYTES_AT_ONCE = {"cpu": 8 << 20}
# A guess.
BYTES_ELSEWHERE = 256 << 20
# A guess at a tree whose rows fit for one image.
TEXTS_AT_ONCE = 4096


def mean_losses(
    hidden_NW: Tensor, location_N: Tensor, tokens: Tokens, *, weight_VW: Tensor, bias_V: Tensor | None = None
) -> Tensor:
    """The mean cross-entropy in nats over each caption's tokens but the first, (B,).

    `hidden_NW` are the rows from which tokens are predicted, `location_N` which of `tokens.ids_BL[:, 1:]`, laid end to
    end; every token that is not padding must be there once.
    """
    target_BL = tokens.ids_BL[:, 1:]
    logits_NV = widened(F.linear(hidden_NW, weight_VW, bias_V))
    loss_N = F.cross_entropy(logits_NV, target_BL.flatten()[location_N], reduction="none")
    loss_BL = loss_N.new_zeros(target_BL.numel()).index_copy(0, location_N, loss_N).view(target_BL.shape)
    return loss_BL.sum(1) / (tokens.length_B - 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class TextTree:
    """Texts as a tree whose beginnings in common are there once, as `pack_shared` lays it out.

    Its rows are all tokens that are read: a text's last one is only predicted. `row_U` and `target_U` are from which
    row which id is predicted. `step_PL` names each text's predictions, U standing for none.
    """

    ids_R: Tensor
    position_R: Tensor
    groups: tuple[Group, ...]
    row_U: Tensor
    target_U: Tensor
    step_PL: Tensor
    # By the number of rows before each tree: the copies made so far.
    _copies: dict[int, list[Group]] = field(default_factory=dict, init=False, repr=False)

    def to(self, device: Any) -> "TextTree":
        """The same tree on that device."""
        return TextTree(
            ids_R=self.ids_R.to(device),
            position_R=self.position_R.to(device),
            groups=tuple(
                group if group.before_P is None else group._replace(before_P=group.before_P.to(device))
                for group in self.groups
            ),
            row_U=self.row_U.to(device),
            target_U=self.target_U.to(device),
            step_PL=self.step_PL.to(device),
        )

    def copies(self, count: int, *, behind: int = 0) -> list[Group]:
        """The groups of `count` trees that lie end to end, each behind `behind` rows of its own that all of it sees.

        They are made once for the largest count, as there are as many for every block of images.
        """
        size = count * (len(self.groups) + bool(behind))
        if len(self._copies.get(behind, [])) < size:
            self._copies[behind] = self._new_copies(count, behind)
        return self._copies[behind][:size]

    def _new_copies(self, count: int, behind: int) -> list[Group]:
        device = self.ids_R.device
        stem = [Group(1, behind, is_end=False)] if behind else []
        before_R = torch.arange(behind, device=device)
        own: list[Group] = []
        for group in self.groups:
            rows_P = before_R if group.before_P is None else torch.cat([before_R, group.before_P + behind])
            own.append(group._replace(before_P=rows_P if len(rows_P) else None))
        firsts = range(0, count * (behind + len(self.ids_R)), behind + len(self.ids_R))
        return [
            group if group.before_P is None else group._replace(before_P=group.before_P + first)
            for first in firsts
            for group in (*stem, *own)
        ]

    def log_likelihoods(self, hidden_BRW: Tensor, weight_VW: Tensor, bias_V: Tensor | None = None) -> Tensor:
        """For each image's rows, ready for the output layer, the sum of each text's log-probabilities, (B, P)."""
        target_UW = weight_VW.index_select(0, self.target_U)
        logit_BU = (hidden_BRW.index_select(1, self.row_U) * target_UW).sum(-1)
        if bias_V is not None:
            logit_BU = logit_BU + bias_V[self.target_U]
        total_BR = _log_sum_exp(hidden_BRW.flatten(0, 1), weight_VW, bias_V).view(hidden_BRW.shape[:2])
        step_BU = logit_BU - total_BR.index_select(1, self.row_U)
        return F.pad(step_BU, (0, 1))[:, self.step_PL].sum(-1)


@dataclass(frozen=True, kw_only=True)
class PreparedTrees(PreparedTexts):
    """Texts with their trees, for each direction in which a head reads them: those of `texts_at_once`, in order."""

    directions: tuple[tuple[TextTree, ...], ...]

    def to(self, device: Any) -> "PreparedTrees":
        """The same texts and trees on that device."""
        if self.tokens.ids_BL.device == device:
            return self
        directions = tuple(tuple(tree.to(device) for tree in trees) for trees in self.directions)
        return PreparedTrees(tokens=self.tokens.to(device), directions=directions)


def grow_all(texts: Tokens) -> tuple[TextTree, ...]:
    """The trees of texts of two tokens or more each, `TEXTS_AT_ONCE` texts in each."""
    return tuple(map(grow, texts_at_once(texts)))


def grow(texts: Tokens) -> TextTree:
    """The tree of texts of two tokens or more each, in their order."""
    packed = pack_shared(Tokens(ids_BL=texts.ids_BL, length_B=texts.length_B - 1))
    steps: dict[tuple[int, int], int] = {}
    chosen = [
        torch.tensor([steps.setdefault(step, len(steps)) for step in zip(path, ids[1:], strict=False)])
        for path, ids in zip(_paths(packed), texts.ids_BL.tolist(), strict=True)
    ]
    device = texts.ids_BL.device
    row_U, target_U = torch.tensor(list(steps), device=device).unbind(1)
    return TextTree(
        ids_R=packed.ids_T,
        position_R=packed.position_T,
        groups=tuple(packed.groups),
        row_U=row_U,
        target_U=target_U,
        step_PL=torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=len(steps)).to(device),
    )


def _paths(packed: Packed) -> list[list[int]]:
    """The rows of each text's tokens, in the order texts came in."""
    paths, first = [], 0
    for group in packed.groups:
        before = [] if group.before_P is None else group.before_P.tolist()
        for _ in range(group.sequences):
            if group.is_end:
                paths.append([*before, *range(first, first + group.length)])
            first += group.length
    return [paths[place] for place in packed.back_B.tolist()]


def texts_at_once(texts: Tokens) -> Iterator[Tokens]:
    """Texts in chunks whose trees are small enough to be worked on for one image at least."""
    for ids_PL, length_P in zip(texts.ids_BL.split(TEXTS_AT_ONCE), texts.length_B.split(TEXTS_AT_ONCE), strict=True):
        yield Tokens(ids_BL=ids_PL, length_B=length_P)


def rows_at_once(numbers: int, like: Tensor) -> int:
    """How many rows of so many numbers, of the type of `like` (any shape), are worked on at once."""
    return max(1, BYTES_AT_ONCE.get(like.device.type, BYTES_ELSEWHERE) // (numbers * like.element_size()))


def _log_sum_exp(hidden_NW: Tensor, weight_VW: Tensor, bias_V: Tensor | None) -> Tensor:
    """The logarithm of what a softmax over the vocabulary divides by, (N,); never all logits at once."""
    blocks = hidden_NW.split(rows_at_once(len(weight_VW), hidden_NW))
    return torch.cat([widened(F.linear(block, weight_VW, bias_V)).logsumexp(-1) for block in blocks])

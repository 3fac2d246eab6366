"""Captions without padding: one long row of tokens, equally long captions side by side.

B = captions, L = longest of them, T = tokens that are worked on, P = tokens that stand before others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from seesay.base.records import Tokens

# A guess: attention to a shared beginning has a cost of its own.
LEAST_SHARED = 8
# The ids of a caption, and its index among the captions.
Numbered = tuple[list[int], int]


class Group(NamedTuple):
    """`sequences` runs of `length` tokens that lie end to end, and what they have in common.

    `before_P` are the rows of the tokens that stand before each of them. `is_end` is False for a run that only stands
    before others.
    """

    sequences: int
    length: int
    before_P: Tensor | None = None
    is_end: bool = True


Groups = Sequence[Group]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Captions laid end to end in `groups`, so that attention needs no padding.

    `last_B` is the row of each caption's last token, and `back_B` puts captions in packed order into the order they
    came in.
    """

    ids_T: Tensor
    position_T: Tensor
    groups: Groups
    last_B: Tensor
    back_B: Tensor


def pack(tokens: Tokens) -> Packed:
    """Captions sorted by length, every token once per caption, on the device of the ids."""
    length_B = tokens.length_B.cpu()
    order_B = length_B.argsort(stable=True)
    sorted_B = length_B[order_B]
    end_B = sorted_B.cumsum(0)
    position_T = torch.arange(int(end_B[-1])) - (end_B - sorted_B).repeat_interleave(sorted_B)
    length_G, count_G = sorted_B.unique_consecutive(return_counts=True)
    device = tokens.ids_BL.device
    row_T, position_T = order_B.repeat_interleave(sorted_B).to(device), position_T.to(device)
    return Packed(
        ids_T=tokens.ids_BL[row_T, position_T],
        position_T=position_T,
        groups=[Group(count, length) for count, length in zip(count_G.tolist(), length_G.tolist(), strict=True)],
        last_B=(end_B - 1).to(device),
        back_B=order_B.argsort().to(device),
    )


def pack_shared(tokens: Tokens) -> Packed:
    """As `pack`, but a beginning that `LEAST_SHARED` captions or more have in common is there once for all of them.

    No token of a causal tower sees a later one, so "a bad photo of a" is the same work for every class name.
    """
    captions = [ids[:end] for ids, end in zip(tokens.ids_BL.tolist(), tokens.length_B.tolist(), strict=True)]
    order = sorted(range(len(captions)), key=captions.__getitem__)
    tree = _Tree(device=tokens.ids_BL.device)
    tree.place([(captions[index], index) for index in order])
    device = tree.device
    return Packed(
        ids_T=torch.tensor(tree.ids, device=device),
        position_T=torch.tensor(tree.positions, device=device),
        groups=tree.groups,
        last_B=torch.tensor(tree.last, device=device),
        back_B=torch.tensor(tree.captions).argsort().to(device),
    )


@dataclass
class _Tree:
    """Tokens, as they are placed: shared beginnings first, then the groups that stand behind them."""

    device: torch.device
    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    captions: list[int] = field(default_factory=list)

    def place(self, sorted_captions: Sequence[Numbered]) -> None:
        """Captions in lexical order.

        Branches wait in a list: a context may be longer than Python lets calls nest.
        """
        waiting = [_Branch(sorted_captions, _in_common(sorted_captions, 0), depth=0, before=[])]
        while waiting:
            branch = waiting.pop()
            if branch.is_end:
                self._end(branch)
            else:
                waiting += reversed(self._fork(branch))

    def _fork(self, branch: "_Branch") -> list["_Branch"]:
        """Place the beginning in common; what is to be placed behind it, in order."""
        captions, shared, depth, before, _ = branch
        if len(captions) >= LEAST_SHARED and shared > depth:
            start = len(self.ids)
            self._run([captions[0][0][depth:shared]], depth, before, is_end=False)
            before = [*before, *range(start, len(self.ids))]
            depth = shared
        branches, rest = [], []
        for _, same_next in groupby(captions, key=lambda caption: caption[0][depth]):
            own = list(same_next)
            if len(own) >= LEAST_SHARED and (common := _in_common(own, depth)) > depth:
                branches.append(_Branch(own, common, depth, before))
            else:
                rest += own
        return [*branches, _Branch(rest, depth, depth, before, is_end=True)]

    def _end(self, branch: "_Branch") -> None:
        """Place what follows the beginning in common, captions of one length side by side."""
        captions, _, depth, before, _ = branch
        for _, same_length in groupby(sorted(captions, key=_length), key=_length):
            ending = list(same_length)
            self._run([ids[depth:] for ids, _ in ending], depth, before, is_end=True)
            self.captions += [index for _, index in ending]

    def _run(self, parts: list[list[int]], depth: int, before: list[int], *, is_end: bool) -> None:
        length = len(parts[0])
        for part in parts:
            self.ids += part
            self.positions += range(depth, depth + length)
            if is_end:
                self.last.append(len(self.ids) - 1)
        before_P = torch.tensor(before, device=self.device) if before else None
        self.groups.append(Group(len(parts), length, before_P, is_end))


class _Branch(NamedTuple):
    """Captions, in lexical order, that begin alike: in `shared` tokens, of which `depth` are placed, in rows `before`.

    An end shares nothing more.
    """

    captions: Sequence[Numbered]
    shared: int
    depth: int
    before: list[int]
    is_end: bool = False


def _length(caption: Numbered) -> int:
    return len(caption[0])


def _in_common(sorted_captions: Sequence[Numbered], depth: int) -> int:
    """How many first tokens all have in common, `depth` or more; of every caption at least one token is left."""
    first, last = sorted_captions[0][0], sorted_captions[-1][0]
    most = min(map(_length, sorted_captions)) - 1
    return next((place for place in range(depth, most) if first[place] != last[place]), most)

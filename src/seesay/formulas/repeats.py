"""Targets shared out over repeated images and captions, without a matrix of matches.

N = pairs, M = those of them that share their image or their caption with another pair, D = embedding width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from seesay.formulas.similarity import widened

# (weight, chance) of things that may be drawn more than once, each row or pair of them.
Chances = np.ndarray | Sequence[tuple[float, float]]


def repeated_share(chances: Chances, batch_size: int) -> float:
    """The expected share of a batch that stands in it again: the sum of weight (1 - (1 - chance)^(B - 1))."""
    weight_N, chance_N = np.asarray(chances, dtype=np.float64).reshape(-1, 2).T
    return float(weight_N @ (1 - (1 - chance_N) ** (batch_size - 1)))


@dataclass(frozen=True)
class Repeats:
    """Pairs that share their image or their caption with others.

    `pair_M` are their numbers and `count_M` how many each matches, itself included. `groups` number them by equal
    image, by equal caption, and by both equal: the matches of a pair are its first and its second group together,
    where the third was counted twice. `wanted_M` tells whose targets are wanted.
    """

    pair_M: Tensor
    count_M: Tensor
    groups: tuple[Tensor, ...]
    wanted_M: Tensor

    def within(self, first: int, stop: int) -> "Repeats":
        """The same pairs, with the targets of those from `first` up to `stop` wanted alone."""
        return replace(self, wanted_M=(self.pair_M >= first) & (self.pair_M < stop))


def find_repeats(image_id_N: Tensor | None, caption_id_N: Tensor | None) -> Repeats:
    """The pairs that `matches` would give more than one match, in O(N) memory. Needs both kinds of ids."""
    if image_id_N is None or caption_id_N is None:
        raise ValueError("ids of images and ids of captions are needed together; give both or neither")
    image_N, caption_N = _numbered(image_id_N), _numbered(caption_id_N)
    groups = image_N, caption_N, _numbered(image_N * len(image_N) + caption_N)
    image_count_N, caption_count_N, both_count_N = (group_N.bincount()[group_N] for group_N in groups)
    count_N = image_count_N + caption_count_N - both_count_N
    pair_M = (count_N > 1).nonzero().squeeze(1)
    return Repeats(
        pair_M=pair_M,
        count_M=count_N[pair_M],
        groups=tuple(_numbered(group_N[pair_M]) for group_N in groups),
        wanted_M=torch.ones_like(pair_M, dtype=torch.bool),
    )


def _numbered(id_N: Tensor) -> Tensor:
    """The same ids as numbers from 0 on."""
    return id_N.unique(return_inverse=True)[1]


def shared_gain(image_ND: Tensor, text_ND: Tensor, scale: Tensor, repeats: Repeats) -> Tensor:
    """What both directions gain where targets are shared: the mean of the matches' logits, less the own logit.

    Summed over pairs, a scalar. Needs no logits, because a mean of dot products is the dot product with the mean.
    """
    image_MD, text_MD = widened(image_ND[repeats.pair_M]), widened(text_ND[repeats.pair_M])
    gain_M = (image_MD * (_mean_of_matches(text_MD, repeats) - text_MD)).sum(1)
    gain_M = gain_M + (text_MD * (_mean_of_matches(image_MD, repeats) - image_MD)).sum(1)
    return scale * gain_M[repeats.wanted_M].sum()


def _mean_of_matches(x_MD: Tensor, repeats: Repeats) -> Tensor:
    image_MD, caption_MD, both_MD = (
        torch.zeros_like(x_MD).index_add(0, group_M, x_MD)[group_M] for group_M in repeats.groups
    )
    return (image_MD + caption_MD - both_MD) / repeats.count_M[:, None]

"""Captions without padding: one long row of tokens, equally long captions side by side.

B = captions, L = longest of them, T = tokens of all captions together.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from seesay.base.records import Tokens

Groups = tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Captions sorted by length and laid end to end.

    `groups` says how: (how many captions, how long each), so that attention needs no mask. `last_B` is the place of
    each caption's last token, and `back_B` puts rows in packed order into the order the captions came in.
    """

    ids_T: Tensor
    position_T: Tensor
    groups: Groups
    last_B: Tensor
    back_B: Tensor


def pack(tokens: Tokens) -> Packed:
    """Padded captions to packed ones, on the device of the ids."""
    length_B = tokens.length_B.cpu()
    order_B = length_B.argsort(stable=True)
    sorted_B = length_B[order_B]
    end_B = sorted_B.cumsum(0)
    position_T = torch.arange(int(end_B[-1]) if len(end_B) else 0) - (end_B - sorted_B).repeat_interleave(sorted_B)
    length_G, count_G = sorted_B.unique_consecutive(return_counts=True)
    device = tokens.ids_BL.device
    row_T, position_T = order_B.repeat_interleave(sorted_B).to(device), position_T.to(device)
    return Packed(
        ids_T=tokens.ids_BL[row_T, position_T],
        position_T=position_T,
        groups=tuple(zip(count_G.tolist(), length_G.tolist(), strict=True)),
        last_B=(end_B - 1).to(device),
        back_B=order_B.argsort().to(device),
    )

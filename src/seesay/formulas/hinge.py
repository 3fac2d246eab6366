"""The hinge loss between matching and other pairs.

B = pairs held here, N = all pairs, D = embedding width.
"""

import torch
from torch import Tensor

from seesay.formulas.similarity import widened


def hinge_loss(
    image_ND: Tensor,
    text_ND: Tensor,
    *,
    margin: float,
    hardest: bool,
    part: slice = slice(None),
    is_match_NN: Tensor | None = None,
) -> Tensor:
    """By how much other pairs come within `margin` of a pair's own cosine, added up both ways, mean over pairs.

    For each pair i of `part` what [margin - s_ii + s_ij]_+ over other captions j, and [margin - s_ii + s_ji]_+ over
    other images j, come to: their largest with `hardest` (Faghri et al. 2018, equation 6), else their sum (equation 5).
    Both inputs must be unit length. Combinations that `is_match_NN` (bool) names are no others. Returns a scalar: the
    sum over `part` divided by N, so that the parts add up to the whole.
    """
    image_ND, text_ND = widened(image_ND), widened(text_ND)
    first, stop, _ = part.indices(len(image_ND))
    own_B = (image_ND[first:stop] * text_ND[first:stop]).sum(1)
    is_own_BN = torch.zeros(stop - first, len(image_ND), dtype=torch.bool, device=image_ND.device)
    is_own_BN[:, first:stop].fill_diagonal_(True)
    if is_match_NN is not None:
        is_own_BN |= is_match_NN[first:stop]
    total = image_ND.new_zeros(())
    for one_BD, other_ND in ((image_ND[first:stop], text_ND), (text_ND[first:stop], image_ND)):
        over_BN = (margin - own_B[:, None] + one_BD @ other_ND.T).clamp_min(0).masked_fill(is_own_BN, 0.0)
        total = total + (over_BN.amax(1) if hardest else over_BN.sum(1)).sum()
    return total / len(image_ND)

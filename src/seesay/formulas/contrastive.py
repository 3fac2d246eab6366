"""Contrastive losses. B = pairs held here, N = captions to choose from, D = embedding width."""

import torch
import torch.nn.functional as F
from torch import Tensor

from seesay.formulas.tiled import tiled_contrastive_loss


def softmax_loss(image_BD: Tensor, text_ND: Tensor, scale: Tensor, *, first: int = 0) -> Tensor:
    """Cross-entropy of "which caption belongs to this image?", averaged over images.

    Both inputs must be unit length. Image `i` belongs to caption `first + i`, so with
    captions gathered from other processes the matches start at column `first`.
    Returns a scalar. The caption-to-image direction is the same call, inputs swapped.
    """
    logits_BN = scale * image_BD @ text_ND.T
    match_B = torch.arange(first, first + len(image_BD), device=image_BD.device)
    return F.cross_entropy(logits_BN, match_B)


def shared_softmax_loss(image_BD: Tensor, text_ND: Tensor, scale: Tensor, *, target_BN: Tensor) -> Tensor:
    """As `softmax_loss`, with a distribution over captions per image as target (rows of `target_BN` sum to 1)."""
    return F.cross_entropy(scale * image_BD @ text_ND.T, target_BN)


def contrastive_loss(
    image_BD: Tensor,
    text_BD: Tensor,
    scale: Tensor,
    *,
    is_match_BB: Tensor | None = None,
    tile: int | None = None,
) -> Tensor:
    """The mean of both directions of the softmax loss (Radford et al. 2021, figure 3). Returns a scalar.

    With `is_match_BB` (bool, true on the diagonal) a pair may have several right answers, and its target is
    shared out equally over them: captions that repeat inside a batch are then no false negatives. With `tile` the
    same value and gradients come from `tile` x `tile` logits at a time, in memory that grows with B alone.
    """
    if tile is not None:
        if is_match_BB is not None:
            raise ValueError("is_match_BB is B x B itself; with tile, give its ids to tiled_contrastive_loss instead")
        return tiled_contrastive_loss(image_BD, text_BD, scale, tile=tile)
    if is_match_BB is None:
        image_loss = softmax_loss(image_BD, text_BD, scale)
        text_loss = softmax_loss(text_BD, image_BD, scale)
    else:
        image_loss = shared_softmax_loss(image_BD, text_BD, scale, target_BN=share(is_match_BB))
        text_loss = shared_softmax_loss(text_BD, image_BD, scale, target_BN=share(is_match_BB.T))
    return (image_loss + text_loss) / 2


def sigmoid_loss(image_BD: Tensor, text_ND: Tensor, scale: Tensor, bias: Tensor, *, first: int = 0) -> Tensor:
    """Of every image and every caption, "do they belong together?", summed over pairs, divided by images.

    -(1/B) sum of log sigmoid(z (scale * cosine + bias)), z = 1 where image `i` meets caption `first + i` and -1
    elsewhere (Zhai et al. 2023, section 3.1). Both inputs must be unit length. Returns a scalar. Captions gathered
    elsewhere may be given in blocks, whose losses add up; `first` may lie outside a block without a match.
    """
    logits_BN = scale * image_BD @ text_ND.T + bias
    column_N = torch.arange(len(text_ND), device=text_ND.device)
    match_B = torch.arange(first, first + len(image_BD), device=image_BD.device)
    is_match_BN = match_B[:, None] == column_N
    return F.softplus(torch.where(is_match_BN, -logits_BN, logits_BN)).sum() / len(image_BD)


def share(is_match_BN: Tensor) -> Tensor:
    """Rows of matches to rows of targets that sum to 1."""
    return is_match_BN.float() / is_match_BN.sum(1, keepdim=True)


def matches(image_id_B: Tensor, caption_id_B: Tensor) -> Tensor:
    """Which of the B x B combinations belong together: the same image, or the same caption."""
    return (image_id_B[:, None] == image_id_B) | (caption_id_B[:, None] == caption_id_B)

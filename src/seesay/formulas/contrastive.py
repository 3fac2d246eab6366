"""Contrastive losses. B = images held here, N = captions to choose from (or pairs, where both are all), D = width."""

import torch
import torch.nn.functional as F
from torch import Tensor

from seesay.formulas.similarity import widened
from seesay.formulas.tiled import refuse_no_pairs, tiled_contrastive_loss

# What the turn of a row weighs beside what it answers in `forgetting_loss` (benchmarks/2026-11-29-finetune).
TURNED = 0.01


def softmax_loss(image_BD: Tensor, text_ND: Tensor, scale: Tensor, *, first: int = 0) -> Tensor:
    """Cross-entropy of "which caption belongs to this image?", averaged over images.

    Both inputs must be unit length. Image `i` belongs to caption `first + i`, so with
    captions gathered from other processes the matches start at column `first`.
    Returns a scalar. The caption-to-image direction is the same call, inputs swapped.
    """
    logits_BN = _logits(image_BD, text_ND, scale)
    match_B = torch.arange(first, first + len(image_BD), device=image_BD.device)
    return F.cross_entropy(logits_BN, match_B)


def shared_softmax_loss(image_BD: Tensor, text_ND: Tensor, scale: Tensor, *, target_BN: Tensor) -> Tensor:
    """As `softmax_loss`, with a distribution over captions per image as target (rows of `target_BN` sum to 1)."""
    return F.cross_entropy(_logits(image_BD, text_ND, scale), target_BN)


def contrastive_loss(
    image_ND: Tensor,
    text_ND: Tensor,
    logit_scale: Tensor,
    *,
    is_match_NN: Tensor | None = None,
    tile: int | None = None,
) -> Tensor:
    """The mean of both directions of the softmax loss (Radford et al. 2021, figure 3). Returns a scalar.

    Both inputs must be unit length; `logit_scale` is one number that multiplies their cosines, not its logarithm.
    With `is_match_NN` (bool, true on the diagonal) a pair may have several right answers, and its target is shared out
    equally over them: captions that repeat inside a batch are then no false negatives. With `tile` the same value and
    gradients come from `tile` x `tile` logits at a time, in memory that grows with N alone. Logits are float32 or
    wider, whatever comes in. Raises ValueError for what is not pairs of rows of real numbers and a scale.
    """
    if tile is not None:
        if is_match_NN is not None:
            raise ValueError("is_match_NN is N x N itself; with tile, give its ids to tiled_contrastive_loss instead")
        return tiled_contrastive_loss(image_ND, text_ND, logit_scale, tile=tile)
    refuse_no_pairs(image_ND, text_ND, logit_scale)
    # Once for both directions, so that their gradients are added before they are rounded to what came in.
    image_ND, text_ND = widened(image_ND), widened(text_ND)
    if is_match_NN is None:
        image_loss = softmax_loss(image_ND, text_ND, logit_scale)
        text_loss = softmax_loss(text_ND, image_ND, logit_scale)
    else:
        image_loss = shared_softmax_loss(image_ND, text_ND, logit_scale, target_BN=share(is_match_NN))
        text_loss = shared_softmax_loss(text_ND, image_ND, logit_scale, target_BN=share(is_match_NN.T))
    return (image_loss + text_loss) / 2


def weighted_contrastive_loss(
    image_ND: Tensor,
    text_ND: Tensor,
    scale: Tensor,
    *,
    image_weight: float,
    part: slice = slice(None),
    is_match_NN: Tensor | None = None,
) -> Tensor:
    """As `contrastive_loss`, with weight `image_weight` on finding captions for images (Zhang et al. 2020, equation 4).

    The rest is on finding images for captions. Returns a scalar: the sum over the pairs of `part` divided by N, so that
    the parts add up to the whole; a part without pairs is 0. Each part holds the N x N matches of all.
    """
    is_match_NN = (
        torch.eye(len(image_ND), dtype=torch.bool, device=image_ND.device) if is_match_NN is None else is_match_NN
    )
    total = image_ND.new_zeros((), dtype=widened(image_ND[:0]).dtype)
    for weight, one_ND, other_ND, match_NN in (
        (image_weight, image_ND, text_ND, is_match_NN),
        (1 - image_weight, text_ND, image_ND, is_match_NN.T),
    ):
        log_p_BN = _logits(one_ND[part], other_ND, scale).log_softmax(1)
        total = total - weight * (share(match_NN[part]) * log_p_BN).sum()
    return total / len(image_ND)


def affinity_loss(
    image_ND: Tensor,
    text_ND: Tensor,
    scale: Tensor,
    *,
    teacher_NN: Tensor,
    temperature: float = 1.0,
    part: slice = slice(None),
) -> Tensor:
    """How far the choice among all captions, and among all images, is from a teacher's. Returns a scalar, 0 if equal.

    T^2 / 2N sum over i of KL(softmax(t_i / T) || softmax(s_i / T)), in nats, over rows i of the logits and again over
    columns: s are `scale` times the cosines, t = `teacher_NN` the same of the teacher, T the `temperature`
    (affinity mimicking: Wu et al. 2023, "TinyCLIP", section 3.1; contrastive relational distillation: Yang et al. 2024,
    "CLIP-KD", section 3.2; T^2: Hinton et al. 2015, section 2). Both inputs must be unit length. The sums of the
    pairs of `part` alone add up to the whole.
    """
    total = image_ND.new_zeros((), dtype=widened(image_ND[:0]).dtype)
    for one_ND, other_ND, teacher in ((image_ND, text_ND, teacher_NN), (text_ND, image_ND, teacher_NN.T)):
        logits_BN = _logits(one_ND[part], other_ND, scale) / temperature
        target_BN = (teacher[part].to(logits_BN.dtype) / temperature).log_softmax(1)
        total = total + F.kl_div(logits_BN.log_softmax(1), target_BN, reduction="sum", log_target=True)
    return total * (temperature**2 / (2 * len(image_ND)))


def forgetting_loss(row_BD: Tensor, before_BD: Tensor, other_ND: Tensor, scale: Tensor) -> Tensor:
    """How far unit rows are from what they were: in what they choose among others, and in themselves. Returns a scalar.

    The mean over B of KL(softmax(scale * before . other) || softmax(scale * row . other)), in nats, which leaves free
    what changes no answer (learning without forgetting: Li and Hoiem 2016), and of `TURNED` scale^2 (1 - row . before),
    which holds what none of the others asks for (benchmarks/2026-11-29-finetune). 0 where nothing has turned.
    """
    log_p_BN, target_BN = (_logits(each_BD, other_ND, scale).log_softmax(1) for each_BD in (row_BD, before_BD))
    chosen = F.kl_div(log_p_BN, target_BN, reduction="batchmean", log_target=True)
    return chosen + TURNED * scale**2 * (1 - (row_BD * before_BD).sum(-1)).mean()


def sigmoid_loss(image_BD: Tensor, text_ND: Tensor, scale: Tensor, bias: Tensor, *, first: int = 0) -> Tensor:
    """Of every image and every caption, "do they belong together?", summed over pairs, divided by images.

    -(1/B) sum of log sigmoid(z (scale * cosine + bias)), z = 1 where image `i` meets caption `first + i` and -1
    elsewhere (Zhai et al. 2023, section 3.1). Both inputs must be unit length. Returns a scalar. Captions gathered
    elsewhere may be given in blocks, whose losses add up; `first` may lie outside a block without a match.
    """
    logits_BN = _logits(image_BD, text_ND, scale) + bias
    column_N = torch.arange(len(text_ND), device=text_ND.device)
    match_B = torch.arange(first, first + len(image_BD), device=image_BD.device)
    is_match_BN = match_B[:, None] == column_N
    return F.softplus(torch.where(is_match_BN, -logits_BN, logits_BN)).sum() / len(image_BD)


def _logits(image_BD: Tensor, text_ND: Tensor, scale: Tensor) -> Tensor:
    """In float32 or wider, also inside autocast: a logit of 100 in bfloat16 is off by up to a quarter."""
    with torch.autocast(image_BD.device.type, enabled=False):
        dtype = torch.promote_types(widened(image_BD).dtype, text_ND.dtype)
        return scale.to(dtype) * image_BD.to(dtype) @ text_ND.to(dtype).T


def share(is_match_BN: Tensor) -> Tensor:
    """Rows of matches to rows of targets that sum to 1, (B, N)."""
    return is_match_BN.float() / is_match_BN.sum(1, keepdim=True)


def matches(image_id_B: Tensor, caption_id_B: Tensor) -> Tensor:
    """Which of the B x B combinations belong together: the same image, or the same caption."""
    return (image_id_B[:, None] == image_id_B) | (caption_id_B[:, None] == caption_id_B)

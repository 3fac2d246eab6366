"""The contrastive losses in memory that grows with the pairs, not with their square: logits are made tile by tile.

B = images held here, N = captions to choose from, D = embedding width, R x C = one tile of B x N.

A row's loss is `-log p = log(1 + e^odds)`, where `odds` is the log-sum-exp of the wrong logits less the right one.
With the right logit left out of the sum, a loss near zero keeps its relative accuracy in float32; `1 - p` would not.
The backward pass makes the tiles again from the sums of their rows and columns (Inf-CL, Cheng et al. 2024).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seesay.formulas.repeats import find_repeats, shared_gain
from seesay.formulas.similarity import widened

TILE = 512  # 512 x 512 float32 numbers are 1 MiB: what a core's second cache holds


def tiled_contrastive_loss(
    image_BD: Tensor,
    text_BD: Tensor,
    scale: Tensor,
    *,
    image_id_B: Tensor | None = None,
    caption_id_B: Tensor | None = None,
    tile: int = TILE,
) -> Tensor:
    """As `contrastive_loss`, both directions from one pass over tiles of `tile` x `tile` logits. Returns a scalar.

    With ids (integers, both or neither) a pair may have several right answers, as with `is_match_NN` of
    `contrastive_loss`: all of the same image or of the same caption. Sums are in float32 or wider, gradients in the
    dtype that came in. A larger `tile` makes fewer and larger kernels. Raises ValueError for sizes that do not fit.
    """
    refuse_no_pairs(image_BD, text_BD, scale)
    row_B, column_B, match_B = _log_sums(image_BD, text_BD, scale, 0, tile)
    total = _surprise(row_B - match_B) + _surprise(column_B - match_B)
    if image_id_B is not None or caption_id_B is not None:
        total = total - shared_gain(image_BD, text_BD, scale, find_repeats(image_id_B, caption_id_B))
    return total / (2 * len(image_BD))


def part_of_contrastive_loss(
    image_ND: Tensor,
    text_ND: Tensor,
    scale: Tensor,
    *,
    part: slice,
    image_id_N: Tensor | None = None,
    caption_id_N: Tensor | None = None,
    tile: int = TILE,
) -> Tensor:
    """What the pairs `part` (a first and a stop) of all N pairs add to `tiled_contrastive_loss` of all. A scalar.

    For processes that hold a part of the batch each and have gathered both sides, and their ids, from all: the parts
    sum to the whole loss, and the gradients of the parts to its gradient, with respect to the gathered tensors. Each
    part makes its own rows and columns only, tile by tile: 2 x part x N logits.
    """
    refuse_no_pairs(image_ND, text_ND, scale)
    first, stop, _ = part.indices(len(image_ND))
    image_BD, text_BD = image_ND[first:stop], text_ND[first:stop]
    image_row_B, _, image_match_B = _log_sums(image_BD, text_ND, scale, first, tile)
    text_row_B, _, text_match_B = _log_sums(text_BD, image_ND, scale, first, tile)
    total = _surprise(image_row_B - image_match_B) + _surprise(text_row_B - text_match_B)
    if image_id_N is not None or caption_id_N is not None:
        repeats = find_repeats(image_id_N, caption_id_N).within(first, stop)
        total = total - shared_gain(image_ND, text_ND, scale, repeats)
    return total / (2 * len(image_ND))


def tiled_sigmoid_loss(
    image_BD: Tensor,
    text_ND: Tensor,
    scale: Tensor,
    bias: Tensor,
    *,
    first: int = 0,
    image_id_N: Tensor | None = None,
    caption_id_N: Tensor | None = None,
    tile: int = TILE,
) -> Tensor:
    """As `sigmoid_loss`: "do these two belong together?" for all B x N, summed, divided by B. Returns a scalar.

    Image `i` belongs to caption `first + i` (Zhai et al. 2023, SigLIP), which may lie outside this block of captions.
    With ids of all N pairs (integers, both or neither) it belongs to those of the same image or caption, too. With
    captions gathered from other processes, `B / N` of this is the part that B of N pairs add to the loss of all: every
    combination is made once. Without images it is 0, and so are its gradients.
    """
    _check_tile(tile)
    if (image_id_N is None) != (caption_id_N is None):
        raise ValueError("ids of images and ids of captions are needed together; give both or neither")
    total = _SigmoidSum.apply(image_BD, text_ND, scale, bias, first, tile, image_id_N, caption_id_N)
    return total / max(1, len(image_BD))


def _surprise(odds_B: Tensor) -> Tensor:
    """Sum of `-log p` over rows with odds `(1 - p) / p`, given as logarithms."""
    return -F.logsigmoid(-odds_B).sum()


def refuse_no_pairs(image_ND: Tensor, text_ND: Tensor, scale: Tensor) -> None:
    """Raise ValueError, in one line, for what is not N x D and N x D real numbers and one scale."""
    for name, rows in (("images", image_ND), ("captions", text_ND)):
        if not rows.is_floating_point():
            raise ValueError(f"{name} are {rows.dtype}; give embeddings of a floating dtype, such as torch.float32")
        if rows.ndim != 2:
            raise ValueError(f"{name} have shape {tuple(rows.shape)}; give one row of numbers for each, (N, D)")
    if len(image_ND) != len(text_ND):
        raise ValueError(f"there are {len(image_ND)} images and {len(text_ND)} captions; pairs need as many of each")
    if image_ND.shape[1] != text_ND.shape[1]:
        widths = f"images are {image_ND.shape[1]} wide and captions {text_ND.shape[1]}"
        raise ValueError(f"{widths}; both towers must end in the same width")
    if not len(image_ND):
        raise ValueError("there are 0 pairs; a loss needs 1 or more")
    if scale.numel() != 1:
        raise ValueError(f"the logit scale has shape {tuple(scale.shape)}; give a single number")


def _check_tile(tile: int) -> None:
    if tile < 1:
        raise ValueError(f"tile is {tile}; it must be 1 or more")


def _log_sums(image_BD: Tensor, text_ND: Tensor, scale: Tensor, first: int, tile: int) -> tuple[Tensor, Tensor, Tensor]:
    """Log-sum-exp of the wrong logits of each row (B) and of each column (N), and the right logit of each row (B)."""
    _check_tile(tile)
    return _LogSums.apply(image_BD, text_ND, scale, first, tile)


@dataclass(frozen=True)
class _Tile:
    """Logits of some rows and columns. `own` are the rows whose right logit lies here, on the diagonal `offset`."""

    rows: slice
    columns: slice
    scaled_RD: Tensor
    text_CD: Tensor
    logits_RC: Tensor
    own: slice
    offset: int

    def diagonal(self, tile_RC: Tensor) -> Tensor:
        """The right logits in `tile_RC`, to read or to write; empty where there are none."""
        return tile_RC.diagonal(self.offset)

    def negated_at_matches(self, tile_RC: Tensor, ids: Sequence[Tensor], first: int) -> Tensor:
        """`tile_RC` with another sign where the caption is the image's own, or one of the `ids` (N,) is the same."""
        if not ids:
            self.diagonal(tile_RC).neg_()
            return tile_RC
        rows = slice(first + self.rows.start, first + self.rows.stop)
        is_match_RC = torch.stack([id_N[rows, None] == id_N[self.columns] for id_N in ids]).any(0)
        return torch.where(is_match_RC, -tile_RC, tile_RC)


def _tiles(image_BD: Tensor, text_ND: Tensor, scale: Tensor, first: int, tile: int) -> Iterator[_Tile]:
    dtype = _wide(image_BD, text_ND).dtype
    for top in range(0, len(image_BD), tile):
        scaled_RD = image_BD[top : top + tile].to(dtype) * scale.to(dtype)
        for left in range(0, len(text_ND), tile):
            text_CD = text_ND[left : left + tile].to(dtype)
            logits_RC = scaled_RD @ text_CD.T
            offset = first + top - left
            start = top + max(0, -offset)
            yield _Tile(
                rows=slice(top, top + len(scaled_RD)),
                columns=slice(left, left + len(text_CD)),
                scaled_RD=scaled_RD,
                text_CD=text_CD,
                logits_RC=logits_RC,
                own=slice(start, start + len(logits_RC.diagonal(offset))),
                offset=offset,
            )


class _ExpSum:
    """Sums of exponentials that are grown tile by tile: `total * exp(top)`, with the largest term in `top`."""

    def __init__(self, like: Tensor, count: int):
        self.top = like.new_full((count,), torch.finfo(like.dtype).min)
        self.total = like.new_zeros(count)

    def add(self, part: slice, logits_RC: Tensor, dim: int) -> None:
        before = self.top[part]
        top = torch.maximum(before, logits_RC.amax(dim))
        new = (logits_RC - top.unsqueeze(dim)).exp_().sum(dim)
        self.total[part] = self.total[part] * (before - top).exp() + new
        self.top[part] = top

    def log(self) -> Tensor:
        return self.top + self.total.log()


class _LogSums(torch.autograd.Function):
    """`_log_sums`. Keeps the sums for the backward pass, which makes the logits a second time."""

    @staticmethod
    def forward(ctx, image_BD, text_ND, scale, first, tile):
        with torch.autocast(image_BD.device.type, enabled=False):
            like = _wide(image_BD, text_ND)
            row, column = _ExpSum(like, len(image_BD)), _ExpSum(like, len(text_ND))
            match_B = like.new_empty(len(image_BD))
            for each in _tiles(image_BD, text_ND, scale, first, tile):
                right = each.diagonal(each.logits_RC)
                match_B[each.own] = right
                right.fill_(-torch.inf)
                row.add(each.rows, each.logits_RC, 1)
                column.add(each.columns, each.logits_RC, 0)
        ctx.save_for_backward(image_BD, text_ND, scale, row.top, row.total, column.top, column.total)
        ctx.first, ctx.tile = first, tile
        ctx.set_materialize_grads(False)
        return row.log(), column.log(), match_B

    @staticmethod
    def backward(ctx, slope_B, slope_N, slope_match_B):  # type: ignore[override]
        refuse_second_derivatives()
        if slope_B is None and slope_N is None and slope_match_B is None:
            return None, None, None, None, None
        image_BD, text_ND, scale, row_top, row_total, column_top, column_total = ctx.saved_tensors
        with torch.autocast(image_BD.device.type, enabled=False):
            gradients = _Gradients(image_BD, text_ND, scale, needed=ctx.needs_input_grad)
            # The largest term of a sum is exp(0), so a total below 1 is the empty sum of a batch of one.
            slope_B = None if slope_B is None else slope_B / row_total.clamp_min(1)
            slope_N = None if slope_N is None else slope_N / column_total.clamp_min(1)
            for each in _tiles(image_BD, text_ND, scale, ctx.first, ctx.tile):
                if slope_B is None:
                    slope_RC = torch.zeros_like(each.logits_RC)
                else:
                    slope_RC = (each.logits_RC - row_top[each.rows, None]).exp_().mul_(slope_B[each.rows, None])
                if slope_N is not None:
                    term_RC = each.logits_RC.sub_(column_top[each.columns]).exp_()
                    slope_RC.addcmul_(term_RC, slope_N[each.columns])
                right = each.diagonal(slope_RC)
                right.zero_() if slope_match_B is None else right.copy_(slope_match_B[each.own])
                gradients.add(each, slope_RC)
            return *gradients.taken(), None, None


class _SigmoidSum(torch.autograd.Function):
    """Sum of the losses of all B x N combinations. Its slopes need no sums first: one pass makes the gradients too."""

    @staticmethod
    def forward(ctx, image_BD, text_ND, scale, bias, first, tile, image_id_N, caption_id_N):
        ids = [each_N for each_N in (image_id_N, caption_id_N) if each_N is not None]
        with torch.autocast(image_BD.device.type, enabled=False):
            loss_B = _wide(image_BD, text_ND).new_zeros(len(image_BD))
            slope_sum_B = torch.zeros_like(loss_B)
            gradients = _Gradients(image_BD, text_ND, scale, needed=ctx.needs_input_grad)
            for each in _tiles(image_BD, text_ND, scale, first, tile):
                against_RC = each.negated_at_matches(each.logits_RC.add_(bias.to(loss_B.dtype)), ids, first)
                loss_B[each.rows] += F.softplus(against_RC, threshold=40).sum(1)
                if any(ctx.needs_input_grad):
                    slope_RC = each.negated_at_matches(against_RC.sigmoid_(), ids, first)
                    slope_sum_B[each.rows] += slope_RC.sum(1)
                    gradients.add(each, slope_RC)
            if any(ctx.needs_input_grad):
                ctx.save_for_backward(*gradients.taken(), slope_sum_B.sum().to(bias).reshape(bias.shape))
        return loss_B.sum()

    @staticmethod
    def backward(ctx, slope):  # type: ignore[override]
        refuse_second_derivatives()
        gradients = (None if each is None else each * slope.to(each.dtype) for each in ctx.saved_tensors)
        return *gradients, None, None, None, None


def refuse_second_derivatives() -> None:
    """Gradients are on in a backward pass only where its own gradient is wanted (`create_graph`)."""
    if torch.is_grad_enabled():
        raise RuntimeError("tiled losses have first derivatives only; leave tile out for a gradient of a gradient")


class _Gradients:
    """Gradients of images, captions and scale, grown tile by tile from the slopes of the logits.

    `needed` begins with whether each of the three is needed; the others are not made.
    """

    def __init__(self, image_BD: Tensor, text_ND: Tensor, scale: Tensor, *, needed: Sequence[bool]):
        like = _wide(image_BD, text_ND)
        self.image_BD, self.text_ND, self.scale = image_BD, text_ND, scale
        self.has_image, self.has_text, self.has_scale = needed[:3]
        # The scale's gradient comes from that of the images.
        is_summed = self.has_image or self.has_scale
        self.image_sum_BD = torch.zeros_like(image_BD, dtype=like.dtype) if is_summed else None
        self.text_sum_ND = torch.zeros_like(text_ND, dtype=like.dtype) if self.has_text else None

    def add(self, each: _Tile, slope_RC: Tensor) -> None:
        if self.image_sum_BD is not None:
            self.image_sum_BD[each.rows].addmm_(slope_RC, each.text_CD)
        if self.text_sum_ND is not None:
            self.text_sum_ND[each.columns].addmm_(slope_RC.T, each.scaled_RD)

    def taken(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The three, each in its own dtype. To be called once, at the end."""
        image_sum_BD, text_sum_ND = self.image_sum_BD, self.text_sum_ND
        scale_slope = None
        if image_sum_BD is not None:
            total = image_sum_BD.new_zeros(())
            for sum_RD, image_RD in zip(image_sum_BD.split(TILE), self.image_BD.split(TILE), strict=True):
                total += (sum_RD * image_RD).sum()
            scale_slope = total.to(self.scale).reshape(self.scale.shape) if self.has_scale else None
            image_sum_BD.mul_(self.scale.to(image_sum_BD.dtype))
        return (
            image_sum_BD.to(self.image_BD.dtype) if image_sum_BD is not None and self.has_image else None,
            None if text_sum_ND is None else text_sum_ND.to(self.text_ND.dtype),
            scale_slope,
        )


def _wide(image_BD: Tensor, text_ND: Tensor) -> Tensor:
    """An empty tensor on the device, and in the dtype, that the sums are made in."""
    return image_BD.new_empty(0, dtype=torch.promote_types(widened(image_BD[:0]).dtype, text_ND.dtype))

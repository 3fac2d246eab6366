"""Texts to a matrix: equal ones once, and those that begin alike side by side, so that the tower shares their work.

N = texts, D = embedding width.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from seesay.base.errors import RefusedInput
from seesay.data.tokenizer import pad
from seesay.nets.clip import Clip
from seesay.nets.text import TextTransformer

TOKENS_AT_ONCE = 2048


@torch.inference_mode()
def embed_rows(clip: Clip, rows: Sequence[Sequence[int]], *, context: int) -> Tensor:
    """Token ids of N >= 1 texts to (N, D) float32 unit rows on the CPU; `RefusedInput` for what `directed` refuses."""
    device = clip.logit_scale.device
    distinct = sorted(set(map(tuple, rows)))
    least = 0 if isinstance(clip.text_tower, TextTransformer) else context
    blocks = [directed(clip.embed_texts(pad(block).to(device)).float().cpu()) for block in _blocks(distinct, least)]
    place_of = {row: place for place, row in enumerate(distinct)}
    return torch.cat(blocks)[[place_of[tuple(row)] for row in rows]]


def directed(rows_BD: Tensor) -> Tensor:
    """The rows as they are; `RefusedInput` if one is not of unit length, which weights that are finite too may give.

    Numbers above 1e19 have squares above what float32 holds: divided by that infinite length they are a row of zeros.
    """
    length_B = numbers(rows_BD.norm(dim=-1))
    # Far more than rounding, in bfloat16 too, and far less than a row of zeros is off.
    if len(length_B) and not (least := float(length_B.min())) > 0.9:
        raise RefusedInput(
            f"the model's embeddings have length {least:g} in place of 1, since what its tower gives is too large or "
            "too small to be measured; its weights are damaged, fetch or train it again."
        )
    return rows_BD


def numbers(values: Tensor) -> Tensor:
    """The values as they are; `RefusedInput` if one of them is not finite."""
    if not values.isfinite().all():
        raise RefusedInput("the model's embeddings are not numbers; its weights are damaged, fetch or train it again.")
    return values


def _blocks(distinct: Sequence[tuple[int, ...]], least: int) -> Iterator[Sequence[tuple[int, ...]]]:
    """Sorted rows in blocks of `TOKENS_AT_ONCE` tokens, those shared with the row before left out.

    A tower that cannot share works on `least` tokens for every row.
    """
    first, tokens = 0, 0
    for index, row in enumerate(distinct):
        before = distinct[index - 1] if index > first else ()
        shared = next((place for place, (a, b) in enumerate(zip(before, row, strict=False)) if a != b), len(before))
        tokens += max(least, len(row) - shared)
        if tokens > TOKENS_AT_ONCE and index > first:
            yield distinct[first:index]
            first, tokens = index, max(least, len(row))
    yield distinct[first:]

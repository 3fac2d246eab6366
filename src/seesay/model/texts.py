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
    """Token ids of N >= 1 texts to (N, D) float32 unit rows on the CPU; `RefusedInput` if they are not finite."""
    device = clip.logit_scale.device
    distinct = sorted(set(map(tuple, rows)))
    least = 0 if isinstance(clip.text_tower, TextTransformer) else context
    blocks = [finite(clip.embed_texts(pad(block).to(device)).float().cpu()) for block in _blocks(distinct, least)]
    place_of = {row: place for place, row in enumerate(distinct)}
    return torch.cat(blocks)[[place_of[tuple(row)] for row in rows]]


def finite(rows_BD: Tensor) -> Tensor:
    """The rows as they are; `RefusedInput` if a number in them is not finite, as finite weights too may give."""
    if not rows_BD.isfinite().all():
        raise RefusedInput("the model's embeddings are not numbers; its weights are damaged, fetch or train it again.")
    return rows_BD


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

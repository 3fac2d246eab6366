"""Random numbers that belong to rows, not to calls. B = rows, K = numbers for each.

A tower that draws for every row (patch dropout) calls `row_uniforms`. Inside `row_seeds` each row's numbers follow from
its own seed alone, so they are the same in whatever chunk and on whichever process the row is.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

# The three constants of SplitMix64 (Steele, Lea and Flood 2014), unsigned, written as the int64 that torch has.
GOLDEN = 0x9E3779B97F4A7C15 - 2**64
MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
MIX_2 = 0x94D049BB133111EB - 2**64
# float32 holds whole numbers up to 2^24 exactly (IEEE 754).
FLOAT_BITS = 24

# Not thread-local: on a GPU, what is recomputed for the backward pass draws again on a thread of autograd's own.
_seeds: list[Tensor] = []


@contextmanager
def row_seeds(seed_B: Tensor) -> Iterator[None]:
    """While this is open, rows draw from `seed_B` (int64); keep it open until the backward pass is done."""
    _seeds.append(seed_B)
    try:
        yield
    finally:
        _seeds.pop()


def row_uniforms(rows: int, count: int) -> Tensor:
    """Numbers in [0, 1), float32 of `rows` x `count` = (B, N), on the CPU: by `row_seeds` if open, else by torch."""
    if not _seeds:
        return torch.rand(rows, count)
    seed_B = _seeds[-1]
    if len(seed_B) != rows:
        raise ValueError(f"{rows} rows are drawn for, and {len(seed_B)} have seeds")
    mixed_BK = splitmix64(seed_B[:, None] + GOLDEN * torch.arange(1, count + 1))
    return _shifted(mixed_BK, 64 - FLOAT_BITS).float() / 2**FLOAT_BITS


def splitmix64(x: Tensor) -> Tensor:
    """Each int64 of any shape turned into another one that looks random; different ones stay different."""
    x = (x ^ _shifted(x, 30)) * MIX_1
    x = (x ^ _shifted(x, 27)) * MIX_2
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """To the right, with zeros from the left."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)

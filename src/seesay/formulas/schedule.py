"""How far a run is, and what the schedule has there: the factor on its learning rate, and the size of its crops."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Steps:
    """A run of `count` steps."""

    count: int

    def share(self, step: int, seconds: float) -> float:
        """How much of the run is done after `step` steps."""
        return min(1.0, step / self.count)

    @property
    def half_step(self) -> float:
        """Half of a step, as a share of the run."""
        return 0.5 / self.count

    def __str__(self) -> str:
        return f"{self.count:,} steps"


@dataclass(frozen=True)
class Minutes:
    """A run of so many minutes, however many steps they are."""

    minutes: float
    half_step = 0.0

    def share(self, step: int, seconds: float) -> float:
        """How much of the run is done when `seconds` have passed."""
        return min(1.0, seconds / (60 * self.minutes))

    def __str__(self) -> str:
        return f"{self.minutes:g} minutes"


Length = Steps | Minutes


def rate_factor(share: float, warmup: float) -> float:
    """The factor on the peak rate when `share` of the run is done: linear up to `warmup`, then a cosine to 0."""
    if share < warmup:
        return share / warmup
    return 0.5 * (1 + math.cos(math.pi * (share - warmup) / (1 - warmup)))


def size_at(share: float, sizes: Sequence[tuple[int, float]]) -> int:
    """The side of the crops when `share` of the run is done."""
    passed = 0.0
    for side, length in sizes:
        passed += length
        if share < passed - 1e-9:
            return side
    return sizes[-1][0]

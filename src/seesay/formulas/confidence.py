"""How sure a zero-shot classifier may be of names and images that its model hardly knows. B = images, C = classes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TemperatureLine:
    """The logarithm of the temperature, linear in what is known of the names and of an image's best cosine.

    `start`, and so much for each unit of the mean familiarity of the names and of the best cosine. It is cut to
    `least` ... `most`, the ends of what occurred where it was fitted.
    """

    start: float
    names: float
    cosine: float
    least: float
    most: float


def familiarity(counts: Sequence[int], pairs: int) -> float:
    """How well a name is known, 0 to 1, by how many of the training's `pairs` have each of its words in a caption.

    The rarest word counts, on a logarithmic scale: 1 pair in 100,000 is 0.15, and 1 in 1,000 or more is 1. Without a
    word it is 0.
    """
    return min(1.0, math.log10(1 + 1e5 * min(counts, default=0) / pairs) / 2)


def temperatures(score_BC: Tensor, familiarities: Sequence[float], line: TemperatureLine) -> Tensor:
    """By what to divide the logits of each image, (B, 1): one number for all its classes, so their order stays.

    `familiarities` are those of the C names.
    """
    mean = sum(familiarities) / len(familiarities)
    best_B1 = score_BC.amax(1, keepdim=True)
    return (line.start + line.names * mean + line.cosine * best_B1).clamp(line.least, line.most).exp()

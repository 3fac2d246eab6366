"""Which of a pair's captions an epoch sees, and how much of it."""

import re
from collections.abc import Sequence

from seesay.base.settings import Settings

SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
SIDES = {"left": "right", "right": "left"}
SIDE = re.compile(r"\b(left|right)(?=\b|-)", re.IGNORECASE)


class CaptionRule(Settings):
    """One caption of the pair, another one every epoch.

    With `sentences` one sentence of it, where it has several. With `swaps_sides` "left" and "right" are exchanged where
    the image is mirrored.
    """

    sentences: bool = False
    swaps_sides: bool = False

    def draw(self, captions: Sequence[str], random: float, *, is_mirrored: bool) -> str:
        """The text that `random`, a number in [0, 1), chooses."""
        caption, rest = _choice(captions, random)
        if self.sentences:
            caption, _ = _choice(SENTENCE_END.split(caption.strip()), rest)
        return SIDE.sub(_other_side, caption) if self.swaps_sides and is_mirrored else caption


def _choice(choices: Sequence[str], random: float) -> tuple[str, float]:
    """One of the choices, and the number in [0, 1) that is left of `random`."""
    index = int(random * len(choices))
    return choices[index], random * len(choices) - index


def _other_side(match: re.Match[str]) -> str:
    word = match.group()
    other = SIDES[word.lower()]
    return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other

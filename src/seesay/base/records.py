"""The nouns that travel between floors. All are frozen; none knows where it came from.

B = pairs in a batch, D = embedding width, L = longest caption of the batch in tokens, S = side in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One image, still encoded, with every caption it came with."""

    key: str
    image: bytes
    captions: tuple[str, ...]


# With slots, because there may be a million of them.
@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """One sample that was left out: which, a short reason that can be counted, and where it lies if that is known."""

    key: str
    reason: str
    detail: str = ""
    location: str = ""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Captions as ids, padded with 0 to the longest: `ids_BL` int64, `length_B` counts start and end token."""

    ids_BL: "Tensor"
    length_B: "Tensor"

    def to(self, device: Any) -> "Tokens":
        """The same on a device: ids_BL and length_B."""
        return Tokens(ids_BL=self.ids_BL.to(device), length_B=self.length_B.to(device))

    def __getitem__(self, rows: slice) -> "Tokens":
        """Some of the captions."""
        return Tokens(ids_BL=self.ids_BL[rows], length_B=self.length_B[rows])


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one training step sees.

    `pixels_B3SS` is uint8 RGB. `sample_B` are the numbers of the pairs. `image_id_B` and `caption_id_B` are equal where
    the image or the caption is the same, or another one that suits the same images, so that a repeated one can count as
    a match. `drawn_id_B` tells captions apart that suit the same images; None where there are none. All are int64. With
    several captions of each image in a step, `tokens`, `caption_id_B` and `drawn_id_B` have the first of all images,
    then the second of all, and so on.
    """

    pixels_B3SS: "Tensor"
    tokens: Tokens
    sample_B: "Tensor"
    image_id_B: "Tensor"
    caption_id_B: "Tensor"
    drawn_id_B: "Tensor | None" = None
    skipped: tuple[Skipped, ...] = ()


class Outputs:
    """What a model gives for a batch in training: `Embedded` or `Predicted`."""


@dataclass(frozen=True, kw_only=True)
class Embedded(Outputs):
    """What `DualEncoder.forward` returns: unit rows of both sides and the scale that multiplies their cosines.

    `bias` is added to the products where pairs are scored by a sigmoid; else it is None.
    """

    image_BD: "Tensor"
    text_BD: "Tensor"
    scale: "Tensor"
    bias: "Tensor | None" = None


@dataclass(frozen=True, kw_only=True)
class Predicted(Outputs):
    """What `CaptionPredictor.forward` returns: for every pair how far its caption was from foreseen, in nats."""

    loss_B: "Tensor"


# Below one half a label is likelier wrong than right.
IN_DOUBT = 0.5


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Labels with probabilities, best first, for one image."""

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def is_in_doubt(self) -> bool:
        """Whether the best label is likelier wrong than right, by the model's own probabilities."""
        return self.probabilities[0] < IN_DOUBT

    def to_dict(self) -> dict[str, float]:
        """Label -> probability, best first: `pandas.DataFrame([ranking.to_dict() for ranking in rankings])`."""
        return dict(zip(self.labels, self.probabilities, strict=True))


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number with its 95 % interval, what guessing gives, and how many samples stand behind it."""

    value: float
    interval95: tuple[float, float]
    chance: float
    n: int


class PairSource(Protocol):
    """Pairs that can be read in any order. All but `[i]` leave the image alone.

    What cannot be used is in `problems`.
    """

    name: str
    fingerprint: str
    problems: Sequence[Skipped]

    @property
    def notes(self) -> Sequence[str]:
        """Lines for a person on what was chosen where there was a choice."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pair: ...

    def key(self, index: int) -> str:
        """The name of a pair, unique in its source."""
        ...

    def captions(self, index: int) -> tuple[str, ...]:
        """All captions of a pair, one at least."""
        ...

    def location(self, index: int) -> str:
        """Where the image of a pair lies: a path, and the byte in it where it is one of many."""
        ...

"""Sets with measures of their own: words of a lexicon, rare actions, places."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seesay.base.records import Skipped
from seesay.data.sources import StoredImage, fingerprint


@dataclass(frozen=True, kw_only=True, eq=False)
class PaperSet:
    """Images by name in a fixed order; what is asked about them is in the subclass."""

    name: str
    keys: Sequence[str]
    images: Sequence[StoredImage]
    templates: tuple[str, ...] = ()
    problems: Sequence[Skipped] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> bytes:
        """The encoded image; raises `BrokenSample` if it cannot be read any more."""
        return self.images[index].read()

    def key(self, index: int) -> str:
        """The name of image `index` in its set."""
        return self.keys[index]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over keys, image sizes and questions: the same content anywhere, without reading a pixel."""
        sizes = [(key, image.size) for key, image in zip(self.keys, self.images, strict=True)]
        return fingerprint([*sizes, self.questions()])

    def questions(self) -> object:
        """What is asked, as plain values."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True, eq=False)
class LexiconSet(PaperSet):
    """Images that each have a list of words to choose from; `lexicons` and `label` are positions in `words`."""

    words: tuple[str, ...]
    lexicons: tuple[np.ndarray, ...]
    label: tuple[int, ...]

    def questions(self) -> object:
        """Words, and which of them each image has."""
        return [self.words, [lexicon.tolist() for lexicon in self.lexicons], self.label]


@dataclass(frozen=True, kw_only=True, eq=False)
class ActionSet(PaperSet):
    """Clips, and N rows: the position of the clip, of its video and of the class, and the annotation, each (N,)."""

    actions: tuple[tuple[str, str], ...]
    clip_N: np.ndarray
    video_N: np.ndarray
    class_N: np.ndarray
    annotation_N: np.ndarray

    def questions(self) -> object:
        """The actions, and all rows."""
        rows = (self.clip_N, self.video_N, self.class_N, self.annotation_N)
        return [self.actions, *(row_N.tolist() for row_N in rows)]


@dataclass(frozen=True, kw_only=True, eq=False)
class LocatedSet(PaperSet):
    """Photos, the first `tests` of which are to be located by the others; `degrees_N2` are latitude and longitude."""

    degrees_N2: np.ndarray
    tests: int

    def questions(self) -> object:
        """Where each photo is."""
        return [self.tests, self.degrees_N2.tolist()]

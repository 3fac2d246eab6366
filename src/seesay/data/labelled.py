"""Images with a class each: the two nouns of a labelled set."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from seesay.base.errors import BrokenSample, UsageError
from seesay.base.records import Pair, Skipped
from seesay.data.sources import StoredImage, count_reasons, fingerprint


class Labelled(NamedTuple):
    """One image and its class, before the image is read."""

    key: str
    label: int
    image: StoredImage


class LabelledSet:
    """Images with a class each, in a fixed order; only keys, classes and locations are in memory.

    `notes` are lines for a person on how the source was read where there was more than one way.
    """

    def __init__(
        self,
        name: str,
        class_names: Sequence[str],
        *,
        samples: Sequence[Labelled],
        templates: Sequence[str] | None = None,
        problems: Sequence[Skipped] = (),
        notes: Sequence[str] = (),
    ):
        self.name = name
        self.class_names = tuple(class_names)
        self.templates = tuple(templates) if templates is not None else None
        self.problems = problems
        self.notes = tuple(notes)
        # SHA-256 over class names, keys, classes and image sizes: the same content anywhere, without reading a pixel.
        self.fingerprint = fingerprint(
            [self.class_names, *((sample.key, sample.label, sample.image.size) for sample in samples)]
        )
        self._samples = samples

    def subset(self, chosen: Sequence[int]) -> "LabelledSet":
        """The images of these numbers, of the same classes."""
        samples = [self._samples[index] for index in chosen]
        facts = {"templates": self.templates, "problems": self.problems, "notes": self.notes}
        return LabelledSet(self.name, self.class_names, samples=samples, **facts)

    def __len__(self) -> int:
        return len(self._samples)

    def label(self, index: int) -> int:
        """The class of image `index`, a position in `class_names`."""
        return self._samples[index].label

    @property
    def images(self) -> list[StoredImage]:
        """Where all images lie, in order; none is read."""
        return [sample.image for sample in self._samples]

    def size(self, index: int) -> int:
        """The bytes of the encoded image."""
        return self._samples[index].image.size

    def image(self, index: int) -> bytes:
        """The encoded image; raises `BrokenSample` if it cannot be read any more."""
        return self._samples[index].image.read()

    def key(self, index: int) -> str:
        """The name of image `index` in its set."""
        return self._samples[index].key

    def location(self, index: int) -> str:
        """Where image `index` lies: a path, and the byte in it where it is one of many."""
        return self._samples[index].image.location


class ClassPairs:
    """Images of a labelled set with the prompts of their class as captions; a `PairSource`.

    `chosen` are the images, by their index in the set, and `prompts` those of each class. All captions of a class
    suit all of its images: `group` is equal where they do.
    """

    def __init__(self, labelled: LabelledSet, prompts: Sequence[tuple[str, ...]], *, chosen: Sequence[int]):
        self.name = labelled.name
        self.problems = labelled.problems
        self.notes = labelled.notes
        self.chosen = tuple(chosen)
        self._labelled, self._prompts = labelled, prompts
        self.fingerprint = fingerprint([labelled.fingerprint, self.chosen, tuple(prompts)])

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> Pair:
        return Pair(key=self.key(index), image=self._labelled.image(self.chosen[index]), captions=self.captions(index))

    def key(self, index: int) -> str:
        """The name of the image in its set."""
        return self._labelled.key(self.chosen[index])

    def captions(self, index: int) -> tuple[str, ...]:
        """The prompts of its class."""
        return self._prompts[self._labelled.label(self.chosen[index])]

    def location(self, index: int) -> str:
        """Where the image lies."""
        return self._labelled.location(self.chosen[index])

    def group(self, index: int) -> str:
        """The first prompt of its class, which stands for all of them."""
        return self.captions(index)[0]


def shared_images(first: LabelledSet, second: LabelledSet) -> int:
    """How many images of `second` have the same bytes as one of `first`; only those of equal size are read."""
    sizes = [{found.size(index) for index in range(len(found))} for found in (first, second)]
    both = sizes[0] & sizes[1]
    known = {digest for _, digest in _digests(first, both)}
    return sum(digest in known for _, digest in _digests(second, both))


def _digests(found: LabelledSet, sizes: Collection[int]) -> Iterator[tuple[int, bytes]]:
    for index in range(len(found)):
        if found.size(index) in sizes:
            # What cannot be read is counted where it is decoded.
            with suppress(BrokenSample):
                yield index, hashlib.blake2b(found.image(index), digest_size=16).digest()


def refuse_unseen_classes(found: LabelledSet, read: Sequence[int], skipped: Sequence[Skipped]) -> None:
    """`UsageError` for a class that has images of which not one could be read: the scores would leave it out."""
    lost = {found.label(index) for index in range(len(found))} - {found.label(index) for index in read}
    if lost:
        named = ", ".join(repr(found.class_names[label]) for label in sorted(lost)[:5])
        raise UsageError(
            f"not one image of class {named} of {found.name} can be read ({count_reasons(skipped)} in all); "
            "fix the images, or leave the class out."
        )

"""Sets that are drawn on the spot, by code and from a seed: what CLIP cannot do, without a file and without a licence.

A set is written limits:NAME or limits:NAME:COUNT, and limits is all of them. Of one version of Pillow the same set is
made of the same bytes each time. Its train part, for a probe, is drawn from another seed.
"""

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from seesay.base.errors import UsageError, nearest
from seesay.data import drawings
from seesay.data.labelled import Labelled, LabelledSet
from seesay.data.sources import BytesImage

PREFIX = "limits"
# Images of a set that is measured, and the most of one, which are some 300 MB; guesses.
COUNT = 400
MOST = 100_000
# Images to learn from for each one that is measured; a guess.
TRAIN_SHARE = 2

_WORDS = (
    "apple bridge candle dragon eagle forest garden hammer island jacket kettle ladder market needle "
    "orange pencil quarter river silver tunnel umbrella valley window yellow zebra anchor basket "
    "camera dinner engine flower guitar harbor insect jungle kitchen lemon mirror number ocean "
    "planet queen rocket summer travel uncle village winter coffee school "
)
WORDS = tuple(_WORDS.split())
# House numbers of two to four digits, which share digits with one another.
NUMBERS = (
    *("10", "12", "15", "21", "27", "38", "51", "64", "72", "89", "101", "107", "110", "123", "132", "170", "213"),
    *("231", "312", "321", "345", "354", "402", "420", "456", "465", "508", "580", "617", "671", "709", "790", "818"),
    *("881", "925", "952", "1001", "1010", "1100", "1234", "1243", "2019", "2190", "3407", "3470", "5068", "6058"),
    *("7391", "7931", "9999"),
)
COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SUBJECTS = ("this film", "the movie", "the whole story", "every scene", "the acting", "this comedy", "the last hour")
PRAISE = ("wonderful", "moving and warm", "a delight", "brilliant", "funny and smart", "a small masterpiece", "superb")
BLAME = ("terrible", "dull and cold", "a chore", "awful", "lazy and stupid", "a complete mess", "unbearable")
AROUND = ("{} is {}", "i found that {} is {}", "without a doubt, {} is {}", "{} is simply {}", "in the end {} is {}")


@dataclass(frozen=True, kw_only=True)
class DrawnKind:
    """What a set asks: the classes, the sentences around them, and what the paper measured of it, if it did."""

    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    draw: Callable[[random.Random, int], Image.Image]
    paper: str = "the paper has no number of it"


def _word(chance: random.Random, label: int) -> Image.Image:
    case = chance.choice((str.lower, str.upper, str.capitalize))
    return drawings.written(chance, case(WORDS[label]))


def _number(chance: random.Random, label: int) -> Image.Image:
    return drawings.number_plate(chance, NUMBERS[label])


def _sentence(chance: random.Random, label: int) -> Image.Image:
    words = chance.choice(AROUND).format(chance.choice(SUBJECTS), chance.choice((PRAISE, BLAME)[label])).split()
    lines = [" ".join(words[first : first + 3]) for first in range(0, len(words), 3)]
    return drawings.written(chance, "\n".join(lines), largest=44)


KINDS: dict[str, DrawnKind] = {
    "counting": DrawnKind(
        class_names=tuple(f"{count} object{'s' * (count != 'one')}" for count in COUNTS),
        templates=("a drawing of {}.", "there are {} in the image.", "{}."),
        draw=drawings.counting,
        paper="the paper's CLIP on CLEVR counts, 8 classes: zero-shot 24.8 %, probe 60.3 %",
    ),
    "distance": DrawnKind(
        class_names=("very near", "at a medium distance", "far away", "not there at all"),
        templates=("a road, and the nearest car is {}.", "the nearest car is {}."),
        draw=drawings.distance,
        paper="the paper's CLIP on KITTI distance, 4 classes: zero-shot 21.9 %, probe 69.2 %",
    ),
    "words": DrawnKind(
        class_names=WORDS,
        templates=('the word "{}".', 'a sign that says "{}".', "{}"),
        draw=_word,
        paper="the paper's CLIP on IIIT5K with 1,000 words for each image: zero-shot 90.0 %",
    ),
    "sentences": DrawnKind(
        class_names=("positive", "negative"),
        templates=("a {} review of a movie.",),
        draw=_sentence,
        paper="the paper's CLIP on Rendered SST-2: zero-shot 67.9 %, probe 80.5 %",
    ),
    "numbers": DrawnKind(
        class_names=NUMBERS,
        templates=('the number "{}".', 'a house with the number "{}".', "{}"),
        draw=_number,
        paper="the paper's CLIP on SVHN, whole numbers: zero-shot 51.0 %",
    ),
    "species": DrawnKind(
        class_names=tuple(name for name, _, _ in drawings.SPECIES),
        templates=("a drawing of a bird with {}.", "a bird with {}."),
        draw=drawings.species,
        paper="the paper names kinds that differ in a part, as aircraft, as weak, without one number",
    ),
    "position": DrawnKind(
        class_names=("to the left of", "to the right of", "above", "below"),
        templates=("a red circle {} a blue square.",),
        draw=drawings.position,
    ),
    "negation": DrawnKind(
        class_names=("shapes with a circle", "shapes without any circle"),
        templates=("a drawing of {}.", "{}."),
        draw=drawings.negation,
    ),
    "binding": DrawnKind(
        class_names=("a red square and a blue circle", "a blue square and a red circle"),
        templates=("a drawing of {}.", "{}."),
        draw=drawings.binding,
    ),
}


def is_drawn_set(source: str | Path) -> bool:
    """Whether a source is written as a set that is drawn; a folder of that name is ./limits."""
    return str(source) == PREFIX or str(source).startswith(f"{PREFIX}:")


def drawn_sources(sources: Sequence[str]) -> list[str]:
    """The sources with every drawn set in place of "limits"; `UsageError` for a name that is none of theirs."""
    spread = [own for each in sources for own in ([f"{PREFIX}:{kind}" for kind in KINDS] if each == PREFIX else [each])]
    for source in spread:
        if is_drawn_set(source):
            _read(source)
    return spread


def open_drawn_set(source: str | Path, *, is_train: bool = False) -> LabelledSet:
    """The set that `source` names, its classes in turn; with `is_train` the images to learn from.

    `UsageError` for a name that is none, and a count that is no number from 2 per class to `MOST`.
    """
    name, count = _read(str(source))
    kind = KINDS[name]
    part = "train" if is_train else "test"
    samples = []
    for index in range(count * (TRAIN_SHARE if is_train else 1)):
        key, label = f"{name}-{part}-{index:06}", index % len(kind.class_names)
        samples.append(Labelled(key, label, BytesImage(png_of(kind, key, label), f"{source}, {part} {index}")))
    note = f"drawn here; {kind.paper}."
    return LabelledSet(
        f"{PREFIX}:{name}{'/train' * is_train}",
        kind.class_names,
        samples=samples,
        templates=kind.templates,
        notes=() if is_train else (note,),
    )


def png_of(kind: DrawnKind, key: str, label: int) -> bytes:
    """The image of that key and class: all that is by chance follows from the key."""
    image = kind.draw(random.Random(key), label).reduce(drawings.CANVAS // drawings.SIDE)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _read(source: str) -> tuple[str, int]:
    """Name and count of a set."""
    _, _, rest = source.partition(":")
    name, _, count = rest.partition(":")
    if name not in KINDS:
        raise UsageError(
            f"{source!r} is no set that is drawn.{nearest(name, list(KINDS))} Known: {PREFIX}:{'|'.join(KINDS)}."
        )
    least = 2 * len(KINDS[name].class_names)
    if not count:
        return name, max(COUNT, least)
    if not (count.isdecimal() and len(count) < 9 and least <= int(count) <= MOST):
        raise UsageError(f"{source!r} asks for {count!r} images; give a number from {least} to {MOST:,}.")
    return name, int(count)

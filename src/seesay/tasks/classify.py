"""Photos on disk to labels in words: find the photos, then rank the labels for each."""

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.records import Ranking, Skipped
from seesay.data.prompts import distinct_labels
from seesay.data.sources import FOREIGN_SUFFIXES, IMAGE_SUFFIXES, LooseFile, count_reasons, missing_location
from seesay.tasks.answers import Answer
from seesay.tasks.decision import LabelDecision

if TYPE_CHECKING:
    from seesay.model.bundle import Model

# A guess at what fits a line.
SHOWN_SUFFIXES = 4


def find_photos(locations: Sequence[str | Path]) -> list[Path]:
    """The photos at these locations, sorted, each once.

    A location is a file, a folder (searched with all its subfolders, without hidden ones) or a pattern such as
    "2024/**/*.jpg". What counts as a photo is decided by the suffix alone, and images of formats that are not read
    count, too. Raises `UsageError` for a location without a photo, and names what is there instead.
    """
    return photos_and_others(locations)[0]


def photos_and_others(locations: Sequence[str | Path]) -> tuple[list[Path], Counter[str]]:
    """As `find_photos`; and the other files there, counted by their suffix."""
    photo_at: dict[str, Path] = {}
    others: dict[str, str] = {}
    for location in locations:
        for file, is_photo in files_at(str(location)):
            if is_photo:
                photo_at.setdefault(os.path.abspath(file), file)
            else:
                others[os.path.abspath(file)] = suffix_of(file) or "no suffix"
    return sorted(photo_at.values()), Counter(others.values())


def classify_photos(
    model: "Model",
    photos: Sequence[Path],
    labels: Sequence[str],
    *,
    templates: str | Path | Sequence[str] | None = None,
    top: int = 5,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[list[tuple[Path, Ranking]], list[Skipped]]:
    """The `top` labels for every photo that can be read, in the order given; and the photos that cannot.

    All in memory; for many photos there is `tasks.classify_folder`. A label that comes twice is counted once; fewer
    than two are a `UsageError`. Without `templates` the model's own are used. `progress` is called with the number
    of photos done since the last call. Raises `RefusedInput` when not one photo can be read.
    """
    chosen = distinct_labels(labels)[0]
    model.read_labels(chosen, templates).refuse_alike()
    decision = LabelDecision(classifier=model.classifier(chosen, templates))
    results: list[tuple[Path, Ranking]] = []
    skipped: list[Skipped] = []
    for block in answer_photos(model, decision, photos, top=top):
        results += [(Path(item.photo), item.ranking) for item in block if isinstance(item, Answer)]
        skipped += [item for item in block if isinstance(item, Skipped)]
        progress(len(block))
    if not results:
        raise none_readable(len(photos), skipped)
    return results, skipped


def answer_photos(
    model: "Model", decision: LabelDecision, photos: Sequence[Path], *, top: int, first: int = 0
) -> Iterator[list[Answer | Skipped]]:
    """The answer to every photo from number `first` on, or why it is skipped, in order, a block at a time."""
    # Here and not at the top: it brings torch, and looking for photos should be quick to fail.
    from seesay.model.encode import encode_blocks

    blocks = encode_blocks(model, lambda index: read_photo(photos[index]), range(first, len(photos)))
    for image_BD, kept, skipped in blocks:
        answer_of: dict[int, Answer | Skipped] = {
            int(item.key): replace(item, key=str(photos[int(item.key)])) for item in skipped
        }
        if kept:
            answers = decision.answers(image_BD, top=top)
            answer_of |= {
                index: Answer(
                    photo=str(photos[index]), ranking=ranking, labels=labels, is_multi_label=decision.is_multi_label
                )
                for index, (ranking, labels) in zip(kept, answers, strict=True)
            }
        yield [answer_of[index] for index in sorted(answer_of)]


def none_readable(count: int, skipped: Sequence[Skipped]) -> RefusedInput:
    """The error for a run in which every photo was skipped."""
    return RefusedInput(f"none of {count} photos could be read ({count_reasons(skipped)}).")


def files_at(location: str) -> list[tuple[Path, bool]]:
    """The files at one location, and of each whether it is a photo; `UsageError` if none is."""
    path = os.path.expanduser(location)
    if not path:
        # Path("") would be the current folder, and an unset variable in a script is no wish for that.
        raise UsageError("PHOTOS is an empty word; give a file, a folder or a pattern in quotes.")
    if os.path.exists(path):
        matches = [path]
    elif glob.has_magic(path):
        matches = glob.glob(path, recursive=True)
        if not matches:
            raise UsageError(f"pattern {location!r} matches nothing in {os.getcwd()}; check it, and keep it in quotes.")
    else:
        raise missing_location(Path(path))
    files = [file for match in matches for file in files_below(match)]
    # Those in a format that is not read, too: each is counted and named with its reason when it is decoded.
    found = [(file, suffix_of(file) in IMAGE_SUFFIXES | FOREIGN_SUFFIXES) for file in files]
    if not any(is_photo for _, is_photo in found):
        there = in_words(Counter(suffix_of(file) or "no suffix" for file in files)) or "no file at all"
        raise UsageError(
            f"{location!r} holds no photo, but {there}; photos end in {', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    return found


def in_words(suffixes: Counter[str]) -> str:
    """The most frequent suffixes with their numbers, and how many files have others."""
    shown = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))[:SHOWN_SUFFIXES]
    more = suffixes.total() - sum(count for _, count in shown)
    return ", ".join([f"{count} x {suffix}" for suffix, count in shown] + [f"{more} others"] * (more > 0))


def suffix_of(path: Path) -> str:
    """In small letters, without the dot."""
    return path.suffix.lower().removeprefix(".")


def files_below(location: str) -> Iterator[Path]:
    """`location` itself if it is a file, else every regular file below it that is not hidden."""
    if os.path.isfile(location):
        yield Path(location)
    for folder, subfolders, names in os.walk(location, onerror=refuse_folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            # A pipe with a photo's name would keep its reader waiting for ever.
            if not name.startswith(".") and os.path.isfile(path := os.path.join(folder, name)):
                yield Path(path)


def refuse_folder(error: OSError) -> None:
    """`UsageError` for a folder that cannot be searched."""
    if not isinstance(error, NotADirectoryError):
        raise UsageError(f"folder {error.filename} cannot be searched ({error.strerror}); allow it or leave it out.")


def read_photo(path: Path) -> bytes:
    """The bytes of the file; one that has gone, or is closed to us, is a broken photo and not the end of the run."""
    return LooseFile(str(path), size=0).read()  # the size is a fact for fingerprints; reading does not use it

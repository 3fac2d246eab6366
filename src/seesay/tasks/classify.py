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
from seesay.data.stored import IMAGE_SUFFIXES, LooseFile, count_reasons, missing_place

if TYPE_CHECKING:
    from seesay.model.bundle import Model


def find_photos(places: Sequence[str | Path]) -> list[Path]:
    """The photos at these places, sorted, each once.

    A place is a file, a folder (searched with all its subfolders, without hidden ones) or a pattern such as
    "2024/**/*.jpg". What counts as a photo is decided by the suffix alone. Raises `UsageError` for a place with no
    photo, with what was found there instead.
    """
    found: dict[str, Path] = {}
    for place in places:
        for photo in photos_at(str(place)):
            found.setdefault(os.path.abspath(photo), photo)
    return sorted(found.values())


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

    A label that comes twice is counted once; fewer than two are a `UsageError`. Without `templates` the model's own
    are used. `progress` is called with the number of photos done since the last call. Raises `RefusedInput` when
    not one photo can be read.
    """
    # Here and not at the top: it brings torch, and looking for photos should be quick to fail.
    from seesay.model.encode import encode_image_set

    classifier = model.classifier(distinct_labels(labels)[0], templates)
    image_ND, kept, skipped = encode_image_set(
        model, lambda index: read_photo(photos[index]), len(photos), progress=progress
    )
    skipped = [replace(item, key=str(photos[int(item.key)])) for item in skipped]
    if not kept:
        raise RefusedInput(f"none of {len(photos)} photos could be read ({count_reasons(skipped)}).")
    rankings = classifier.rank(image_ND, top=top)
    return [(photos[index], ranking) for index, ranking in zip(kept, rankings, strict=True)], skipped


def photos_at(place: str) -> list[Path]:
    """The photos at one place; `UsageError` if there is none."""
    path = os.path.expanduser(place)
    if not path:
        # Path("") would be the current folder, and an unset variable in a script is no wish for that.
        raise UsageError("the place to look for photos is empty; give a file, a folder or a pattern in quotes.")
    if os.path.exists(path):
        matches = [path]
    elif glob.has_magic(path):
        matches = glob.glob(path, recursive=True)
        if not matches:
            raise UsageError(f"pattern {place!r} matches nothing in {os.getcwd()}; check it, and keep it in quotes.")
    else:
        raise missing_place(Path(path))
    files = [file for match in matches for file in files_below(match)]
    photos = [file for file in files if suffix_of(file) in IMAGE_SUFFIXES]
    if not photos:
        suffixes = Counter(suffix_of(file) or "no suffix" for file in files).most_common(4)
        there = ", ".join(f"{count} x {suffix}" for suffix, count in suffixes) or "no file at all"
        raise UsageError(f"{place!r} holds no photo, but {there}; photos end in {', '.join(sorted(IMAGE_SUFFIXES))}.")
    return photos


def suffix_of(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")


def files_below(place: str) -> Iterator[Path]:
    """`place` itself if it is a file, else every regular file below it that is not hidden."""
    if os.path.isfile(place):
        yield Path(place)
    for folder, subfolders, names in os.walk(place, onerror=refuse_folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            # A pipe with a photo's name would keep its reader waiting for ever.
            if not name.startswith(".") and os.path.isfile(path := os.path.join(folder, name)):
                yield Path(path)


def refuse_folder(error: OSError) -> None:
    if not isinstance(error, NotADirectoryError):
        raise UsageError(f"folder {error.filename} cannot be searched ({error.strerror}); allow it or leave it out.")


def read_photo(path: Path) -> bytes:
    """The bytes of the file; one that has gone, or is closed to us, is a broken photo and not the end of the run."""
    return LooseFile(str(path), size=0).read()  # the size is a fact for fingerprints; reading does not use it

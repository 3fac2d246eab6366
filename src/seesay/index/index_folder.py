"""The folder of an index: what it says of itself, which model may use it, and its one writer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.base.locks import take_named_lock
from seesay.base.publish import publish_file
from seesay.index.checks import damaged, sealed, unsealed
from seesay.model.encode import row_width

if TYPE_CHECKING:
    from seesay.model.bundle import Model

FACTS, LOCK = "index.json", ".lock"
ACKNOWLEDGED = "acknowledged.json"  # of the table
FORMAT = 2  # of the folder; it rises with every change to what is in it


@dataclass(frozen=True, kw_only=True)
class IndexFacts:
    """What `index.json` says. `photos` is the folder that is indexed, `model` the name it was opened by."""

    format: int = FORMAT
    photos: str
    model: str
    fingerprint: str
    width: int
    readers: tuple[str, ...] = ()


def fingerprint_of(model: "Model") -> str:
    """SHA-256 of what vectors of images depend on: weights of the image's side, and how images are prepared."""
    from seesay.model.cache import space_fingerprint

    return space_fingerprint(model)


def read_facts(folder: Path) -> IndexFacts:
    """What `index.json` says; `UsageError` without one, `RefusedInput` for one that is damaged, newer or older."""
    path = folder / FACTS
    try:
        data = path.read_bytes()
        values = json.loads(data)
        # The first one had no check.
        if values["format"] == 1 and "check" not in values:
            raise RefusedInput(
                f"index {folder} is of format 1, older than {FORMAT}; remove it, and the next `seesay search` makes it "
                "again."
            )
        values = unsealed(data)
        if values["format"] > FORMAT:
            raise RefusedInput(f"{path} is of format {values['format']}, newer than {FORMAT}; update seesay.")
        values["readers"] = tuple(values["readers"])
        return IndexFacts(**values)
    except (FileNotFoundError, NotADirectoryError) as error:
        refuse_lost_facts(folder)
        raise UsageError(f"{folder} is no index of seesay; `seesay search PHOTOS --index FOLDER` makes one.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, error, folder) from error


def refuse_lost_facts(folder: Path) -> None:
    """`RefusedInput` where the table of an index is there, which is made after `index.json`."""
    if (folder / ACKNOWLEDGED).exists():
        raise damaged(folder / FACTS, "it is gone", folder)


def publish_facts(folder: Path, facts: IndexFacts) -> None:
    """Write `index.json`."""
    publish_file(folder / FACTS, sealed(asdict(facts)), mode=0o600)


def check_model(model: "Model", facts: IndexFacts, folder: Path) -> "Model":
    """The model, if it is the one whose vectors the index holds; `RefusedInput` for another."""
    refuse_wordless(model)
    if fingerprint_of(model) != facts.fingerprint or row_width(model) != facts.width:
        raise RefusedInput(
            f"index {folder} holds vectors of model {facts.model!r}, and {model.name!r} has other weights, rows of "
            "another width, prepares images otherwise or is rounded by another engine; search with that model, or name "
            "another folder for the index."
        )
    return model


def refuse_wordless(model: "Model") -> None:
    """`UsageError` for a model that has no vectors of texts."""
    if not model.embeds_texts:
        raise UsageError(f"{model.name} predicts captions and has no vector of a text; search with another model.")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the index alone; `StorageError` says who else does."""
    try:
        file = (folder / LOCK).open("a+", encoding="utf-8", newline="\n")
    except OSError as error:
        raise StorageError(f"index {folder} cannot be written ({error.strerror}); allow it or name another.") from error
    with file:
        take_named_lock(file, f"index {folder}")
        yield

"""The messages and words that several commands have in common, beside the tables of `base.values`."""

import json
from pathlib import Path
from typing import Any

from seesay.base.errors import TooManySkipped, UsageError
from seesay.base.streams import say as say
from seesay.base.values import percent as percent
from seesay.base.values import table as table
from seesay.base.values import with_interval as with_interval

# The share of samples that may be skipped before a command ends with exit code 3; a guess.
ALLOWED_SKIPPED = 0.05


def counts_of(shots: str | None, *, least: int = 1) -> tuple[int, ...]:
    """The numbers of a word such as 1,2,4, from `least` on; `UsageError` for anything else."""
    words = [word.strip() for word in shots.split(",")] if shots is not None else []
    # Nine digits are more images than a class of anybody's has, and Python reads no more than 4,300.
    if not all(word.isdecimal() and len(word) <= 9 and int(word) >= least for word in words):
        raise UsageError(f"--shots {shots!r} should be numbers of 1 or more with commas between, as in 1,2,4,8,16.")
    return tuple(int(word) for word in words)


def write_json(path: Path, value: Any) -> None:
    """Write plain values as a JSON file, durably and whole; `StorageError` where the disk refuses."""
    from seesay.base.publish import publish_file

    publish_file(path, (json.dumps(value, indent=2) + "\n").encode())


def refuse_too_many(skipped: int, total: int, what: str, *, allowed: float = ALLOWED_SKIPPED) -> None:
    """Raise `TooManySkipped` where more than the share `allowed` was left out; to be called after all is written."""
    if skipped > allowed * total:
        raise TooManySkipped(
            f"{skipped} of {total} {what} were skipped, more than {100 * allowed:.4g}%; "
            "the results hold for the rest: fix or remove the broken files and run it again."
        )

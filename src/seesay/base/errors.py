"""Every error that a user can meet, and the exit code it ends a command with.

    SeesayError            1   the operation failed
    ├── UsageError         2   the words on the command line, a setting, a path
    ├── TooManySkipped     3   finished or stopped with more samples skipped than allowed
    ├── RefusedInput       4   a file that is unsafe, damaged or not what it says
    │   └── BrokenSample   4   one image or caption; counted by reason, rarely fatal
    ├── StorageError       5   no space, read-only, locked
    ├── Stopped           75   asked to stop, and everything is saved
    └── Interrupted      130   Ctrl-C, and everything is saved

A message is one line: what, its value, a hint. Names in it may come from a hostile file: as text it is `printable`.
"""

import difflib
import re
from collections.abc import Callable, Iterable

from seesay.base.printable import printable

# From this share of letters in common on a word is near: the default of Python's difflib.
NEAR = 0.6


class SeesayError(Exception):
    """Something a person can act on; the message is the whole story."""

    exit_code = 1

    def __str__(self) -> str:
        return printable(" ".join(line.strip() for line in super().__str__().split("\n")))


class UsageError(SeesayError):
    """What was asked for cannot be done as asked."""

    exit_code = 2


class TooManySkipped(SeesayError):
    """More samples were skipped than the run allows."""

    exit_code = 3


class RefusedInput(SeesayError):
    """A file was refused before anything in it was trusted."""

    exit_code = 4


class BrokenSample(RefusedInput):
    """One image or caption cannot be used; `reason` is a short phrase that is counted."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    def __reduce__(self):
        return type(self), (self.reason, self.detail)


class StorageError(SeesayError):
    """The disk refused: no space, read-only, locked."""

    exit_code = 5


class Stopped(SeesayError):
    """The run was asked to stop and has saved; the same command goes on."""

    exit_code = 75


class Interrupted(Stopped):
    """As `Stopped`, asked for with Ctrl-C."""

    exit_code = 130


def nearest(word: str, known: Iterable[str], *, count: int = 3, part: Callable[[str], str] = str) -> str:
    """The known words that look most like `word`, ready to end a message; "" if none is near.

    Case and the marks between words do not count. `part` gives what is compared of each, such as a file's stem.
    """
    by_key: dict[str, list[str]] = {}
    for each in known:
        by_key.setdefault(_compared(part(each)), []).append(each)
    keys = difflib.get_close_matches(_compared(part(word)), by_key, n=count, cutoff=NEAR)
    close = [each for key in keys for each in by_key[key]][:count]
    return f" Nearest: {', '.join(close)}." if close else ""


def _compared(word: str) -> str:
    return re.sub(r"[-_./@ ]+", "-", word.casefold())

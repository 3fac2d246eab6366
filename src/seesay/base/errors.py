"""Every error that a user can meet, and the exit code it ends a command with.

    SeesayError            1   the operation failed
    ├── UsageError         2   the words on the command line, a setting, a path
    │   ├── EstimatorError 2   what an estimator cannot learn from; a ValueError and a TypeError too
    │   └── NotFittedError 2   an estimator is asked before it has learned
    ├── TooManySkipped     3   finished or stopped with more samples skipped than allowed
    ├── RefusedInput       4   a file that is unsafe, damaged or not what it says
    │   └── BrokenSample   4   one image or caption; counted by reason, rarely fatal
    ├── StorageError       5   no space, read-only, locked
    ├── Stopped           75   asked to stop, and everything is saved
    └── Interrupted      130   Ctrl-C, and everything is saved

A message is one line: what, its value, a hint. Names in it may come from a hostile file: as text it is `printable`.
It is written with the options of the command line, and `spelled` with the arguments of Python where Python is the door.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from seesay.base.printable import printable

# From this share of letters in common on a word is near: the default of Python's difflib.
NEAR = 0.6
# A command in backticks stays one; "--set key=value"; or the name of an option.
_OPTION = re.compile(r"(`[^`]*`)|(?<![\w-])--set ([\w.]+=[^\s,;)]*\w)|(?<![\w-])--([a-z][a-z-]*)")
# What Python calls otherwise than the command line.
_OTHERWISE = {"set": "overrides", "json": "json_file"}


class SeesayError(Exception):
    """Something a person can act on; the message is the whole story."""

    exit_code = 1

    def __str__(self) -> str:
        return printable(spelled(" ".join(line.strip() for line in super().__str__().split("\n"))))


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


@contextmanager
def at_command_line() -> Iterator[None]:
    """In here messages name options as the command line spells them."""
    before, _Door.is_command_line = _Door.is_command_line, True
    try:
        yield
    finally:
        _Door.is_command_line = before


def spelled(message: str) -> str:
    """A message with the names that the door in use has: `--micro-batch 8`, or in Python `micro_batch 8`."""
    return message if _Door.is_command_line else _OPTION.sub(_as_argument, message)


class _Door:
    is_command_line = False


def _as_argument(found: re.Match[str]) -> str:
    command, setting, option = found.groups()
    if setting:
        return f"overrides={[setting]!r}"
    return command or _OTHERWISE.get(option, option.replace("-", "_"))


def nearest(word: str, known: Iterable[str], *, count: int = 3, part: Callable[[str], str] = str) -> str:
    """The `nearest_names` to `word`, ready to end a message; "" if none is near."""
    return as_hint(nearest_names(word, known, count=count, part=part))


def nearest_names(word: str, known: Iterable[str], *, count: int = 3, part: Callable[[str], str] = str) -> list[str]:
    """The known words that look most like `word`, the nearest first; none that is not near.

    Case and the marks between words do not count. `part` gives what is compared of each, such as a file's stem.
    """
    by_key: dict[str, list[str]] = {}
    for each in known:
        by_key.setdefault(_compared(part(each)), []).append(each)
    keys = difflib.get_close_matches(_compared(part(word)), by_key, n=count, cutoff=NEAR)
    return [each for key in keys for each in by_key[key]][:count]


def nearest_setting(word: str, known: Iterable[str]) -> str:
    """As `nearest`, for the `nearest_settings` to a word."""
    return as_hint(nearest_settings(word, known))


def nearest_settings(word: str, known: Iterable[str]) -> list[str]:
    """As `nearest_names` for paths of settings: the nearest path, and those of the same last name in any section.

    "lr" stands for every name with these initials, and "image_size" may be one that is called "sizes".
    """
    known = list(known)
    if short_for := [name for name in known if _initials(_last(name)) == _last(word)]:
        return short_for
    same = [name for name in known if _last(name) == _last(word)]
    close = nearest_names(word, known, count=1) or ([] if same else nearest_names(word, known, part=_last))
    first, _, end = word.rpartition("_")
    ends = nearest_names(end, known, count=1, part=_last) if first and not same else []
    return list(dict.fromkeys([*close, *same, *ends]))


def _initials(name: str) -> str:
    return "".join(part[0] for part in name.split("_") if part) if "_" in name else ""


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def as_hint(names: Sequence[str]) -> str:
    """The end of a message that offers the names; "" without any."""
    return f" Nearest: {', '.join(names)}." if names else ""


def _compared(word: str) -> str:
    return re.sub(r"[-_./@ ]+", "-", word.casefold())

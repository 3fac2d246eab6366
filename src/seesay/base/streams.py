"""Standard input, output and error that are closed, full, or gone: results are never lost in silence, messages may be.

Standard output carries results: what it does not take is an `OSError` whose `filename` is `STANDARD_OUTPUT`. Standard
error carries messages: what it does not take is lost, and the work goes on. A terminal gets no control character that
is not our own; a file or a pipe gets results as they are.
"""

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from seesay.base.errors import spelled
from seesay.base.printable import printable, spelt_out

STANDARD_OUTPUT = "standard output"
# What lays out text and steers nothing.
LAYOUT = "\n\t"
# How a progress line takes the place of the one before it, on a terminal and in a notebook.
REDRAW = "\r\x1b[K"
COVER = "\r"
_REDRAWN = re.compile(rf"{re.escape(REDRAW)}|{COVER}")


def guard_streams() -> None:
    """Make the standard streams of this process as the top of this file says; once, before anything is opened.

    Streams that somebody has put in place of Python's own, as a test or a notebook does, are left as they are.
    """
    _occupy_closed()
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        sys.stdout = _Results(1, sys.stdout)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _Messages(2, sys.stderr)


def say(*lines: str, start: str = "", end: str = "\n") -> None:
    """Write a message to standard error, at once; where that is closed or full, it is lost.

    Each line is made `printable`, and its options `spelled` for the door in use. Around the message, `start` and `end`
    are our own, and written as they are. A line that another message left open, as a progress line that Ctrl-C stopped,
    is ended first.
    """
    if not start:
        end_line()
    text = "\n".join(printable(spelled(line)) for line in lines)
    # First, because Ctrl-C may come as soon as the line is there.
    _Line.is_open = bool(text) and not end
    _write(start + text, end)


def end_line(*, has_echo: bool = False) -> None:
    """End the line that a message left open on standard error, if one did, or on a terminal ^C: it `has_echo`."""
    if _Line.is_open or (has_echo and sys.stderr is not None and sys.stderr.isatty()):
        _write("", "\n")
        _Line.is_open = False


class _Line:
    is_open = False


def _write(text: str, end: str) -> None:
    if sys.stderr is None:
        return
    with suppress(OSError, ValueError):  # ValueError: the stream was closed by whoever made it
        print(text, end=end, file=sys.stderr, flush=True)


def _occupy_closed() -> None:
    """Put the null device where a stream is closed: the next file opened would be in its place, and get its lines."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Standard output for reading only: a result that is written there must not seem to have arrived.
            taken = os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)
            os.set_inheritable(taken, True)


class _Stream(io.TextIOWrapper):
    """A descriptor as text, in the encoding of the stream before it. A file name need not be UTF-8, and can be printed.

    Only the outermost layer is written here: Ctrl-C in the middle of a lower one could write the same bytes twice.
    What goes to a terminal, by `say` or not, is spelt out, but for lines and our own progress line.
    """

    def __init__(self, number: int, before: Any):
        file = io.FileIO(number, "w", closefd=False)
        super().__init__(
            io.BufferedWriter(file),
            encoding="utf-8" if before is None else before.encoding,
            errors="backslashreplace",
            line_buffering=number == 2 or file.isatty() or (before is not None and before.write_through),
        )
        self._is_for_people = number == 2 or file.isatty()

    def write(self, text: str, /) -> int:
        start = redrawn.group() if (redrawn := _REDRAWN.match(text)) else ""
        super().write(start + spelt_out(text[len(start) :], but=LAYOUT) if self._is_for_people else text)
        return len(text)


class _Results(_Stream):
    def write(self, text: str, /) -> int:
        with _named():
            return super().write(text)

    def flush(self) -> None:
        with _named():
            super().flush()


class _Messages(_Stream):
    def write(self, text: str, /) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


@contextmanager
def _named() -> Iterator[None]:
    """An error of the system in here is one of standard output."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, STANDARD_OUTPUT) from error

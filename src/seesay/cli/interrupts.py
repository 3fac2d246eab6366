"""Ctrl-C: silent in the middle of the work, one line while a command is loaded, and never a trace.

In the middle of an import it would come out as any error, or as none: there it ends the process at once.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

# What a shell reports for a program that SIGINT ended: 128 + 2.
INTERRUPT_EXIT = 130
# The name of the file of the frames that import a module, as the interpreter has it.
IMPORTING = "<frozen importlib._bootstrap>"


def end_at_once() -> None:
    """From here on Ctrl-C ends the process with one line and 130; nothing may be at stake yet.

    Where somebody else handles it, or it is ignored, it stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with suppress(ValueError):  # not the main thread: whoever owns it handles signals
            signal.signal(signal.SIGINT, _end)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C in here is a `KeyboardInterrupt`, but in an import it ends the process at once.

    Where `end_at_once` stood before, Ctrl-C ends the process without a word after it: the work is done.
    """
    before = signal.getsignal(signal.SIGINT)
    if before not in (_end, signal.default_int_handler):
        yield
        return
    try:
        signal.signal(signal.SIGINT, _interrupt)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is _end else before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    above = frame
    while above is not None:
        if above.f_code.co_filename == IMPORTING:
            _end(number, frame)
        above = above.f_back
    signal.default_int_handler(number, frame)


def _end(_: int, __: FrameType | None) -> None:
    with suppress(OSError):  # standard error may be closed or full
        # A terminal has shown ^C, and a progress line may be there.
        os.write(2, b"\n" * os.isatty(2) + b"error: interrupted before the work began.\n")
    os._exit(INTERRUPT_EXIT)

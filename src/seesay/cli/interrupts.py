"""Ctrl-C while a command is being loaded: in the middle of an import it would come out as any error, or as none."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# What a shell reports for a program that SIGINT ended: 128 + 2.
INTERRUPT_EXIT = 130


@contextmanager
def ended_at_once() -> Iterator[None]:
    """Ctrl-C in here ends the process with one line and 130; nothing may be at stake yet.

    Where somebody else handles it, or it is ignored, it stays so.
    """
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        before = signal.signal(signal.SIGINT, _end) if is_ours else None
    except ValueError:  # not the main thread: whoever owns it handles signals
        before = None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _end(_: int, __: FrameType | None) -> None:
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"error: interrupted before the work began.\n")
    os._exit(INTERRUPT_EXIT)

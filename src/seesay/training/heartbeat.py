"""A run that does nothing any more: where every thread of it stands on standard error, and the end of the process."""

import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

TICK_SECONDS = 1.0


@contextmanager
def ended_when_stuck(minutes: float) -> Iterator[Callable[[], None]]:
    """Gives `alive`; where it is not called for so many minutes, the process ends with 1.

    Nothing softer is left: what waits for ever cannot be raised into.
    """
    seconds = 60 * minutes
    tick = min(TICK_SECONDS, seconds / 4)
    silent = [0.0]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(tick):
            # Ticks and not a clock, which goes on while a shell holds the whole process (Ctrl-Z).
            silent[0] += tick
            if silent[0] > seconds:
                _end(minutes)

    def alive() -> None:
        silent[0] = 0.0

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield alive
    finally:
        over.set()


def _end(minutes: float) -> None:
    with suppress(ValueError, OSError):  # standard error may be something that has no file number
        faulthandler.dump_traceback(file=sys.__stderr__ or 2, all_threads=True)
    print(
        f"error: no step, check or checkpoint came to its end for {minutes:g} minutes (stuck_minutes); above is where "
        "every thread stands. What was saved is whole, and the same command goes on from it.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)

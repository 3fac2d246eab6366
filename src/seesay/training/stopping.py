"""Asked to stop: the first signal is noted and answered between two steps, the second one ends the process."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_requests() -> Iterator[set[int]]:
    """Signals that asked for a stop; a second one of them ends the process at once."""
    asked: set[int] = set()

    def ask(number: int, _: object) -> None:
        asked.add(number)
        signal.signal(number, signal.SIG_DFL)

    try:
        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread: whoever owns it handles signals
        before = {}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

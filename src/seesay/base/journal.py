"""What a run logs: `events.jsonl` for programs, a progress line for people; and one owner for the folder."""

import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, TextIO

from seesay.base.errors import StorageError
from seesay.base.locks import take_named_lock
from seesay.base.publish import publish_file
from seesay.base.streams import COVER, REDRAW, say

EVENTS_NAME = "events.jsonl"
LOCK_NAME = ".lock"
# Progress shows after two seconds, and where nobody sees a terminal every half minute (guesses).
QUIET_SECONDS = 2.0
PLAIN_SECONDS = 30.0
# Bytes of a line that is read back, of which the longest has some thousand (a guess).
LINE_LIMIT = 1 << 20


class LineFile:
    """JSON objects appended to a file, one a line. A disk that refuses one does not end the program.

    A warning comes once, and how many lines are lost is written to the file as soon as it takes lines again.
    """

    def __init__(self, path: Path):
        self.path = path
        # Not buffered: what a full disk refuses is not tried again when the file is closed.
        self._file = FileIO(path, "a+")
        self._lost = 0
        self._has_warned = False
        # A kill, too, may have cut the last line.
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(0, size - 1))
        self._is_cut = self._file.read(1) not in (b"", b"\n")

    def add(self, values: Mapping[str, Any]) -> None:
        """Append one object, or count it as lost."""
        if self._lost and self._put({"event": "gap", "lines": self._lost}):
            self._lost = 0
        if self._lost or not self._put(values):
            self._lost += 1

    def close(self) -> None:
        """Close the file; what was added is in it."""
        self._file.close()

    def _put(self, values: Mapping[str, Any]) -> bool:
        data = (("\n" if self._is_cut else "") + json.dumps(values) + "\n").encode()
        written, reason = 0, "the disk is full"
        try:
            written = self._file.write(data) or 0
        except OSError as error:
            reason = error.strerror or str(error)
        if written == len(data):
            self._is_cut = False
            return True
        self._is_cut = self._is_cut or written > 0
        if not self._has_warned:
            message = f"warning: {self.path} cannot be written ({reason}); lost lines are counted, and the run goes on."
            say(message)
            self._has_warned = True
        return False


class Journal:
    """A run's folder, held by one process at a time. Use as a context manager."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock: TextIO | None = None
        self._events: LineFile | None = None

    def __enter__(self) -> "Journal":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / LOCK_NAME).open("a+", encoding="utf-8", newline="\n")
            take_named_lock(self._lock, f"run folder {self.folder}")
            self._events = LineFile(self.folder / EVENTS_NAME)
        except OSError as error:
            raise StorageError(
                f"run folder {self.folder} cannot be written ({error.strerror}); choose another."
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._events, self._lock):
            if file:
                file.close()

    def event(self, **values: Any) -> None:
        """Append one JSON object; numbers that are not finite become null."""
        finite = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in values.items()}
        if self._events:
            self._events.add(finite)

    def cut_after(self, step: int) -> None:
        """Forget what was logged after `step`: a resumed run logs it again."""
        path = self.folder / EVENTS_NAME
        lines = [line for line in read_events(path) if line.get("step", 0) <= step]
        if self._events:
            self._events.close()
        publish_file(path, "".join(json.dumps(line) + "\n" for line in lines).encode())
        self._events = LineFile(path)


def read_events(path: Path) -> list[dict[str, Any]]:
    """The whole lines of an events file; a line that was cut by a kill is left out."""
    events = []
    with path.open(encoding="utf-8", errors="replace") as file:
        while line := file.readline(LINE_LIMIT):
            try:
                events.append(json.loads(line))
            except (ValueError, RecursionError):
                continue
    return events


class ProgressLine:
    """One line on stderr: redrawn on a terminal and in a notebook, repeated every half minute elsewhere."""

    def __init__(self, label: str):
        self.label = label
        self.begin()
        self._last_plain = self._started
        self._is_terminal = sys.stderr is not None and sys.stderr.isatty()
        self._is_live = self._is_terminal or _is_notebook()
        self._drawn = 0

    def begin(self, share: float = 0.0) -> None:
        """The work begins now, where `share` of it was done before: what time is left is told by what follows."""
        self._started, self._done_before = time.monotonic(), share

    def show(self, share: float, text: str = "") -> None:
        """`share` of the work is done; `text` says what else matters."""
        elapsed = time.monotonic() - self._started
        if elapsed < QUIET_SECONDS:
            return
        done = share - self._done_before
        left = f"{_clock(elapsed * (1 - share) / done)} left" if done > 0 else "starting"
        line = f"{self.label} {share:4.0%}  {text}{'  ' if text else ''}{left}"
        if self._is_live:
            self._redraw(line)
        elif time.monotonic() - self._last_plain >= PLAIN_SECONDS:
            self._last_plain = time.monotonic()
            say(line)

    def say(self, *lines: str) -> None:
        """Lines that stay; none is no empty line."""
        self.close()
        if lines:
            say(*lines)

    def close(self) -> None:
        """Remove the line that is being redrawn."""
        if self._drawn:
            self._redraw("")

    def _redraw(self, line: str) -> None:
        # A notebook knows no escape sequences, but what is written after a carriage return covers what was there.
        if self._is_terminal:
            say(line, start=REDRAW, end="")
        else:
            say(f"{line:<{self._drawn}}", start=COVER, end="" if line else COVER)
        self._drawn = len(line)


def _is_notebook() -> bool:
    """Whether this process is the kernel of a Jupyter notebook."""
    return "ipykernel" in sys.modules


@contextmanager
def progress(total: int, label: str) -> Iterator[Any]:
    """Gives `advance(count)`, which shows how much of `total` is done; silent for the first two seconds."""
    line = ProgressLine(label)
    done = 0

    def advance(count: int = 1) -> None:
        nonlocal done
        done += count
        line.show(done / total if total else 1.0, f"{done:,}/{total:,}")

    try:
        yield advance
    finally:
        line.close()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

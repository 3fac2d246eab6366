"""What a run survives, and how it ends if not: bad steps, skipped samples, memory, signals, standing still."""

import errno
import faulthandler
import json
import math
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from seesay.base.errors import SeesayError, TooManySkipped
from seesay.base.journal import LineFile, read_events
from seesay.base.publish import publish_file
from seesay.base.records import Skipped
from seesay.base.streams import say
from seesay.base.values import reasons_in_words

BAD_BATCH_NAME = "bad_batch.json"
SKIPPED_NAME = "skipped.jsonl"
# A guess: one bad batch may be chance, three in a row are not.
MOST_BAD_STEPS = 3
# Of the last 10,000 samples of the first epoch 5 % may be skipped, and 100 in a row (guesses).
WINDOW = 10_000
MOST_SKIPPED = 0.05
MOST_IN_A_ROW = 100
TICK_SECONDS = 1.0

# What torch says where an allocation failed and the error has no class of its own.
MEMORY_WORDS = (
    "not enough memory",
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "can't start new thread",
    "could not create a primitive",  # what oneDNN says of it
)


@dataclass(frozen=True, kw_only=True)
class BadStep:
    """A step that was left out: what was not finite, and the images of its batch."""

    step: int
    loss: float
    gradient_norm: float
    images: Sequence[int]
    keys: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """As JSON has it: null for a number that is not finite."""
        numbers = {"loss": self.loss, "gradient_norm": self.gradient_norm}
        return {**asdict(self), **{key: value if math.isfinite(value) else None for key, value in numbers.items()}}


class BadSteps:
    """Steps left out in a row; the third writes `bad_batch.json` and ends the run."""

    def __init__(self) -> None:
        self._row: list[BadStep] = []

    def clear(self) -> None:
        """Begin to count anew, after a step that is finite."""
        self._row.clear()

    def add(self, bad: BadStep, folder: Path | None, *, log_event: Callable[..., None]) -> None:
        """Raises `SeesayError` at three in a row, after the event `diverged`.

        `folder` is the run's, None where another process writes there.
        """
        self._row.append(bad)
        if len(self._row) < MOST_BAD_STEPS:
            return
        if folder is not None:
            steps = [step.to_json() for step in self._row]
            publish_file(folder / BAD_BATCH_NAME, (json.dumps(steps, indent=1) + "\n").encode())
        log_event("diverged", first_step=self._row[0].step)
        raise SeesayError(
            f"loss or gradient was not finite {MOST_BAD_STEPS} steps in a row, up to step {bad.step:,}; what was "
            f"saved is whole: lower optimizer.learning_rate, or look at the images named in {BAD_BATCH_NAME}."
        )


def left_out_of(folder: Path) -> Counter[str]:
    """How many samples the run in `folder` left out, by reason."""
    path = folder / SKIPPED_NAME
    return Counter(entry["reason"] for entry in (read_events(path) if path.exists() else ()) if "key" in entry)


def left_out_in_words(counts: Counter[str], looked_at: int) -> str:
    """As in `6 of 100 samples (6.0%) were left out (6 x truncated image)`."""
    bad = sum(counts.values())
    return f"{bad:,} of {looked_at:,} samples ({bad / looked_at:.1%}) were left out ({reasons_in_words(counts)})"


class SkipLog:
    """Keeps `skipped.jsonl` in the run folder and the rule that stops a run.

    `pairs` is their number. What an earlier part of the same run listed is taken over. Without a folder it only
    counts, for a process beside the one that writes. Use as a context manager.
    """

    def __init__(self, folder: Path | None, pairs: int):
        self.pairs = pairs
        self.counts: Counter[str] = Counter()
        self._listed: set[tuple[str, str, str]] = set()
        path = folder / SKIPPED_NAME if folder else None
        for entry in read_events(path) if path and path.exists() else ():
            if "key" in entry:
                self._listed.add((entry["key"], entry["reason"], entry.get("location", entry.get("place", ""))))
                self.counts[entry["reason"]] += 1
        self._file = LineFile(path) if path else None
        self._window: deque[bool] = deque(maxlen=WINDOW)
        self._row = 0
        self._seen = 0

    def __enter__(self) -> "SkipLog":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def note(self, skipped: Iterable[Skipped]) -> None:
        """List each sample that was not listed before."""
        for sample in skipped:
            # Shards of one name in several folders, or a key that comes twice, share a key.
            if (sample.key, sample.reason, sample.location) not in self._listed:
                self._listed.add((sample.key, sample.reason, sample.location))
                self.counts[sample.reason] += 1
                if self._file:
                    self._file.add(asdict(sample))

    def watch(self, used: int, skipped: tuple[Skipped, ...]) -> None:
        """Note a batch of `used` samples and those left out of it; raises `TooManySkipped`.

        The run stops at more than 5 % in a row of 10,000 samples of the first epoch, or at 100 in a row.
        """
        self.note(skipped)
        self._row = 0 if used else self._row + len(skipped)
        is_first_epoch = self._seen < self.pairs
        self._seen += used + len(skipped)
        if is_first_epoch:
            self._window.extend([True] * len(skipped) + [False] * used)
        bad = sum(self._window)
        if len(self._window) == WINDOW and bad > MOST_SKIPPED * WINDOW and is_first_epoch:
            raise TooManySkipped(f"{bad} of the last {WINDOW:,} samples are broken ({self.summary()}); fix the data.")
        if self._row >= MOST_IN_A_ROW:
            raise TooManySkipped(f"{self._row} samples in a row are broken ({self.summary()}); fix the data.")

    def excess(self, looked_at: int, most: float = MOST_SKIPPED) -> str | None:
        """What to say of a run that is done and left out more than `most` of `looked_at` samples; None if fewer.

        Only a run of some ten thousand pairs can be stopped on the way: of fewer, a share says too little.
        """
        is_excess = sum(self.counts.values()) > most * looked_at
        return left_out_in_words(self.counts, looked_at) if is_excess else None

    def summary(self) -> str:
        """Counts by reason, most frequent first, as in `12 x truncated image, 3 x empty caption`."""
        return reasons_in_words(self.counts)


@contextmanager
def explain_out_of_memory(*, batch_size: int, micro_batch: int, is_saved: Callable[[], bool]) -> Iterator[None]:
    """An allocation that fails in here ends as one line: the batch, the micro-batch to try, and what is saved."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        if micro_batch < 2:
            hint = "one pair at a time is too much: take a smaller model or smaller images"
        else:
            hint = f"try --micro-batch {micro_batch // 2}"
        at_once = f", {micro_batch} at a time" if micro_batch < batch_size else ""
        saved = "The last checkpoint is whole, and the same command goes on from it."
        if not is_saved():
            saved = "Nothing was saved yet: the same command begins anew."
        raise SeesayError(f"out of memory at batch size {batch_size}{at_once}; {hint}. {saved}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, by its class, the system's number or torch's words for it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in MEMORY_WORDS)


@contextmanager
def stop_requests() -> Iterator[set[int]]:
    """Signals that request a stop; a second one of them ends the process at once."""
    requests: set[int] = set()

    def note(number: int, _: object) -> None:
        requests.add(number)
        signal.signal(number, signal.SIG_DFL)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread: whoever owns it handles signals
        before = {}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
    say(
        f"error: no step, check or checkpoint came to its end for {minutes:g} minutes (stuck_minutes); above is where "
        "every thread stands. What was saved is whole, and the same command goes on from it."
    )
    os._exit(1)

"""Samples that could not be used: counted by reason, listed once each, and too many of them stop the run."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from seesay.base.errors import TooManySkipped
from seesay.base.journal import LineFile, read_events
from seesay.base.records import Skipped

SKIPPED_NAME = "skipped.jsonl"
WINDOW = 10_000
MOST = 0.05
MOST_IN_A_ROW = 100


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
                self._listed.add((entry["key"], entry["reason"], entry["place"]))
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
            if (sample.key, sample.reason, sample.place) not in self._listed:
                self._listed.add((sample.key, sample.reason, sample.place))
                self.counts[sample.reason] += 1
                if self._file:
                    self._file.add(asdict(sample))

    def watch(self, used: int, skipped: tuple[Skipped, ...]) -> None:
        """Note a batch of `used` samples and those left out of it; raises `TooManySkipped`.

        The run stops at more than 5 % in a row of 10,000 first visits, or at 100 in a row.
        """
        self.note(skipped)
        self._row = 0 if used else self._row + len(skipped)
        is_first_visit = self._seen < self.pairs
        self._seen += used + len(skipped)
        if is_first_visit:
            self._window.extend([True] * len(skipped) + [False] * used)
        bad = sum(self._window)
        if len(self._window) == WINDOW and bad > MOST * WINDOW and is_first_visit:
            raise TooManySkipped(f"{bad} of the last {WINDOW:,} samples are broken ({self.summary()}); mend the data.")
        if self._row >= MOST_IN_A_ROW:
            raise TooManySkipped(f"{self._row} samples in a row are broken ({self.summary()}); mend the data.")

    def excess(self, looked_at: int, most: float = MOST) -> str | None:
        """What to say of a run that is done and left out more than `most` of `looked_at` samples; None if fewer.

        Only a run of some ten thousand pairs can be stopped on the way: of fewer, a share says too little.
        """
        bad = sum(self.counts.values())
        if bad <= most * looked_at:
            return None
        return f"{bad:,} of {looked_at:,} samples ({bad / looked_at:.1%}) were left out ({self.summary()})"

    def summary(self) -> str:
        """Counts by reason, most frequent first, as in `truncated image 12, no caption 3`."""
        return ", ".join(f"{reason} {count}" for reason, count in self.counts.most_common())

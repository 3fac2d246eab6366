"""What a process that is not the main one has in place of a journal and a progress line: nothing is written or said."""

from typing import Any

from seesay.base.journal import Journal, ProgressLine


class QuietJournal(Journal):
    """Knows the run's folder and does not touch it."""

    def __enter__(self) -> "QuietJournal":
        return self

    def event(self, **values: Any) -> None:
        pass

    def cut_after(self, step: int) -> None:
        pass


class QuietLine(ProgressLine):
    def show(self, share: float, text: str = "") -> None:
        pass

    def say(self, text: str) -> None:
        pass

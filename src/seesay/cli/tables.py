"""Results as text: tables for people, and the words that several doors say alike."""

import io
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from seesay.base.errors import TooManySkipped, UsageError

ALLOWED_SKIPPED = 0.05


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Rows of text under a head line, the first `left` columns flush left.

    As wide as the terminal, folding long cells; as wide as it needs to be where no terminal reads it.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for place, column in enumerate(columns):
        grid.add_column(column, justify="left" if place < left else "right", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    buffer = io.StringIO()
    width = shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else 10_000
    Console(file=buffer, width=width).print(grid)
    return "".join(line.rstrip() + "\n" for line in buffer.getvalue().splitlines())


def printable(text: str) -> str:
    """`text` with control characters and broken bytes spelt out, so that a file name cannot steer a terminal."""
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in ("Cc", "Cs") else character
        for character in text
    )


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def with_interval(share: float, interval: Sequence[float]) -> str:
    return f"{percent(share)} [{percent(interval[0])}, {percent(interval[1])}]"


def say(line: str) -> None:
    """A remark for the person at the terminal, beside the results."""
    print(printable(line), file=sys.stderr)


def refuse_too_many(skipped: int, total: int, what: str, *, allowed: float = ALLOWED_SKIPPED) -> None:
    """Raise `TooManySkipped` where more than that share was left out; to be called after the results are told."""
    if skipped > allowed * total:
        raise TooManySkipped(
            f"{skipped} of {total} {what} were skipped, more than {100 * allowed:.4g}%; "
            "the results hold for the rest: mend or remove the broken files and run it again."
        )


def refuse_folder(path: Path | None, option: str) -> None:
    """A result file that cannot become one is better refused before the work than after it."""
    if path is not None and path.is_dir():
        raise UsageError(f"{option} {path} is a folder; name the file to write in it.")

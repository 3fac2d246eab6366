"""What results that are values have in common: numbers and tables as text, rows for pandas and for a notebook."""

import io
import shutil
import sys
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from seesay.base.errors import UsageError
from seesay.base.printable import printable
from seesay.base.records import Score

# Columns of a terminal that no table fills: a guess.
WIDEST = 10_000


def percent(share: float) -> str:
    """A fraction as percent with one decimal, without the sign for it."""
    return f"{100 * share:.1f}"


def with_interval(share: float, interval: Sequence[float], *, sign: bool = False, digits: int = 1) -> str:
    """A fraction with its interval behind it, in percent; with `sign` each number has its + or - before it."""
    value, low, high = (f"{100 * number:{'+' if sign else ''}.{digits}f}" for number in (share, *interval))
    return f"{value} [{low}, {high}]"


def score_row(score: Score) -> dict[str, float | int]:
    """A score as columns of a table: value, low and high end of its 95 % interval, chance, n."""
    low, high = score.interval95
    return {"value": score.value, "low": low, "high": high, "chance": score.chance, "n": score.n}


def skipped_words(by_reason: Mapping[str, int], total: int) -> str:
    """What was left out of `total` images, as "skipped 3 of 40 images: 3 x not an image"; empty for nothing."""
    if not (skipped := sum(by_reason.values())):
        return ""
    return f"skipped {skipped:,} of {total:,} images: {reasons_in_words(by_reason)}"


def reasons_in_words(by_reason: Mapping[str, int]) -> str:
    """Counts by reason, most frequent first, as in "1,203 x truncated image, 3 x empty caption"."""
    ordered = sorted(by_reason.items(), key=lambda item: -item[1])
    return ", ".join(f"{count:,} x {reason}" for reason, count in ordered)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, width: int | None = None) -> str:
    """Rows of text under a head line, the first `left` columns flush left.

    Long cells are folded at `width` characters: without one those of the terminal, `WIDEST` where no terminal reads it.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(columns):
        grid.add_column(column, justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    if width is None:
        has_terminal = sys.stdout is not None and sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if has_terminal else WIDEST
    buffer = io.StringIO()
    Console(file=buffer, width=width).print(grid)
    return "".join(line.rstrip() + "\n" for line in buffer.getvalue().splitlines())


def to_pandas(rows: Sequence[Mapping[str, Any]]) -> Any:
    """The rows as a pandas DataFrame; `UsageError` with the line to type where pandas is not installed."""
    try:
        import pandas  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UsageError("a table needs pandas, which is not installed; add it with: pip install pandas.") from error
    return pandas.DataFrame([dict(row) for row in rows])


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain HTML table of cells as they are to be read; every cell is escaped."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"

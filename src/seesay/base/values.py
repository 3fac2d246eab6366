"""What results that are values have in common: their numbers as text, and their rows for pandas and for a notebook."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from seesay.base.errors import UsageError
from seesay.base.records import Score


def percent(share: float) -> str:
    """A fraction as percent with one decimal, without the sign for it."""
    return f"{100 * share:.1f}"


def with_interval(share: float, interval: Sequence[float], *, sign: bool = False) -> str:
    """A fraction with its interval behind it, in percent; with `sign` each number has its + or - before it."""
    form = "{:+.1f} [{:+.1f}, {:+.1f}]" if sign else "{:.1f} [{:.1f}, {:.1f}]"
    return form.format(*(100 * value for value in (share, *interval)))


def score_row(score: Score) -> dict[str, float | int]:
    """A score as columns of a table: value, low and high end of its 95 % interval, chance, n."""
    low, high = score.interval95
    return {"value": score.value, "low": low, "high": high, "chance": score.chance, "n": score.n}


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

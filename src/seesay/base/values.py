"""What results that are values have in common: rows as a pandas table, and as HTML for a notebook. Both on request."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from seesay.base.errors import UsageError


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

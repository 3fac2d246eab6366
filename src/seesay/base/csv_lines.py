"""Lines of CSV and TSV that are only text to the spreadsheet that opens them."""

import re
from collections.abc import Iterable

# What a CSV file begins with: without it Excel takes UTF-8 for the code page of its country. pandas, polars, Arrow and
# DuckDB pass over it; Python's csv does with encoding="utf-8-sig". Programs read pipes and TSV, which have none.
BYTE_ORDER_MARK = "\ufeff".encode()
# What begins a formula in Excel, LibreOffice or Google Sheets, also full-width, and what may stand before it (OWASP,
# "CSV Injection"). The "'" is ours: without it a text could not be told from one that was made harmless.
_FORMULA = re.compile("['\\s\ufeff]*[=+\\-@＝＋－＠\t\r\n]")
# A cell with one of these is in quotes: one is ours, and a spreadsheet may be set to separate at the others.
_QUOTED = frozenset(',;\t|"\r\n')


def csv_line(cells: Iterable[str | float], *, separator: str = ",") -> str:
    """One line of CSV with its end; of TSV where `separator` is a tab.

    A text that a spreadsheet could run as a formula gets a "'" in front, also one that begins with "'" already: who
    reads the file takes the first "'" off a cell where only more of them or white space stand before a "=", "+", "-",
    "@", tab or line end, and has the text, as `text_of_cell` does. Numbers have six digits and stay numbers, negative
    ones too.
    """
    return separator.join(map(_cell, cells)) + "\n"


def text_of_cell(cell: str) -> str:
    """The text that `csv_line` wrote as `cell`, which has come out of its quotes."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def _cell(value: str | float) -> str:
    if not isinstance(value, str):
        return f"{value:.6g}"
    text = f"'{value}" if _FORMULA.match(value) else value
    return '"' + text.replace('"', '""') + '"' if _QUOTED.intersection(text) else text

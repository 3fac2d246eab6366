"""Lines of CSV that are only text to the spreadsheet that opens them."""

import re
from collections.abc import Iterable

# What begins a formula in Excel, LibreOffice or Google Sheets, also full-width, and what may stand before it (OWASP,
# "CSV Injection"). The "'" is ours: without it a text could not be told from one that was made harmless.
_FORMULA = re.compile("['\\s\ufeff]*[=+\\-@＝＋－＠\t\r\n]")
# A cell with one of these is in quotes: "," is ours, and a spreadsheet may be set to separate at the others.
_QUOTED = frozenset(',;\t|"\r\n')


def csv_line(cells: Iterable[str | float]) -> str:
    """One line of CSV with its end.

    A text that a spreadsheet could run as a formula gets a "'" in front, also one that begins with "'" already: who
    reads the file takes the first "'" off a cell where only more of them or white space stand before a "=", "+", "-",
    "@", tab or line end, and has the text. Numbers have six digits and stay numbers, negative ones too.
    """
    return ",".join(map(_cell, cells)) + "\n"


def _cell(value: str | float) -> str:
    if not isinstance(value, str):
        return f"{value:.6g}"
    text = f"'{value}" if _FORMULA.match(value) else value
    return '"' + text.replace('"', '""') + '"' if _QUOTED.intersection(text) else text

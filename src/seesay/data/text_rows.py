"""The rows of a text table as its writer meant them: CSV, TSV, and what is separated by ";" or "|".

A field in quotes may hold separators, line ends, and quotes that are written twice (RFC 4180, section 2). A quote that
does not enclose its whole field is a character, as in `12" vinyl record`. A quote that is not closed would swallow the
rows behind it: in a TSV, whose writers seldom quote, it is a character too; elsewhere its line is a problem, and
reading goes on at the next line.
"""

from collections import deque
from collections.abc import Iterator
from typing import TextIO

from seesay.base.records import Skipped
from seesay.data.sources import FOREIGN_SUFFIXES, IMAGE_SUFFIXES, MAX_CAPTION_BYTES, split_suffix

DELIMITERS = ",\t;|"
# A guess: no caption has more lines.
MOST_LINES = 100


class Lines:
    """The lines of a text file by their number; one that is too long for memory's sake is dropped and counted."""

    def __init__(self, file: TextIO, problems: list[Skipped]):
        self._file = file
        self._problems = problems
        self._number = 0
        self._returned: deque[tuple[int, str]] = deque()

    def __iter__(self) -> Iterator[tuple[int, str]]:
        while (line := self.following()) is not None:
            yield line

    def following(self) -> tuple[int, str] | None:
        """The next line with its end and its number from 1, None at the end of the file."""
        if self._returned:
            return self._returned.popleft()
        while line := self._file.readline(MAX_CAPTION_BYTES):
            self._number += 1
            if len(line) < MAX_CAPTION_BYTES or line.endswith("\n"):
                return self._number, line
            self._problems.append(Skipped(key=f"line {self._number}", reason="line too long"))
            while len(line) == MAX_CAPTION_BYTES and not line.endswith("\n"):
                line = self._file.readline(MAX_CAPTION_BYTES)
        return None

    def restore(self, lines: list[tuple[int, str]]) -> None:
        """Lines that `following` gave are given again."""
        self._returned.extendleft(reversed(lines))


def text_rows(lines: Lines, delimiter: str) -> Iterator[tuple[int, list[str] | None]]:
    """The number of the first line and the fields of every row that is not empty, quotes taken off.

    None in place of the fields where a quote is not closed.
    """
    for number, line in lines:
        text = line.rstrip("\r\n")
        if not text:
            continue
        if '"' not in text:
            yield number, text.split(delimiter)
            continue
        record = _Record(text, delimiter, lines)
        fields = record.fields()
        if fields is None:
            lines.restore(record.taken)
            if delimiter == "\t":
                fields = _Record(text, delimiter, None).fields()
        yield number, fields


class _Record:
    """One row while it is read; without `lines` a quote that is left open is a character."""

    def __init__(self, text: str, delimiter: str, lines: Lines | None):
        self.taken: list[tuple[int, str]] = []
        self._text = text
        self._delimiter = delimiter
        self._lines = lines

    def fields(self) -> list[str] | None:
        """The fields; None where a quote is left open."""
        found, position = [], 0
        while True:
            first = position
            while self._text.startswith(" ", first):
                first += 1
            field, end = None, -1
            if self._text.startswith('"', first):
                closing = self._closing_quote(first + 1)
                if closing is None and self._lines is not None:
                    return None
                if closing is not None:
                    field, end = self._text[first + 1 : closing].replace('""', '"'), self._behind(closing + 1)
                    if end is None and self.taken:
                        return None
            if field is None or end is None:
                end = self._text.find(self._delimiter, position)
                end = len(self._text) if end < 0 else end
                field = self._text[position:end]
            found.append(field)
            if end >= len(self._text):
                return found
            position = end + 1

    def _closing_quote(self, position: int) -> int | None:
        """Where the quote closes that was opened before `position`; takes more lines where it has to."""
        while (closing := _closing(self._text, position)) is None:
            position = len(self._text)
            if not self._take_line():
                return None
        return closing

    def _behind(self, position: int) -> int | None:
        """Where the field ends that was closed before `position`; None where the quote did not close the field."""
        while self._text.startswith(" ", position):
            position += 1
        return position if position == len(self._text) or self._text[position] == self._delimiter else None

    def _take_line(self) -> bool:
        """Go on with the next line, unless there is none, there are too many, or a row would be swallowed."""
        if self._lines is None or len(self.taken) == MOST_LINES or (line := self._lines.following()) is None:
            return False
        text = line[1].rstrip("\r\n")
        self.taken.append(line)
        inside = text[: _closing(text, 0)].split(self._delimiter)
        if len(inside) > 1 and any(map(ends_like_image, inside)):
            return False
        self._text += f"\n{text}"
        return len(self._text) <= MAX_CAPTION_BYTES


def _closing(text: str, position: int) -> int | None:
    """Where the first quote stands from `position` on that is not written twice."""
    while (position := text.find('"', position)) >= 0:
        if not text.startswith('""', position):
            return position
        position += 2
    return None


def ends_like_image(path: str) -> bool:
    """Whether a path has the suffix of an image, whether or not that is decoded."""
    suffix = split_suffix(path.strip(' "'))[1]
    return suffix in IMAGE_SUFFIXES or suffix in FOREIGN_SUFFIXES

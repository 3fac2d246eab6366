"""Files of publishers: MATLAB's, tables, and images that may be missing."""

import csv
import io
import subprocess
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seesay.base.bounded import read_text
from seesay.base.errors import RefusedInput, SeesayError, UsageError, nearest
from seesay.base.records import Skipped
from seesay.data.sources import LooseFile

# Guesses: the bytes of a .mat and of what it unpacks to, several times those of SVHN's largest; and the bytes of a
# table, several times those of IM2GPS's references.
MAT_BYTES, UNPACKED_BYTES = 2 << 30, 4 << 30
TABLE_BYTES = 1 << 30
# MAT-files of version 5: a header, then elements of a kind and a count of bytes each; 15 is a packed one.
_HEADER, _PACKED = 128, 15
# What scipy was seen to raise for damaged files; of 33 in 2,500 with some bytes changed it dies instead.
_OF_DAMAGE = (
    *(ValueError, TypeError, NotImplementedError, OSError, LookupError),
    *(NameError, ArithmeticError, MemoryError, RecursionError),
)
# SIGKILL, by which a system ends what takes its last memory.
_KILLED = -9
_TRIAL = "import sys; from scipy.io import loadmat; loadmat(sys.argv[1], variable_names=[sys.argv[2]])"


def read_mat(path: Path, variable: str) -> Any:
    """A variable of a MATLAB file; `UsageError` where it is not there, `RefusedInput` for a file that is none."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    if not path.is_file():
        raise UsageError(f"{str(path.parent)!r} has no {path.name}; name the folder that it was unpacked to.")
    refuse_unpacked(path)
    refuse_deadly(path, variable)
    try:
        with path.open("rb") as file:
            found = loadmat(file, variable_names=[variable], squeeze_me=False)
    except (MatReadError, zlib.error, *_OF_DAMAGE) as error:
        raise RefusedInput(f"{path} is no MATLAB file of version 5 ({error}); fetch it again.") from error
    if variable not in found:
        raise RefusedInput(f"{path} has no {variable!r}; fetch it again.")
    return found[variable]


def refuse_deadly(path: Path, variable: str) -> None:
    """`RefusedInput` for a MATLAB file of which scipy's reader dies, which is tried in a process of its own.

    `SeesayError` where something else ended that process.
    """
    command = [sys.executable, "-P", "-c", _TRIAL, str(path), variable]
    code = subprocess.run(command, capture_output=True, check=False).returncode  # noqa: S603
    if code == _KILLED:
        raise SeesayError(f"{path} was not read: what tried it was killed, as where memory runs out; free some of it.")
    # 1 is an error of Python's, which comes again here.
    if code not in (0, 1):
        raise RefusedInput(f"{path} is damaged (what reads it ends with code {code}); fetch it again.")


def refuse_unpacked(path: Path) -> None:
    """`RefusedInput` for a MATLAB file that is too large, or unpacks to too much; nothing is kept of it."""
    total, at = 0, _HEADER
    size = path.stat().st_size
    if size > MAT_BYTES:
        raise RefusedInput(f"{path} has more than {MAT_BYTES:,} bytes, the most that is read of a MATLAB file.")
    with path.open("rb") as file:
        while at + 8 <= size:
            file.seek(at)
            kind, count = np.frombuffer(file.read(8), "<u4").tolist()
            unpacker, left = zlib.decompressobj(), count if kind == _PACKED else 0
            while left > 0 and (block := file.read(min(left, 1 << 16))):
                left -= len(block)
                while block:
                    try:
                        total += len(unpacker.decompress(block, 1 << 20))
                    except zlib.error as error:
                        raise RefusedInput(f"{path} is damaged ({error}); fetch it again.") from error
                    block = unpacker.unconsumed_tail
                    if total > UNPACKED_BYTES:
                        raise RefusedInput(f"{path} unpacks to more than {UNPACKED_BYTES:,} bytes, the most read.")
            at += 8 + count


def read_table(path: Path, columns: Mapping[str, Sequence[str]]) -> list[tuple[int, dict[str, str]]]:
    """The line and the values of each row of a CSV by the names given here, each with what its column may be called.

    Capitals do not count, and lines without anything are left out. `UsageError` where a column is not there, or the
    file is no text, `RefusedInput` for a row that ends before its last column.
    """
    try:
        rows = csv.reader(io.StringIO(read_text(path, limit=TABLE_BYTES, encoding="utf-8-sig")))
        head = [name.strip().lower() for name in next(rows, [])]
        at = {name: next((head.index(word) for word in words if word in head), -1) for name, words in columns.items()}
        if missing := [name for name, column in at.items() if column < 0]:
            raise UsageError(
                f"{path} has no column {columns[missing[0]][0]!r}; it has {', '.join(head) or 'none'}."
                f"{nearest(columns[missing[0]][0], head)}"
            )
        found = []
        for row in filter(None, rows):
            if len(row) <= max(at.values()):
                raise RefusedInput(
                    f"line {rows.line_num} of {path} has {len(row)} of {len(head)} columns; correct it, or take it out."
                )
            found.append((rows.line_num, {name: row[column].strip() for name, column in at.items()}))
        return found
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read ({error}); give a CSV in UTF-8.") from error


def file_at(path: Path) -> LooseFile | Skipped:
    """The file, or that it is not there."""
    key = path.name
    try:
        size = path.stat().st_size
    except OSError:
        return Skipped(key=key, reason="missing file", location=str(path))
    return LooseFile(str(path.absolute()), size) if size else Skipped(key=key, reason="empty file", location=str(path))

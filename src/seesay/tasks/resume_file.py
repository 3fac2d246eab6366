"""The answers so far of a long run, on disk: its inputs, then a line per photo, so that a killed command can go on.

    labels.csv.part    beside labels.csv while that is being made; removed when it is done

Line 0 holds the inputs, every other line the result for one photo, in the order of the photos, as JSON. Lines are added
a block at a time, after the block is done, and synced to the disk about once a second and at the end. A run that is
resumed uses the whole blocks and works on the rest again: photos are encoded in the same blocks as before, and the
results are equal to the last bit.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, cast

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.base.locks import take_lock
from seesay.base.publish import storage_error

# The version of this file's format; another one is not resumed.
FORMAT = 1
BEGINNING = b'{"format": '
# A guess: a power cut costs a second of work, and syncing after every block would be felt.
SYNC_SECONDS = 1.0
# A guess at what fits a message of one line.
SHOWN_DIFFERENCES = 3


class ResumeFile(AbstractContextManager["ResumeFile"]):
    """The part file of `out`, held by one process at a time; without `out` a temporary one that nobody can resume.

    `inputs` are plain values by name: all that the results depend on. Where there is a part file of other inputs,
    entering raises `UsageError` with what differs, unless `force` is set, which begins anew. `done` is the number
    of photos whose lines are there, a multiple of `block` or `count`, all of them.
    """

    def __init__(self, out: Path | None, inputs: dict[str, Any], *, count: int, block: int, force: bool = False):
        self.path = None if out is None else resume_file_of(out)
        self.done = 0
        self._inputs = inputs
        self._count = count
        self._block = block
        self._force = force
        self._synced = time.monotonic()
        self._file: BinaryIO

    def __enter__(self) -> "ResumeFile":
        if self.path is None:
            self._file = cast(BinaryIO, tempfile.TemporaryFile(buffering=0))
            self._begin()
            return self
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise storage_error(error, self.path) or UsageError(
                f"{self.path} cannot be written ({error.strerror}); choose another folder."
            ) from error
        try:
            if not take_lock(self._file):
                raise StorageError(f"{self.path} is in use by another process; wait for it or stop it.")
            self._go_on_or_begin()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not self.done:
            self.remove()
        self._file.close()

    def append(self, rows: Sequence[Any]) -> None:
        """One row per photo, in their order."""
        self._write("".join(json.dumps(row) + "\n" for row in rows).encode("ascii"))
        self.done += len(rows)
        if self.path is not None and (self.done == self._count or time.monotonic() - self._synced > SYNC_SECONDS):
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def rows(self) -> Iterator[Any]:
        """The row of every photo so far, read from the disk one by one."""
        with open(os.dup(self._file.fileno()), "rb") as file:
            file.seek(0)
            file.readline()
            for line in file:
                yield json.loads(line)

    def remove(self) -> None:
        """Delete the file, once the results are elsewhere or there are none."""
        if self.path is None:
            return
        try:
            self.path.unlink(missing_ok=True)
        except PermissionError:  # Windows removes no open file
            self._file.close()
            self.path.unlink(missing_ok=True)

    def _go_on_or_begin(self) -> None:
        header, ends = self._whole_lines()
        if header is None or self._force:
            self._begin()
        elif changes := _differences(header, self._header()):
            more = f" (and {len(changes) - SHOWN_DIFFERENCES} more)" if len(changes) > SHOWN_DIFFERENCES else ""
            raise UsageError(
                f"{self.path} is half of another command: {'; '.join(changes[:SHOWN_DIFFERENCES])}{more}; "
                "run that one to its end, or begin anew with --force."
            )
        else:
            rows = min(len(ends) - 1, self._count)
            self.done = rows if rows == self._count else rows - rows % self._block
            self._file.truncate(ends[self.done])

    def _whole_lines(self) -> tuple[dict[str, Any] | None, list[int]]:
        """The inputs in the file's first line, None if it has none, and where each whole line ends."""
        header: dict[str, Any] | None = None
        ends: list[int] = []
        position = 0
        with open(os.dup(self._file.fileno()), "rb") as file:
            file.seek(0)
            # A power cut during the first write may leave a piece of it, or zeros.
            if not BEGINNING.startswith(file.read(len(BEGINNING)).rstrip(b"\0")) and not self._force:
                raise RefusedInput(f"{self.path} is no part file of seesay; move it, or overwrite it with --force.")
            file.seek(0)
            for line in file:
                position += len(line)
                try:
                    # After a power cut a file may end in a torn line, or in zeros.
                    value = json.loads(line) if line.endswith(b"\n") else None
                except (ValueError, RecursionError):
                    value = None
                if not isinstance(value, list if ends else dict):
                    break
                if isinstance(value, dict):
                    header = value
                ends.append(position)
        return header, ends

    def _begin(self) -> None:
        self._file.truncate(0)
        self._write((json.dumps(self._header()) + "\n").encode("ascii"))

    def _header(self) -> dict[str, Any]:
        # Through JSON, so that it is equal to itself once it was written and read.
        return json.loads(json.dumps({"format": FORMAT, **self._inputs}))

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise storage_error(error, self.path or Path(tempfile.gettempdir())) or error from error


def resume_file_of(out: Path) -> Path:
    """Beside the file itself and not beside a link to it, as the file is replaced in its own folder."""
    real = Path(os.path.realpath(out))
    return real.with_name(f"{real.name}.part")


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    names = dict.fromkeys([*before, *now])
    return [
        f"{name}: {_short(before.get(name))} -> {_short(now.get(name))}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _short(value: Any, *, longest: int = 60) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."

"""An index brought up to its folder: what is new or changed is encoded, what moved is renamed, what is gone is let go.

Every step leaves an index that is whole. B = photos of a batch, D = width of their vectors.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import torch

from seesay.base.errors import Interrupted
from seesay.base.journal import progress
from seesay.base.printable import printable
from seesay.base.records import Skipped
from seesay.data.sources import count_reasons
from seesay.index.difference import Difference, Folder, KnownPhoto, PhotoFile, difference, known_photos, survey
from seesay.index.photo_table import PhotoTable, schema
from seesay.index.reading import PhotosRead, read_photos, together
from seesay.model.encode import row_width

if TYPE_CHECKING:
    from seesay.model.bundle import Model

# Its functions are made at run time, where no type checker sees them.
_COMPUTE: Any = pyarrow.compute
# Rows and seconds after which what is encoded is written: guesses at what is little to lose and much to write at once.
ROWS_AT_ONCE, SECONDS_AT_MOST = 2048, 20.0
# What may be read the next time, with other libraries beside seesay.
UNSUPPORTED = "unsupported format"
# What is no fault of a photo's bytes, and tried each time: a disk, the rights to a file, the load of the machine.
PASSING = ("unreadable file", "missing file", "decoder hangs")


@dataclass(frozen=True, kw_only=True)
class Refreshed:
    """What was done to an index: numbers of photos, and those that are set aside with their reasons.

    `missing` are photos that stay in the index although their file is not there: so many at once are rather a disk
    that is not mounted. `others` are files that are no photos, by suffix. `seconds` are those of encoding.
    """

    photos: int
    added: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    missing: int = 0
    skipped: tuple[Skipped, ...] = ()
    others: Mapping[str, int] = field(default_factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        names = ("added", "changed", "moved", "removed")
        done = ", ".join(f"{getattr(self, name):,} {name}" for name in names if getattr(self, name)) or "nothing new"
        skipped = f"; {len(self.skipped):,} not read ({count_reasons(self.skipped)})" if self.skipped else ""
        missing = f"; {self.missing:,} of them not there now" if self.missing else ""
        others = f"; {sum(self.others.values()):,} other files left out" if self.others else ""
        return printable(f"{self.photos:,} photos, {done}{skipped}{missing}{others}")


@dataclass
class Refresh:
    """One round over a folder, by the one writer of the table."""

    root: Path
    model: "Model"
    folder: Folder
    known: dict[bytes, KnownPhoto]
    found: Difference
    next_id: int
    added: int = 0
    changed: int = 0

    @classmethod
    def of(cls, root: Path, model: "Model", rows: pa.Table, *, again: Sequence[str] = (), is_pruned: bool) -> "Refresh":
        """Compare the folder with the rows of the table; files with one of the reasons `again` are tried again."""
        folder, known = survey(root), known_photos(rows)
        aside = _set_aside(rows)
        reasons = zip(aside["path"].to_pylist(), aside["reason"].to_pylist(), strict=True)
        retried = [path for path, reason in reasons if reason in again]
        found = difference(root, known, folder, again=retried, is_pruned=is_pruned)
        next_id = 1 + max((row.id for row in known.values()), default=0)
        return cls(root, model, folder, known, found, next_id)

    @property
    def has_work(self) -> bool:
        """Whether the table is to be written."""
        return bool(self.found.fresh or self.found.renamed or self.found.gone)

    def run(self, table: Callable[[], PhotoTable]) -> float:
        """Do it; the seconds of encoding. `Interrupted` at Ctrl-C, when what is done is in the table.

        `table` opens it, once: the first photos are decoded meanwhile.
        """
        if self.found.renamed:
            self._rename(table())
        began = time.perf_counter()
        self._encode(table)
        seconds = time.perf_counter() - began
        table().remove(self.found.gone)
        table().compact()
        return seconds

    def _rename(self, table: PhotoTable) -> None:
        """Rows whose photo has another path or time keep all else."""
        for first in range(0, len(self.found.renamed), ROWS_AT_ONCE):
            path_of = {number: path for path, number in self.found.renamed[first : first + ROWS_AT_ONCE]}
            rows = table.rows(list(path_of))
            paths = [path_of[number] for number in rows["id"].to_pylist()]
            table.put(_with_files(rows, paths, [self.folder.photos[path] for path in paths]))

    def _encode(self, table: Callable[[], PhotoTable]) -> None:
        fresh, done = self.found.fresh, 0
        waiting: list[pa.Table] = []
        last = time.monotonic()
        places = [os.path.join(os.fsencode(self.root), path) for path in fresh]
        try:
            with progress(len(fresh), "photos") as advance:
                reads = read_photos(places, self.model.preprocess, meanwhile=table) if fresh else ()
                for read in together(reads, self.model.batch_size):
                    waiting.append(self._rows(read))
                    if sum(map(len, waiting)) >= ROWS_AT_ONCE or time.monotonic() - last >= SECONDS_AT_MOST:
                        done += self._write(table, waiting)
                        last = time.monotonic()
                    advance(len(read.records))
                done += self._write(table, waiting)
        except KeyboardInterrupt as error:
            done += self._write(table, waiting)
            raise Interrupted(
                f"{done:,} of {len(fresh):,} photos are in the index; the same command goes on."
            ) from error

    def _write(self, table: Callable[[], PhotoTable], waiting: list[pa.Table]) -> int:
        """Write and forget what is waiting; how many rows that were."""
        if not waiting:
            return 0
        rows = pa.concat_tables(waiting)
        waiting.clear()
        known = {row.id for row in self.known.values()}
        is_known = any(number in known for number in rows["id"].to_pylist())
        (table().put if is_known else table().add)(rows)
        return len(rows)

    def _rows(self, read: PhotosRead) -> pa.Table:
        """Rows of the table for photos that were read."""
        width = row_width(self.model)
        indices = read.records["index"].to_pylist()
        paths = [self.found.fresh[index] for index in indices]
        reasons = read.records["reason"].to_pylist()
        image_KD = np.empty((0, width), np.float32)
        if len(read.pixels_K3SS):
            image_KD = self.model.encode_pixels(torch.from_numpy(read.pixels_K3SS)).numpy()
        vector_BD = np.zeros((len(paths), width), np.float32)
        is_photo = np.array([not reason for reason in reasons])
        self.changed += sum(path in self.known and not reason for path, reason in zip(paths, reasons, strict=True))
        self.added += sum(path not in self.known and not reason for path, reason in zip(paths, reasons, strict=True))
        vector_BD[is_photo] = image_KD
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(vector_BD.reshape(-1)), width, mask=pa.array(~is_photo))
        files = [self.folder.photos[path] for path in paths]
        columns = {name: read.records[name] for name in read.records.schema.names if name != "index"}
        columns |= {"id": pa.array(self._ids(paths), pa.int64()), "vector": vectors}
        return _with_files(pa.table(columns), paths, files).select(schema(width).names).cast(schema(width))

    def _ids(self, paths: Sequence[bytes]) -> list[int]:
        ids = []
        for path in paths:
            if path in self.known:
                ids.append(self.known[path].id)
            else:
                ids.append(self.next_id)
                self.next_id += 1
        return ids


def _with_files(rows: pa.Table, paths: Sequence[bytes], files: Sequence[PhotoFile]) -> pa.Table:
    """The rows with these paths, sizes and times."""
    columns = {
        "path": pa.array(paths, pa.binary()),
        "size": pa.array([file.size for file in files], pa.int64()),
        "modified_ns": pa.array([file.modified_ns for file in files], pa.int64()),
    }
    for name, column in columns.items():
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, name, column) if at >= 0 else rows.append_column(name, column)
    return rows


def skipped_of(rows: pa.Table, problems: Sequence[Skipped]) -> tuple[Skipped, ...]:
    """The files that an index has set aside, and what lay in its folder and was not opened."""
    columns = (_set_aside(rows)[name].to_pylist() for name in ("path", "reason", "detail"))
    aside = (
        Skipped(key=os.fsdecode(path), reason=reason, detail=detail or "")
        for path, reason, detail in zip(*columns, strict=True)
    )
    return (*aside, *problems)


def _set_aside(rows: pa.Table) -> pa.Table:
    """The rows of files that are no photos, by the index's own words."""
    return rows.filter(_COMPUTE.not_equal(rows["reason"], ""))

"""What a search reads: the rows of an index and their vectors, as files that are mapped into memory.

It is made of the table and says of which version, so that it can be made again, and a query needs no database.
Rows are checked when it is made, and files when they are opened; of vectors that are compressed beside, which need not
all be read, those are checked that are ranked or are a query.
N = photos that could be read, D = width of their vectors; the first N rows are theirs, then come files set aside.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from seesay.base.errors import RefusedInput, StorageError
from seesay.base.publish import find_published, publish_folder
from seesay.index import compressed
from seesay.index.checks import checks_with_vectors, damaged, field_checks, file_sum, sealed, unsealed, vector_sums
from seesay.index.photo_table import CHECK, PhotoTable, acknowledged_version, schema

# Its functions are made at run time, where no type checker sees them.
_COMPUTE: Any = pyarrow.compute
FOLDER = "scan"
FORMAT = 3  # of these files; it rises with every change to them
FACTS, VECTORS, SUMS = "scan.json", "vectors.npy", "sums.npy"
# A row's check, and that of its fields alone while its vector is not read yet.
FIELD_CHECK = "field_check"
COLUMNS = ("id", "path", "size", "modified_ns", "taken_s", "hash", "look", "colours", "reason", "detail")
# Rows whose products are worked out at once, a guess: their scores stay in the cache.
ROWS_AT_ONCE = 1 << 16
# How often a snapshot is opened again because a writer has replaced it meanwhile: a guess.
READINGS = 10


@dataclass(frozen=True)
class Scan:
    """One version of an index, to search in."""

    version: int
    rows: pa.Table
    vectors_ND: np.ndarray
    compressed: compressed.CompressedRows | None
    sums_N: np.ndarray | None = None
    location: Path = Path()

    @classmethod
    def read(cls, folder: Path) -> "Scan | None":
        """The snapshot in an index's folder, `RefusedInput` where it is damaged; None without one of this format."""
        for _ in range(READINGS):
            location = find_published(folder / FOLDER)
            if location is None:
                return None
            before = _identity(location)
            try:
                scan = cls._at(location)
            except (OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid) as error:
                if before is not None and _identity(location) == before:
                    raise damaged(location, error, location) from error
                continue
            # Files of one folder are of one snapshot; a writer may have put another one into its place meanwhile.
            if _identity(location) == before:
                return scan
        raise StorageError(f"{folder / FOLDER} is being replaced each time it is read; try again.")

    @classmethod
    def _at(cls, location: Path) -> "Scan | None":
        facts = unsealed((location / FACTS).read_bytes())
        if facts["format"] != FORMAT:
            return None
        for name, expected in facts["files"].items():
            if file_sum(location / name) != expected:
                raise ValueError(f"{name} has changed since it was written")
        rows = pa.ipc.open_file(pa.memory_map(str(location / "rows.arrow"))).read_all()
        header = _header(*facts["shape"])
        with (location / VECTORS).open("rb") as file:
            if file.read(len(header)) != header:
                raise ValueError(f"{VECTORS} has changed since it was written")
        vectors_ND = _mapped(location / VECTORS)
        small = sums_N = None
        if facts["is_compressed"]:
            small, sums_N = compressed.CompressedRows.read(location), np.load(location / SUMS)
        return cls(facts["version"], rows, vectors_ND, small, sums_N, location)

    @cached_property
    def numbers(self) -> dict[str, np.ndarray]:
        """The columns of numbers as arrays (N,), of the photos alone; a time that no camera wrote is the file's."""
        photos = self.rows.slice(0, len(self.vectors_ND))
        changed_s = _COMPUTE.divide(photos["modified_ns"], 1_000_000_000)
        taken_s = _COMPUTE.coalesce(photos["taken_s"], changed_s)
        return {
            "id": photos["id"].to_numpy(),
            "time_s": taken_s.to_numpy(),
            "look": photos["look"].to_numpy(),
        }

    def best(
        self, query_D: np.ndarray, *, top: int, is_allowed_N: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Positions (T,) of the photos nearest to a vector (D,) and their cosines (T,), best first.

        T is `top`, or as many as there are where `is_allowed_N` is true. Of equal ones the earlier comes first.
        """
        if self.compressed is not None:
            candidate_C = np.sort(self.compressed.candidates(query_D, top=top, is_allowed_N=is_allowed_N))
            return _ranked(candidate_C, self.vectors(candidate_C) @ query_D, top)
        scores_N = np.empty(len(self.vectors_ND), np.float32)
        for first in range(0, len(scores_N), ROWS_AT_ONCE):
            scores_N[first : first + ROWS_AT_ONCE] = self.vectors_ND[first : first + ROWS_AT_ONCE] @ query_D
        allowed = np.arange(len(scores_N)) if is_allowed_N is None else np.flatnonzero(is_allowed_N)
        return _ranked(allowed, scores_N[allowed], top)

    def vectors(self, at_C: np.ndarray) -> np.ndarray:
        """The vectors (C, D) at these positions; `RefusedInput` where they are not as they were written."""
        vectors_CD = self.vectors_ND[at_C]
        if self.sums_N is not None and not np.array_equal(vector_sums(vectors_CD), self.sums_N[at_C]):
            raise damaged(self.location, f"{VECTORS} has changed since it was written", self.location)
        return vectors_CD


def _ranked(position_C: np.ndarray, score_C: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    if len(score_C) > top:
        least = np.partition(score_C, len(score_C) - top)[len(score_C) - top]
        # All that are as good as the last one, so that which of them stay is decided by their order.
        among = score_C >= least
        position_C, score_C = position_C[among], score_C[among]
    order = np.lexsort((position_C, -score_C))[:top]
    return position_C[order], score_C[order]


def no_rows(width: int) -> pa.Table:
    """The rows of a snapshot of nothing."""
    return _columns(width).empty_table()


def _columns(width: int) -> pa.Schema:
    return pa.schema([schema(width).field(name) for name in COLUMNS])


def open_table(folder: Path, width: int) -> PhotoTable:
    """The table for its writer; a new one has its snapshot at once, so that an index is found empty, not unfinished."""
    is_new = not acknowledged_version(folder)
    table = PhotoTable(folder, width)
    if is_new:
        write_scan(folder, table, width=width)
    return table


def write_scan(folder: Path, table: PhotoTable, *, width: int) -> Scan:
    """Make the snapshot of the table as it is now, and open it."""
    publish_folder(folder / FOLDER, lambda location: _write(location, table, width))
    scan = Scan.read(folder)
    assert scan is not None
    return scan


def _write(location: Path, table: PhotoTable, width: int) -> None:
    chosen = _columns(width)
    stored = chosen.append(pa.field(CHECK, pa.uint32()))
    rows = pa.Table.from_batches([batch.cast(stored) for batch in table.batches(stored.names)], schema=stored)
    rows = rows.append_column(FIELD_CHECK, pa.array(field_checks(rows)))
    is_photo = _COMPUTE.equal(rows["reason"], "")
    photos, others = rows.filter(is_photo), rows.filter(_COMPUTE.invert(is_photo))
    table.check_rows(others[FIELD_CHECK].to_numpy(), others[CHECK].to_numpy())
    rows = pa.concat_tables([photos, others]).select(list(COLUMNS)).combine_chunks()
    with pa.ipc.new_file(str(location / "rows.arrow"), chosen) as file:
        file.write_table(rows)
    _write_vectors(location / VECTORS, table, photos, width=width)
    is_compressed = compressed.is_worth_it(len(photos), width)
    if is_compressed:
        vectors_ND = _mapped(location / VECTORS)
        compressed.write(location, vectors_ND)
        np.save(location / SUMS, vector_sums(vectors_ND))
    names = sorted(path.name for path in location.iterdir() if not (is_compressed and path.name == VECTORS))
    facts = {
        "format": FORMAT,
        "version": table.version,
        "shape": [len(photos), width],
        "is_compressed": is_compressed,
        "files": {name: file_sum(location / name) for name in names},
    }
    (location / FACTS).write_bytes(sealed(facts))


def _write_vectors(path: Path, table: PhotoTable, photos: pa.Table, *, width: int) -> None:
    """The vectors of these photos, in their order, as a .npy file; never all in memory. They are checked with them."""
    done, id_N = 0, photos["id"].to_numpy()
    fields_N, expected_N = photos[FIELD_CHECK].to_numpy(), photos[CHECK].to_numpy()
    with path.open("wb") as file:
        file.write(_header(len(id_N), width))
        for batch in table.batches(("id", "vector"), condition="reason = ''"):
            vectors_BD = _rows_of(batch["vector"], width)
            if not np.array_equal(batch["id"].to_numpy(), id_N[done : done + len(vectors_BD)]):
                raise RefusedInput("the table of the index gives its rows in another order each time; index again.")
            some = slice(done, done + len(vectors_BD))
            table.check_rows(checks_with_vectors(fields_N[some], vectors_BD), expected_N[some])
            file.write(np.ascontiguousarray(vectors_BD, dtype="<f4").data)
            done += len(vectors_BD)
    if done != len(id_N):
        raise RefusedInput(f"the table of the index holds {done:,} vectors for {len(id_N):,} photos; index again.")


def _header(count: int, width: int) -> bytes:
    """How a .npy file of so many vectors begins."""
    header, values = io.BytesIO(), {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
    np.lib.format.write_array_header_1_0(header, values)
    return header.getvalue()


def _rows_of(vectors: pa.Array, width: int) -> np.ndarray:
    return vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(vectors), width)


def _identity(location: Path) -> tuple[int, int] | None:
    """Which folder that is, whatever its name; None for one that is gone."""
    try:
        status = location.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _mapped(path: Path) -> np.ndarray:
    """The array of a .npy file; one without numbers cannot be mapped."""
    array = np.load(path, mmap_mode="r")
    return np.asarray(array) if array.size else np.empty(array.shape, array.dtype)


def positions_of(scan: Scan, ids: Sequence[int]) -> np.ndarray:
    """Where the photos with these ids are among the rows, (K,), -1 for one that is not there."""
    id_N = scan.numbers["id"]
    order = np.argsort(id_N, kind="stable")
    at = np.searchsorted(id_N, ids, sorter=order)
    found = order[np.minimum(at, len(order) - 1)] if len(order) else np.zeros(len(ids), np.int64)
    return np.where(id_N[found] == ids, found, -1) if len(order) else np.full(len(ids), -1)

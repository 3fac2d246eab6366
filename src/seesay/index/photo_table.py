"""The rows of an index, in a table of LanceDB (`data.lance`).

Every change reaches the disk before it is acknowledged, in `acknowledged.json`; what a later writer finds beyond that
was told to nobody, may be torn, and is taken back.

A row is a photo, or a file that is none with the reason. `id` never changes, while path, size and time may.
"""

import json
import shutil
import warnings
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from seesay.base.errors import RefusedInput
from seesay.base.publish import publish_file
from seesay.base.sync import sync_file, sync_folder
from seesay.data.lance import ENDING, database_at, lance_errors

TABLE = "photos"
ACKNOWLEDGED = "acknowledged.json"
# Lance counts versions down from here in the names of their files.
LAST_VERSION = (1 << 64) - 1
# SHA-256, and 8 x 8 colours of 3 bytes as `data.duplicates` has them.
HASH_BYTES, COLOUR_BYTES = 32, 192
# Guesses: versions after which small files are put together, and ids in one condition.
VERSIONS = 64
IDS_AT_ONCE = 4096

# Why LanceDB is needed, where it is missing.
WHY = "search keeps its index in"


def schema(width: int) -> pa.Schema:
    """The columns of a table whose vectors have `width` numbers; `vector` is null where `reason` is not empty."""
    return pa.schema(
        [
            ("id", pa.int64()),
            ("path", pa.binary()),
            ("size", pa.int64()),
            ("modified_ns", pa.int64()),
            ("taken_s", pa.int64()),
            ("hash", pa.binary(HASH_BYTES)),
            ("look", pa.uint64()),
            ("colours", pa.binary(COLOUR_BYTES)),
            ("thumbnail", pa.binary()),
            ("reason", pa.string()),
            ("detail", pa.string()),
            ("vector", pa.list_(pa.float32(), width)),
        ]
    )


def acknowledged_version(folder: Path) -> int:
    """The last version that is known to be on the disk; 0 without one."""
    try:
        return int(json.loads((folder / ACKNOWLEDGED).read_text(encoding="ascii"))["version"])
    except FileNotFoundError:
        return 0
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedInput(f"{folder / ACKNOWLEDGED} is damaged ({error}); remove the index {folder}.") from error


class PhotoTable:
    """The table in an index's folder, open for its one writer, who holds the lock of the folder."""

    def __init__(self, folder: Path, width: int):
        self._folder = folder
        self._location = folder / f"{TABLE}{ENDING}"
        self._schema = schema(width)
        self.version = acknowledged_version(folder)
        self._take_back()
        with _errors(self._folder):
            database = database_at(folder, why=WHY)
            self._synced = set(self._files()) if self.version else set()
            if self.version:
                self._table = database.open_table(TABLE)
            else:
                self._table = database.create_table(TABLE, schema=self._schema)
                self._acknowledge()
        if not self._table.schema.equals(self._schema):
            raise RefusedInput(f"{self._location} has other columns than this version of seesay writes; index again.")

    def add(self, rows: pa.Table) -> None:
        """Add rows whose ids are new; on the disk when this returns."""
        with _errors(self._folder):
            self._table.add(rows)
            self._acknowledge()

    def put(self, rows: pa.Table) -> None:
        """Put rows in the place of those with the same ids, and add the others, in one step."""
        with _errors(self._folder):
            merge = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            # Null vectors, of files that are no photos, are bad ones to it.
            merge.execute(rows, on_bad_vectors="null")
            self._acknowledge()

    def remove(self, ids: Sequence[int]) -> None:
        """Remove the rows with these ids."""
        with _errors(self._folder):
            for first in range(0, len(ids), IDS_AT_ONCE):
                self._table.delete(_with_ids(ids[first : first + IDS_AT_ONCE]))
                self._acknowledge()

    def batches(self, columns: Sequence[str], *, condition: str | None = None) -> Iterator[pa.RecordBatch]:
        """All rows, or those of a condition, some thousands at a time."""
        with _errors(self._folder):
            query = self._table.search(None).select(list(columns))
            if condition is not None:
                query = query.where(condition)
            yield from query.limit(max(1, self._table.count_rows())).to_batches()

    def rows(self, ids: Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
        """The rows with these ids, in any order."""
        names = columns or self._schema.names
        chosen = pa.schema([self._schema.field(name) for name in names])
        found = [
            batch.cast(chosen)
            for first in range(0, len(ids), IDS_AT_ONCE)
            for batch in self.batches(names, condition=_with_ids(ids[first : first + IDS_AT_ONCE]))
        ]
        return pa.Table.from_batches(found, schema=chosen)

    def compact(self, *, least: int = VERSIONS) -> None:
        """Put small files together and forget old versions, once there are `least` of them."""
        if len(list(self._location.glob("_versions/*.manifest"))) < least:
            return
        with _errors(self._folder), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it warns of other readers; there are none of this table
            # In two steps: the version before must be there until the new one is on the disk.
            self._table.optimize(cleanup_older_than=timedelta(days=36500))
            self._acknowledge()
            self._table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)
            self._acknowledge()
            self._synced = set(self._files())

    def _acknowledge(self) -> None:
        """Everything new to the disk, then the number of the version."""
        fresh = [path for path in self._files() if path not in self._synced]
        for path in fresh:
            sync_file(path)
        for parent in sorted({path.parent for path in fresh} | {self._location, self._folder}):
            sync_folder(parent)
        self._synced.update(fresh)
        version = int(self._table.version)
        if version != self.version:
            publish_file(self._folder / ACKNOWLEDGED, json.dumps({"version": version}).encode("ascii"), mode=0o600)
        self.version = version

    def _files(self) -> Iterable[Path]:
        return [path for path in self._location.rglob("*") if path.is_file() and not path.name.startswith(".")]

    def _take_back(self) -> None:
        """Forget versions after the acknowledged one: their writer was stopped before it had told anybody."""
        if not self.version:
            shutil.rmtree(self._location, ignore_errors=True)
            return
        versions = {path: LAST_VERSION - int(path.stem) for path in self._location.glob("_versions/*.manifest")}
        if self.version not in versions.values():
            raise RefusedInput(
                f"{self._location} has lost its version {self.version}; remove the index {self._folder}."
            )
        (self._location / "_versions" / "latest_version_hint.json").unlink(missing_ok=True)
        for path, version in sorted(versions.items(), key=lambda item: -item[1]):
            if version > self.version:
                path.unlink()


def thumbnails_of(folder: Path, ids: Sequence[int]) -> dict[int, bytes]:
    """The thumbnails of these rows, of the newest version that can be read; no lock is needed."""
    with _errors(folder):
        table = database_at(folder, why=WHY).open_table(TABLE)
        found = table.search(None).select(["id", "thumbnail"]).where(_with_ids(ids)).limit(len(ids)).to_arrow()
    pairs = zip(found["id"].to_pylist(), found["thumbnail"].to_pylist(), strict=True)
    return {number: thumbnail for number, thumbnail in pairs if thumbnail}


def _with_ids(ids: Sequence[int]) -> str:
    return f"id IN ({', '.join(map(str, map(int, ids)))})"


def _errors(folder: Path) -> Any:
    return lance_errors(folder / f"{TABLE}{ENDING}", hint=f"remove the index {folder}")

"""What a run leaves beside its stages: pairs.parquet in the order of keys, the counts of queries, and counts.json."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from seesay.base.publish import publish_chunks, publish_file
from seesay.base.version import __version__
from seesay.curation.balance import key_halves
from seesay.curation.queries import Query
from seesay.curation.settings import CurateSettings
from seesay.curation.stages import Counts, Parts

PAIRS_FILE, COUNTS_FILE, QUERIES_FILE = "pairs.parquet", "counts.json", "query-counts.tsv"
# Of a row, what is of use in a stage alone.
INTERNAL = ("left_out", "image_file", "image_offset", "image_size", "look", "colours", "pixels")
# Rows that are brought into the order of keys at once; each such block reads every part once. A guess.
ORDERED_ROWS = 1 << 18


def write_outcome(
    folder: Path, parts: Parts, queries: Sequence[Query], counts: Sequence[Counts], settings: CurateSettings
) -> dict[str, Any]:
    """Write the files, and return what counts.json says."""
    publish_chunks(folder / PAIRS_FILE, parquet_chunks(pairs_in_order(parts, queries)))
    facts = {
        "format": 1,
        "seesay": __version__,
        "stages": [each.to_json() for each in counts],
        "pairs": counts[-1].out,
        "pairs_sha256": _sha256(folder / PAIRS_FILE),
        "settings": settings.model_dump(mode="json"),
    }
    if queries:
        facts["queries"] = write_query_counts(folder / QUERIES_FILE, parts, queries)
    publish_file(folder / COUNTS_FILE, (json.dumps(facts, indent=1) + "\n").encode())
    return facts


def pairs_in_order(parts: Parts, queries: Sequence[Query]) -> Iterator[pa.Table]:
    """The rows of the set with keys in hexadecimal and queries by name, without what is of use in stages alone."""
    names = pa.array([query.text for query in queries], pa.string())
    for rows in in_key_order(parts):
        yield as_pairs(rows, names)


def as_pairs(rows: pa.Table, names: pa.Array) -> pa.Table:
    """Rows of a stage as the tables of a set have them."""
    keys = pa.array([key.hex() for key in rows["key"].to_pylist()], pa.string())
    rows = rows.set_column(0, "key", keys).drop_columns([name for name in INTERNAL if name in rows.column_names])
    if "sha256" in rows.column_names:
        digests = pa.array([None if each is None else each.hex() for each in rows["sha256"].to_pylist()], pa.string())
        rows = rows.set_column(rows.schema.get_field_index("sha256"), "sha256", digests)
    if "queries" in rows.column_names:
        lists = rows["queries"].combine_chunks()
        ends = np.concatenate([[0], np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False))])
        texts = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), names.take(lists.flatten()))
        rows = rows.set_column(rows.schema.get_field_index("queries"), "queries", texts)
    if "kept_for" in rows.column_names:
        index = rows.schema.get_field_index("kept_for")
        rows = rows.set_column(index, "kept_for", names.take(rows["kept_for"].combine_chunks()))
    return rows.combine_chunks()


def in_key_order(parts: Parts) -> Iterator[pa.Table]:
    """All rows in the order of their keys, `ORDERED_ROWS` or somewhat more at a time."""
    halves = [key_halves(each["key"])[0] for each in parts.tables(["key"])]
    high_N = np.sort(np.concatenate(halves)) if halves else np.empty(0, np.uint64)
    limits = [int(limit) for limit in np.unique(high_N[::ORDERED_ROWS])] + [1 << 64]
    for low, high in pairwise(limits):
        blocks = []
        for number, half_N in enumerate(halves):
            own_N = (half_N >= np.uint64(low)) & (half_N <= np.uint64(high - 1))
            if own_N.any():
                blocks.append(parts.table(number).filter(pa.array(own_N)))
        whole = pa.concat_tables(blocks).combine_chunks()
        yield whole.sort_by("key").combine_chunks()


def write_query_counts(path: Path, parts: Parts, queries: Sequence[Query]) -> dict[str, Any]:
    """For each query how many pairs of the set have it, and how many are kept for it; returns how many have any."""
    found_Q, kept_Q = (np.zeros(len(queries), np.int64) for _ in range(2))
    has_kept = "kept_for" in parts.schema.names if len(parts) else False
    for rows in parts.tables(["queries", "kept_for"] if has_kept else ["queries"]):
        found_Q += np.bincount(rows["queries"].combine_chunks().flatten(), minlength=len(queries))
        if has_kept:
            kept_Q += np.bincount(rows["kept_for"].combine_chunks(), minlength=len(queries))
    lines = (
        f"{query.text}\t{query.kind}\t{found}\t{kept}\n"
        for query, found, kept in zip(queries, found_Q.tolist(), kept_Q.tolist(), strict=True)
    )
    publish_file(path, ("query\tkind\tpairs\tkept_for\n" + "".join(lines)).encode())
    return {"all": len(queries), "with_pairs": int((found_Q > 0).sum()), "most_pairs": int(found_Q.max(initial=0))}


class _Sink:
    """A file that a Parquet writer writes to, and whose bytes are taken out as they come."""

    closed = False

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._count = 0

    def write(self, data: Any) -> int:
        self._chunks.append(bytes(data))
        self._count += len(self._chunks[-1])
        return len(self._chunks[-1])

    def tell(self) -> int:
        return self._count

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def take(self) -> bytes:
        data, self._chunks = b"".join(self._chunks), []
        return data


def parquet_chunks(tables: Iterator[pa.Table]) -> Iterator[bytes]:
    """Tables as one Parquet file, a piece for each."""
    sink, writer = _Sink(), None
    for each in tables:
        if writer is None:
            writer = parquet.ParquetWriter(sink, each.schema, compression="zstd")
        writer.write_table(each)
        yield sink.take()
    if writer is None:
        writer = parquet.ParquetWriter(sink, pa.schema([("key", pa.string()), ("caption", pa.string())]))
    writer.close()
    yield sink.take()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

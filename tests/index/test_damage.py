"""A flipped bit, a lost sector, a file that is short or gone: one line says what to do, and nothing is answered.

benchmarks/2026-11-29-damage does it a thousand times at random.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from seesay.base.errors import RefusedInput
from seesay.data.lance import lance_errors
from seesay.index import checks, compressed
from seesay.index.photo_index import open_index


@pytest.fixture
def damaged(index, tmp_path):
    """A copy of the index with one byte of the first file of that name changed, at a share of its length or where."""

    def copy(name, at=0.5, *, where=None):
        folder = tmp_path / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(index.folder, folder)
        for path in sorted(folder.glob(name)):
            data = bytearray(path.read_bytes())
            first = int(at * len(data)) if where is None else data.find(where)
            if first >= 0:
                data[first] ^= 0x10
                path.write_bytes(data)
                return folder
        raise AssertionError(f"no {name} holds that")

    return copy


def test_a_byte_of_any_file_that_a_search_reads_is_seen(index, damaged, monkeypatch):
    monkeypatch.setattr(compressed, "LEAST_BYTES", 1)
    index._written_scan()
    names = [path.name for path in sorted((index.folder / "scan").iterdir())]
    assert {"codes.npy", "rows.arrow", "scan.json", "sums.npy", "vectors.npy"} <= set(names)
    query = np.array([1, 0, 0], np.float32)
    for name in [*(f"scan/{name}" for name in names), "index.json", "acknowledged.json"]:
        for at in (0.0, 0.5, 0.99):
            folder = damaged(name, at)
            with pytest.raises(RefusedInput, match="again") as raised:
                open_index(folder, model=index.model).search_vector(query, top=4)
            assert str(folder) in str(raised.value) and "remove" in str(raised.value)


def test_an_uncompressed_snapshot_is_checked_as_a_whole(index, damaged):
    with pytest.raises(
        RefusedInput, match=r"vectors.npy has changed since it was written\); remove .*scan, and the next"
    ):
        open_index(damaged("scan/vectors.npy", 0.9), model=index.model)


def test_a_vector_that_is_a_query_is_seen_where_it_is_not_ranked(index, damaged, monkeypatch):
    monkeypatch.setattr(compressed, "LEAST_BYTES", 1)
    index._written_scan()
    opened = open_index(damaged("scan/vectors.npy", 0.99), model=index.model)
    last = int(opened._searchable().numbers["id"][-1])
    monkeypatch.setattr(compressed.CompressedRows, "candidates", lambda *_, **__: np.arange(3))
    with pytest.raises(RefusedInput, match=r"vectors.npy has changed since it was written"):
        opened.like(last)


def test_a_row_of_the_table_that_has_changed_never_gets_into_a_snapshot(index, damaged):
    blue = np.array([0, 0, 1], "<f4").tobytes()
    for where in (blue, b"red.png"):
        folder = damaged("photos.lance/data/*.lance", where=where)
        assert len(open_index(folder, model=index.model)) == 4, "the snapshot is whole and answers"
        shutil.rmtree(folder / "scan")
        with pytest.raises(RefusedInput, match="rows are not as they were written"):
            open_index(folder, model=index.model)


@pytest.mark.parametrize(("name", "base"), [("PanicException", BaseException), ("RustPanic", Exception)])
def test_a_panic_of_lancedb_is_a_file_that_cannot_be_read(name, base):
    """What it raises at a call and what it raises while rows come; neither class is one that can be imported."""
    refused = pytest.raises(RefusedInput, match=r"photos.lance cannot be read \(LanceDB: out of range\); remove it\.")
    with refused, lance_errors(Path("photos.lance"), hint="remove it"):
        raise type(name, (base,), {})("out of range")


def test_a_thumbnail_that_has_changed_is_not_shown(index, damaged):
    (number,) = [hit.id for hit in index.search("red", top=1)]
    thumbnail = index.thumbnails([number])[number]
    folder = damaged("photos.lance/data/*.lance", where=thumbnail)
    with pytest.raises(RefusedInput, match="a thumbnail is not as it was written"):
        open_index(folder, model=index.model).thumbnails([number])


def test_a_thumbnail_is_not_shown_as_that_of_another_photo(index, damaged):
    # Two of the numbers, one after the other, of which the first becomes another one.
    numbers = np.array([3, 4], "<i8").tobytes()
    opened = open_index(damaged("photos.lance/data/*.lance", where=numbers), model=index.model)
    with pytest.raises(RefusedInput, match="a thumbnail is not as it was written"):
        opened.thumbnails([3 ^ 0x10])


def test_what_says_which_rows_there_are_is_checked_before_it_is_read(index, damaged, photos, paint):
    version = json.loads((index.folder / "acknowledged.json").read_text())["version"]
    folder = damaged(f"photos.lance/_versions/{(1 << 64) - 1 - version}.manifest")
    paint(photos / "white.png", "white", side=16)
    opened = open_index(folder, model=index.model)
    for work in (opened.refresh, lambda: opened.thumbnails([1])):
        with pytest.raises(RefusedInput, match=r"manifest is damaged \(it has changed since it was written\); remove"):
            work()


def test_a_list_of_deleted_rows_that_is_gone_brings_none_back(index, photos):
    (photos / "red.png").unlink()
    index.refresh()
    lists = list((index.folder / "photos.lance" / "_deletions").iterdir())
    assert lists and len(index) == 3
    for path in lists:
        path.unlink()
    assert len(open_index(index.folder, model=index.model)) == 3
    shutil.rmtree(index.folder / "scan")
    with pytest.raises(RefusedInput, match="makes it again"):
        open_index(index.folder, model=index.model)


def test_a_sum_of_words_changes_with_every_bit_and_with_their_order(tmp_path):
    random = np.random.default_rng(0)
    vectors = random.standard_normal((3, 50), dtype=np.float32)
    before = checks.vector_sums(vectors)
    for _ in range(200):
        other = vectors.copy()
        other.view(np.uint32)[1, random.integers(50)] ^= np.uint32(1 << random.integers(32))
        assert checks.vector_sums(other)[1] != before[1]
    assert checks.vector_sums(np.ascontiguousarray(vectors[:, ::-1]))[0] != before[0]
    for size in (0, 5, 70_000):
        (tmp_path / "file").write_bytes(random.bytes(size))
        first = checks.file_sum(tmp_path / "file")
        (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes() + b"\0")
        assert first[0] == size and checks.file_sum(tmp_path / "file") != first


def test_the_checks_of_rows_are_those_of_zlib():
    from zlib import crc32

    from seesay.index.photo_table import schema

    rows = pa.table([pa.array([None], field.type) for field in schema(2)], schema=schema(2))
    assert checks.field_checks(rows).tolist() == [crc32(np.full(5, checks.MISSING).tobytes() + b"\0" * 5)]
    vector_12 = np.array([[0.5, -1.0]], np.float32)
    assert checks.checks_with_vectors(np.array([7], np.uint32), vector_12).tolist() == [crc32(vector_12.tobytes(), 7)]

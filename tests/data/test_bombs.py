"""Small files that hold gigabytes: refused before these are unpacked, or read without holding them at once."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from seesay.base.errors import RefusedInput
from seesay.data import parquet_columns, parquet_pages
from seesay.data.hub_sets import read_name
from seesay.data.parquet_pages import leaf_pages, open_parquet_file
from seesay.data.parquet_sets import open_parquet
from seesay.data.tables import open_table

# Opens argv[1] in the way that argv[2] names; its last line is [error or number of samples, peak memory in MB].
CHILD = """
import json, resource, sys
from pathlib import Path
from seesay.base.errors import SeesayError
from seesay.base.memory import peak_memory
from seesay.data.evalsets import open_evalset
from seesay.data.hub_sets import read_name
from seesay.data.parquet_sets import open_parquet
resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30))
try:
    path = Path(sys.argv[1])
    if sys.argv[2] == "hub":
        outcome = len(open_parquet([path], read_name("hf:a/b:test")))
    else:
        outcome = len(open_evalset(path))
except SeesayError as error:
    outcome = f"{type(error).__name__}: {error}"
print(json.dumps([outcome, peak_memory() >> 20]))
"""


def opened_in_child(path: Path, how: str = "pairs") -> tuple[str, int]:
    """What came of it, and the peak in MB; 80 of those are the interpreter and its libraries."""
    done = subprocess.run([sys.executable, "-c", CHILD, path, how], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    outcome, peak = json.loads(done.stdout.splitlines()[-1])
    return str(outcome), peak


def repeated(value: str | bytes, count: int) -> pa.DictionaryArray:
    """A column with one value, which takes no more memory than the value and the numbers of its rows."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([value]))


def write(path: Path, columns: dict, **options) -> Path:
    parquet.write_table(pa.table(columns), path, store_schema=False, **options)
    return path


@pytest.mark.journey
def test_sixty_thousand_rows_of_one_long_caption_are_refused(tmp_path):
    columns = {"image": repeated("x.jpg", 60_000), "caption": repeated("a " * 30_000, 60_000)}
    outcome, peak = opened_in_child(write(tmp_path / "t.parquet", columns, compression="zstd"))
    assert outcome.startswith("RefusedInput: ") and "400 times its size" in outcome
    assert peak < 900  # 4.4 GB before


@pytest.mark.journey
def test_of_a_group_of_large_images_of_zeros_each_is_held_once(tmp_path):
    columns = {"image": repeated(bytes(5_000_000), 400), "caption": repeated("a", 400)}
    outcome, peak = opened_in_child(write(tmp_path / "t.parquet", columns, compression="zstd"), "hub")
    assert outcome == "400" and peak < 900  # 3.2 GB before


@pytest.mark.journey
def test_sixty_thousand_lists_of_one_long_caption_are_refused(tmp_path):
    lists = pa.ListArray.from_arrays(pa.array(np.arange(60_001, dtype=np.int32)), repeated("a " * 30_000, 60_000))
    columns = {"image": repeated(b"x", 60_000), "caption": lists}
    outcome, peak = opened_in_child(write(tmp_path / "t.parquet", columns, compression="zstd"), "hub")
    assert outcome.startswith("RefusedInput: ") and "400 times its size" in outcome
    assert peak < 900  # 2.9 GB and a traceback before


def test_a_page_that_is_too_large_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_columns, "TEXT_LIMIT", 1 << 20)
    columns = {"image": ["x.jpg"] * 70, "caption": [f"{n}{'a' * 100_000}" for n in range(70)]}
    path = write(tmp_path / "t.parquet", columns, compression="zstd", use_dictionary=["image"], data_page_size=1 << 30)
    with pytest.raises(RefusedInput, match="has a page of 'caption' beyond 1,048,576 bytes; write smaller pages"):
        open_table(path)


def test_rows_that_take_a_bit_of_file_are_refused_when_they_would_take_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_pages, "UNPACKED_FLOOR", 1 << 20)
    path = write(tmp_path / "t.parquet", {"image": repeated("x.jpg", 10_000), "caption": repeated("x", 10_000)})
    with pytest.raises(RefusedInput, match="refused as a bomb; if it is yours, write it without compression"):
        open_table(path)


def test_images_that_are_packed_a_thousand_times_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_pages, "UNPACKED_FLOOR", 1 << 20)
    columns = {"image": [bytes([n]) * 1_000_000 for n in range(4)], "caption": ["a"] * 4}
    path = write(tmp_path / "t.parquet", columns, compression="zstd", use_dictionary=False)
    with pytest.raises(RefusedInput, match="400 times its size"):
        open_parquet([path], read_name("hf:a/b:test"))


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_pages_are_what_the_writer_says_of_them(tmp_path, version, compression):
    columns = {
        "text": [f"text {n % 90}" for n in range(5000)],
        "own": [f"own {n}" for n in range(5000)],
        "number": list(range(5000)),
        "nested": [[{"a": f"{n}", "b": [n, n]}] * (n % 3) for n in range(5000)],
    }
    path = tmp_path / "t.parquet"
    parquet.write_table(
        pa.table(columns), path, data_page_version=version, compression=compression, row_group_size=2100,
        data_page_size=3000, dictionary_pagesize_limit=9000, write_page_index=True,
    )  # fmt: skip
    file = open_parquet_file(path)
    assert file.num_row_groups == 3
    for group in range(3):
        pages = leaf_pages(path, group, list(columns))
        for index in range(file.metadata.num_columns):
            chunk = file.metadata.row_group(group).column(index)
            found = pages[chunk.path_in_schema]
            assert (found.values, found.packed) == (chunk.num_values, chunk.total_compressed_size)
            # The footer counts the page headers too, of some 30 to 100 bytes each.
            assert 0 < chunk.total_uncompressed_size - found.unpacked < 0.2 * chunk.total_uncompressed_size + 300


def test_prefixes_that_values_share_count_as_often_as_they_are_written_out(tmp_path):
    columns = {"image": [f"{'a' * 5000}{n:05}" for n in range(1000)], "caption": ["x"] * 1000}
    options = {"use_dictionary": False, "column_encoding": {"image": "DELTA_BYTE_ARRAY", "caption": "PLAIN"}}
    path = write(tmp_path / "t.parquet", columns, **options)
    pages = leaf_pages(path, 0, ["image"])["image"]
    assert pages.largest < 50_000 and pages.unpacked > 5_000_000 and pages.per_value > 5000


def test_a_footer_without_end_and_a_nested_description_are_no_surprise(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1" + (1 << 30).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(RefusedInput, match="its footer has 1,073,741,824 bytes"):
        open_table(path)
    table = pa.table({"image": pa.array([b"x"]), "caption": ["a"]})
    parquet.write_table(table.replace_schema_metadata({"huggingface": '{"info":' + "[" * 200_000}), path)
    assert len(open_parquet([path], read_name("hf:a/b:test"))) == 1

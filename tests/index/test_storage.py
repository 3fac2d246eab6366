"""What a kill, a full disk and a failing one leave: the index of before or after, and no photo twice or lost."""

import errno
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from systems import needs_limits

from seesay.base import sync
from seesay.base.errors import StorageError
from seesay.index.photo_table import PhotoTable

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.mark.journey
@needs_fork
def test_fifty_kills_lose_no_acknowledged_row_and_bring_none_back_or_twice(tmp_path):
    seed = 1
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name("kills.py")), "50", str(seed)],
        check=False, capture_output=True, text=True, timeout=400, env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "50 kills" in done.stdout and "0 rows lost" in done.stdout


@pytest.mark.journey
@needs_limits
def test_a_size_limit_on_files_is_told_and_leaves_the_index_as_it_was(tmp_path):
    """RLIMIT_FSIZE fails LanceDB's own writes, as a full disk does; the limit is raised again in the same process."""
    told = run_in_python(LIMITED, tmp_path)
    assert told == [
        "StorageError",
        "larger than the file system or `ulimit -f` allows",
        "before 100 after 100",
        "then 3100",
    ]


@pytest.mark.journey
def test_a_disk_that_is_really_full_is_told_and_takes_rows_again_once_there_is_space(tmp_path):
    told = run_in_python(FULL, tmp_path, before=small_disk(tmp_path))
    assert told == ["StorageError", "the disk is full", "before 100 after 100", "then 200"]


@pytest.mark.journey
def test_a_disk_that_is_full_while_files_are_put_together_is_told_and_no_row_is_lost(tmp_path):
    told = run_in_python(FULL_COMPACTION, tmp_path, before=small_disk(tmp_path))
    assert told == ["StorageError", "the disk is full", "after 900", "then 900 in 1 version"]


def small_disk(folder):
    """What runs a command with a disk of 3 MB in the place of a folder."""
    mounted = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
               'mount -t tmpfs -o size=3m tmpfs "$0" && exec "$@"', str(folder)]  # fmt: skip
    if not shutil.which("unshare") or subprocess.run([*mounted, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here without root")
    return mounted


@pytest.mark.parametrize("call", range(12))
def test_a_failing_fsync_acknowledges_nothing(tmp_path, monkeypatch, call):
    from seesay.base import publish

    rows = rows_by_hand(range(10))
    PhotoTable(tmp_path, 8).add(rows)
    real, count = os.fsync, 0

    def fail(handle):
        nonlocal count
        count += 1
        if count == call + 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(handle)

    monkeypatch.setattr(sync.os, "fsync", fail)
    monkeypatch.setattr(publish.os, "fsync", fail)
    table = PhotoTable(tmp_path, 8)
    has_failed = False
    try:
        table.add(rows_by_hand(range(10, 20)))
    except StorageError as error:
        has_failed = True
        assert "input/output error" in str(error)
    monkeypatch.setattr(sync.os, "fsync", real)
    found = PhotoTable(tmp_path, 8).rows(range(30), ("id",))["id"].to_pylist()
    assert sorted(found) in ([*range(10)], [*range(20)])
    assert has_failed or sorted(found) == [*range(20)], "acknowledged without an error"
    again = PhotoTable(tmp_path, 8)
    again.add(rows_by_hand(range(20, 22)))
    assert len(again.rows(range(30), ("id",))) == len(found) + 2


def test_a_version_that_was_never_acknowledged_is_taken_back(tmp_path):
    PhotoTable(tmp_path, 8).add(rows_by_hand(range(10)))
    torn = PhotoTable(tmp_path, 8)
    torn._table.add(torn._with_checks(rows_by_hand(range(10, 20))))
    newest = min((tmp_path / "photos.lance" / "_versions").glob("*.manifest"))
    newest.write_bytes(newest.read_bytes()[:10])  # as a power cut may leave it
    again = PhotoTable(tmp_path, 8)
    assert again.rows(range(30), ("id",))["id"].to_pylist() == [*range(10)]
    again.add(rows_by_hand(range(10, 12)))
    assert len(PhotoTable(tmp_path, 8).rows(range(30), ("id",))) == 12


@pytest.mark.journey
def test_compaction_keeps_every_row_and_forgets_old_files(tmp_path):
    table = PhotoTable(tmp_path, 8)
    for number in range(9):
        table.add(rows_by_hand([2 * number, 2 * number + 1]))
    table.remove([0, 5])
    before = sum(1 for _ in (tmp_path / "photos.lance").rglob("*.lance"))
    table.compact(least=5)
    assert sum(1 for _ in (tmp_path / "photos.lance").rglob("*.lance")) < before
    assert len(list((tmp_path / "photos.lance" / "_versions").glob("*.manifest"))) == 1
    assert sorted(PhotoTable(tmp_path, 8).rows(range(30), ("id",))["id"].to_pylist()) == [
        *(number for number in range(18) if number not in (0, 5))
    ]


START = """
import resource, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from kills import read_state, rows_of
from seesay.base.errors import StorageError
from seesay.index.photo_table import PhotoTable
folder = Path(sys.argv[1]) / "index"
folder.mkdir()
table = PhotoTable(folder, 8)
table.add(rows_of(dict.fromkeys(range(100), 1)))
def attempt(first, count):
    try:
        PhotoTable(folder, 8).add(rows_of(dict.fromkeys(range(first, first + count), 7)))
    except StorageError as error:
        print("StorageError")
        print(error)
        print(f"before 100 after {len(read_state(folder))}")
"""
LIMITED = (
    START
    + """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
attempt(1000, 3000)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
PhotoTable(folder, 8).add(rows_of(dict.fromkeys(range(1000, 4000), 7)))
print(f"then {len(read_state(folder))}")
"""
)
FILLED = """
filler = Path(sys.argv[1]) / "filler"
with filler.open("wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        file.truncate(file.tell() // 4096 * 4096 - LEFT)
"""
FULL = (
    START
    + FILLED.replace("LEFT", "65_536")
    + """
attempt(1000, 3000)
filler.unlink()
PhotoTable(folder, 8).add(rows_of(dict.fromkeys(range(1000, 1100), 7)))
print(f"then {len(read_state(folder))}")
"""
)


FULL_COMPACTION = (
    START
    + """
for number in range(1, 9):
    PhotoTable(folder, 8).add(rows_of(dict.fromkeys(range(100 * number, 100 * number + 100), 7)))
"""
    + FILLED.replace("LEFT", "4_096")
    + """
try:
    PhotoTable(folder, 8).compact(least=2)
except StorageError as error:
    print("StorageError")
    print(error)
print(f"after {len(read_state(folder))}")
filler.unlink()
PhotoTable(folder, 8).compact(least=2)
count = len(list((folder / "photos.lance" / "_versions").glob("*.manifest")))
print(f"then {len(read_state(folder))} in {count} version")
"""
)


def run_in_python(code, folder, before=()):
    """The lines it prints; of a message what matters."""
    done = subprocess.run(
        [*before, sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), str(folder), str(Path(__file__).parent)],
        check=False, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    reasons = ("larger than the file system or `ulimit -f` allows", "the disk is full")
    return [next((reason for reason in reasons if reason in line), line) for line in lines]


def rows_by_hand(ids):
    import pyarrow as pa

    from seesay.index.photo_table import schema

    columns = {
        "id": list(ids),
        "path": [b"%d" % number for number in ids],
        "size": [1] * len(ids),
        "modified_ns": [1] * len(ids),
        "reason": [""] * len(ids),
        "vector": [[1.0] * 8 for _ in ids],
    }
    kinds = schema(8)
    return pa.table([pa.array(columns.get(field.name, [None] * len(ids)), field.type) for field in kinds], schema=kinds)

"""What the system refuses while a set is made: room on the disk, open files; and kills."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pytest
from hostile_hosts import hostile_server
from pyarrow import parquet

pytestmark = [pytest.mark.journey, pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")]
COUNT = 60


@pytest.fixture(scope="module")
def server():
    with hostile_server() as running:
        yield running


@pytest.fixture
def pool(tmp_path, server):
    urls = [server.url(f"/good/{n}") for n in range(COUNT)]
    columns = {"url": urls, "caption": [f"image {n}" for n in range(COUNT)]}
    parquet.write_table(pa.table(columns), tmp_path / "pool.parquet")
    return tmp_path / "pool.parquet"


def command(pool, out):
    words = [
        "--stages",
        "fetch,shards",
        "--allow-private",
        "127.0.0.1",
        "--set",
        "rows=15",
        "--set",
        "fetch.per_host=8",
    ]
    return [sys.executable, "-m", "seesay", "curate", str(pool), "--out", str(out), *words]


def run(pool, out, *, limit=None):
    """Exit code and messages of the command, under a limit of the system."""
    before = None if limit is None else lambda: resource.setrlimit(limit[0], (limit[1], limit[1]))
    done = subprocess.run(command(pool, out), capture_output=True, text=True, preexec_fn=before, timeout=300)
    return done.returncode, done.stderr


def shards_of(out):
    paths = [*sorted((out / "shards").glob("0*")), out / "pairs.parquet"]
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture
def whole(pool, tmp_path):
    """The files of a run that nothing stopped."""
    assert run(pool, tmp_path / "whole")[0] == 0
    return shards_of(tmp_path / "whole")


def test_a_disk_that_takes_no_more_is_exit_code_5_and_the_same_command_goes_on(pool, whole, tmp_path):
    """No file may grow beyond 20,000 bytes: the first images of a part do, as on a disk that is full."""
    code, messages = run(pool, tmp_path / "set", limit=(resource.RLIMIT_FSIZE, 20_000))
    assert code == 5 and "Traceback" not in messages and len(messages.strip().splitlines()[-1]) < 400
    assert not list((tmp_path / "set").rglob("0*.images"))
    assert run(pool, tmp_path / "set")[0] == 0
    assert shards_of(tmp_path / "set") == whole


def test_with_few_open_files_fewer_connections_are_made_and_no_image_is_lost(pool, whole, tmp_path):
    code, messages = run(pool, tmp_path / "set", limit=(resource.RLIMIT_NOFILE, 64))
    assert code == 0, messages
    assert shards_of(tmp_path / "set") == whole
    counts = json.loads((tmp_path / "set" / "counts.json").read_text())
    assert counts["stages"][1]["left_out"] == {}


def test_kills_while_fetching_leave_whole_parts_and_the_same_set(pool, whole, tmp_path, server):
    """Killed as soon as each part is there; what is there is not fetched again."""
    out = tmp_path / "set"
    for number in range(3):
        process = subprocess.Popen(command(pool, out), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        part = out / "stages" / "1-fetch" / f"{number:05d}.parquet"
        while not part.exists() and process.poll() is None:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        for path in out.rglob("0*.parquet"):
            parquet.read_table(path)
    before = len(server.asked)
    assert run(pool, out)[0] == 0
    assert shards_of(out) == whole and len(server.asked) - before <= COUNT - 45

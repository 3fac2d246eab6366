"""Worker processes: results in order whoever made them, and no end of a process that is not told in one line."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE

from seesay.base.errors import BrokenSample, SeesayError
from seesay.data.workers import WorkerFailure, WorkerPool

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def tasks(number=None):
    return ([np.array(index)] for index in (count() if number is None else range(number)))


def squares(task):
    (index,) = task
    return [index**2, np.full((2, 3), index, dtype=np.float32), np.empty((0, 3), dtype=np.uint8), np.array(os.getpid())]


def pool(make=squares, *, workers=2, slot_bytes=1000, timeout_seconds=0.0):
    return closing(WorkerPool(make, workers=workers, slot_bytes=slot_bytes, timeout_seconds=timeout_seconds))


@pytest.mark.journey
@pytest.mark.parametrize("slot_bytes", [1000, 8])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_results_are_in_the_order_of_tasks_for_any_number_of_workers_and_any_size_of_slot(workers, slot_bytes):
    with pool(workers=workers, slot_bytes=slot_bytes) as these:
        results = list(these.results(tasks(11)))
    assert [int(square) for square, *_ in results] == [index**2 for index in range(11)]
    for index, (square, full, empty, _) in enumerate(results):
        assert square.shape == () and empty.shape == (0, 3) and empty.dtype == np.uint8
        np.testing.assert_array_equal(full, np.full((2, 3), index, dtype=np.float32), strict=True)
    assert len({int(pid) for *_, pid in results}) == workers


def test_results_belong_to_the_caller_and_are_not_written_over():
    with pool(workers=1) as these:
        results = list(these.results(tasks(20)))
    for _, full, *_ in results:
        full += 1
    assert [full[0, 0] for _, full, *_ in results] == list(range(1, 21))


def picky(task):
    if task[0] == 3:
        raise BrokenSample("truncated image", "number 3")
    return task


def test_an_error_in_a_worker_is_raised_as_it_is_when_its_turn_comes():
    with pool(picky) as these:
        results = these.results(tasks())
        assert [int(next(results)[0]) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(BrokenSample, match=r"truncated image: number 3") as raised:
            next(results)
    assert raised.value.detail == "number 3"


@pytest.mark.parametrize("slot_bytes", [1000, 8])
def test_a_worker_that_dies_is_named_with_its_number_and_its_end(slot_bytes):
    with pool(slot_bytes=slot_bytes) as these:
        results = these.results(tasks())
        pid = [int(next(results)[-1]) for _ in range(8)][1]
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerFailure, match=rf"loader process 1 \(pid {pid}, signal 9\) ended"):
            for _ in range(100):
                next(results)


def leave(_):
    os._exit(7)


def test_a_worker_that_leaves_is_named_with_its_exit_code():
    with (
        pool(leave, workers=1) as these,
        pytest.raises(WorkerFailure, match=r"loader process 0 \(pid \d+, exit code 7\) ended"),
    ):
        next(these.results(tasks()))


@pytest.mark.journey
@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no signal that asks for a stack")
def test_a_worker_that_is_stopped_is_ended_and_the_others_show_where_they_are(capfd):
    with pool(timeout_seconds=0.5) as these:
        results = these.results(tasks())
        pid = int(next(results)[-1])
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(WorkerFailure, match="no batch came from the loader processes for the time"):
            for _ in range(100):
                next(results)
        assert not Path(f"/proc/{pid}").exists()
    assert "workers.py" in capfd.readouterr().err


def test_workers_ignore_what_a_terminal_sends_to_the_whole_group():
    with pool() as these:
        results = these.results(tasks())
        for pid in {int(next(results)[-1]) for _ in range(2)}:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        assert [int(next(results)[0]) for _ in range(10)] == [index**2 for index in range(2, 12)]


SCRIPT = """
import os, resource, signal, sys
import numpy as np
from seesay.base.errors import SeesayError
from seesay.data.workers import WorkerPool

workers, slot_bytes, files, end = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
made = np.full(10_000_000, 7, dtype=np.uint8)
try:
    pool = WorkerPool(lambda task: [made, np.array(os.getpid())], workers=workers, slot_bytes=slot_bytes)
except SeesayError as error:
    sys.exit(f"error: {error}")
results = pool.results([np.array(0)] for _ in range(10**9))
pids = set()
for _ in range(3 * workers):
    array, pid = next(results)
    assert (array == 7).all()
    pids.add(int(pid))
print(*pids, flush=True)
if end:
    os.kill(os.getpid(), end)
"""


def script(workers, *, slot_bytes=10_000_100, files=1024, end=0, prefix=(), **options):
    words = [*prefix, sys.executable, "-c", SCRIPT, *map(str, (workers, slot_bytes, files, int(end)))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(options.get("folder", ""))}
    return subprocess.run(words, capture_output=True, text=True, timeout=500, env=environment, check=False)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.journey
@pytest.mark.parametrize("end", [0, signal.SIGKILL])
def test_no_worker_and_no_file_outlives_a_program_that_ends_or_is_killed(end, tmp_path):
    shared = set(os.listdir("/dev/shm"))
    done = script(3, end=end, folder=tmp_path)
    pids = [int(word) for word in done.stdout.split()]
    assert done.returncode == -end and len(pids) == 3 and not done.stderr, done.stderr
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and any(map(is_running, pids)):
        time.sleep(0.05)
    assert not any(map(is_running, pids)) and not any(tmp_path.glob("pymp-*"))
    mine = {name for name in set(os.listdir("/dev/shm")) - shared if any(str(pid) in name for pid in pids)}
    assert not mine


@pytest.mark.journey
def test_eight_workers_need_few_open_files_and_too_few_are_one_line():
    done = script(8, files=64)
    assert done.returncode == 0 and len(done.stdout.split()) == 8 and not done.stderr, done.stderr
    done = script(40, files=64)
    assert done.returncode == 1 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: 40 loader processes cannot be started (Too many open files); lower workers")


@pytest.mark.journey
@pytest.mark.parametrize("slot_bytes", [10_000_100, 1_000_000])
def test_batches_larger_than_dev_shm_are_handed_over(slot_bytes):
    room = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs -o size=$0 t /dev/shm; "$@"']
    try:
        if subprocess.run([*room, "64k", "true"], check=False, capture_output=True).returncode:
            pytest.skip("no file system can be mounted here without root: not measured")
    except FileNotFoundError:
        pytest.skip("unshare is not installed: not measured")
    done = script(2, slot_bytes=slot_bytes, prefix=(*room, "512k"))
    assert done.returncode == 0 and len(done.stdout.split()) == 2 and not done.stderr, done.stderr


def test_memory_that_the_system_does_not_give_is_one_line():
    with pytest.raises(
        SeesayError, match=r"2 loader processes cannot be started \((Cannot allocate memory|File too large)\)"
    ):
        WorkerPool(squares, workers=2, slot_bytes=1 << 60)

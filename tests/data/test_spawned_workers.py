"""Workers where nothing can be forked: they start anew, and get what they need in a pickle."""

import os
import subprocess
import sys
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from seesay.base.errors import SeesayError
from seesay.data import shared_memory, workers
from seesay.data.pixel_cache import PixelCache
from seesay.data.shared_memory import SharedArray, start_method
from seesay.data.workers import WorkerFailure, WorkerPool

HIDDEN = Path(__file__).parents[1] / "without_unix"


def tasks():
    return ([np.array(index)] for index in count())


def fill(array, cache, task):
    """Puts what it is given where the caller sees it, and says what the caller put there."""
    (index,) = task
    before = int(array.array[0])
    array.array[1 + int(index)] = 10 * index
    cache.put(int(index), np.full((4, 4, 3), index, dtype=np.uint8))
    return [np.array(before), np.array(os.getpid())]


def leave(task):
    os._exit(7)


@pytest.fixture
def spawned(monkeypatch):
    for module in (shared_memory, workers):
        monkeypatch.setattr(module, "start_method", lambda is_clean=False: "spawn")


@pytest.mark.parametrize(
    ("methods", "system", "chosen"),
    [
        (["fork", "spawn"], "linux", "fork"),
        (["spawn", "fork", "forkserver"], "darwin", "spawn"),
        (["spawn"], "win32", "spawn"),
        (["spawn"], "linux", "spawn"),
    ],
)
def test_processes_are_forked_where_that_is_safe(methods, system, chosen, monkeypatch):
    monkeypatch.setattr(shared_memory.multiprocessing, "get_all_start_methods", lambda: methods)
    monkeypatch.setattr(shared_memory.sys, "platform", system)
    assert start_method() == chosen


@pytest.mark.parametrize("shape", [(3, 5), (0,), (7,)])
def test_shared_memory_is_an_array_of_zeros(shape, spawned):
    assert (SharedArray(shape, np.int64).array == np.zeros(shape, dtype=np.int64)).all()
    assert SharedArray(shape, np.int16).array.shape == shape


@pytest.mark.journey
def test_spawned_workers_answer_in_order_and_share_memory_both_ways(spawned):
    array, cache = SharedArray((11,), np.int64), PixelCache(10, 4)
    array.array[0] = 77
    with closing(WorkerPool(partial(fill, array, cache), workers=2, slot_bytes=100)) as pool:
        results = pool.results(tasks())
        answers = [next(results) for _ in range(10)]
    assert [int(before) for before, _ in answers] == [77] * 10
    assert len({int(pid) for _, pid in answers} - {os.getpid()}) == 2
    assert array.array.tolist() == [77, *range(0, 100, 10)]
    assert [int(cache.get(index)[3, 3, 2]) for index in range(10)] == list(range(10))


@pytest.mark.journey
def test_a_spawned_worker_that_leaves_is_named(spawned):
    with (
        closing(WorkerPool(leave, workers=1, slot_bytes=100)) as pool,
        pytest.raises(WorkerFailure, match=r"loader process 0 \(pid \d+, exit code 7\) ended"),
    ):
        next(pool.results(tasks()))


def test_what_cannot_be_pickled_is_one_line_with_a_hint(spawned):
    with pytest.raises(SeesayError, match=r"cannot be sent to loader processes.*workers 0\.$"):
        WorkerPool(lambda task: task, workers=1, slot_bytes=100)


# Without `if __name__ == "__main__"`, as somebody at the first try writes it.
SCRIPT = """
import sys
import seesay
print("the script runs")
settings = {"seed": 3, "steps": 4, "batch_size": 8, "towers": {"precision": "float32"}}
model = seesay.train(sys.argv[1], out=sys.argv[2], workers=int(sys.argv[3]), **settings)
"""


@pytest.mark.journey
def test_a_script_trains_the_same_model_with_spawned_workers_as_with_none(coloured_pairs, tmp_path):
    pairs = coloured_pairs(48)
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT)
    path = os.pathsep.join([str(HIDDEN), *filter(None, [os.environ.get("PYTHONPATH")])])
    weights = []
    for number in (0, 2):
        out = tmp_path / f"run-{number}"
        words = [sys.executable, str(script), str(pairs), str(out), str(number)]
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, capture_output=True, text=True, timeout=500, env=environment, check=False)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        assert done.stdout.count("the script runs") == 1
        weights.append((out / "model" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]

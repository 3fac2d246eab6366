"""An index that is written in a process that may be killed at any moment, and what must hold afterwards.

The writer changes the table at random (add, change, move, delete, compaction) and says on its pipe what was
acknowledged. Run as a program it repeats that: `python tests/index/kills.py 1000 SEED`.
"""

import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from seesay.index.photo_table import PhotoTable, schema
from seesay.index.scan import write_scan

WIDTH = 8
STEPS = ("add", "add", "change", "remove", "compact", "scan")


def rows_of(state):
    """Rows of {id: version}: path, time and vector say the version, so that a torn or old row is seen."""
    count = len(state)
    columns = {
        "id": list(state),
        "path": [b"%d-%d.jpg" % item for item in state.items()],
        "size": [1] * count,
        "modified_ns": list(state.values()),
        "taken_s": [None] * count,
        "hash": [b"h" * 32] * count,
        "look": [0] * count,
        "colours": [b"c" * 192] * count,
        "thumbnail": [b"%d" % version * 500 for version in state.values()],
        "reason": [""] * count,
        "detail": [""] * count,
        "vector": [[float(version)] * WIDTH for version in state.values()],
    }
    return pa.table(columns, schema=schema(WIDTH))


def read_state(folder):
    """{id: version} of the table as its next writer finds it; every column must agree."""
    state = {}
    for batch in PhotoTable(folder, WIDTH).batches(("id", "path", "modified_ns", "thumbnail", "vector")):
        for row in batch.to_pylist():
            version = row["modified_ns"]
            assert row["id"] not in state, f"row {row['id']} is there twice"
            assert row["path"] == b"%d-%d.jpg" % (row["id"], version) and row["vector"] == [float(version)] * WIDTH
            assert row["thumbnail"] == b"%d" % version * 500
            state[row["id"]] = version
    return state


def write_at_random(folder, seed, state, pipe):
    """Change the table until killed. A line before each step says what will be, one after it that it is."""
    choose = random.Random(seed)
    table = PhotoTable(folder, WIDTH)
    number = max(state, default=0)
    version = max(state.values(), default=0)
    while True:
        version += 1
        step = choose.choice(STEPS)
        some = choose.sample(sorted(state), min(len(state), choose.randrange(1, 20)))
        fresh = dict(state)
        if step == "add":
            fresh |= {number + index: version for index in range(1, choose.randrange(2, 60))}
            number = max(fresh)
        elif step == "change":
            fresh |= dict.fromkeys(some, version)
        elif step == "remove":
            for row in some:
                del fresh[row]
        os.write(pipe, f"begin {json.dumps(fresh)}\n".encode())
        changed = {row: fresh[row] for row in fresh if state.get(row) != fresh[row]}
        if step == "add":
            table.add(rows_of(changed))
        elif step == "change" and changed:
            table.put(rows_of(changed))
        elif step == "remove":
            table.remove(some)
        elif step == "compact":
            table.compact(least=2)
        elif step == "scan":
            write_scan(folder, table, width=WIDTH)
        os.write(pipe, b"done\n")
        state = fresh


def forked(work):
    """Start `work(pipe)` in a fork of this process, which has loaded LanceDB and never used it: (process, its pipe)."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        # What hangs is a failure, and no process that stays.
        signal.alarm(120)
        try:
            work(writer)
        finally:
            os._exit(0)
    os.close(writer)
    return child, reader


def killed_once(folder, seed, state):
    """Kill a writer after a random time; (what was acknowledged, what may be besides, how many steps were)."""
    child, reader = forked(lambda pipe: write_at_random(folder, seed, state, pipe))
    # From its first step on, so that a slow start is no kill before anything has happened.
    data = os.read(reader, 1 << 16)
    time.sleep(random.Random(seed + 1).uniform(0.0, 0.4))
    os.kill(child, signal.SIGKILL)
    while more := os.read(reader, 1 << 20):
        data += more
    _, status = os.waitpid(child, 0)
    os.close(reader)
    assert data and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, "the writer failed by itself"
    acknowledged = pending = state
    count = 0
    for line in data.decode().split("\n")[:-1]:
        if line == "done":
            acknowledged, count = pending, count + 1
        else:
            pending = {int(key): version for key, version in json.loads(line.removeprefix("begin ")).items()}
    return acknowledged, pending, count


def reopened(folder):
    """(state, seconds of opening and reading) in a process of its own, as the next command is."""

    def work(pipe):
        begun = time.monotonic()
        state = read_state(folder)
        os.write(pipe, json.dumps([state, time.monotonic() - begun]).encode())

    child, reader = forked(work)
    data = b""
    while more := os.read(reader, 1 << 20):
        data += more
    os.waitpid(child, 0)
    os.close(reader)
    state, seconds = json.loads(data)
    return {int(key): version for key, version in state.items()}, seconds


def kill_often(folder, times, seed):
    """Raises `AssertionError` at the first row lost, back from the dead, or twice; (steps, rows, seconds of each)."""
    importlib.import_module("lancedb")
    state, steps, seconds = {}, 0, []
    for number in range(times):
        acknowledged, pending, count = killed_once(folder, seed + 2 * number, state)
        state, took = reopened(folder)
        assert state in (acknowledged, pending), (seed + 2 * number, acknowledged, pending, state)
        steps += count
        seconds.append(took)
    return steps, len(state), seconds


def main(times, seed):
    """Print one line of what was seen."""
    folder = Path(tempfile.mkdtemp(prefix="seesay-kills-"))
    began = time.monotonic()
    try:
        steps, rows, seconds = kill_often(folder, times, seed)
    finally:
        shutil.rmtree(folder)
    median, slowest = sorted(seconds)[len(seconds) // 2], max(seconds)
    print(
        f"{times} kills, seed {seed}: {steps} steps acknowledged, 0 rows lost, back or twice; {rows} rows at the end;"
    )
    print(
        f"opened and read in {median:.2f} s (median), {slowest:.2f} s at most; {time.monotonic() - began:.0f} s in all"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

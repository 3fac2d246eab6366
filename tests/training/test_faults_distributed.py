"""Several processes when one dies, cannot begin, or meets a number that is not finite; B4 and the like are rows."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from patience import PATIENCE

from seesay.base.journal import EVENTS_NAME, read_events
from seesay.base.settings import read_settings
from seesay.training import checkpoint, loop
from seesay.training.checkpoint import checkpoints
from seesay.training.objectives import contrastive as objective
from seesay.training.process_group import ProcessLost
from seesay.training.settings import TrainSettings
from seesay.training.train import train_model

pytestmark = [pytest.mark.journey, pytest.mark.timeout(900)]
WORDS = ["model=vit-small", "batch_size=8", "data.workers=0", "log.every_steps=1", "towers.precision=float32"]


def trained(rank, *, more: tuple[str, ...], pairs: Path, out: Path):
    train_model([pairs], out=out, settings=read_settings(TrainSettings, file=None, overrides=[*WORDS, *more]))
    return "done"


def killed_while_saving(rank, **given):
    publish_folder = checkpoint.publish_folder

    def killed(folder, write):
        if folder.name.endswith("4"):
            publish_folder(folder, lambda place: (write(place), os.kill(os.getpid(), signal.SIGKILL)))
        publish_folder(folder, write)

    checkpoint.publish_folder = killed
    return trained(rank, more=("steps=6", "checkpoint.every_steps=2"), **given)


def test_a_main_process_that_dies_while_it_saves_is_named_and_publishes_nothing(coloured_pairs, tmp_path, in_processes):
    """B4."""
    given = {"pairs": coloured_pairs(24), "out": tmp_path / "run"}
    ends = in_processes(2, partial(killed_while_saving, **given))
    assert ends[0] == ("EOFError", "")
    assert ends[1][0] == "ProcessLost" and ends[1][1].startswith("process 0 (pid "), ends
    assert [folder.name[-1] for folder in checkpoints(tmp_path / "run" / "checkpoints")] == ["2"]
    ends = in_processes(2, partial(trained, more=("steps=6", "checkpoint.every_steps=2"), **given))
    assert ends == ["done", "done"]
    resumed = [event["step"] for event in read_events(tmp_path / "run" / EVENTS_NAME) if event.get("event") == "resume"]
    assert resumed == [2]


def poisoned(rank, **given):
    honest, calls = objective.part_of_contrastive_loss, []

    def part(*values, **kind):
        calls.append(None)
        return honest(*values, **kind) * (float("nan") if rank == 1 and len(calls) == 3 else 1)

    objective.part_of_contrastive_loss = part
    return trained(rank, more=("steps=6",), **given)


def test_a_loss_that_is_not_finite_on_one_process_is_left_out_by_all(coloured_pairs, tmp_path, in_processes):
    """B9."""
    given = {"pairs": coloured_pairs(24), "out": tmp_path / "run"}
    assert in_processes(2, partial(poisoned, **given)) == ["done", "done"]
    events = read_events(tmp_path / "run" / EVENTS_NAME)
    left_out = [event for event in events if event.get("event") == "skipped_batch"]
    assert [event["step"] for event in left_out] == [3] and len(left_out[0]["images"]) == 8
    assert [event["step"] for event in events if "loss" in event and "event" not in event] == [1, 2, 4, 5, 6]


def start(pairs: Path, out: Path, environment: dict[str, str], *more: str) -> subprocess.Popen:
    words = [word for setting in [*WORDS, *more] for word in ("--set", setting)]
    return subprocess.Popen(
        [sys.executable, "-m", "seesay", "train", str(pairs), "--out", str(out), *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("rank", [0, 1])
def test_a_port_that_another_program_has_is_told_within_half_a_minute(rank, coloured_pairs, tmp_path, places):
    """B7: the main process cannot listen there; another meets somebody who does not speak its language."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        began = time.monotonic()
        run = start(coloured_pairs(24), tmp_path / "run", places(2, port)[rank], "steps=4")
        try:
            stderr = run.communicate(timeout=500)[1]
        finally:
            run.kill()
    assert run.returncode == 1, stderr
    assert f"MASTER_ADDR 127.0.0.1, MASTER_PORT {port}" in stderr and time.monotonic() - began < PATIENCE


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_whose_process_was_killed_starts_again_at_once_on_the_same_port(count, coloured_pairs, tmp_path, places):
    """B1, B8, F-T4: killed in turn, the other gone within a minute, no process and no shared memory left."""
    pairs, out, environments = coloured_pairs(24), tmp_path / "run", places(2)
    shared = set(os.listdir("/dev/shm"))
    for turn in range(count):
        more = "steps=4000", "checkpoint.every_steps=2", "data.workers=1"
        runs = [start(pairs, out, environment, *more) for environment in environments]
        told = out / EVENTS_NAME
        before = told.read_bytes().count(b'"checkpoint"') if told.exists() else 0
        try:
            until = time.monotonic() + PATIENCE
            while not told.exists() or told.read_bytes().count(b'"checkpoint"') < before + 2:
                assert time.monotonic() < until and all(run.poll() is None for run in runs), turn
                time.sleep(0.02)
            killed = turn % 2
            runs[killed].kill()
            began = time.monotonic()
            stderr = runs[1 - killed].communicate(timeout=500)[1]
        finally:
            for run in runs:
                run.kill()
                run.communicate()
        assert runs[1 - killed].returncode == 1 and time.monotonic() - began < PATIENCE, stderr
        assert f"process {killed} (pid {runs[killed].pid} on " in stderr, stderr
    until = time.monotonic() + PATIENCE
    while set(os.listdir("/dev/shm")) - shared and time.monotonic() < until:
        time.sleep(0.2)
    assert not set(os.listdir("/dev/shm")) - shared


def doomed(rank, *, which: int, number: int, **given):
    """Train; process `which` kills or stops itself in its third step, and a stopped one is ended by who names it."""
    honest, steps = loop.train_step, []

    def train_step(run, batch):
        steps.append(batch)
        if rank == which and len(steps) == 3:
            os.kill(os.getpid(), number)
        honest(run, batch)

    loop.train_step = train_step
    more = "steps=2000", "checkpoint.every_steps=2", "parallel_timeout_seconds=3"
    try:
        return trained(rank, more=more, **given)
    except ProcessLost as error:
        os.kill(int(re.search(r"\(pid (\d+) on ", str(error))[1]), signal.SIGKILL)
        raise


TURNS = [(0, signal.SIGKILL), (1, signal.SIGKILL), (0, signal.SIGSTOP), (1, signal.SIGSTOP)]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("count", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_a_run_outlives_the_end_of_its_processes(count, coloured_pairs, tmp_path, in_processes, monkeypatch):
    """F-T4: killed or stopped in turn; the other names it and ends within the time allowed, and all goes on."""
    monkeypatch.setattr("seesay.training.process_group.LAST_WORDS_SECONDS", 0.5)
    monkeypatch.setattr("seesay.training.process_group.GONE_SECONDS", 10.0)
    given = {"pairs": coloured_pairs(24), "out": tmp_path / "run"}
    shared = set(os.listdir("/dev/shm"))
    longest = {signal.SIGKILL: 0.0, signal.SIGSTOP: 0.0}
    for turn in range(count):
        which, number = TURNS[turn % len(TURNS)]
        began = time.monotonic()
        ends = in_processes(2, partial(doomed, which=which, number=number, **given), seconds=PATIENCE)
        longest[number] = max(longest[number], time.monotonic() - began)
        assert ends[which] == ("EOFError", ""), (turn, ends)
        assert ends[1 - which][0] == "ProcessLost" and ends[1 - which][1].startswith(f"process {which} (pid "), (
            turn,
            ends,
        )
    assert max(longest.values()) < PATIENCE
    print(f"{count} turns; the longest, start and two steps included: {longest}")
    told = read_events(tmp_path / "run" / EVENTS_NAME)
    resumed = [event["step"] for event in told if event.get("event") == "resume"]
    assert len(resumed) == count - 1 and resumed == sorted(set(resumed)), "every turn went on where the last one was"
    assert set(os.listdir("/dev/shm")) == shared

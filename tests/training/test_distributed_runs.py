"""Whole runs of several processes: the same run as one, one voice, one end."""

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from patience import PATIENCE
from safetensors.torch import load_file

from seesay.base.errors import SeesayError, Stopped
from seesay.base.journal import read_events
from seesay.base.runtime import Runtime
from seesay.base.settings import read_settings
from seesay.training.checkpoint import checkpoints
from seesay.training.process_group import open_process_group
from seesay.training.settings import TrainSettings
from seesay.training.train import train_model

pytestmark = pytest.mark.journey
WORDS = ["batch_size=8", "model=vit-small", "data.validation=0.1", "data.workers=0", "log.every_steps=1", "seed=3"]


def trained(rank, pairs: Path, out: Path, *words: str, stop_at: int | None = None, error=None):
    """Train in this process; the last one is asked to stop during the check after step `stop_at`."""
    settings = read_settings(TrainSettings, file=None, overrides=[*WORDS, *words])
    is_last = rank == int(os.environ.get("WORLD_SIZE", "1")) - 1
    steps = []

    def check(_):
        steps.append(len(steps))
        if is_last and stop_at is not None:
            signal.raise_signal(signal.SIGTERM)
        if error is not None and is_last:
            raise error
        return {}

    torch.set_num_threads(1)
    model = train_model([pairs], out=out, settings=settings, checks={"ask": check})
    return model.facts.get("training", {}).get("steps")


def losses(out):
    return {e["step"]: e["loss"] for e in read_events(out / "events.jsonl") if "event" not in e}


@pytest.mark.usefixtures("one_thread")
def test_a_run_goes_from_one_process_to_two_and_back_and_stays_the_same_run(coloured_pairs, tmp_path, in_processes):
    pairs, out, words = coloured_pairs(), tmp_path / "run", ["steps=9", "check.every=0.34", "towers.precision=float32"]
    trained(0, pairs, tmp_path / "unbroken", *words)
    with pytest.raises(Stopped, match="stopped after step 4, saved"):
        trained(0, pairs, out, *words, stop_at=4)
    ends = in_processes(2, partial(_trained_twice, pairs=pairs, out=out, words=[*words, "parallel=fsdp"]))
    assert ends[0][0] == "Stopped" and "stopped after step 7, saved" in ends[0][1]
    assert ends[1] == ("SystemExit", "75"), "one process speaks for both"
    trained(0, pairs, out, *words)
    assert list(losses(out)) == list(range(1, 10))
    assert losses(out) == pytest.approx(losses(tmp_path / "unbroken"), rel=1e-4)
    events = read_events(out / "events.jsonl")
    assert [event["processes"] for event in events if event.get("event") == "resume"] == [2, 1]
    assert events[-1]["event"] == "done"


def _trained_twice(rank, *, pairs, out, words):
    return trained(rank, pairs, out, *words, stop_at=7)


def test_processes_that_disagree_are_found_at_the_start_with_rank_and_key(coloured_pairs, tmp_path, in_processes):
    pairs = coloured_pairs(24)
    ends = in_processes(2, partial(_disagreeing, pairs=pairs, out=tmp_path / "run"))
    assert ends[0][0] == "RefusedInput" and ends[1] == ("SystemExit", "4")
    assert "process 1 (pid " in ends[0][1] and "has optimizer.learning_rate = 0.002, process 0 has 0.001" in ends[0][1]
    assert not (tmp_path / "run").exists()


def _disagreeing(rank, *, pairs, out):
    return trained(rank, pairs, out, "steps=4", f"optimizer.learning_rate={0.001 * (rank + 1)}")


def test_an_error_of_one_process_is_told_once_and_ends_all(coloured_pairs, tmp_path, in_processes):
    began = time.monotonic()
    ends = in_processes(2, partial(_failing, pairs=coloured_pairs(24), out=tmp_path / "run"))
    assert ends[1] == ("ValueError", "a mistake of our own")
    assert ends[0] == ("SystemExit", "1")
    assert time.monotonic() - began < PATIENCE


def _failing(rank, *, pairs, out):
    return trained(rank, pairs, out, "steps=8", "check.every=0.5", error=ValueError("a mistake of our own"))


def lost(rank, *, number):
    """The last process is killed or stopped in the middle of what all do together."""
    with open_process_group(Runtime.find("cpu"), timeout_seconds=3) as processes:
        for count in range(10_000):
            processes.all_gather_floats([count])
            if processes.rank == processes.world_size - 1 and count == 50:
                os.kill(os.getpid(), number)
        return count


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_is_killed_or_stopped_is_named_by_one_of_the_others(number, in_processes, monkeypatch):
    began = time.monotonic()
    monkeypatch.setattr("seesay.training.process_group.LAST_WORDS_SECONDS", 1.0)
    ends = in_processes(3, partial(lost, number=number), seconds=10)
    assert time.monotonic() - began < PATIENCE
    assert ends[0][0] == "ProcessLost", ends
    assert ends[0][1].startswith("process 2 (pid ") and "died or does not answer" in ends[0][1]
    assert ends[1] == ("SystemExit", "1")


def waiting(rank):
    """The last process dies while the others wait for its word."""
    with open_process_group(Runtime.find("cpu"), timeout_seconds=3) as processes:
        if rank == 1:
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
        return processes.all_gather_object("here")


def test_a_process_that_dies_while_others_wait_for_its_word_is_named(monkeypatch, in_processes):
    monkeypatch.setattr("seesay.training.process_group.GONE_SECONDS", 2.0)
    monkeypatch.setattr("seesay.training.process_group.LIFE_SECONDS", 0.5)
    monkeypatch.setattr("seesay.training.process_group.LAST_WORDS_SECONDS", 1.0)
    ends = in_processes(2, waiting, seconds=40)
    assert ends[0][0] == "ProcessLost" and "process 1 (pid " in ends[0][1]


def test_a_wrong_address_is_told_at_once_with_the_address(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "no-such-host.invalid"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "29511")
    told = pytest.raises(SeesayError, match=r"at MASTER_ADDR no-such-host\.invalid, MASTER_PORT 29511 \(")
    with told, open_process_group(Runtime.find("cpu"), timeout_seconds=3):
        pass


def torchrun(pairs, out, *words):
    settings = [word for setting in [*WORDS, *words] for word in ("--set", setting)]
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "seesay"]
    return subprocess.Popen(
        [*start, "train", str(pairs), "--out", str(out), *settings],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


# Three minutes of two cores; the first test above stops and goes on without torchrun.
@pytest.mark.slow
def test_torchrun_asked_to_stop_saves_once_and_the_same_command_goes_on(coloured_pairs, tmp_path):
    pairs, out = coloured_pairs(), tmp_path / "run"
    first = torchrun(pairs, out, "steps=400", "data.workers=1")
    try:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and not (
            (out / "events.jsonl").exists() and b'"step": 3,' in (out / "events.jsonl").read_bytes()
        ):
            time.sleep(0.02)
        first.send_signal(signal.SIGTERM)
        _, stderr = first.communicate(timeout=500)
    finally:
        first.kill()
    assert stderr.count("saved; the same command goes on") == 1
    stopped_at = int(re.search(r"stopped after step (\d+), saved", stderr)[1])
    assert [int(folder.name[5:]) for folder in checkpoints(out / "checkpoints")] == [stopped_at]
    again = torchrun(pairs, out, "steps=400", "data.workers=1")
    try:
        while (out / "events.jsonl").read_bytes().count(b'"resume"') < 1 and again.poll() is None:
            time.sleep(0.02)
        again.send_signal(signal.SIGTERM)
        _, stderr = again.communicate(timeout=500)
    finally:
        again.kill()
    assert f"going on after step {stopped_at}" in stderr


def tuned(rank, *, data: Path, out: Path):
    from seesay.finetuning.finetune import finetune
    from seesay.model.build import build

    torch.set_num_threads(1)
    words = ["towers.precision=float32", "optimizer.learning_rate=3e-4", "start.keep=5.0", "log.every_steps=1"]
    named = {"workers": 0, "batch_size": 8, "device": "cpu", "steps": 8, "most_loss": 100.0}
    result = finetune(build("conv-tiny"), data, out=out, overrides=words, **named)
    return rank, len(result.points), None if result.chosen is None else result.chosen.a


def test_two_processes_fine_tune_what_one_does_and_one_of_them_chooses(tmp_path, paint, in_processes, monkeypatch):
    monkeypatch.setattr("seesay.finetuning.guards.DRAWN", 24)
    data = tmp_path / "colours"
    for colour in ("red", "green", "blue", "yellow"):
        for index in range(12):
            paint(data / colour / f"{index}.png", colour, side=8 + index)
    alone = tuned(0, data=data, out=tmp_path / "alone")
    ends = in_processes(2, partial(tuned, data=data, out=tmp_path / "both"))
    assert alone[1] > 0 and ends[1] == (1, 0, None), ends
    assert ends[0] == alone
    assert list(losses(tmp_path / "both" / "train")) == list(range(1, 9))
    assert losses(tmp_path / "both" / "train") == pytest.approx(losses(tmp_path / "alone" / "train"), rel=1e-3)
    files = ("alone/start", "alone/train/model", "both/train/model")
    start, one, two = (load_file(tmp_path / file / "model.safetensors") for file in files)
    # AdamW steps as far for a gradient that is rounding alone: what counts is the way of all weights together.
    apart, moved = (sum(float((a[key] - b[key]).square().sum()) for key in a) for a, b in ((one, two), (one, start)))
    assert apart < 1e-3 * moved
    assert (tmp_path / "both" / "model").is_dir() and (tmp_path / "both" / "finetune.html").is_file()

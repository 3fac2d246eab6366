"""What a step does with a batch it cannot learn from, and what a run says when it must end."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from patience import PATIENCE

from seesay.base.errors import SeesayError
from seesay.base.journal import read_events
from seesay.base.settings import read_settings
from seesay.training import setup, train
from seesay.training.faults import explain_out_of_memory, is_out_of_memory
from seesay.training.loop import train_step
from seesay.training.objectives import contrastive as objective
from seesay.training.run_log import SpikeWatch
from seesay.training.settings import TrainSettings
from seesay.training.train import train_model


def state(run):
    """All that a step may move."""
    moments = [value for state in run.optimizer.state.values() for value in state.values()]
    return [tensor.clone() for tensor in (*run.clip.state_dict().values(), *moments)]


def events(run, kind):
    return [event for event in read_events(run.journal.folder / "events.jsonl") if event.get("event") == kind]


@pytest.fixture
def poison(monkeypatch):
    """Make the loss, or a gradient behind a finite loss, not a number."""
    honest = objective.contrastive_loss

    def start(where):
        def poisoned(image_BD, text_BD, scale, **kind):
            loss = honest(image_BD, text_BD, scale, **kind)
            return loss * math.nan if where == "loss" else loss + 0 * torch.sqrt(scale - scale)

        monkeypatch.setattr(objective, "contrastive_loss", poisoned)

    return start


@pytest.mark.parametrize("micro_batch", [4, 2])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_moves_nothing_not_even_running_statistics(
    small_run, batch, poison, where, micro_batch
):
    object.__setattr__(small_run.stepper, "micro_batch", micro_batch)
    train_step(small_run, batch())
    before = state(small_run)
    poison(where)
    train_step(small_run, batch(1))
    assert all(torch.equal(now, then) for now, then in zip(state(small_run), before, strict=True))
    assert [event["images"] for event in events(small_run, "skipped_batch")] == [[0, 1, 2, 3]]


@pytest.mark.journey
@pytest.mark.parametrize("count", [20, pytest.param(100, marks=pytest.mark.journey)])
def test_many_bad_steps_are_each_seen_in_the_same_step(count, small_run, batch, poison, monkeypatch):
    """F-T5: weights bit-equal to before, a hundred times; a good step between two bad ones clears the row."""
    honest = objective.contrastive_loss
    for seed in range(count):
        before = state(small_run)
        poison("loss" if seed % 2 else "gradient")
        train_step(small_run, batch(seed % 30))
        assert all(torch.equal(now, then) for now, then in zip(state(small_run), before, strict=True))
        monkeypatch.setattr(objective, "contrastive_loss", honest)
        train_step(small_run, batch(seed % 30))
    assert len(events(small_run, "skipped_batch")) == count


def test_three_bad_steps_in_a_row_stop_the_run_and_leave_their_images_named(small_run, batch, poison):
    small_run.key = "image {}".format
    poison("loss")
    train_step(small_run, batch(1))
    train_step(small_run, batch(2))
    with pytest.raises(SeesayError, match=r"not finite 3 steps in a row, up to step 3.*bad_batch\.json"):
        train_step(small_run, batch(3))
    told = json.loads((small_run.journal.folder / "bad_batch.json").read_text())
    assert [bad["step"] for bad in told] == [1, 2, 3]
    assert told[0]["loss"] is None and told[0]["keys"] == [f"image {n}" for n in range(4)]
    assert [(event["step"], event["first_step"]) for event in events(small_run, "diverged")] == [(3, 1)]


def test_the_scale_at_its_limit_is_told_when_it_gets_there_and_not_while_it_stays(small_run, batch):
    small_run.clip.logit_scale.data.fill_(6.0)
    for seed in range(4):
        small_run.clip.logit_scale.data.clamp_(min=6.0)
        train_step(small_run, batch(seed))
    assert small_run.clip.logit_scale.item() == pytest.approx(math.log(100))
    assert [event["step"] for event in events(small_run, "clamp")] == [1]
    small_run.clip.logit_scale.data.fill_(3.0)
    train_step(small_run, batch())
    small_run.clip.logit_scale.data.fill_(6.0)
    train_step(small_run, batch())
    assert [event["step"] for event in events(small_run, "clamp")] == [1, 6]


def test_a_run_that_goes_on_at_the_limit_does_not_tell_it_again(small_run, batch):
    small_run.clip.logit_scale.data.fill_(math.log(100))
    small_run.start_clock()
    small_run.clip.logit_scale.data.fill_(6.0)
    train_step(small_run, batch())
    assert events(small_run, "clamp") == []


@pytest.mark.journey
def test_a_loss_ten_times_the_usual_is_told_and_nothing_is_rolled_back(small_run, batch, monkeypatch, capsys):
    factor = [1.0]
    monkeypatch.setattr(
        objective, "contrastive_loss", lambda image_BD, text_BD, scale, **_: factor[0] + 0 * (image_BD.sum() + scale)
    )
    for seed in range(25):
        train_step(small_run, batch(seed % 5))
    factor[0] = 10.5
    train_step(small_run, batch())
    assert [(event["step"], event["median"]) for event in events(small_run, "spike")] == [(26, 1.0)]
    assert "the loss is 10.500 at step 26; its median was 1.000" in capsys.readouterr().err
    assert small_run.position.step == 26 and small_run.position.pairs_seen == 26 * 4


def test_few_losses_are_no_usual_one():
    watch = SpikeWatch()
    assert [watch.sees(loss) for loss in (0.1, 50.0, 0.1)] == [None, None, None]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8589934592 bytes."),
        OSError(errno.ENOMEM, "Cannot allocate memory"),  # what a fork says
    ],
)
def test_out_of_memory_ends_in_the_batch_and_the_micro_batch_to_try(error):
    told = pytest.raises(SeesayError, match=r"out of memory at batch size 64; try micro_batch 32\. The last checkpoi")
    with told as raised, explain_out_of_memory(batch_size=64, micro_batch=64, is_saved=lambda: True):
        raise error
    assert raised.value.exit_code == 1
    told = pytest.raises(
        SeesayError, match=r"size 64, 8 at a time; try micro_batch 4\. Nothing was saved yet: the same"
    )
    with told, explain_out_of_memory(batch_size=64, micro_batch=8, is_saved=lambda: False):
        raise error
    told = pytest.raises(SeesayError, match="take a smaller model")
    with told, explain_out_of_memory(batch_size=64, micro_batch=1, is_saved=lambda: True):
        raise error


def test_other_errors_are_not_called_out_of_memory():
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(OSError(errno.ENOENT, "No such file"))
    with pytest.raises(RuntimeError, match="shapes"), explain_out_of_memory(batch_size=4, micro_batch=4, is_saved=bool):
        raise RuntimeError("shapes do not match")


def command(pairs, out, *settings):
    words = [word for setting in settings for word in ("--set", setting)]
    return [sys.executable, "-m", "seesay", "train", str(pairs), "--out", str(out), "--steps", "2000", *words]


@pytest.mark.journey
def test_an_allocation_that_fails_in_a_run_exits_with_1_and_the_way_out(coloured_pairs, tmp_path):
    """Address space for the program, and not for the batch."""
    limited = (
        "import resource, sys, torch\n"
        "from seesay.cli.main import main\n"
        "import seesay.training.train\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (700 << 20),) * 2)\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = command(coloured_pairs(), tmp_path / "run", "model=vit-small", "batch_size=40", "data.workers=0")[3:]
    done = subprocess.run(
        [sys.executable, "-c", limited, *words],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "error: out of memory at batch size 40; try --micro-batch 20. Nothing was saved yet" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def hungry(coloured_pairs, tmp_path):
    """Train in this process; `checks` and what is patched may ask for more memory than there is."""

    def train(*overrides, **given):
        words = ["model=conv-tiny", "batch_size=8", "steps=4", "data.workers=0", "check.every=0.5", *overrides]
        settings = read_settings(TrainSettings, file=None, overrides=words)
        pairs = tmp_path / "pairs"
        train_model([pairs if pairs.exists() else coloured_pairs(24)], out=tmp_path / "run", settings=settings, **given)

    return train


def greedy(*_, **__):
    raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8589934592 bytes.")


@pytest.mark.journey
@pytest.mark.parametrize("place", ["build_clip", "optimizer_of", "checks_of"])
def test_too_little_memory_to_build_the_run_is_told_in_the_same_words(place, hungry, monkeypatch):
    monkeypatch.setattr(train if place == "checks_of" else setup, place, greedy)
    with pytest.raises(SeesayError, match=r"out of memory at batch size 8; try micro_batch 4\. Nothing was saved yet"):
        hungry()


@pytest.mark.journey
def test_too_little_memory_for_a_check_is_told_with_what_is_saved(hungry):
    words = r"out of memory at batch size 8; try micro_batch 4\. "
    with pytest.raises(SeesayError, match=words + "Nothing was saved yet"):
        hungry(checks={"greedy": greedy})
    with pytest.raises(SeesayError, match=words + "The last checkpoint is whole"):
        hungry("checkpoint.every_steps=1", checks={"greedy": greedy})


def workers_of(pid):
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return sorted(int(word) for word in done.stdout.split())


@pytest.mark.journey
@pytest.mark.parametrize(
    ("number", "seconds", "message"),
    [
        (signal.SIGKILL, 60, r"loader process 1 (pid {pid}, signal 9) ended, waiting for step"),
        (signal.SIGSTOP, 2, r"no batch came from the loader processes for the time that data.timeout_seconds allows"),
    ],
)
def test_a_loader_process_that_dies_or_hangs_ends_the_run_with_its_name(
    number, seconds, message, coloured_pairs, tmp_path
):
    settings = (
        "model=conv-tiny",
        "batch_size=8",
        "data.workers=2",
        f"data.timeout_seconds={seconds}",
        "log.every_steps=1",
    )
    out = tmp_path / "run"
    run = subprocess.Popen(
        command(coloured_pairs(), out, *settings),
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and (
            not (out / "events.jsonl").exists() or (out / "events.jsonl").read_bytes().count(b'"learning_rate"') < 5
        ):
            time.sleep(0.02)
        second = workers_of(run.pid)[1]
        os.kill(second, number)
        _, stderr = run.communicate(timeout=500)
    finally:
        run.kill()
    assert run.returncode == 1, stderr
    assert message.format(pid=second) in stderr and "what was saved is whole" in stderr
    assert "Traceback" not in stderr
    if number == signal.SIGSTOP:
        assert "workers.py" in stderr, "no stack of the other worker"

"""A run that was killed, stopped or damaged goes on to the same bits; anything that is not that run is refused."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from systems import needs_locks

from seesay.base.errors import Interrupted, RefusedInput, Stopped, StorageError, TooManySkipped, UsageError
from seesay.base.journal import EVENTS_NAME, Journal, read_events
from seesay.base.settings import read_settings
from seesay.model.bundle import Model
from seesay.model.hub import load
from seesay.training import train as train_module
from seesay.training.checkpoint import checkpoints
from seesay.training.settings import TrainSettings
from seesay.training.train import train_model

# Whole runs.
pytestmark = [pytest.mark.journey, pytest.mark.usefixtures("one_thread")]

STEPS = 24
WORDS = [f"steps={STEPS}", "batch_size=8", "model=conv-tiny", "data.validation=0.1", "data.augment.flip=0.5"]
SAVED_OFTEN = [*WORDS, "checkpoint.every_steps=5", "log.every_steps=1", "check.every=0.5"]
COLOURS = {"red": (220, 30, 20), "green": (20, 200, 40), "blue": (10, 30, 230), "yellow": (240, 240, 10)}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    for index in range(40):
        colour = list(COLOURS)[index % 4]
        Image.effect_noise((14 + index % 3, 12 + index % 5), 60).convert("RGB").save(folder / f"{index:02}.png")
        with Image.open(folder / f"{index:02}.png") as noise:
            Image.blend(noise, Image.new("RGB", noise.size, COLOURS[colour]), 0.7).save(folder / f"{index:02}.png")
        (folder / f"{index:02}.txt").write_text(f"a {colour} square\n{colour} number {index}\n")
    return folder


def run(pairs: Path, out: Path, *more: str, checks: dict[str, Callable] | None = None, **given) -> Model:
    settings = read_settings(TrainSettings, file=None, overrides=[*SAVED_OFTEN, *more])
    return train_model([pairs], out=out, settings=settings, checks=checks, **given)


@pytest.fixture(scope="module")
def unbroken(pairs: Path, tmp_path_factory) -> Path:
    """The same run with nothing in its way, and with other checkpoints: saving must not change what is learned."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("unbroken") / "run"
    run(pairs, out, "checkpoint.every_steps=7", "data.workers=0")
    return out


def is_same_run(out: Path, other: Path) -> None:
    """Equal weights to the last bit, the same losses, every step told once, and `done` at the end."""
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (out, other)]
    assert weights[0] == weights[1]
    told = [read_events(folder / EVENTS_NAME) for folder in (out, other)]
    losses = [[(event["step"], event["loss"]) for event in events if "event" not in event] for events in told]
    assert losses[0] == losses[1]
    assert [step for step, _ in losses[0]] == list(range(1, STEPS + 1))
    assert told[0][-1]["event"] == "done"


def command(pairs: Path, out: Path, *more: str) -> list[str]:
    words = [word for setting in [*SAVED_OFTEN, *more] for word in ("--set", setting)]
    return [sys.executable, "-m", "seesay", "train", str(pairs), "--out", str(out), *words]


def killed_after(step: int, pairs: Path, out: Path, *more: str) -> bool:
    """Start the command, end it with SIGKILL once it has told of `step`; False where it was done before that."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command(pairs, out, *more), env=environment, stderr=subprocess.DEVNULL)
    told = out / EVENTS_NAME
    try:
        while process.poll() is None:
            if told.exists() and told.read_bytes().count(b'"learning_rate"') >= step:
                break
            time.sleep(0.001)
    finally:
        process.kill()
    return process.wait() == -signal.SIGKILL


def test_a_run_killed_at_any_step_goes_on_to_the_same_bits(pairs: Path, unbroken: Path, tmp_path: Path):
    out = tmp_path / "run"
    assert killed_after(random.Random(os.getpid()).randrange(6, 20), pairs, out)
    assert not (out / "model").exists()
    run(pairs, out)
    is_same_run(out, unbroken)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_in_a_row_do_not_change_a_bit(pairs: Path, unbroken: Path, tmp_path: Path):
    out = tmp_path / "run"
    generator = random.Random(0)
    kills = sum(killed_after(generator.randrange(1, STEPS), pairs, out) for _ in range(20))
    assert kills == 20, "the run was done too early to be killed so often: a kill must not finish it"
    run(pairs, out)
    is_same_run(out, unbroken)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_with_another_number_of_workers_after_each_do_not_change_a_bit(pairs, unbroken, tmp_path):
    """F-T1: workers 0, 1, 2 and 4 in turn, all in one run."""
    out = tmp_path / "run"
    generator = random.Random(1)
    for workers in (0, 1, 2, 4, 0, 4, 2, 1):
        assert killed_after(generator.randrange(1, STEPS), pairs, out, f"data.workers={workers}")
    run(pairs, out, "data.workers=4")
    is_same_run(out, unbroken)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_of_a_run_in_micro_batches_do_not_change_a_bit(pairs, tmp_path):
    chunks = "micro_batch=3", "model=vit-small"
    run(pairs, tmp_path / "unbroken", *chunks)
    generator = random.Random(2)
    for _ in range(5):
        assert killed_after(generator.randrange(1, STEPS), pairs, tmp_path / "run", *chunks)
    run(pairs, tmp_path / "run", *chunks)
    is_same_run(tmp_path / "run", tmp_path / "unbroken")


def test_a_run_with_muon_that_was_killed_goes_on_to_the_same_bits(pairs: Path, tmp_path: Path):
    run(pairs, tmp_path / "unbroken", "optimizer.kind=muon")
    assert killed_after(13, pairs, tmp_path / "run", "optimizer.kind=muon")
    run(pairs, tmp_path / "run", "optimizer.kind=muon")
    is_same_run(tmp_path / "run", tmp_path / "unbroken")


def test_a_run_goes_on_in_micro_batches_where_memory_ran_out(pairs: Path, half: Path):
    run(pairs, half, "micro_batch=4")
    assert read_events(half / EVENTS_NAME)[-1]["event"] == "done"


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Stopped), (signal.SIGINT, Interrupted)])
def test_a_run_asked_to_stop_saves_and_goes_on_to_the_same_bits(number, error, pairs, unbroken, tmp_path):
    out = tmp_path / "run"

    def ask(_: Model) -> dict[str, float]:
        signal.raise_signal(number)
        return {}

    with pytest.raises(error, match=r"stopped after step 12, saved; the same command goes on"):
        run(pairs, out, checks={"ask": ask})
    run(pairs, out)
    is_same_run(out, unbroken)


def stopped(pairs: Path, out: Path) -> Path:
    """An unfinished run: stopped in the middle."""

    def ask(_: Model) -> dict[str, float]:
        signal.raise_signal(signal.SIGTERM)
        return {}

    with pytest.raises(Stopped):
        run(pairs, out, checks={"ask": ask})
    return out


@pytest.fixture(scope="module")
def unfinished(pairs: Path, tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    return stopped(pairs, tmp_path_factory.mktemp("unfinished") / "run")


@pytest.fixture
def half(unfinished: Path, tmp_path: Path) -> Path:
    """A copy of an unfinished run, to do with as one likes."""
    shutil.copytree(unfinished, tmp_path / "run")
    return tmp_path / "run"


def test_a_run_goes_on_from_the_older_checkpoint_where_the_newest_is_damaged(pairs, unbroken, half, capfd):
    newest = checkpoints(half / "checkpoints")[0]
    data = bytearray((newest / "optimizer.safetensors").read_bytes())
    data[-5] ^= 1
    (newest / "optimizer.safetensors").write_bytes(data)
    run(pairs, half)
    assert "optimizer.safetensors was changed since it was saved" in capfd.readouterr().err
    is_same_run(half, unbroken)


@pytest.mark.parametrize("name", ["state.json", "model.safetensors", "optimizer.safetensors"])
def test_a_checkpoint_with_a_missing_or_cut_file_is_passed_over(name, pairs, unbroken, half, capfd):
    newest = checkpoints(half / "checkpoints")[0]
    whole = (newest / name).read_bytes()
    if name == "state.json":
        (newest / name).unlink()
    else:
        (newest / name).write_bytes(whole[: len(whole) // 2])
    run(pairs, half)
    assert "warning" in capfd.readouterr().err
    is_same_run(half, unbroken)


def test_what_does_not_change_the_numbers_may_change_on_the_way(pairs: Path, unbroken: Path, half: Path):
    run(pairs, half, "checkpoint.every_steps=3", "checkpoint.keep=4", "check.every=0.25", "data.workers=0")
    is_same_run(half, unbroken)
    assert len(checkpoints(half / "checkpoints")) == 4


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("seed=1", "seed: 0 -> 1"),
        ("batch_size=4", "batch_size: 8 -> 4"),
        ("steps=25", "steps: 24 -> 25"),
        ("optimizer.learning_rate=0.0005", "optimizer.learning_rate: 0.001 -> 0.0005"),
    ],
)
def test_other_settings_are_refused_and_named(setting: str, told: str, pairs: Path, half: Path):
    before = {path: path.read_bytes() for path in half.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="unfinished run with other settings") as refused:
        run(pairs, half, setting)
    assert told in str(refused.value)
    assert before == {path: path.read_bytes() for path in half.rglob("*") if path.is_file()}


def test_other_pairs_are_refused(pairs: Path, half: Path, tmp_path: Path):
    shutil.copytree(pairs, tmp_path / "pairs")
    (tmp_path / "pairs" / "00.txt").write_text("a caption that was not there before\nand one more\n")
    with pytest.raises(RefusedInput, match="unfinished run on other pairs"):
        run(tmp_path / "pairs", half)


def test_other_images_of_the_same_sizes_and_names_are_other_pairs(pairs: Path, half: Path, tmp_path: Path):
    """C4: nothing but pixels is another."""
    shutil.copytree(pairs, tmp_path / "pairs")
    data = bytearray((tmp_path / "pairs" / "07.png").read_bytes())
    data[-20] ^= 1
    (tmp_path / "pairs" / "07.png").write_bytes(data)
    with pytest.raises(RefusedInput, match=r"other images of the same names and sizes.*allow_change pairs"):
        run(tmp_path / "pairs", half)
    run(tmp_path / "pairs", half, allow_change=["pairs"])


def test_a_run_saves_every_step_once_and_the_last_one_too(pairs: Path, unbroken: Path, half: Path):
    def saved(out: Path) -> list[int]:
        return [event["step"] for event in read_events(out / EVENTS_NAME) if event.get("event") == "checkpoint"]

    assert saved(unbroken) == [7, 14, 21, 24]
    run(pairs, half, "checkpoint.every_steps=4")
    assert saved(half) == [5, 10, 12, 16, 20, 24]


def test_a_run_that_goes_on_says_that_it_keeps_its_precision(pairs: Path, half: Path, monkeypatch, capfd):
    monkeypatch.setattr(train_module, "is_faster_in_bfloat16", lambda device: pytest.fail("measured, and not used"))
    run(pairs, half)
    told = capfd.readouterr().err
    assert re.search("precision  b?float(16|32), as the run began", told) and "was measured" not in told


def test_pairs_that_are_no_longer_held_out_are_other_pairs(pairs: Path, half: Path):
    with pytest.raises(RefusedInput, match="unfinished run"):
        run(pairs, half, validation=[pairs])


@needs_locks
def test_a_second_trainer_on_the_same_folder_is_refused_while_the_first_runs(pairs: Path, half: Path):
    with Journal(half), pytest.raises(StorageError, match=f"in use by process {os.getpid()}"):
        run(pairs, half)
    run(pairs, half)


def test_a_finished_run_and_a_foreign_folder_are_refused_and_left_alone(pairs, unbroken, tmp_path):
    with pytest.raises(UsageError, match="holds a finished run"):
        run(pairs, unbroken)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to-mother.txt").write_text("Dear mother")
    with pytest.raises(UsageError, match="is no run folder"):
        run(pairs, tmp_path / "letters")
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["to-mother.txt"]


def test_a_run_killed_before_its_settings_were_written_begins_anew(pairs, unbroken, unfinished, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    for name in (".lock", "events.jsonl", "skipped.jsonl", "tokenizer.json"):
        shutil.copy(unfinished / name, out / name)
    (out / ".facts.json.tmp-999999999-0123abcd").write_text("{")
    run(pairs, out)
    is_same_run(out, unbroken)


def test_a_run_killed_after_its_model_but_before_it_was_done_is_brought_to_its_end(pairs, unbroken, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(unbroken, out)
    lines = (out / EVENTS_NAME).read_text().splitlines(keepends=True)
    (out / EVENTS_NAME).write_text("".join(line for line in lines if '"done"' not in line))
    (out / "curves.png").unlink()
    run(pairs, out)
    is_same_run(out, unbroken)
    assert (out / "curves.png").exists()


def test_an_event_cut_in_the_middle_by_a_kill_is_told_again(pairs: Path, unbroken: Path, half: Path):
    with (half / EVENTS_NAME).open("a") as events:
        events.write('{"step": 13, "loss": 1.2')
    run(pairs, half)
    is_same_run(half, unbroken)
    for line in (half / EVENTS_NAME).read_text().splitlines():
        json.loads(line)


def test_images_left_out_before_a_stop_are_still_listed_after_it(pairs: Path, tmp_path: Path):
    shutil.copytree(pairs, tmp_path / "pairs")
    for index in range(0, 40, 8):
        path = tmp_path / "pairs" / f"{index:02}.png"
        path.write_bytes(path.read_bytes()[:60])
    stopped(tmp_path / "pairs", tmp_path / "run")
    with pytest.raises(TooManySkipped, match=r"done and its model saved, but 5 of 40 samples \(12\.5%\) were left out"):
        run(tmp_path / "pairs", tmp_path / "run")
    model = load(tmp_path / "run" / "model")
    listed = [json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert sorted(entry["key"] for entry in listed) == sorted({entry["key"] for entry in listed})
    assert sum(model.facts["training"]["skipped"].values()) == len(listed)
    assert {f"{index:02}" for index in range(0, 40, 8)} == {entry["key"] for entry in listed}


def test_the_model_in_the_run_folder_is_the_model_that_was_returned(pairs: Path, half: Path):
    returned = run(pairs, half)
    texts = ["a red square", "a blue square"]
    assert torch.equal(load(half / "model").encode_texts(texts), returned.encode_texts(texts))

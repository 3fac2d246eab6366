"""A whole run on pairs that can be learned in seconds: what it leaves behind, what it refuses, what it says."""

import json
import math

import pytest
import torch
from systems import needs_locks

import seesay
from seesay.base.errors import RefusedInput, SeesayError, TooManySkipped, UsageError
from seesay.base.journal import Journal, read_events
from seesay.base.records import Skipped
from seesay.nets.clip import build_clip
from seesay.nets.presets import preset
from seesay.training import run_log
from seesay.training.checkpoint import checkpoints, restore_latest, save_checkpoint
from seesay.training.faults import SkipLog
from seesay.training.loop import train_step
from seesay.training.objectives import contrastive as objective
from seesay.training.optimizer import optimizer_of

SMALL = {"model": "conv-tiny", "batch_size": 8, "data": {"vocab_size": 540, "validation": 0.1}}


def train(pairs, out, **settings):
    return seesay.train(pairs, out=out, **{**SMALL, "steps": 12, **settings})


@pytest.mark.journey
def test_training_leaves_torchs_generators_to_whoever_called(coloured_pairs, tmp_path):
    """Every step seeds them; a notebook that draws after a training would draw the same numbers after each."""
    pairs = coloured_pairs(8)
    before = torch.get_rng_state()
    train(pairs, tmp_path / "run", steps=2, batch_size=4)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.journey
def test_a_run_learns_colours_and_leaves_everything_behind(coloured_pairs, tmp_path, paint):
    check = tmp_path / "check"
    for colour in ("red", "blue"):
        for number in range(3):
            paint(check / colour / f"{number}.png", colour)
    model = train(coloured_pairs(), tmp_path / "run", steps=60, check=check)
    ranking = model.classify(
        [check / "red" / "0.png", check / "blue" / "0.png"], ["red", "blue"], templates=["a {} square"]
    )
    assert [r.labels[0] for r in ranking] == ["red", "blue"]

    run = tmp_path / "run"
    assert {"settings.toml", "facts.json", "events.jsonl", "curves.png", "skipped.jsonl", "model", "checkpoints"} <= {
        path.name for path in run.iterdir()
    }
    events = read_events(run / "events.jsonl")
    assert events[-1]["event"] == "done" and events[-1]["step"] == 60
    steps = [event for event in events if "event" not in event]
    assert all({"step", "loss", "pairs_seen", "pairs_per_second"} <= event.keys() for event in steps)
    assert steps[-1]["loss"] < steps[0]["loss"]
    checks = [event for event in events if event.get("event") == "check"]
    assert checks[-1]["check/top1"] == 1.0 and checks[-1]["validation/loss"] < math.log(4) + 0.5
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")

    again = seesay.load(run / "model")
    images = [check / "red" / "0.png"]
    assert torch.equal(again.encode_images(images), model.encode_images(images))
    assert again.facts["training"]["steps"] == 60 and again.facts["training"]["data"]["pairs"] == 43


@pytest.mark.journey
def test_ten_checks_in_ten_steps_come_after_every_step(coloured_pairs, tmp_path):
    """A tenth in binary is no tenth: three of them are a little more than 0.3, and one check came a step late."""
    train(coloured_pairs(), tmp_path / "run", steps=10, overrides=["check.every=0.1"])
    events = read_events(tmp_path / "run" / "events.jsonl")
    assert [event["step"] for event in events if event.get("event") == "check"] == list(range(1, 11))


@pytest.mark.journey
def test_a_finished_run_and_a_strange_folder_are_refused(coloured_pairs, tmp_path):
    pairs = coloured_pairs(24)
    train(pairs, tmp_path / "run", steps=2)
    with pytest.raises(UsageError, match="holds a finished run"):
        train(pairs, tmp_path / "run", steps=2)
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="is no run folder"):
        train(pairs, tmp_path / "strange", steps=2)


@pytest.mark.journey
def test_an_unfinished_run_goes_on_only_with_its_settings_and_pairs(coloured_pairs, tmp_path):
    pairs, run = coloured_pairs(24), tmp_path / "run"
    train(pairs, run, steps=4)
    events = (run / "events.jsonl").read_text().splitlines(keepends=True)
    (run / "events.jsonl").write_text("".join(line for line in events if '"done"' not in line))
    with pytest.raises(UsageError, match=r"other settings \(steps: 4 -> 5\)"):
        train(pairs, run, steps=5)
    (pairs / "000.txt").write_text("changed\n")
    with pytest.raises(RefusedInput, match="other pairs"):
        train(pairs, run, steps=4)
    (pairs / "000.txt").write_text("a red square\nsomething red\n")
    train(pairs, run, steps=4)
    assert any(event.get("event") == "resume" for event in read_events(run / "events.jsonl"))


@pytest.mark.journey
def test_broken_images_are_left_out_counted_and_listed(coloured_pairs, tmp_path):
    pairs = coloured_pairs(40)
    (pairs / "005.png").write_bytes(b"no image")
    (pairs / "006.txt").unlink()
    model = train(pairs, tmp_path / "run", steps=12, data={"vocab_size": 540, "validation": 0.0})
    listed = [json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert {entry["key"].split(".")[0] for entry in listed} == {"005", "006"}
    assert sum(model.facts["training"]["skipped"].values()) == 2


def test_too_many_broken_samples_stop_the_run_and_say_why(tmp_path):
    broken = tuple(Skipped(key=f"k{number}", reason="truncated image") for number in range(6))
    told = pytest.raises(TooManySkipped, match=r"of the last 10,000 samples are broken \(6 x truncated image")
    with SkipLog(tmp_path, pairs=20_000) as log, told:
        for _ in range(200):
            log.watch(94, broken)


def test_a_few_broken_samples_never_stop_a_small_run(tmp_path):
    with SkipLog(tmp_path, pairs=100) as log:
        for _ in range(500):
            log.watch(90, tuple(Skipped(key=f"k{number}", reason="truncated image") for number in range(10)))
        assert log.summary() == "10 x truncated image"


def test_what_a_finished_run_left_out_is_told_above_five_percent(tmp_path):
    broken = tuple(Skipped(key=f"k{number}", reason="truncated image") for number in range(6))
    with SkipLog(tmp_path, pairs=100) as log:
        log.watch(94, broken)
        assert log.excess(120) is None
        assert log.excess(100) == "6 of 100 samples (6.0%) were left out (6 x truncated image)"
        assert log.excess(100, 0.5) is None
    with SkipLog(tmp_path, pairs=100) as again:
        assert again.excess(100), "what was left out before a stop counts as well"


def test_a_hundred_broken_in_a_row_stop_the_run(tmp_path):
    with SkipLog(tmp_path, pairs=100) as log, pytest.raises(TooManySkipped, match="in a row"):
        for first in range(0, 200, 10):
            log.watch(0, tuple(Skipped(key=f"k{first + n}", reason="no image") for n in range(10)))


def test_a_loss_that_stays_at_guessing_is_said_once_with_the_way_out(small_run, batch, monkeypatch, capsys):
    def flat(image_BD, text_BD, scale, **kind):
        return 0 * (image_BD.sum() + text_BD.sum() + scale) + math.log(4)

    monkeypatch.setattr(objective, "contrastive_loss", flat)
    monkeypatch.setattr(run_log, "JUDGED_STEPS", 10)
    for seed in range(14):
        train_step(small_run, batch(seed))
    told = capsys.readouterr().err
    assert told.count("the model is not learning") == 1
    assert "guessing gives 1.386" in told and "learning_rate" in told


def test_a_checkpoint_brings_weights_moments_and_position_back(small_run, batch, tmp_path):
    for seed in range(3):
        train_step(small_run, batch(seed))
    save_checkpoint(tmp_path / "c", small_run.clip, small_run.optimizer, small_run.position, keep=2)
    clip = build_clip(preset("conv-tiny"), seed=9)
    optimizer = optimizer_of(clip, small_run.plan.optimizer)
    position, faults = restore_latest(tmp_path / "c", clip, optimizer)
    assert position == small_run.position and faults == []
    for (name, mine), theirs in zip(clip.state_dict().items(), small_run.clip.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name
    for mine, theirs in zip(clip.parameters(), small_run.clip.parameters(), strict=True):
        for moment in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(optimizer.state[mine][moment], small_run.optimizer.state[theirs][moment])
            assert optimizer.state[mine][moment].stride() == small_run.optimizer.state[theirs][moment].stride()


@pytest.mark.journey
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_and_said(small_run, batch, tmp_path):
    root = tmp_path / "c"
    for seed in range(3):
        train_step(small_run, batch(seed))
        save_checkpoint(root, small_run.clip, small_run.optimizer, small_run.position, keep=2)
    newest, older = checkpoints(root)
    data = bytearray((newest / "model.safetensors").read_bytes())
    data[-5] ^= 1
    (newest / "model.safetensors").write_bytes(data)
    position, faults = restore_latest(root, small_run.clip, small_run.optimizer)
    assert position.step == 2 and older.name.endswith("2")
    assert len(faults) == 1 and "changed since it was saved" in faults[0]


@needs_locks
def test_two_trainers_in_one_folder_are_refused(tmp_path):
    with Journal(tmp_path / "run"), pytest.raises(SeesayError, match="in use by process"), Journal(tmp_path / "run"):
        pass


def test_a_check_set_with_captions_is_refused(coloured_pairs, tmp_path):
    pairs = coloured_pairs(24)
    with pytest.raises(UsageError, match="has captions, not classes"):
        train(pairs, tmp_path / "run", check=pairs)


@pytest.mark.journey
def test_broken_images_of_a_check_set_are_said_once(coloured_pairs, tmp_path, paint, capsys):
    for colour in ("red", "blue"):
        paint(tmp_path / "check" / colour / "0.png", colour)
    (tmp_path / "check" / "red" / "1.png").write_bytes(b"no image")
    train(coloured_pairs(24), tmp_path / "run", steps=4, check=tmp_path / "check")
    told = capsys.readouterr().err
    assert told.count("check check: 1 of 3 images left out: 1 x not an image") == 1


@pytest.mark.journey
def test_settings_of_a_file_give_way_to_words_and_they_to_overrides(tmp_path, coloured_pairs):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('model = "conv-tiny"\nsteps = 9\nbatch_size = 4\n[data]\nvocab_size = 540\n')
    model = seesay.train(
        coloured_pairs(24), out=tmp_path / "run", recipe=recipe, batch_size=8, overrides=["steps=2", "seed=3"]
    )
    settings = model.facts["training"]["settings"]
    assert (settings["steps"], settings["batch_size"], settings["seed"]) == (2, 8, 3)


@pytest.mark.journey
def test_a_model_folder_that_lost_its_weights_is_refused(coloured_pairs, tmp_path):
    train(coloured_pairs(24), tmp_path / "run", steps=2)
    (tmp_path / "run" / "model" / "model.safetensors").unlink()
    with pytest.raises(RefusedInput, match=r"model\.safetensors is missing"):
        seesay.load(tmp_path / "run" / "model")


@pytest.mark.journey
def test_single_strings_are_lists_of_one_and_settings_of_checks_are_no_sets(coloured_pairs, tmp_path):
    pairs = coloured_pairs(24)
    model = seesay.train(pairs, out=tmp_path / "run", steps=2, overrides="seed=3", allow_change="seed")
    assert model.name == "run" and seesay.open_run(tmp_path / "run").settings.seed == 3
    with pytest.raises(UsageError, match=r"overrides=\['check.every=...'\]"):
        seesay.train(pairs, out=tmp_path / "other", check={"every": 1})

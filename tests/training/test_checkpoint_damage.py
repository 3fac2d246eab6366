"""A checkpoint that is not what was saved, in any bit of it or in what it holds, is found and never half used."""

import json
import random
import shutil
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.base.journal import LineFile, read_events
from seesay.base.publish import refuse_unwritable
from seesay.base.settings import read_settings
from seesay.model.weights import read_tensors, write_tensors
from seesay.nets.clip import build_clip
from seesay.nets.presets import preset
from seesay.training import checkpoint
from seesay.training.checkpoint import Position, checkpoints, optimizer_tensors, restore_latest, save_checkpoint
from seesay.training.optimizer import optimizer_of
from seesay.training.settings import OptimizerSettings, TrainSettings
from seesay.training.train import train_model

pytestmark = pytest.mark.journey  # whole runs


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Checkpoints of steps 1 and 2."""
    root = tmp_path_factory.mktemp("saved") / "checkpoints"
    clip, optimizer = blank()
    for step in (1, 2):
        save_checkpoint(root, clip, optimizer, Position(step=step, pairs_seen=8 * step, smooth_loss=0.5), keep=2)
    return root


@pytest.fixture
def root(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "checkpoints"))


def blank():
    clip = build_clip(preset("conv-tiny"), seed=1)
    return clip, optimizer_of(clip, OptimizerSettings(learning_rate=1e-3, weight_decay=0.1))


def sealed(folder: Path, **changes) -> None:
    """Write `changes` into the state of a checkpoint as if it had been saved so."""
    path = folder / "state.json"
    state = {**json.loads(path.read_text()), **changes}
    for name in state["sha256"]:
        state["sha256"][name] = checkpoint._sha256(folder / name)
    path.write_text(json.dumps({**state, "own_sha256": checkpoint._own_sha256(state)}))


@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_any_flipped_bit_of_any_file_is_found(root, count):
    """A21, F-X6."""
    newest, generator = checkpoints(root)[0], random.Random(count)
    position = checkpoint._read_state(newest)["position"]
    files = sorted(newest.iterdir())
    for number in range(count):
        path = files[number % len(files)]
        whole = path.read_bytes()
        place = generator.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << generator.randrange(8)]) + whole[place + 1 :])
        with suppress(RefusedInput):
            # White space between two words of JSON may become another white space.
            assert checkpoint._read_state(newest)["position"] == position and path.name == "state.json"
        path.write_bytes(whole)


def test_a_position_with_another_step_in_it_is_damage_and_not_a_place_to_go_on_from(root):
    """A21: the step is a number in a text, which no decoder would miss."""
    path = checkpoints(root)[0] / "state.json"
    path.write_text(path.read_text().replace('"step": 2', '"step": 3'))
    position, faults = restore_latest(root, *blank())
    assert position.step == 1 and "state.json was changed since it was saved" in faults[0]


def test_a_checkpoint_that_lost_a_file_counts_as_none(root):
    """A22."""
    (checkpoints(root)[0] / "optimizer.safetensors").unlink()
    position, faults = restore_latest(root, *blank())
    assert position.step == 1 and "is not a whole checkpoint" in faults[0]


def test_a_checkpoint_of_another_format_is_refused_and_not_passed_over(root):
    """A17."""
    sealed(checkpoints(root)[0], format=2)
    with pytest.raises(RefusedInput, match=r"has format 2, and this seesay reads 1; take the seesay it was written"):
        restore_latest(root, *blank())


def test_a_checkpoint_of_another_version_goes_on_with_a_note(root):
    """A17."""
    sealed(checkpoints(root)[0], written_by="seesay 0.0.9 with torch 2.0")
    position, faults = restore_latest(root, *blank())
    assert position.step == 2 and "was written by seesay 0.0.9 with torch 2.0, this is seesay" in faults[0]


def test_what_is_missing_in_all_checkpoints_is_named_and_nothing_begins_anew(root):
    """A28: moments of the optimizer."""
    clip, optimizer = blank()
    for folder in checkpoints(root):
        path = folder / "optimizer.safetensors"
        moments = read_tensors(path, optimizer_tensors(clip, optimizer))
        path.write_bytes(write_tensors({key: moments[key] for key in moments if key != "logit_scale.exp_avg"}))
        sealed(folder)
    with pytest.raises(RefusedInput, match=r"no checkpoint .* can be used \(.*logit_scale\.exp_avg") as refused:
        restore_latest(root, clip, optimizer)
    assert refused.value.exit_code == 4


def test_a_position_without_its_step_is_not_the_start(root):
    """A28."""
    for folder in checkpoints(root):
        sealed(folder, position={"seconds": 1.0})
    with pytest.raises(RefusedInput, match=r"has no pairs_seen, smooth_loss, step"):
        restore_latest(root, *blank())


def test_the_older_checkpoint_goes_only_when_the_new_one_was_read_again(root, monkeypatch):
    """A25."""

    def unreadable(folder):
        raise RefusedInput(f"{folder} cannot be read")

    monkeypatch.setattr(checkpoint, "_read_state", unreadable)
    with pytest.raises(RefusedInput):
        save_checkpoint(root, *blank(), Position(step=3), keep=2)
    assert {folder.name[-1] for folder in checkpoints(root)} == {"1", "2", "3"}


def test_what_is_saved_is_what_the_model_was_at_that_step(small_run, batch, tmp_path):
    """A27: saving is not put off, so that a later step cannot change it."""
    from seesay.training.loop import train_step

    train_step(small_run, batch())
    folder = save_checkpoint(tmp_path / "c", small_run.clip, small_run.optimizer, small_run.position, keep=2)
    before = {name: tensor.clone() for name, tensor in small_run.clip.state_dict().items()}
    train_step(small_run, batch(1))
    kept = read_tensors(folder / "model.safetensors", small_run.clip.state_dict())
    assert all(torch.equal(kept[name], before[name]) for name in before)
    assert not torch.equal(kept["logit_scale"], small_run.clip.state_dict()["logit_scale"])


def test_a_clock_that_jumps_changes_nothing(coloured_pairs, tmp_path, monkeypatch):
    """A26: hours back and forth at every look."""
    pairs, words = coloured_pairs(24), ["model=conv-tiny", "steps=6", "batch_size=8", "data.workers=0"]
    settings = read_settings(TrainSettings, file=None, overrides=[*words, "checkpoint.every_steps=2"])
    train_model([pairs], out=tmp_path / "usual", settings=settings)
    generator, now = random.Random(0), time.time()
    monkeypatch.setattr(time, "time", lambda: now + generator.uniform(-86_400, 86_400))
    train_model([pairs], out=tmp_path / "jumping", settings=settings)
    files = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("usual", "jumping")]
    assert files[0] == files[1]
    assert [folder.name[-1] for folder in checkpoints(tmp_path / "jumping" / "checkpoints")] == ["6", "4"]


def test_what_may_change_is_named_and_stays_changed(coloured_pairs, tmp_path):
    """A18."""
    pairs, out = coloured_pairs(24), tmp_path / "run"
    words = ["model=conv-tiny", "batch_size=8", "data.workers=0", "steps=4"]

    def run(*more, **given):
        train_model(
            [pairs], out=out, settings=read_settings(TrainSettings, file=None, overrides=[*words, *more]), **given
        )

    run()
    told = out / "events.jsonl"
    told.write_text("".join(line for line in told.read_text().splitlines(keepends=True) if '"done"' not in line))
    rate = "optimizer.learning_rate=0.0005"
    with pytest.raises(UsageError, match=r"learning_rate: 0.001 -> 0.0005\); choose another out, or name what may"):
        run(rate, allow_change=["seed"])
    with pytest.raises(UsageError, match=r"allow_change optimiser: there is no such setting\. Nearest: optimizer"):
        run(rate, allow_change=["optimiser"])
    run(rate, allow_change=["optimizer"])
    changed = [event for event in read_events(told) if event.get("event") == "changed"]
    assert changed[0]["changes"] == ["optimizer.learning_rate: 0.001 -> 0.0005"]
    assert "learning_rate = 0.0005" in (out / "settings.toml").read_text()


def test_lines_that_a_device_refuses_are_counted_where_the_next_one_stands(tmp_path, capsys):
    """A6: a disk that takes half a line, then none, then all again."""
    lines = LineFile(tmp_path / "lines")
    lines.add({"n": 0})
    file = lines._file
    written = file.write
    answers = iter([lambda data: written(data[:4]), lambda data: 0, written, written, written])
    lines._file = type("File", (), {"write": lambda _, data: next(answers)(data), "close": lambda _: None})()
    for number in range(1, 5):
        lines.add({"n": number})
    file.close()
    assert read_events(tmp_path / "lines") == [{"n": 0}, {"event": "gap", "lines": 2}, {"n": 3}, {"n": 4}]
    assert capsys.readouterr().err.count("warning") == 1


def test_the_full_device_is_said_once(capsys):
    """A6."""
    lines = LineFile(Path("/dev/full"))
    for _ in range(3):
        lines.add({"n": 0})
    lines.close()
    assert capsys.readouterr().err.count("/dev/full cannot be written (No space left on device)") == 1


def test_bytes_that_do_not_fit_are_refused_with_both_numbers(tmp_path):
    """A5."""
    refuse_unwritable(tmp_path / "not" / "there", needed=1)
    with pytest.raises(StorageError, match=r"there cannot be written: 1,000,000,000,000,000,000 bytes are needed and "):
        refuse_unwritable(tmp_path / "not" / "there", needed=10**18)
    assert not list(tmp_path.iterdir())

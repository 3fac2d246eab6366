"""What version 0.1.0 left on disk is read as it is."""

import json
from pathlib import Path

import pytest

import seesay
from seesay.base.errors import UsageError
from seesay.base.records import Skipped
from seesay.base.settings import difference, read_settings
from seesay.training.faults import SkipLog
from seesay.training.settings import TrainSettings

SETTINGS = """
model = "conv-tiny"
objective = "contrastive-bow"
seed = 0
device = "cpu"
batch_size = 16
parallel = "ddp"
parallel_timeout_seconds = 120.0
stuck_minutes = 60.0
steps = 400

[data]
validation = 0.01
vocab_size = 1024
share_repeats = true
workers = 0
timeout_seconds = 120.0
cache = true

[data.augment]
scale = 0.5
stretch = 1.3
flip = 0.5
colour = 0.2
coarse = 0.2
turn = 0.0
move = 0.0
blur = 0.0

[towers]
patch_dropout = 0.0
activation_checkpointing = false
compile = false
precision = "float32"

[optimizer]
learning_rate = 0.001
weight_decay = 0.1
beta1 = 0.9
beta2 = 0.98
epsilon = 1e-06

[schedule]
warmup = 0.05
sizes = [[32, 1.0]]

[checkpoint]
every_minutes = 10.0
keep = 2

[check]
every = 0.1

[log]
every_steps = 10
to = []
"""


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    """A run folder as 0.1.0 wrote it."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "settings.toml").write_text(SETTINGS)
    (folder / "facts.json").write_text(json.dumps({"machine": {"ranks": 1}, "data": {"pictures": "x"}, "plan": []}))
    events = [
        {"step": 10, "loss": 2.0, "smooth_loss": 2.5, "pairs_seen": 160, "learning_rate": 1e-3},
        {"event": "check", "step": 10, "pairs_seen": 160, "validation/loss": 2.1},
    ]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    skipped = {"key": "a.jpg", "reason": "empty file", "detail": "", "place": "pairs/a.jpg"}
    (folder / "skipped.jsonl").write_text(json.dumps(skipped) + "\n")
    return folder


def test_settings_without_the_new_defaults_are_no_change(old_run):
    old = read_settings(TrainSettings, file=old_run / "settings.toml")
    again = read_settings(TrainSettings, file=None, base=old.model_dump(exclude_none=True))
    assert difference(old, again) == [] and old.checkpoint.every_steps == 0 and old.check.at == ()


def test_samples_that_were_listed_with_a_place_are_not_listed_again(old_run):
    with SkipLog(old_run, 10) as skips:
        skips.note([Skipped(key="a.jpg", reason="empty file", location="pairs/a.jpg")])
        skips.note([Skipped(key="b.jpg", reason="empty file", location="pairs/b.jpg")])
    entries = [json.loads(line) for line in (old_run / "skipped.jsonl").read_text().splitlines()]
    assert [entry["key"] for entry in entries] == ["a.jpg", "b.jpg"] and skips.counts["empty file"] == 2


def test_a_run_opens_again_with_its_history(old_run, tmp_path):
    run = seesay.open_run(old_run)
    assert not run.is_finished and run.settings.steps == 400
    assert run.history == [{"step": 10, "loss": 2.0, "smooth_loss": 2.5, "pairs_seen": 160, "learning_rate": 1e-3}]
    assert run.checks == [{"step": 10, "pairs_seen": 160, "validation/loss": 2.1}]
    assert repr(run) == f"Run({str(old_run)!r}: conv-tiny, step 10, smoothed loss 2.500, not finished)"
    with pytest.raises(UsageError, match="not finished"):
        run.load()
    with pytest.raises(UsageError, match="is no run folder"):
        seesay.open_run(tmp_path)

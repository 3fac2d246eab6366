"""The best model is kept, a validation loss that rises is said once, and `check.patience` ends a run."""

import hashlib
import math
from functools import partial

import pytest
import torch

import seesay
from seesay.base.errors import UsageError
from seesay.base.journal import read_events
from seesay.training.best import LOSS, BestCheck, best_of_run, is_stopped_early, keep_best, warn_if_rising
from seesay.training.pairs import open_training_pairs, share_to_hold_out, validation_line
from seesay.training.plan import RunPlan
from seesay.training.settings import CheckSettings, TrainSettings
from seesay.training.validation import Validation

SMALL = {"model": "conv-tiny", "batch_size": 8, "data": {"vocab_size": 540, "validation": 0.1}}
EVERY_STEP = ["check.every=0.04", "checkpoint.every_steps=5", "log.every_steps=1"]


@pytest.fixture
def kept():
    return []


@pytest.fixture
def checked(small_run, kept):
    """Makes checks with these (step, validation loss, smoothed training loss) on a run of 100 steps."""
    small_run.best = BestCheck(measured_on="these", pairs=1000, keep=kept.append)

    def check(*rows):
        for step, loss, smooth_loss in rows:
            small_run.position.step, small_run.position.smooth_loss = step, smooth_loss
            keep_best(small_run, {LOSS: loss})
            warn_if_rising(small_run, {LOSS: loss})
        return small_run

    return check


RISE = [(10, 2.0, 2.0), (20, 1.5, 1.5), (30, 1.6, 1.2), (40, 1.7, 1.0), (50, 1.8, 0.9)]


def test_a_validation_loss_that_rises_is_said_once_with_the_step_of_the_best(checked, kept, capsys):
    run = checked(*RISE)
    told = capsys.readouterr().err
    assert told.count("the validation loss rises, from 1.500 at step 20 to 1.800 at step 50") == 1
    assert "from 1.500 to 0.900" in told and "run/best" in told and "check.patience" in told
    assert kept == [{LOSS: 2.0}, {LOSS: 1.5}]
    checked((60, 1.9, 0.8), (70, 2.0, 0.7))
    assert "rises" not in capsys.readouterr().err
    assert [event["best_step"] for event in read_events(run.journal.folder / "events.jsonl")] == [20]


@pytest.mark.parametrize(
    "rows",
    [
        [(10, 2.0, 2.0), (20, 1.5, 1.5), (30, 1.6, 1.2), (40, 1.7, 1.0)],  # only two checks behind the best
        [(10, 1.5, 1.5), (20, 1.8, 1.6), (30, 1.9, 1.7), (40, 2.0, 1.8)],  # training does not get better either
        [(10, 1.5, 1.5), (20, 1.51, 1.2), (30, 1.52, 1.1), (40, 1.53, 1.0)],  # as good as equal
        [(10, 1.5, 1.5), (20, math.nan, 1.2), (30, math.nan, 1.1), (40, math.nan, 1.0)],
    ],
)
def test_other_losses_are_not_said_to_rise(checked, rows, capsys):
    checked(*rows)
    assert "rises" not in capsys.readouterr().err


def test_a_rise_on_a_few_pairs_may_be_chance(checked, small_run, capsys):
    small_run.best.pairs = 4
    checked(*RISE)
    assert "rises" not in capsys.readouterr().err


def test_a_rise_at_the_last_check_is_said_at_once(checked, capsys):
    checked((50, 1.5, 1.5), (100, 1.9, 1.0))
    assert "rises, from 1.500 at step 50 to 1.900 at step 100" in capsys.readouterr().err


def test_a_run_is_stopped_early_only_where_that_is_set(checked, small_run):
    assert not is_stopped_early(checked(*RISE))
    plan = small_run.plan
    small_run.plan = RunPlan.of(
        plan.settings.model_copy(update={"check": CheckSettings(patience=3)}), plan.architecture, pairs=100
    )
    assert is_stopped_early(small_run)
    checked((60, 1.4, 0.8))
    assert not is_stopped_early(small_run)


def test_checks_that_are_made_again_count_once():
    best = BestCheck(measured_on="these", pairs=100)
    assert best.sees(30, 1.0, 1.0)
    assert not best.sees(10, 2.0, 2.0) and not best.sees(30, 1.0, 1.0) and best.checks_since == 0
    assert not best.sees(40, 1.5, 0.5) and best.checks_since == 1


def train(pairs, out, *overrides, **settings):
    return seesay.train(pairs, out=out, overrides=[*EVERY_STEP, *overrides], **{**SMALL, "steps": 24, **settings})


def pseudo_random(self) -> dict[str, float]:
    """A loss that depends on every bit of the first weights, and rises and falls without end."""
    weights = next(self.model.clip.parameters()).detach().numpy().tobytes()
    return {"loss": int(hashlib.sha256(weights).hexdigest()[:8], 16) / 2**32}


@pytest.mark.journey
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("crash_at", [2, 6, 8])
def test_a_run_that_ends_early_does_so_at_the_same_bits_after_a_crash(coloured_pairs, tmp_path, monkeypatch, crash_at):
    monkeypatch.setattr(Validation, "measure", pseudo_random)
    pairs, words = coloured_pairs(), ["check.patience=8", "towers.precision=float32"]
    train(pairs, tmp_path / "unbroken", *words)
    unbroken = seesay.open_run(tmp_path / "unbroken")
    end, best = unbroken.events[-1], unbroken.load("best").facts["training"]["best"]
    assert end["ended_early"] and end["step"] == best["step"] + 8 < 24

    measured = []

    def crash(self):
        measured.append(1)
        if len(measured) == crash_at:
            raise RuntimeError("as good as a kill: nothing is saved")
        return pseudo_random(self)

    monkeypatch.setattr(Validation, "measure", crash)
    with pytest.raises(RuntimeError):
        train(pairs, tmp_path / "run", *words)
    train(pairs, tmp_path / "run", *words)
    for folder in ("model", "best"):
        files = [(tmp_path / run / folder / "model.safetensors").read_bytes() for run in ("run", "unbroken")]
        assert files[0] == files[1]
    assert seesay.open_run(tmp_path / "run").events[-1]["step"] == end["step"]


@pytest.mark.journey
def test_a_run_that_ended_early_goes_on_with_more_patience_alone(coloured_pairs, tmp_path, monkeypatch, capsys):
    losses = iter([1.0, 2.0, *(3.0 for _ in range(99))])
    monkeypatch.setattr(Validation, "measure", lambda self: {"loss": next(losses)})
    pairs, run = coloured_pairs(), tmp_path / "run"
    train(pairs, run, "check.patience=2")
    assert "2 checks in a row had no lower validation loss than step 1 (check.patience)" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"check\.patience 2 ended early; set it to 0 or higher"):
        train(pairs, run, "check.patience=2", steps=30)
    train(pairs, run, "check.patience=0")
    assert seesay.open_run(run).events[-1]["step"] == 24


@pytest.mark.journey
def test_the_best_model_is_the_one_that_was_measured(coloured_pairs, tmp_path):
    train(coloured_pairs(), tmp_path / "run", steps=8)
    run = seesay.open_run(tmp_path / "run")
    checks = {row["step"]: row[LOSS] for row in run.checks}
    best = run.load("best")
    facts = best.facts["training"]["best"]
    assert facts["loss"] == min(checks.values()) == checks[facts["step"]]
    assert best.facts["training"]["checks"][LOSS] == facts["loss"] and best.facts["training"]["steps"] == facts["step"]
    with pytest.raises(UsageError, match="name 'last' or 'best'"):
        run.load("worst")  # type: ignore[arg-type]


@pytest.mark.journey
def test_a_run_without_validation_pairs_says_that_it_keeps_no_best_model(coloured_pairs, tmp_path, capsys):
    pairs = coloured_pairs(24)
    train(pairs, tmp_path / "run", steps=2)
    assert "no best model is kept; name some with val" in capsys.readouterr().err
    with pytest.raises(UsageError, match="has no best model"):
        seesay.open_run(tmp_path / "run").load("best")
    with pytest.raises(UsageError, match=r"check\.patience is 3, but no pairs are validated on"):
        train(pairs, tmp_path / "other", "check.patience=3")


@pytest.mark.journey
def test_a_best_model_of_other_losses_or_damaged_is_replaced(coloured_pairs, tmp_path, capsys):
    pairs, folder = coloured_pairs(), tmp_path / "run"
    train(pairs, folder, steps=2)
    run = seesay.open_run(folder)
    plan = RunPlan.of(run.settings, run.load().architecture, pairs=43)
    held_out = open_training_pairs([pairs], (), run.settings).validation
    assert held_out is not None
    assert best_of_run(folder, run.events, held_out, plan).step > 0
    other = RunPlan.of(run.settings.model_copy(update={"batch_size": 4}), plan.architecture, pairs=43)
    assert best_of_run(folder, run.events, held_out, other).step == 0
    (folder / "best" / "model.json").write_text('{"facts": {}}')
    assert best_of_run(folder, run.events, held_out, plan).loss == math.inf
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.journey
def test_two_processes_keep_one_best_model_and_end_early_together(coloured_pairs, tmp_path, in_processes, monkeypatch):
    losses = iter([1.0, 2.0, *(3.0 for _ in range(99))])
    monkeypatch.setattr(Validation, "measure", lambda self: {"loss": next(losses)})
    words = ["steps=9", "check.every=0.11", "check.patience=2", "towers.precision=float32", "parallel=fsdp"]
    ends = in_processes(2, partial(_in_two, pairs=coloured_pairs(), out=tmp_path / "run", words=words))
    assert "TimeoutError" not in [end[0] for end in ends if isinstance(end, tuple)]
    run = seesay.open_run(tmp_path / "run")
    assert run.events[-1]["step"] == 3 and run.events[-1]["ended_early"]
    assert run.load("best").facts["training"]["best"]["step"] == 1


def _in_two(rank, *, pairs, out, words):
    torch.set_num_threads(1)
    seesay.train(pairs, out=out, overrides=words, **{**SMALL, "model": "vit-small"}, workers=0)


@pytest.mark.parametrize(
    ("pairs", "held_out"), [(30, 3), (200, 20), (2_000, 200), (5_000, 500), (20_000, 500), (80_000, 800)]
)
def test_enough_is_held_out_and_no_more_than_a_tenth_of_few_pairs(pairs, held_out):
    assert round(share_to_hold_out(pairs) * pairs) == held_out


@pytest.mark.journey
def test_a_run_keeps_the_share_that_it_began_with(coloured_pairs, tmp_path, capsys):
    """Runs of before held out a hundredth: none of 48 pairs."""
    pairs, run = coloured_pairs(), tmp_path / "run"
    train(pairs, run, steps=2, data={"vocab_size": 540, "validation": 0.01})
    (run / "events.jsonl").write_text(
        "".join(line for line in (run / "events.jsonl").read_text().splitlines(keepends=True) if '"done"' not in line)
    )
    train(pairs, run, steps=2, data={"vocab_size": 540})
    assert seesay.open_run(run).settings.data.validation == 0.01
    new = train(pairs, tmp_path / "new", steps=2, data={"vocab_size": 540}).facts["training"]["data"]
    assert (new["pairs"], new["validation_pairs"]) == (43, 5)
    assert "5 pairs held out, 10.0% of all, in batches of 5" in capsys.readouterr().err


def test_the_plan_says_how_many_pairs_do_not_fill_a_batch(coloured_pairs):
    settings = TrainSettings.model_validate({"data": {"validation": 0.25}})
    pairs = open_training_pairs([coloured_pairs()], (), settings)
    assert validation_line(pairs, batch_size=8) == "12 pairs held out, 25.0% of all, in batches of 8, 8 of them used"

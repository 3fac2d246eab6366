"""A finished run goes on where its length is raised, with the schedule of the new length from there on."""

import shutil
from pathlib import Path

import pytest

import seesay
from seesay.base.errors import UsageError
from seesay.formulas.schedule import rate_factor

# Whole runs.
pytestmark = [pytest.mark.journey, pytest.mark.usefixtures("one_thread")]
SMALL = {"model": "conv-tiny", "batch_size": 8, "data": {"vocab_size": 540}}
WORDS = ["log.every_steps=1", "checkpoint.every_steps=5", "towers.precision=float32"]


def train(pairs: Path, out: Path, *overrides: str, **settings):
    return seesay.train(pairs, out=out, overrides=[*WORDS, *overrides], **{**SMALL, **settings})


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def test_more_steps_lengthen_a_finished_run_with_the_new_schedule(coloured_pairs, tmp_path, capsys):
    pairs, out = coloured_pairs(), tmp_path / "run"
    train(pairs, out, steps=10)
    short = weights(out)
    model = train(pairs, out, steps=16)
    told = capsys.readouterr().err
    assert "changed    steps: 10 -> 16" in told
    run = seesay.open_run(out)
    rates = {row["step"]: row["learning_rate"] for row in run.history}
    assert list(rates) == list(range(1, 17))
    assert rates[10] == pytest.approx(1e-3 * rate_factor(9.5 / 10, 0.05))
    assert rates[11] == pytest.approx(1e-3 * rate_factor(10.5 / 16, 0.05)) and rates[11] > rates[10]
    assert f"going on after step 10 of 16 steps, at rate {rates[11]:.3g}" in told
    assert run.is_finished and run.settings.steps == 16 and model.facts["training"]["steps"] == 16
    assert weights(out) != short


def test_a_lengthened_run_that_crashes_goes_on_to_the_same_bits(coloured_pairs, tmp_path, monkeypatch):
    pairs, out = coloured_pairs(), tmp_path / "run"
    train(pairs, out, steps=6)
    shutil.copytree(out, tmp_path / "unbroken")
    train(pairs, tmp_path / "unbroken", steps=16)

    class Crash(Exception):
        pass

    def crash(state, *_):
        if state.position.step == 13:
            raise Crash
        log(state, *_)

    from seesay.training import loop

    log = loop.log_surprises
    monkeypatch.setattr(loop, "log_surprises", crash)
    with pytest.raises(Crash):
        train(pairs, out, steps=16)
    monkeypatch.setattr(loop, "log_surprises", log)
    train(pairs, out, steps=16)
    assert weights(out) == weights(tmp_path / "unbroken")
    assert seesay.open_run(out).is_finished


def test_epochs_and_the_epochs_that_were_chosen_can_be_raised(coloured_pairs, tmp_path):
    pairs, out = coloured_pairs(), tmp_path / "run"
    train(pairs, out, epochs=1)
    train(pairs, out, epochs=2)
    train(pairs, out, steps=14)  # two epochs of 43 pairs are 11 steps
    assert seesay.open_run(out).events[-1]["step"] == 14


def test_what_does_not_lengthen_a_finished_run_is_refused(coloured_pairs, tmp_path):
    pairs, out = coloured_pairs(), tmp_path / "run"
    train(pairs, out, steps=4)
    before = weights(out)
    for length in ({"steps": 4}, {"steps": 3}, {"minutes": 1.0}):
        with pytest.raises(UsageError, match="holds a finished run of 4 steps; raise steps above 4"):
            train(pairs, out, **length)
    with pytest.raises(UsageError, match=r"a finished run with other settings \(seed: 0 -> 1\).*allow_change"):
        train(pairs, out, steps=8, seed=1)
    shutil.rmtree(out / "checkpoints")
    with pytest.raises(UsageError, match="its checkpoints to go on from are gone"):
        train(pairs, out, steps=8)
    assert weights(out) == before and seesay.open_run(out).is_finished


def test_an_unfinished_run_keeps_its_length_unless_that_is_named(coloured_pairs, tmp_path):
    pairs, out = coloured_pairs(), tmp_path / "run"
    train(pairs, out, steps=4)
    events = (out / "events.jsonl").read_text().splitlines(keepends=True)
    (out / "events.jsonl").write_text("".join(line for line in events if '"done"' not in line))
    with pytest.raises(UsageError, match=r"unfinished run with other settings \(steps: 4 -> 8\)"):
        train(pairs, out, steps=8)
    seesay.train(pairs, out=out, overrides=WORDS, allow_change="steps", steps=8, **SMALL)
    assert seesay.open_run(out).events[-1]["step"] == 8

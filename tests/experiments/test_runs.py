"""Whole experiments, tiny ones: what a kill leaves is resumed to the bit, and a run that fails or diverges is named."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE
from PIL import Image

from seesay.base.errors import SeesayError, UsageError
from seesay.experiments.compare import compare
from seesay.experiments.runner import _environment

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "yellow": (230, 220, 40)}
RECIPE = """
objectives = ["contrastive", "contrastive-bow"]
images = 320
points = 3
learning_rates = [1e-3, 3e-3]
seeds = [0, 1]
[train]
model = "conv-tiny"
batch_size = 8
device = "cpu"
checkpoint.every_steps = 4
towers.precision = "float32"
schedule.sizes = [[16, 0.5], [24, 0.5]]
"""


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Path]:
    """Pairs, a labelled set of the same colours, and the recipe."""
    random = np.random.default_rng(0)
    for index in range(32):
        colour = list(COLOURS)[index % 4]
        pixels = np.clip(np.array(COLOURS[colour]) + random.integers(-25, 26, (16, 16, 3)), 0, 255).astype(np.uint8)
        for path in (tmp_path / "pairs" / f"{index:03}.png", tmp_path / "set" / colour / f"{index}.png"):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        (tmp_path / "pairs" / f"{index:03}.txt").write_text(f"a {colour} square\n")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return {"recipe": tmp_path / "recipe.toml", "pairs": tmp_path / "pairs", "check": tmp_path / "set"}


@pytest.mark.journey
def test_pairs_in_memory_stay_in_the_folder_for_a_second_call(data, tmp_path: Path):
    rows = [(str(path), path.with_suffix(".txt").read_text()) for path in sorted(data["pairs"].glob("*.png"))]
    few = ["images=32", "points=1", "learning_rates=[3e-3]", "seeds=[0]", 'objectives=["contrastive"]']
    arguments = {"out": tmp_path / "out", "check": data["check"], "overrides": few}
    comparison = compare(data["recipe"], pairs=rows, **arguments)
    assert (comparison.pairs.name, comparison.pairs.pairs) == ("examples.parquet", 32)
    again = compare(data["recipe"], pairs=rows, **arguments)
    assert again.to_json()["runs"] == comparison.to_json()["runs"], "nothing is done twice"
    with pytest.raises(UsageError, match="has other pairs than those given"):
        compare(data["recipe"], pairs=rows[1:], **arguments)


def start(data, out: Path) -> subprocess.Popen:
    words = [data["recipe"], "--out", out, "--pairs", data["pairs"], "--check", data["check"], "--jobs", "2"]
    command = [sys.executable, "-m", "seesay", "compare", *map(str, words)]
    return subprocess.Popen(command, env=_environment(1), stderr=subprocess.PIPE, text=True)


def wait_for(out: Path, event: str, *, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not any(f'"{event}"' in path.read_text() for path in out.glob("runs/*/*/*/events.jsonl")):
        assert time.monotonic() < end, f"no {event} in {seconds:g} s"
        time.sleep(0.02)


def children_of(parent: int) -> list[int]:
    listing = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout
    return [int(pid) for pid, above in map(str.split, listing.splitlines()[1:]) if int(above) == parent]


def numbers_of(result: dict) -> dict:
    """What must be the same to the bit: all but times, machine and version."""
    runs = [{**run, "machine": None, "points": without_seconds(run["points"])} for run in result["runs"]]
    objectives = {
        name: {**values, "seeds": {seed: without_seconds(points) for seed, points in values["seeds"].items()}}
        for name, values in result["objectives"].items()
    }
    factors = [factor for factor in result["efficiency"] if factor["over"] != "seconds"]
    runs.sort(key=lambda run: run["folder"])
    return {"data": result["data"], "runs": runs, "objectives": objectives, "efficiency": factors}


def without_seconds(points: list[dict]) -> list[dict]:
    return [{key: value for key, value in point.items() if key != "seconds"} for point in points]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_experiment_that_was_killed_comes_to_the_same_numbers(data, tmp_path):
    data["recipe"].write_text(RECIPE.replace("seeds = [0, 1]", "seeds = [0]"))
    whole = compare(data["recipe"], out=tmp_path / "whole", **{k: data[k] for k in ("pairs", "check")}, jobs=2)
    assert len(whole.runs) == 4 and all(len(run.points) == 3 for run in whole.runs)
    assert json.loads((tmp_path / "whole" / "result.json").read_text()) == json.loads(json.dumps(whole.to_json()))
    broken = tmp_path / "broken"

    process = start(data, broken)
    wait_for(broken, "checkpoint")
    for pid in [*children_of(process.pid), process.pid]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()

    # Without their parent, runs save and end; the next call waits for that.
    process = start(data, broken)
    wait_for(broken, "resume")
    process.kill()
    process.communicate()

    process = start(data, broken)
    wait_for(broken, "done")
    process.send_signal(signal.SIGINT)
    error = process.communicate()[1]
    assert process.returncode == 130 and "the same command goes on" in error

    process = start(data, broken)
    error = process.communicate()[1]
    assert process.returncode == 0, error
    result = json.loads((broken / "result.json").read_text())
    assert numbers_of(result) == numbers_of(json.loads((tmp_path / "whole" / "result.json").read_text()))
    assert {"page.html", "figure.png", "settings.toml", "logs", "runs"} <= {path.name for path in broken.iterdir()}

    # All is done: nothing is made again, and another recipe is refused.
    before = {path: path.stat().st_mtime_ns for path in broken.glob("runs/*/*/*/events.jsonl")}
    sources = {name: data[name] for name in ("pairs", "check")}
    compare(data["recipe"], out=broken, **sources)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(UsageError, match=r"another recipe \(images: 320 -> 640"):
        compare(data["recipe"], out=broken, **sources, overrides=["images=640"])


@pytest.mark.journey
def test_a_run_that_fails_is_named_and_the_others_go_on(data, tmp_path):
    out = tmp_path / "out"
    foreign = out / "runs" / "contrastive" / "rate-0.001" / "seed-0"
    sources = {name: data[name] for name in ("pairs", "check")}
    # A first call that ends at once leaves the settings; then something lies where a run should be.
    foreign.mkdir(parents=True)
    (foreign / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="has a folder runs but no settings"):
        compare(data["recipe"], out=out, **sources)
    (foreign / "notes.txt").rename(tmp_path / "notes.txt")
    for folder in (foreign, *foreign.parents[:3]):
        folder.rmdir()
    short = ["images=16", "points=1", "seeds=[0]"]
    compare(data["recipe"], out=out, **sources, overrides=[*short, "learning_rates=[3e-3]"])
    (out / "settings.toml").write_text((out / "settings.toml").read_text().replace("[0.003]", "[0.001, 0.003]"))
    foreign.mkdir(parents=True)
    (foreign / "notes.txt").write_text("mine")
    with pytest.raises(SeesayError, match=r"contrastive/rate-0.001/seed-0 failed: exit code 2, see .*\.txt"):
        compare(data["recipe"], out=out, **sources, overrides=short)
    result = json.loads((out / "result.json").read_text())
    assert len(result["runs"]) == 3 and list(result["failed"]) == ["contrastive/rate-0.001/seed-0"]
    assert [tried["accuracy"] is None for tried in result["objectives"]["contrastive"]["tuning"]] == [True, False]
    assert "notes.txt" in (out / "logs" / "contrastive-rate-0.001-seed-0.txt").read_text()


@pytest.mark.journey
def test_a_rate_that_diverges_is_an_outcome_and_not_tried_again(data, tmp_path):
    out, sources = tmp_path / "out", {name: data[name] for name in ("pairs", "check")}
    # Where a gradient is 0, AdamW divides what is left of earlier ones by epsilon alone: at rate 1 the weights soon
    # have no finite square, at the low rate the run reaches its end.
    absurd = [
        "images=40",
        "points=2",
        "train.batch_size=2",
        "train.optimizer.beta2=0.0",
        "train.optimizer.epsilon=1e-22",
    ]
    settings = [*absurd, "seeds=[0]", "learning_rates=[1e-20, 1.0]", 'objectives=["contrastive"]']
    comparison = compare(data["recipe"], out=out, **sources, overrides=settings)
    low, high = comparison.objectives["contrastive"].tuning
    assert low.accuracy is not None and high.accuracy is None and high.diverged_at_step is not None
    assert comparison.objectives["contrastive"].learning_rate == 1e-20 and len(comparison.runs) == 1
    assert comparison.diverged == {"contrastive/rate-1/seed-0": high.diverged_at_step} and not comparison.failed
    assert f"diverged at step {high.diverged_at_step}" in (out / "page.html").read_text()
    folder = out / "runs" / "contrastive" / "rate-1" / "seed-0"
    assert json.loads((folder / "bad_batch.json").read_text())[0]["step"] == high.diverged_at_step

    before = (folder / "events.jsonl").stat().st_mtime_ns
    again = compare(data["recipe"], out=out, **sources, overrides=settings)
    assert again.diverged == comparison.diverged and (folder / "events.jsonl").stat().st_mtime_ns == before

    settings[-2] = "learning_rates=[1.0]"
    nothing = compare(data["recipe"], out=tmp_path / "nothing", **sources, overrides=settings)
    assert nothing.objectives["contrastive"].has_diverged and not nothing.runs
    assert "contrastive has no runs" in (tmp_path / "nothing" / "page.html").read_text()

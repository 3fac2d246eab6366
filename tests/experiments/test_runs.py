"""Whole contests, tiny ones: what a kill leaves is taken up to the bit, and a run that fails is named."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
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
def places(tmp_path: Path) -> dict[str, Path]:
    """Pairs, a labelled set of the same colours, and the recipe."""
    random = np.random.default_rng(0)
    for index in range(32):
        colour = list(COLOURS)[index % 4]
        pixels = np.clip(np.array(COLOURS[colour]) + random.integers(-25, 26, (16, 16, 3)), 0, 255).astype(np.uint8)
        for place in (tmp_path / "pairs" / f"{index:03}.png", tmp_path / "set" / colour / f"{index}.png"):
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place)
        (tmp_path / "pairs" / f"{index:03}.txt").write_text(f"a {colour} square\n")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return {"recipe": tmp_path / "recipe.toml", "pairs": tmp_path / "pairs", "check": tmp_path / "set"}


def start(places, out: Path) -> subprocess.Popen:
    words = [places["recipe"], "--out", out, "--pairs", places["pairs"], "--check", places["check"], "--jobs", "2"]
    command = [sys.executable, "-m", "seesay", "compare", *map(str, words)]
    return subprocess.Popen(command, env=_environment(1), stderr=subprocess.PIPE, text=True)


def wait_for(out: Path, event: str, *, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not any(f'"{event}"' in path.read_text() for path in out.glob("runs/*/*/*/events.jsonl")):
        assert time.monotonic() < end, f"no {event} in {seconds:g} s"
        time.sleep(0.02)


def children_of(parent: int) -> list[int]:
    told = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout
    return [int(pid) for pid, above in map(str.split, told.splitlines()[1:]) if int(above) == parent]


def numbers_of(result: dict) -> dict:
    """What must be the same to the bit: all but times, machine and version."""
    runs = [{**run, "machine": None, "points": without_seconds(run["points"])} for run in result["runs"]]
    objectives = {
        name: {**told, "seeds": {seed: without_seconds(points) for seed, points in told["seeds"].items()}}
        for name, told in result["objectives"].items()
    }
    factors = [found for found in result["efficiency"] if found["over"] != "seconds"]
    runs.sort(key=lambda run: run["folder"])
    return {"data": result["data"], "runs": runs, "objectives": objectives, "efficiency": factors}


def without_seconds(points: list[dict]) -> list[dict]:
    return [{key: value for key, value in point.items() if key != "seconds"} for point in points]


@pytest.mark.journey
@pytest.mark.timeout(400)
def test_a_contest_that_was_killed_comes_to_the_same_numbers(places, tmp_path):
    whole = compare(places["recipe"], out=tmp_path / "whole", **{k: places[k] for k in ("pairs", "check")}, jobs=2)
    assert len(whole["runs"]) == 6 and all(len(run["points"]) == 3 for run in whole["runs"])
    broken = tmp_path / "broken"

    process = start(places, broken)
    wait_for(broken, "checkpoint")
    for pid in [*children_of(process.pid), process.pid]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()

    # Without the one who began them, runs save and end; who comes at once waits for that.
    process = start(places, broken)
    wait_for(broken, "resume")
    process.kill()
    process.communicate()

    process = start(places, broken)
    wait_for(broken, "done")
    process.send_signal(signal.SIGINT)
    told = process.communicate()[1]
    assert process.returncode == 130 and "the same command goes on" in told

    process = start(places, broken)
    told = process.communicate()[1]
    assert process.returncode == 0, told
    found = json.loads((broken / "result.json").read_text())
    assert numbers_of(found) == numbers_of(json.loads((tmp_path / "whole" / "result.json").read_text()))
    assert {"page.html", "figure.png", "settings.toml", "logs", "runs"} <= {path.name for path in broken.iterdir()}

    # All is done: nothing is made again, and another recipe is refused.
    before = {path: path.stat().st_mtime_ns for path in broken.glob("runs/*/*/*/events.jsonl")}
    given = {name: places[name] for name in ("pairs", "check")}
    compare(places["recipe"], out=broken, **given)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(UsageError, match=r"another recipe \(images: 320 -> 640"):
        compare(places["recipe"], out=broken, **given, overrides=["images=640"])


@pytest.mark.journey
def test_a_run_that_fails_is_named_and_the_others_go_on(places, tmp_path):
    out = tmp_path / "out"
    foreign = out / "runs" / "contrastive" / "rate-0.001" / "seed-0"
    given = {name: places[name] for name in ("pairs", "check")}
    # A first call that ends at once leaves the settings; then something lies where a run should be.
    foreign.mkdir(parents=True)
    (foreign / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="of no recipe"):
        compare(places["recipe"], out=out, **given)
    (foreign / "notes.txt").rename(tmp_path / "notes.txt")
    for folder in (foreign, *foreign.parents[:3]):
        folder.rmdir()
    short = ["images=16", "points=1", "seeds=[0]"]
    compare(places["recipe"], out=out, **given, overrides=[*short, "learning_rates=[3e-3]"])
    (out / "settings.toml").write_text((out / "settings.toml").read_text().replace("[0.003]", "[0.001, 0.003]"))
    foreign.mkdir(parents=True)
    (foreign / "notes.txt").write_text("mine")
    with pytest.raises(SeesayError, match=r"contrastive/rate-0.001/seed-0 failed: exit code 2, see .*\.txt"):
        compare(places["recipe"], out=out, **given, overrides=short)
    result = json.loads((out / "result.json").read_text())
    assert len(result["runs"]) == 3 and list(result["failed"]) == ["contrastive/rate-0.001/seed-0"]
    assert [tried["accuracy"] is None for tried in result["objectives"]["contrastive"]["tuning"]] == [True, False]
    assert "notes.txt" in (out / "logs" / "contrastive-rate-0.001-seed-0.txt").read_text()

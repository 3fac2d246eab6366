"""F-D3: what is broken is left out exactly, each with its place and reason, and all else is learned from."""

import io
import json
import os
import random
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seesay.data.pairs import open_pairs

pytestmark = [pytest.mark.journey, pytest.mark.timeout(900)]
SHARDS, IN_EACH = 100, 10


def damaged(data: bytes, kind: int) -> tuple[bytes, str]:
    """An image that is none any more, and what is said of it."""
    return (data[: len(data) // 2], "truncated image") if kind else (b"<html>gone</html>", "not an image")


@pytest.fixture
def shards(tmp_path, write_tar) -> tuple[Path, dict[str, str], set[str]]:
    """A thousand pairs in a hundred shards: the folder, reason by key of what is broken, and the keys of the rest."""
    generator, colours = random.Random(5), np.random.default_rng(5)
    folder = tmp_path / "shards"
    wounded = set(generator.sample(range(SHARDS * IN_EACH), SHARDS * IN_EACH // 10))
    cut = generator.randrange(SHARDS)
    wounded = {number for number in wounded if number // IN_EACH != cut}
    broken, whole = {}, set()
    for shard in range(SHARDS):
        path = folder / f"{shard:03}.tar"
        members = []
        for number in range(shard * IN_EACH, (shard + 1) * IN_EACH):
            buffer = io.BytesIO()
            Image.fromarray(colours.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(buffer, "PNG")
            data, key = buffer.getvalue(), f"{path.name}/{number:04}"
            if number in wounded:
                data, broken[key] = damaged(data, number % 2)
            else:
                whole.add(key)
            members += [(f"{number:04}.png", data), (f"{number:04}.txt", f"number {number}".encode())]
        write_tar(path, members)
    # Cut in the caption of the sixth pair of one shard: five are whole, the sixth has no caption, four are gone.
    path = folder / f"{cut:03}.tar"
    with tarfile.open(path) as tar:
        at = tar.getmember(f"{cut * IN_EACH + 5:04}.txt").offset_data
    os.truncate(path, at)
    whole -= {f"{path.name}/{cut * IN_EACH + number:04}" for number in range(5, 10)}
    broken |= {path.name: "truncated shard", f"{path.name}/{cut * IN_EACH + 5:04}": "image without caption"}
    return folder, broken, whole


@pytest.mark.parametrize("workers", [0, 2])
def test_ten_percent_broken_and_one_percent_cut_are_left_out_exactly(workers, shards, tmp_path):
    """C1, C5, F-D3: a visit to each pair. The run goes on to its end, which says with 3 that this was too much."""
    folder, broken, whole = shards
    out = tmp_path / "run"
    settings = ["model=conv-tiny", "data.validation=0", "data.cache=false", "towers.precision=float32", "epochs=1"]
    words = [word for setting in [*settings, f"data.workers={workers}"] for word in ("--set", setting)]
    done = subprocess.run(
        [sys.executable, "-m", "seesay", "train", str(folder), "--out", str(out), "--batch-size", "5", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 3, done.stderr
    share = f"{len(broken):,} of {len(whole) + len(broken):,} samples ({len(broken) / (len(whole) + len(broken)):.1%})"
    assert f"error: the run is done and its model saved, but {share} were left out" in done.stderr
    assert (out / "model" / "model.safetensors").exists()
    listed = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert {entry["key"]: entry["reason"] for entry in listed} == broken and len(listed) == len(broken)
    pairs = open_pairs([folder])
    for entry in listed:
        path, _, byte = entry["location"].rpartition(", byte ")
        assert Path(path).name == entry["key"].partition("/")[0] and byte.isdigit(), entry
    place_of = {pairs.key(index): pairs.location(index) for index in range(len(pairs))}
    assert all(place_of.get(entry["key"], entry["location"]) == entry["location"] for entry in listed)
    facts = json.loads((out / "events.jsonl").read_text().splitlines()[-1])
    assert facts["event"] == "done" and facts["pairs_seen"] == len(whole) == len(pairs) - len(broken) + 2
    assert f"left out {len(broken)}: " in done.stderr
    assert Counter(broken.values()).most_common(1)[0][0] in done.stderr

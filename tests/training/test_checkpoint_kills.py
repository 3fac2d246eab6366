"""F-T2: killed at any call that reaches the disk while a checkpoint is saved, the one before or the new one loads."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seesay.nets.clip import build_clip
from seesay.nets.presets import preset
from seesay.training.checkpoint import Position, checkpoints, restore_latest, save_checkpoint
from seesay.training.optimizer import optimizer_of
from seesay.training.settings import OptimizerSettings

CALLS = ("write", "fsync", "rename", "mkdir", "unlinkat", "rmdir")
SAVE = """
import sys
from pathlib import Path
from seesay.nets.clip import build_clip
from seesay.nets.presets import preset
from seesay.training.checkpoint import Position, save_checkpoint
from seesay.training.optimizer import optimizer_of
from seesay.training.settings import OptimizerSettings
clip = build_clip(preset("conv-tiny"), seed=3)
optimizer = optimizer_of(clip, OptimizerSettings(learning_rate=1e-3, weight_decay=0.1))
save_checkpoint(Path(sys.argv[1]), clip, optimizer, Position(step=3), keep=2)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def state(seed):
    clip = build_clip(preset("conv-tiny"), seed=seed)
    return clip, optimizer_of(clip, OptimizerSettings(learning_rate=1e-3, weight_decay=0.1))


@pytest.fixture
def saved_twice(tmp_path) -> Path:
    """Checkpoints of steps 1 and 2, with the weights of seeds 1 and 2."""
    for seed in (1, 2):
        clip, optimizer = state(seed)
        save_checkpoint(tmp_path / "before", clip, optimizer, Position(step=seed), keep=2)
    return tmp_path / "before"


def traced(root, *words, log):
    strace = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={','.join(CALLS)}", *words]
    return subprocess.run([*strace, sys.executable, "-c", SAVE, str(root)], check=False, capture_output=True, text=True)


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed: kills at each call are not measured")
def test_a_kill_at_any_write_fsync_or_rename_leaves_a_checkpoint_that_loads(saved_twice, tmp_path):
    root, log = tmp_path / "root", tmp_path / "log"
    shutil.copytree(saved_twice, root)
    done = traced(root, log=log)
    assert done.returncode == 0, done.stderr
    told = log.read_text()
    counts = {call: len(re.findall(rf"\b{call}\(", told)) for call in CALLS}
    assert counts["write"] >= 3 and counts["fsync"] >= 5 and counts["rename"] >= 1, counts
    ends = []
    for call, count in counts.items():
        for number in range(1, count + 1):
            shutil.rmtree(root)
            shutil.copytree(saved_twice, root)
            killed = traced(root, "-e", f"inject={call}:signal=KILL:when={number}", log=log)
            assert killed.returncode != 0, (call, number)
            clip, optimizer = state(9)
            position, faults = restore_latest(root, clip, optimizer)
            # What was being written is told, and no checkpoint that was whole is at fault.
            assert position.step in (2, 3) and all("is removed" in fault for fault in faults), (call, number)
            expected = build_clip(preset("conv-tiny"), seed=position.step)
            assert all(torch.equal(a, b) for a, b in zip(clip.parameters(), expected.parameters(), strict=True))
            save_checkpoint(root, clip, optimizer, Position(step=4), keep=2)
            assert checkpoints(root)[0].name.endswith("4")
            assert not [path for path in root.iterdir() if ".tmp-" in path.name], (call, number)
            ends.append(position.step)
    print(f"{len(ends)} kills ({counts}): {ends.count(2)} times the checkpoint before, {ends.count(3)} times the new")
    assert {2, 3} == set(ends)

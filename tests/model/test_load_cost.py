"""What loading costs: memory for the weights and little else, and nothing of torch that only its compiler needs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seesay import build
from seesay.nets.clip import _clip, empty_clip
from seesay.nets.presets import PRESETS

# In a process of its own: the peak of memory is that of a whole process, and cannot be set back.
PEAK = """
import json, re, sys
import seesay

def memory(kind):
    return 1024 * int(re.search(kind + r":\\s*([0-9]+) kB", open("/proc/self/status").read())[1])

seesay.load("box")
start = memory("VmRSS")
model = seesay.load(sys.argv[1])
print(json.dumps({"start": start, "peak": memory("VmHWM"), "compiler": "torch._dynamo" in sys.modules}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("layout", ["seesay", "hf", "open_clip"])
def test_loading_takes_at_most_a_fifth_more_memory_than_the_file_has_bytes(layout: str, tmp_path: Path):
    build("ViT-B/32").save(tmp_path / "model", layout)
    size = max(path.stat().st_size for path in (tmp_path / "model").iterdir())
    assert size > 600e6
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "model")], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert told["peak"] - told["start"] <= 1.2 * size, told
    assert not told["compiler"]


@pytest.mark.journey
@pytest.mark.parametrize("name", ["conv-tiny", "conv-small-transformer", "vit-small", "RN50"])
def test_an_empty_model_has_the_names_shapes_and_dtypes_of_a_drawn_one(name: str):
    architecture = PRESETS[name]
    empty = empty_clip(architecture).state_dict()
    assert {tensor.device.type for tensor in empty.values()} == {"meta"}
    with torch.device("meta"):
        drawn = _clip(architecture).state_dict()
    assert {key: (t.shape, t.dtype) for key, t in empty.items()} == {
        key: (t.shape, t.dtype) for key, t in drawn.items()
    }


def test_random_weights_are_still_drawn_after_an_empty_model_was_made():
    empty_clip(PRESETS["conv-tiny"])
    assert torch.randn(8).std() > 0 and torch.nn.Linear(4, 4).weight.std() > 0

"""What the first answer of a command waits for: libraries that it does not use are not loaded, as they take seconds."""

import json
import subprocess
import sys

import pytest
from PIL import Image

pytestmark = pytest.mark.journey  # processes that load torch
CODE = """
import json, sys
from seesay.cli.main import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted({name for name in sys.modules if name.partition(".")[0] not in ("torch", "numpy")})]))
"""
# Each takes a tenth of a second of a core or more, but for those that only repair letters.
NOT_NEEDED = {
    "anyio",
    "charset_normalizer",
    "fastapi",
    "ftfy",
    "lancedb",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "openvino",
    "pandas",
    "pyarrow",
    "requests",
    "scipy.optimize",
    "scipy.special",
    "scipy.stats",
    "sklearn",
    "timm",
    "transformers",
}


@pytest.mark.parametrize("words", [["classify", "a.png", "cat", "dog", "car"], ["embed", "a.png", "--out", "a.npy"]])
def test_the_first_answer_loads_nothing_that_it_does_not_use(words, tmp_path):
    Image.new("RGB", (80, 60), (200, 90, 30)).save(tmp_path / "a.png")
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    code, loaded = json.loads(done.stdout.splitlines()[-1])
    assert code == 0 and not NOT_NEEDED & set(loaded)


def test_captions_that_need_no_repair_load_nothing_to_repair_them():
    code = "import sys, seesay.data.tokenizer as t; t.clean('a Cat & a “dog”'); assert 'ftfy' not in sys.modules"
    subprocess.run(
        [sys.executable, "-c", f"{code}; t.clean('sch\\u00c3\\u00b6n'); assert 'ftfy' in sys.modules"], check=True
    )

"""The notebooks run from top to bottom in an empty folder; their first cell installs, and is left out here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
# Shorter than for a reader, where a cell has such a name.
SHORT = {"EPOCHS = 10": "EPOCHS = 1"}
# What stands for IPython where there is none.
SHOWN = """
import sys, types
shown = types.ModuleType("IPython.display")
shown.Image = lambda path: print(path)
sys.modules["IPython.display"] = shown
"""


def code_of(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["bring_and_finetune", "first_look", "train_and_watch"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_installs_first_and_holds_no_output(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    first, *others = code_of(path)
    assert first.splitlines()[-1] == '%pip install -q "{source}[demo,search]"'
    assert not any(line.startswith(("%", "!")) for cell in others for line in cell.splitlines())
    assert all(not cell.get("outputs") for cell in notebook["cells"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_installs_the_copy_beside_it_and_else_the_package_by_its_name(path, tmp_path, monkeypatch):
    lines = "\n".join(code_of(path)[0].splitlines()[:-1])
    for folder, expected in ((EXAMPLES, ".."), (tmp_path, "seesay")):
        monkeypatch.chdir(folder)
        names = {}
        exec(lines, names)
        assert names["source"] == expected


@pytest.mark.journey
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_cells_of_a_notebook_run_in_order(path, tmp_path):
    pytest.importorskip("skimage", reason="the photographs lie in scikit-image: pip install '.[demo]'")
    pytest.importorskip("lancedb", reason="the index needs pip install '.[search]'")
    code = "\n".join(code_of(path)[1:])
    for long, short in SHORT.items():
        code = code.replace(long, short)
    done = subprocess.run(
        [sys.executable, "-c", SHOWN + code], check=False, cwd=tmp_path, text=True, timeout=1700,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "MPLBACKEND": "agg"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]

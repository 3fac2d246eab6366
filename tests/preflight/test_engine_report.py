"""`seesay doctor --model`: every installed engine measured with a model, and one of them advised."""

import json
import os
import subprocess
import sys
from functools import partial

import pytest

from seesay.base.errors import UsageError
from seesay.cli.main import main
from seesay.model.engines import installed_engines
from seesay.model.hub import load
from seesay.preflight import engine_report
from seesay.preflight.engine_report import EngineReport, EnginesReport, measure_engines


@pytest.fixture
def quick(monkeypatch):
    """Few pictures and no time."""
    monkeypatch.setattr(engine_report, "measure_engines", partial(measure_engines, seconds=0.0))
    monkeypatch.setattr(engine_report, "IMAGES", 4)


@pytest.mark.journey
def test_every_installed_engine_is_measured_and_one_is_advised(quick, tmp_path, capsys):
    assert main(["doctor", "--model", "box", "--json", str(tmp_path / "engines.json")]) == 0
    output, told = capsys.readouterr()
    assert told.endswith(f"numbers: {tmp_path / 'engines.json'}\n")
    assert all(name in output for name in installed_engines()) and output.splitlines()[-1].startswith(("take", "stay"))
    found = json.loads((tmp_path / "engines.json").read_text(encoding="utf-8"))
    by_name = {each["engine"]: each for each in found["engines"]}
    assert list(by_name) == installed_engines() and found["advice"] in output
    assert "no transformer blocks" in by_name["torch-int8"]["refused"]
    assert by_name["torch"]["smallest_cosine"] > 0.999999 and by_name["torch-bf16"]["smallest_cosine"] > 0.99
    assert all(each["photos_per_second"] > 0 for each in found["engines"] if not each["refused"])


def test_an_engine_that_is_fast_and_wrong_is_not_advised():
    def found(*each):
        reports = [EngineReport(engine=name, photos_per_second=rate, smallest_cosine=cos) for name, rate, cos in each]
        return EnginesReport(model="m", engines=tuple(reports))

    slow, wrong = ("torch", 10.0, 1.0), ("torch-int8", 90.0, 0.99)
    assert found(slow, wrong).advice.startswith("stay with torch") and found(slow, wrong).best.engine == "torch"
    assert "--engine onnx: 2.0 times" in found(slow, wrong, ("onnx", 20.0, 0.9999)).advice
    assert found(slow, ("onnx", 10.5, 1.0)).advice.startswith("stay with torch")
    assert "torch 10, torch-int8 90 images a second; stay" in repr(found(slow, wrong))


def test_without_pairs_and_without_a_model_there_is_nothing_to_look_at(capsys):
    assert main(["doctor"]) == 2
    assert "PAIRS is missing" in capsys.readouterr().err


def test_a_model_that_cannot_be_measured_is_refused(predictor):
    with pytest.raises(UsageError, match="engines are for models that embed texts"):
        measure_engines(predictor("caption"))
    with pytest.raises(UsageError, match="is only to encode with; measure the model it was made of"):
        measure_engines(load("box").with_engine("torch-bf16"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_that_wait_soon_sleep_unless_the_user_says_how(given, expected):
    # Of a name deep in the package, as the processes of experiments and the examples begin.
    code = "import os, seesay.base.errors; print(os.environ.get('GOMP_SPINCOUNT'))"
    said = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
    kept = {name: value for name, value in os.environ.items() if name not in said}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**kept, **given}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected

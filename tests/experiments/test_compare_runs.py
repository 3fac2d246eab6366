"""Two runs side by side: what differs, what they came to, and which of it may be compared."""

import json
import shutil

import pytest

import seesay
from seesay.base.errors import UsageError

pytestmark = pytest.mark.journey  # two whole runs
SMALL = {"model": "conv-tiny", "batch_size": 8, "data": {"vocab_size": 540}}


@pytest.fixture
def runs(coloured_pairs, tmp_path):
    pairs = coloured_pairs()
    for name, settings in {"a": {"steps": 4}, "b": {"steps": 8, "optimizer": {"learning_rate": 3e-3}}}.items():
        seesay.train(pairs, out=tmp_path / name, **SMALL, **settings)
    return tmp_path / "a", tmp_path / "b"


@pytest.fixture
def labelled(tmp_path, paint):
    for colour in ("red", "blue"):
        for number in range(3):
            paint(tmp_path / "check" / colour / f"{number}.png", colour)
    return tmp_path / "check"


def test_settings_that_differ_ends_and_paired_tests_are_on_one_page(runs, labelled, tmp_path):
    found = seesay.compare_runs(*runs, out=tmp_path / "both", check=labelled)
    assert found.settings == (("steps", "4", "8"), ("optimizer.learning_rate", "0.001", "0.003"))
    ends = {name: values for name, *values in found.ends}
    assert ends["steps"] == ["4", "8"]
    assert ends["training pairs"] == ["43", "43"] and "at step" in ends["lowest validation/loss"][0]
    assert found.notes == (), "same pairs, same batches, and a set that both were measured on"
    assert found.evaluation is not None
    (test,) = found.evaluation.comparisons
    assert (test.first, test.second, test.n, test.test) == ("a", "b", 6, "sign")
    assert {path.name for path in (tmp_path / "both").iterdir()} == {"page.html", "figure.png", "result.json"}
    assert (tmp_path / "both" / "figure.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "both" / "page.html").read_text()
    assert "optimizer.learning_rate" in page and page.count("<svg") == 1
    told = json.loads((tmp_path / "both" / "result.json").read_text())
    assert told["settings"]["steps"] == ["4", "8"] and told["scores"][-1]["test"] == "sign"


def test_what_must_not_be_compared_is_said(runs, coloured_pairs, tmp_path):
    seesay.train(coloured_pairs(40, name="others"), out=tmp_path / "c", **{**SMALL, "batch_size": 4}, steps=2)
    found = seesay.compare_runs(runs[0], tmp_path / "c")
    assert found.notes == (
        "The runs did not learn from the same pairs (43 pairs and 36 pairs).",
        "The validation losses do not say which model is better: the batch size is 8 in one and 4 in the other.",
        "No score is tested: --check SET measures both models on the same images, with paired tests.",
    )
    seesay.train(coloured_pairs(40, name="fewer"), out=tmp_path / "d", **SMALL, steps=2)
    assert seesay.compare_runs(runs[0], tmp_path / "d").notes[1].endswith("better: they are of different pairs.")
    shutil.rmtree(runs[1] / "best")
    assert f"{runs[1]} holds none, or does not say of what" in seesay.compare_runs(*runs).notes[0]


def test_runs_of_one_name_are_told_apart_and_an_unfinished_one_is_shown(runs, labelled, tmp_path):
    shutil.copytree(runs[1], tmp_path / "other" / "a")
    second = tmp_path / "other" / "a"
    assert seesay.compare_runs(runs[0], second).names == (str(runs[0]), str(second))
    shutil.rmtree(second / "model")
    events = (second / "events.jsonl").read_text().splitlines(keepends=True)
    (second / "events.jsonl").write_text("".join(line for line in events if '"done"' not in line))
    assert seesay.compare_runs(runs[0], second).ends[0] == ("state", "finished", "not finished")
    with pytest.raises(UsageError, match="is not finished"):
        seesay.compare_runs(runs[0], second, check=labelled)


def test_what_is_no_run_or_no_place_for_a_page_is_refused(runs, tmp_path):
    with pytest.raises(UsageError, match="is no run folder"):
        seesay.compare_runs(runs[0], tmp_path)
    with pytest.raises(UsageError, match="are the same run"):
        seesay.compare_runs(runs[0], tmp_path / "b" / ".." / "a")
    with pytest.raises(UsageError, match="holds a run or an experiment"):
        seesay.compare_runs(*runs, out=runs[0])

import json
from pathlib import Path

import pytest

from seesay.base.errors import UsageError
from seesay.evaluation.robustness import Shift, read_baseline, read_shift, robustness_of

ROWS = [
    {"name": f"model {step}", "natural": share, "shifted": share / 2, "n_natural": 100, "n_shifted": 50}
    for step, share in enumerate((0.2, 0.4, 0.6, 0.8))
]


@pytest.fixture
def pair(colours, measured):
    natural = colours("photos", red=["red"] * 8, blue=["blue"] * 6 + ["red"] * 2)
    shifted = colours("drawings", red=["red"] * 2 + ["blue"] * 2, blue=["blue"] * 4)
    return measured(natural).measured, measured(shifted).measured


def test_both_accuracies_and_the_gap_stand_with_intervals(pair):
    result = robustness_of(*pair, None)
    assert (result["accuracy_natural"], result["accuracy_shifted"]) == (14 / 16, 6 / 8)
    assert result["gap"] == pytest.approx(-0.125)
    assert result["interval95_gap"][0] < -0.125 < result["interval95_gap"][1]
    assert "effective_robustness" not in result
    assert json.loads(json.dumps(result)) == result


def test_a_baseline_gives_the_effective_robustness(pair, tmp_path: Path):
    (tmp_path / "baseline.json").write_text(json.dumps(ROWS))
    result = robustness_of(*pair, read_baseline(tmp_path / "baseline.json"))
    # The baseline loses half of its accuracy, about 0.44 here; the model is at 0.75.
    assert 0.2 < result["effective_robustness"] < 0.4
    low, high = result["interval95_effective_robustness"]
    assert low < result["effective_robustness"] < high
    assert result["baseline_models"] == 4


def test_sets_of_other_classes_are_no_shift(pair, colours, measured):
    other = measured(colours("other", red=["red"], green=["green"])).measured
    with pytest.raises(UsageError, match=r"do not have the same classes \('blue' differs\)"):
        robustness_of(pair[0], other, None)


@pytest.mark.parametrize("words", ["a", "a=c", "a=a", "=b", "a=b=c"])
def test_a_shift_names_two_of_the_sets(words: str):
    assert read_shift("a = b", ["a", "b"]) == Shift("a", "b")
    with pytest.raises(UsageError, match="should be NATURAL=SHIFTED, two of the sets that are measured: a, b"):
        read_shift(words, ["a", "b"])


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "[1]", json.dumps(ROWS[:1]), json.dumps([{"name": "x"}]), json.dumps([ROWS[0] | {"natural": 20}])],
)
def test_a_file_that_is_no_baseline_is_refused_in_one_line(tmp_path: Path, text: str):
    (tmp_path / "baseline.json").write_text(text)
    with pytest.raises(UsageError, match="no list of baseline models") as told:
        read_baseline(tmp_path / "baseline.json")
    assert "\n" not in str(told.value)
    with pytest.raises(UsageError, match="cannot be read"):
        read_baseline(tmp_path / "none.json")

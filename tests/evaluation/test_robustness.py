import json
from pathlib import Path

import pytest

from seesay.base.errors import UsageError
from seesay.evaluation.compare import Shift, check_shift, read_baseline, robustness_of

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
    assert (result.accuracy_natural.value, result.accuracy_shifted.value) == (14 / 16, 6 / 8)
    assert result.gap == pytest.approx(-0.125)
    assert result.gap_interval95[0] < -0.125 < result.gap_interval95[1]
    assert result.effective_robustness is None
    assert json.loads(json.dumps(result.to_json())) == result.to_json()


def test_a_baseline_gives_the_effective_robustness(pair, tmp_path: Path):
    (tmp_path / "baseline.json").write_text(json.dumps(ROWS))
    robustness = robustness_of(*pair, read_baseline(tmp_path / "baseline.json")).effective_robustness
    # The baseline loses half of its accuracy, about 0.44 here; the model is at 0.75.
    assert 0.2 < robustness.value < 0.4
    low, high = robustness.interval95
    assert low < robustness.value < high
    assert robustness.baseline_models == 4


def test_sets_of_other_classes_are_no_shift(pair, colours, measured):
    other = measured(colours("other", red=["red"], green=["green"])).measured
    with pytest.raises(UsageError, match=r"do not have the same classes \('blue' differs\)"):
        robustness_of(pair[0], other, None)


@pytest.mark.parametrize("shift", ["ab", "a=b", ("a", "c"), ("a", "a"), ("", "b"), ("a", "b", "c"), ("a", "twice")])
def test_a_shift_names_two_of_the_sets(shift):
    assert check_shift(("a", "b"), ["a", "b"]) == Shift(natural="a", shifted="b")
    with pytest.raises(UsageError, match="two of the sets that are measured: a, b, twice, twice"):
        check_shift(shift, ["a", "b", "twice", "twice"])


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "[1]", json.dumps(ROWS[:1]), json.dumps([{"name": "x"}]), json.dumps([ROWS[0] | {"natural": 20}])],
)
def test_a_file_that_is_no_baseline_is_refused_in_one_line(tmp_path: Path, text: str):
    (tmp_path / "baseline.json").write_text(text)
    with pytest.raises(UsageError, match="no list of baseline models") as caught:
        read_baseline(tmp_path / "baseline.json")
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="cannot be read"):
        read_baseline(tmp_path / "none.json")

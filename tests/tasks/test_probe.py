"""`seesay.probe`: the protocol in one call, and its value."""

import inspect
import json
import sys
from types import SimpleNamespace

import pytest

from seesay.base.errors import UsageError
from seesay.cli import probe as door
from seesay.tasks.probe import probe


@pytest.fixture
def sets(paint, tmp_path):
    """Three images per class to learn from and two to be measured on; "green" is painted yellow."""
    for part, count in (("train", 3), ("test", 2)):
        for name, colour in (("red", "red"), ("green", "yellow"), ("blue", "blue")):
            for number in range(count):
                paint(tmp_path / "album" / part / name / f"{number}.png", colour, side=4 + (part == "test"))
    return tmp_path / "album" / "train", tmp_path / "album" / "test"


def test_a_probe_is_one_call_with_a_model_or_its_name(colour_model, sets, monkeypatch):
    names = []
    monkeypatch.setattr("seesay.model.hub.load", lambda name: names.append(name) or colour_model)
    result = probe(*sets, model=colour_model, shots=(2, 1, 1), penalty=1.0, seeds=2)
    assert names == []
    assert result == probe(*sets, model="box", shots=(1, 2), penalty=1.0, seeds=2)
    assert probe(*map(str, sets), penalty=1.0).score.value == 1.0
    assert names == ["box", "box"]
    assert [entry.shots for entry in result.shots] == [1, 2]


def test_its_value_is_a_line_a_table_and_json(colour_model, sets, monkeypatch):
    result = probe(*sets, model=colour_model, shots=(1,), penalty=1.0, seeds=1)
    assert repr(result) == (
        "ProbeResult(colours, album/train -> album/test: accuracy 100.0 [54.1, 100.0] %, "
        "zero-shot 66.7 [22.3, 95.7] %, 6 images)"
    )
    assert json.loads(json.dumps(result.to_json())) == result.to_json()
    rows = result.rows()
    assert [(row["examples"], row["per_class"]) for row in rows] == [("zero-shot", 0), ("few-shot", 1), ("all", 3)]
    assert [row["low"] is None for row in rows] == [False, True, False]
    assert {tuple(row) for row in rows} == {("examples", "per_class", "value", "low", "high", "chance", "n")}
    assert "<td>few-shot</td><td>1</td><td>100.0</td><td>1</td>" in result._repr_html_()
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=list))
    assert result.to_pandas() == rows
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        result.to_pandas()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"shots": (4,)}, "4 shots are requested, but class 'blue' of album/train has 3 images"),
        ({"seeds": 0}, "seeds 0"),
        ({"penalty": "swep"}, "penalty is 'swep'"),
        ({"metric": "f1"}, "metric 'f1' is not known"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_the_model_is_loaded(sets, monkeypatch, arguments, complaint):
    monkeypatch.setattr("seesay.model.hub.load", lambda name: pytest.fail("the model was loaded"))
    with pytest.raises(UsageError, match=complaint):
        probe(*sets, **arguments)


def test_the_command_has_the_options_of_the_function():
    ours, function = (list(inspect.signature(each).parameters) for each in (door.command, probe))
    assert [name for name in ours if name not in function] == ["json_file"]
    assert [name for name in function if name not in ours] == ["cache"]


def test_a_probe_that_is_measured_on_what_it_learned_from_says_so(colour_model, sets):
    assert probe(*sets, model=colour_model, penalty=1.0).notes == ()
    (note,) = probe(sets[0], sets[0], model=colour_model, penalty=1.0).notes
    assert note == "it was trained and measured on the same images, all of 9: the score says little of others."
    (sets[1] / "red" / "0.png").write_bytes((sets[0] / "blue" / "1.png").read_bytes())
    (note,) = probe(*sets, model=colour_model, penalty=1.0).notes
    assert "the same images, 1 of 6" in note

"""`seesay.evaluate`: arguments are checked first, results are written as they come, and names are never shared."""

import inspect
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from seesay.base.errors import SeesayError, UsageError
from seesay.cli import evaluate as door
from seesay.evaluation.evaluate import evaluate


@pytest.fixture
def loaded(colour_model, monkeypatch):
    """Names of the models that were loaded; every name is the colour model."""
    names = []
    monkeypatch.setattr("seesay.model.hub.load", lambda name: names.append(name) or type(colour_model)())
    return names


@pytest.fixture
def labelled(colours) -> Path:
    return colours("colours", red=["red", "red", "blue"], blue=["blue"])


def test_what_is_left_out_is_named_where_the_result_is_shown(colour_model, labelled):
    (labelled / "red" / "0.png").write_bytes(b"no image")
    evaluation = evaluate(colour_model, labelled)
    assert evaluation.entries[0].result.remarks == ("skipped 1 of 5 images: 1 x not an image",)
    assert "4 images, 1 skipped" in repr(evaluation)
    assert "<p>colours: skipped 1 of 5 images: 1 x not an image</p>" in evaluation._repr_html_()


def test_models_and_sets_are_one_or_several_by_name_or_value(colour_model, loaded, labelled, colours):
    drawn = colours("drawn", red=["red"], blue=["blue"])
    assert evaluate("box", labelled).entries[0].result.top1.value == 0.75
    evaluation = evaluate([colour_model, "box", Path("run")], (labelled, drawn))
    assert loaded == ["box", "box", Path("run")]
    assert [(entry.name, entry.result.set_name) for entry in evaluation.entries] == [
        (model, name) for model in ("colours", "box", "run") for name in ("colours", "drawn")
    ]
    assert len(evaluation.comparisons) == 3 * 2
    assert all(entry.result.model == entry.name for entry in evaluation.entries)


def test_models_of_one_name_are_numbered_and_one_model_is_measured_once(colour_model, labelled):
    other = type(colour_model)()
    evaluation = evaluate([colour_model, other, colour_model], labelled)
    assert [entry.name for entry in evaluation.entries] == ["colours", "colours (2)"]


def test_sets_of_one_name_have_a_document_each(colour_model, labelled, colours, tmp_path):
    other = colours("other/colours", red=["red"], blue=["blue"])
    evaluation = evaluate(colour_model, [labelled, other], results=tmp_path / "results")
    names = ["colours--colours--zero-shot.json", "colours--colours--zero-shot--2.json"]
    assert list(evaluation.documents()) == names
    places = [json.loads((tmp_path / "results" / name).read_text())["place"] for name in names]
    assert places == [str(labelled), str(other)]


def test_every_result_is_written_as_soon_as_it_is_measured(colour_model, labelled, tmp_path):
    (tmp_path / "bare").mkdir()
    with pytest.raises(UsageError, match="bare"):
        evaluate(colour_model, [labelled, tmp_path / "bare"], results=tmp_path / "results")
    (file,) = (tmp_path / "results").iterdir()
    assert json.loads(file.read_text())["top1"] == 0.75


def test_results_are_there_although_the_page_cannot_be_drawn(colour_model, labelled, tmp_path, monkeypatch):
    def draw(*_, **__):
        raise SeesayError("no ink")

    monkeypatch.setattr("seesay.evaluation.evaluate.build_page", draw)
    with pytest.raises(SeesayError, match="no ink"):
        evaluate(colour_model, labelled, results=tmp_path / "results", report=tmp_path / "page.html")
    assert len(list((tmp_path / "results").iterdir())) == 1


@pytest.mark.journey
def test_the_page_is_written_with_single_templates(colour_model, labelled, tmp_path):
    evaluation = evaluate(colour_model, labelled, report=tmp_path / "new" / "page.html")
    page = (tmp_path / "new" / "page.html").read_text()
    assert "<h2>Scores</h2>" in page and "<h2>Prompt sensitivity</h2>" in page
    assert evaluation.entries[0].spread is not None
    assert evaluate(colour_model, labelled).entries[0].spread is None
    evaluation.write_report(tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == page


def test_words_of_the_call_replace_those_of_the_set(colour_model, labelled):
    result = evaluate(colour_model, labelled, templates=["one {}", "two {}"]).entries[0].result
    assert (result.templates, result.templates_from) == (("one {}", "two {}"), "the call")
    described = evaluate(colour_model, labelled, descriptions={"red": ["all red"], "blue": ["all blue"]})
    assert described.entries[0].result.templates_from == "descriptions"
    assert described.settings["descriptions"] == {"red": ["all red"], "blue": ["all blue"]}
    json.dumps(described.to_json())


def test_settings_are_the_arguments(colour_model, labelled):
    assert evaluate(colour_model, labelled, shots=(2, 1), templates="pets").settings == {
        "templates": "pets",
        "class_names": None,
        "descriptions": None,
        "probe": False,
        "shots": "2,1",
        "preprocess": "exact",
        "precision": None,
        "engine": None,
        "weights_dtype": None,
        "width": None,
        "shift": None,
    }


def test_a_model_that_is_given_stays_where_it_is(colour_model, labelled, monkeypatch):
    monkeypatch.setattr(type(colour_model), "to", lambda *_: pytest.fail("the model was moved"))
    evaluate(colour_model, labelled, preprocess="fast")
    assert type(colour_model.preprocess).__name__ == "Preprocess"


def test_embeddings_are_cached_unless_that_is_off(colour_model, labelled, tmp_path, monkeypatch):
    monkeypatch.setenv("SEESAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("seesay.model.cache.image_fingerprint", lambda model: "colours")
    monkeypatch.setattr("seesay.model.cache.text_fingerprint", lambda model: "colours")
    monkeypatch.setattr(
        "seesay.evaluation.suite.cached_encode_prompts",
        lambda model, prompts, cache: model.encode_texts([prompt for of_class in prompts for prompt in of_class]),
    )
    evaluate(colour_model, labelled, cache=False)
    assert not (tmp_path / "cache").exists()
    evaluate(colour_model, labelled)
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1


def test_a_shift_of_other_classes_ends_after_the_first_model(loaded, labelled, colours):
    other = colours("other", red=["red"], green=["green"])
    with pytest.raises(UsageError, match="do not have the same classes"):
        evaluate(["box", "run"], [labelled, other], shift=("colours", "other"))
    assert loaded == ["box"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"models": []}, "there is no model"),
        ({"sets": []}, "there is no set"),
        ({"sets": ["nowhere"]}, "There is no 'nowhere'"),
        ({"sets": ["hf:somebody/colours:test,lable=colour"]}, "Nearest: label"),
        ({"shots": [0]}, "numbers of 1 or more"),
        ({"templates": "imagnet80"}, "Nearest: imagenet80"),
        ({"templates": ["no name"]}, "exactly once"),
        ({"class_names": "eurosad"}, "eurosad"),
        ({"descriptions": "none.json"}, "none.json cannot be read"),
        ({"shift": ("colours", "other")}, "two of the sets that are measured: colours"),
        ({"baseline": "x.json"}, "name its two sets with shift"),
        ({"report": "{folder}"}, "is a folder; name the file"),
        ({"results": "{file}"}, "is a file; name a folder"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_any_model_is_loaded(
    loaded, labelled, tmp_path, arguments, complaint
):
    (tmp_path / "file").write_text("")
    places = {"folder": str(tmp_path), "file": str(tmp_path / "file")}
    arguments = {name: value.format(**places) if isinstance(value, str) else value for name, value in arguments.items()}
    with pytest.raises(UsageError, match=complaint) as caught:
        evaluate(**({"models": "box", "sets": labelled} | arguments))
    assert "\n" not in str(caught.value) and loaded == []


def test_a_model_that_is_loaded_gets_no_weights_dtype_and_the_others_are_not_measured(loaded, labelled, colour_model):
    with pytest.raises(UsageError, match="give it to load"):
        evaluate(["box", colour_model], labelled, weights_dtype="int8")
    assert loaded == []


def test_the_command_has_the_options_of_the_function():
    ours, function = (list(inspect.signature(each).parameters) for each in (door.command, evaluate))
    assert [name for name in ours if name not in function] == ["words", "columns", "json_file"]
    # The command line has one word for both columns.
    alone = ["models", "sets", "prompts", "image_column", "caption_column", "cache", "on_entry"]
    assert [name for name in function if name not in ours] == alone


def test_scores_become_a_data_frame_if_pandas_is_there(colour_model, labelled, monkeypatch):
    evaluation = evaluate(colour_model, labelled)
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=list))
    assert evaluation.to_pandas() == evaluation.rows()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        evaluation.to_pandas()


def test_a_probe_without_a_train_part_is_said_and_one_template_may_be_a_string(colour_model, labelled):
    result = evaluate(colour_model, labelled, probe=True, templates="art of a {}").entries[0].result
    assert result.notes == ("no probe, for there is no train part: a folder train/ beside test/ or val/ is one.",)
    assert result.templates == ("art of a {}",)

"""The report: every section where there is something for it, numbers as they were measured, nothing from outside."""

import io
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import seesay
from seesay.base.drawing import Drawing
from seesay.base.records import Score
from seesay.evaluation import charts
from seesay.evaluation.compare import compare_all, robustness_of
from seesay.evaluation.entries import Request, measure_entry
from seesay.evaluation.evaluate import Evaluation, evaluate
from seesay.evaluation.report import build_page
from seesay.evaluation.report_details import CLASSES_SHOWN, confusion_card, confusion_figure, hard_case_of
from seesay.evaluation.suite import Question
from seesay.formulas.reliability import reliability
from seesay.formulas.robustness import Line
from seesay.tasks.probe_result import ProbeResult, ShotsResult


@pytest.fixture
def entry(colours, measured):
    return measured(colours("colours", red=["red"] * 3 + ["blue"] * 2, blue=["blue"] * 4), prompts=True)


def headings(page: str) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", page)


@pytest.mark.journey
def test_one_model_on_one_set_has_scores_prompts_details_and_method(entry):
    page = build_page([entry], facts={"commit": "abc123"})
    assert headings(page) == ["Scores", "Prompt sensitivity", "colours", "How it was measured"]
    assert "77.8 [40.0, 97.2]" in page  # 7 of 9, Clopper-Pearson
    assert "<td>red</td><td>blue</td><td>2 of 5</td>" in page
    assert "red, taken for blue" in page
    assert "abc123" in page
    assert "<script" not in page and "http:" not in page and "https:" not in page


@pytest.mark.journey
def test_two_models_are_compared_and_each_has_its_details(entry, colours, measured):
    other = measured(Path(entry.source), name="other")
    page = build_page([entry, other], comparisons=compare_all([entry.measured, other.measured]))
    assert "Models compared" in headings(page)
    assert {"colours, colours", "colours, other"} < set(headings(page))
    assert "+0.0 [+0.0, +0.0]" in page


@pytest.mark.journey
def test_a_shift_has_its_figure_and_its_numbers(entry, colours, measured):
    other = measured(colours("drawn", red=["red", "blue"], blue=["blue"]))
    page = build_page([entry, other], shifts=[robustness_of(entry.measured, other.measured, None)])
    assert "Distribution shift" in headings(page)
    assert "no baseline given" in page


def test_retrieval_has_both_directions_with_chance(measured, paint, tmp_path: Path):
    for colour in ("red", "green", "blue"):
        paint(tmp_path / "pairs" / f"{colour}.png", colour)
        (tmp_path / "pairs" / f"{colour}.txt").write_text(colour)
    page = build_page([measured(tmp_path / "pairs")])
    assert headings(page) == ["Scores", "How it was measured"]
    assert "text to image" in page and "image to text" in page and "<td>33.3</td>" in page


@pytest.mark.journey
def test_a_probe_has_its_scatter_and_its_curves(entry):
    probe = ProbeResult(
        train="colours/train",
        set_name="colours",
        model="a",
        metric="accuracy",
        n_train=20,
        classes=2,
        features=3,
        score=Score(value=0.9, interval95=(0.6, 1.0), chance=0.5, n=9),
        zero_shot=Score(value=0.5, interval95=(0.2, 0.8), chance=0.5, n=9),
        penalty=1.0,
        iterations=3,
        validation_scores={},
        templates=("{}",),
        shots=(
            ShotsResult(shots=1, mean=0.4, interval95=None, scores=(0.4,), penalties=(1.0,)),
            ShotsResult(shots=2, mean=0.7, interval95=(0.6, 0.8), scores=(0.7, 0.7), penalties=(1.0, 1.0)),
        ),
        seeds=1,
        shots_equal_to_zero_shot=1.3,
        skipped_by_reason={},
        data_fingerprints=("f", "g"),
        shared_images=0,
    )
    probed = replace(entry, probe=probe, shots_left_out=(4,))
    page = build_page([probed])
    assert {"Zero-shot against a linear probe", "Few shots"} < set(headings(page))
    assert "zero-shot is worth 1.3 images per class." in page
    assert "probe: a class has too few training images for 4 shots." in page
    assert "90.0 [60.0, 100.0]" in page


@pytest.mark.journey
def test_hard_cases_are_recognised_by_the_name_of_the_set(colours, measured):
    assert [hard_case_of(name) for name in ("eval-cifar10", "pets")] == [None, None]
    tasks = [hard_case_of(name) for name in ("eval-counting-nlvr", "eval-mnist", "eval-dtd10", "EuroSAT")]
    assert [case and case.task for case in tasks] == [
        "counting",
        "handwritten digits",
        "texture",
        "satellite and aerial",
    ]
    page = build_page([measured(colours("mnist", red=["red"], blue=["blue"]))])
    assert "Hard cases" in headings(page) and "MNIST, 10 classes: 88.3, probe 99.2" in page


def test_single_templates_are_scored_with_the_bare_name_among_them(entry):
    assert entry.spread is not None
    assert set(entry.spread.by_template) > {"{}", "itap of a {}.", "a photo of something {}."}
    # Colour words are all that the model knows, so every template does the same.
    assert entry.spread.lowest == entry.spread.highest == pytest.approx(7 / 9)


def test_single_templates_come_with_the_best_first(colour_model, colours):
    # A word such as "redish" names no colour that the model knows.
    words = {"templates": ["{}ish", "{}", "a {}"], "prompts": True}
    spread = evaluate(colour_model, colours("colours", red=["red"], blue=["blue"]), **words).entries[0].spread
    assert list(spread.by_template)[-1] == "{}ish" and (spread.lowest, spread.highest) == (0.0, 1.0)


def texts_of(drawing: Drawing) -> list[str]:
    return [text.text for text in ElementTree.fromstring(drawing.inline()).iter("text")]


def test_a_confusion_matrix_has_the_shares_of_every_class():
    label_N, predicted_N = np.array([0, 0, 0, 0, 1, 1, 2]), np.array([0, 0, 0, 2, 1, 1, 0])
    figure = confusion_figure(label_N, predicted_N, ["cat", "dog", "eel"])
    assert [text for text in texts_of(figure.drawing) if text.isdigit()] == ["75", "25", "100", "100"]
    assert figure.words == "Confusion matrix: cat 75.0, dog 100.0, eel 0.0" and "classes" not in figure.note


@pytest.mark.journey
def test_of_many_classes_those_with_the_most_mistakes_are_shown_and_the_others_counted():
    names = [f"class {number}" for number in range(40)]
    label_N = np.concatenate([np.arange(40), np.full(5, 33), np.full(3, 7), [1]])
    predicted_N = np.concatenate([np.arange(40), np.full(5, 12), np.full(3, 33), [2]])
    figure = confusion_figure(label_N, predicted_N, names)
    shown = [text for text in texts_of(figure.drawing) if text.startswith("class ")]
    assert len(shown) == 2 * CLASSES_SHOWN and {"class 1", "class 2", "class 7", "class 12", "class 33"} <= set(shown)
    assert "24 of 40 classes, those with the most frequent mistakes: 9 of all 9 mistakes" in figure.note
    # Without a mistake there is a matrix, too; and so there is with a class that has no image.
    assert "0 of all 0 mistakes" in confusion_figure(np.arange(40), np.arange(40), names).note
    assert "nan" not in confusion_figure(np.array([0]), np.array([0]), ["cat", "dog"]).words


def test_a_card_shows_the_most_certain_mistake(colours, measured):
    # White is as near to blue as to red, and the first class wins.
    entry = measured(colours("colours", blue=["blue"], red=["white", "blue", "white"]))
    card = confusion_card(entry, entry.confusions[0])
    assert (card.truth, card.ranking.labels) == ("red", ("blue", "red"))
    assert card.ranking.probabilities[0] > 0.9


@pytest.mark.journey
def test_mistakes_have_the_heat_of_what_spoke_for_the_wrong_class(colours, colour_model):
    source = colours("colours", red=["red", "blue"], blue=["red", "blue"])
    model = seesay.build("conv-tiny")
    entry = measure_entry("tiny", model, str(source), Request(question=Question(), prompts=True))
    assert entry.confusions and not entry.result.notes
    first = entry.confusions[0]
    assert Image.open(io.BytesIO(first.heat)).size == Image.open(io.BytesIO(confusion_card(entry, first).image)).size
    page = build_page([entry])
    wrong = entry.measured.answers.classifier.class_names[first.other]
    assert f'alt="what spoke for {wrong}"' in page and "bright is what spoke for the wrong class" in page
    # A tower without maps: the page says why there is no heat.
    plain = measure_entry("plain", colour_model, str(source), Request(question=Question(), prompts=True))
    assert plain.confusions and plain.confusions[0].heat is None
    assert "no heat beside the mistakes: the image tower of" in plain.result.notes[-1]


def test_one_json_per_result_holds_settings_commit_and_seed(entry):
    evaluation = Evaluation(entries=(entry,), settings={"templates": None}, environment={"commit": "abc123"})
    (name, result), *more = evaluation.documents().items()
    assert (name, more) == ("colours--colours--zero-shot.json", [])
    assert result["settings"] == {"templates": None} and result["seed"] == 0 and len(result["data_fingerprint"]) == 64
    assert result["environment"] == {"commit": "abc123"}


def is_image(drawing: Drawing) -> bool:
    shown = np.asarray(Image.open(io.BytesIO(drawing.png())).convert("RGB"))
    return shown.shape[0] > 100 and len(np.unique(shown.reshape(-1, 3), axis=0)) > 3


@pytest.mark.slow
def test_every_figure_can_be_drawn_from_little_and_from_extremes():
    score = Score(value=1.0, interval95=(0.5, 1.0), chance=0.1, n=3)
    nothing = Score(value=0.0, interval95=(0.0, 0.3), chance=0.1, n=3)
    point = charts.Point(name="a", x=0.0, y=1.0, x_interval=(0.0, 0.2), y_interval=(0.8, 1.0))
    inner = charts.Point(name="b", x=0.3, y=0.1)
    sure = reliability(np.array([1.0, 0.5]), np.array([True, False]))
    assert is_image(charts.bars({"one": {"a": score, "b": nothing}, "two": {"b": score}}, axis="top-1"))
    assert is_image(charts.zero_shot_against_probe([point]))
    assert is_image(charts.few_shot_curves({"one": (nothing, [(1, nothing), (2, score)])}))
    assert is_image(charts.reliability_diagram(sure))
    assert is_image(charts.prompt_strip({"one": ({"{}": score}, 0.5)}, up_to=0.6))
    assert is_image(charts.shift_plot([point], [], None, names=("n", "s")))
    assert is_image(charts.shift_plot([point], [inner], Line(slope=1.2, offset=-1.0), names=("n", "s")))

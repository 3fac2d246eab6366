"""The command with models that predict captions."""

import json
from pathlib import Path

import pytest

from seesay.cli.main import main
from seesay.model.zero_shot import LikelihoodClassifier


@pytest.fixture
def colours(paint, tmp_path: Path) -> Path:
    for place in ("train/red/0", "train/red/1", "train/blue/0", "test/red/0", "test/red/1", "test/blue/0"):
        paint(tmp_path / "colours" / f"{place}.png", place.split("/")[1])
    paint(tmp_path / "colours" / "test" / "blue" / "1.png", "red")
    return tmp_path / "colours" / "test"


@pytest.mark.parametrize("name", [pytest.param("n-grams", marks=pytest.mark.journey), "masked-caption"])
def test_the_page_is_written_without_templates_the_model_was_not_trained_in(
    name, predictor, colours, tmp_path, monkeypatch, capfd
):
    counts, original = [], LikelihoodClassifier.scores
    monkeypatch.setattr("seesay.model.hub.load", lambda _: predictor(name))
    monkeypatch.setattr(
        LikelihoodClassifier, "scores", lambda self, rows: counts.append(len(rows)) or original(self, rows)
    )
    files = ["--report", tmp_path / "page.html", "--json", tmp_path / "scores.json"]
    code = main([str(word) for word in ["evaluate", "box", colours, *files]])
    assert (code, capfd.readouterr().err) == (0, f"numbers: {files[3]}\npage: {files[1]}\n")
    page = (tmp_path / "page.html").read_text()
    assert "<h2>Scores</h2>" in page and "Prompt sensitivity" not in page
    result = json.loads((tmp_path / "scores.json").read_text())[0]
    assert result["templates_from"] == "the model"
    # Likelihoods are what costs: each image is scored once, for the scores, the confidences and the cards.
    assert sum(counts) == result["n"]


def test_pairs_are_refused_in_one_line(predictor, paint, tmp_path, monkeypatch, capfd):
    for colour in ("red", "blue"):
        paint(tmp_path / "pairs" / f"{colour}.png", colour)
        (tmp_path / "pairs" / f"{colour}.txt").write_text(colour)
    monkeypatch.setattr("seesay.model.hub.load", lambda _: predictor("bag-of-words"))
    code = main(["evaluate", "box", str(tmp_path / "pairs")])
    message = capfd.readouterr().err
    assert code == 2 and message.count("\n") == 1 and "no embedding of a text" in message


def test_a_set_without_a_choice_is_refused(predictor, paint, tmp_path, monkeypatch, capfd):
    paint(tmp_path / "pairs" / "red.png", "red")
    monkeypatch.setattr("seesay.model.hub.load", lambda _: predictor("bag-of-words"))
    (tmp_path / "pairs" / "red.txt").write_text("red")
    assert main(["evaluate", "box", str(tmp_path / "pairs")]) == 2
    assert "pairs has 1 image with captions: every answer would be right; measure on two" in capfd.readouterr().err
    paint(tmp_path / "classes" / "red" / "red.png", "red")
    assert main(["evaluate", "box", str(tmp_path / "classes")]) == 2
    assert "classes has 1 class: every answer would be right; measure on two or more." in capfd.readouterr().err

import json
from pathlib import Path

import pytest


@pytest.fixture
def labelled(tmp_path: Path, paint) -> Path:
    for number in range(3):
        paint(tmp_path / "colours" / "red" / f"{number}.png", "red")
    paint(tmp_path / "colours" / "blue" / "0.png", "red")
    return tmp_path / "colours"


@pytest.fixture
def captioned(tmp_path: Path, paint) -> Path:
    for colour in ("red", "green", "blue"):
        paint(tmp_path / "pairs" / f"{colour}.png", colour)
        (tmp_path / "pairs" / f"{colour}.txt").write_text(colour)
    return tmp_path / "pairs"


def test_a_labelled_set_is_shown_in_percent_with_interval_and_chance(seesay, labelled: Path):
    code, out, err = seesay("evaluate", "runs/1/model", labelled)
    assert (code, err, seesay.asked) == (0, "", ["runs/1/model"])
    head, _, row = out.splitlines()
    assert " ".join(head.split()) == "set n task top-1 [95 %] top-5 mean per class chance"
    # 3 of 4 right; classes 3 of 3 and 0 of 1; two classes.
    assert " ".join(row.split()) == "colours 4 zero-shot 75.0 [19.4, 99.4] 100.0 50.0 50.0"


def test_a_captioned_set_is_shown_in_both_directions(seesay, captioned: Path):
    code, out, _ = seesay("evaluate", "box", captioned)
    assert code == 0
    head, _, by_text, by_image = out.splitlines()
    assert " ".join(head.split()) == "set n captions task R@1 R@5 R@10 [95 %] chance"
    assert " ".join(by_text.split()) == "pairs 3 3 text to image 100.0 100.0 100.0 [29.2, 100.0] 100.0"
    assert by_image.split()[3:6] == ["image", "to", "text"]


def test_json_holds_the_list_of_results_as_fractions(seesay, labelled: Path, captioned: Path, tmp_path: Path):
    code, out, _ = seesay("evaluate", "box", labelled, captioned, "--json", tmp_path / "scores.json")
    assert code == 0
    assert len(out.splitlines()) == 3 + 1 + 4
    results = json.loads((tmp_path / "scores.json").read_text())
    assert [(result["set"], result["task"]) for result in results] == [("colours", "zero-shot"), ("pairs", "retrieval")]
    assert results[0]["top1"] == 0.75
    assert results[1]["text_to_image"]["r1"] == 1


def test_templates_are_passed_on_and_said(seesay, labelled: Path, tmp_path: Path):
    seesay("evaluate", "box", labelled, "--templates", "pets", "--json", tmp_path / "scores.json")
    assert json.loads((tmp_path / "scores.json").read_text())[0]["templates"] == ["a photo of a {}, a type of pet."]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["box"], "Missing argument"),
        (["box", "{}", "{}/nowhere"], "There is no "),
        (["box", "{}", "--templates", "imagnet80"], "Nearest: imagenet80"),
        (["box", "{}", "--json", "{}"], "name the file"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_before_any_model_is_loaded(
    seesay, labelled: Path, words: list[str], complaint: str
):
    code, out, err = seesay("evaluate", *(word.format(labelled) for word in words))
    assert (code, out, seesay.asked) == (2, "", [])
    assert complaint in err
    assert err.count("\n") == 1


def test_skipped_pictures_are_counted_by_reason_and_too_many_are_exit_3(seesay, labelled: Path, tmp_path: Path):
    (labelled / "red" / "0.png").write_bytes(b"no picture")
    code, out, err = seesay("evaluate", "box", labelled, "--json", tmp_path / "scores.json")
    assert code == 3
    assert "zero-shot" in out
    assert json.loads((tmp_path / "scores.json").read_text())[0]["skipped"] == 1
    assert "colours: skipped 1 of 4 pictures: 1 x not an image" in err
    assert "1 of 4 pictures of colours were skipped, more than 5%" in err


def test_sets_before_one_that_fails_are_still_shown(seesay, labelled: Path, tmp_path: Path):
    (tmp_path / "bare").mkdir()
    code, out, err = seesay("evaluate", "box", labelled, tmp_path / "bare", "--json", tmp_path / "scores.json")
    assert code == 2
    assert "75.0" in out
    assert "bare" in err
    assert not (tmp_path / "scores.json").exists()

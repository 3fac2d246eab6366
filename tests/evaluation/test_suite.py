import io
import json
import tarfile
from pathlib import Path

import pytest

from seesay.base.errors import RefusedInput, UsageError
from seesay.evaluation.evaluate import evaluate
from seesay.formulas.statistics import proportion_interval


def evaluate_set(model, source, **words):
    """The result of one model on one set."""
    (entry,) = evaluate(model, source, **words).entries
    return entry.result


@pytest.fixture
def labelled(tmp_path: Path, paint) -> Path:
    """Four red, one of them in truth blue; two green; one blue, one yellow called blue."""
    place = tmp_path / "colours"
    for name, colour in [
        ("red/1.png", "red"),
        ("red/2.png", "red"),
        ("red/3.png", "red"),
        ("red/4.png", "blue"),
        ("green/1.png", "green"),
        ("green/2.png", "green"),
        ("blue/1.png", "blue"),
        ("blue/2.png", "yellow"),
    ]:
        paint(place / name, colour)
    return place


@pytest.fixture
def captioned(tmp_path: Path, paint) -> Path:
    place = tmp_path / "pairs"
    for colour in ("red", "green", "blue"):
        paint(place / f"{colour}.png", colour)
        (place / f"{colour}.txt").write_text(f"all {colour}\n{colour} again")
    return place


def test_a_labelled_set_is_scored_as_by_hand(colour_model, labelled: Path):
    result = evaluate_set(colour_model, labelled)
    assert (result.set_name, result.task, result.n, result.classes) == ("colours", "zero-shot", 8, 3)
    assert result.top1.value == pytest.approx(6 / 8)
    assert result.top5.value == 1
    assert result.mean_per_class.value == pytest.approx((3 / 4 + 2 / 2 + 1 / 2) / 3)
    assert result.top1.interval95 == pytest.approx(proportion_interval(6, 8))
    assert result.top5.interval95 == pytest.approx(proportion_interval(8, 8))
    low, high = result.mean_per_class.interval95
    assert 0 < low < result.mean_per_class.value < high <= 1
    assert (result.top1.chance, result.top5.chance) == (pytest.approx(1 / 3), 1)
    assert (result.skipped, result.skipped_by_reason, result.model) == (0, {}, "colours")


def test_a_captioned_set_is_scored_as_by_hand(colour_model, captioned: Path):
    result = evaluate_set(colour_model, captioned)
    assert (result.task, result.n, result.captions) == ("retrieval", 3, 6)
    for direction in ("text_to_image", "image_to_text"):
        assert {k: score.value for k, score in result.recalls(direction).items()} == {"r1": 1, "r5": 1, "r10": 1}
    assert result.headline == result.text_to_image["r10"]
    assert (result.headline.interval95, result.headline.chance) == (proportion_interval(3, 3), 1)
    assert result.text_to_image["r1"].chance == pytest.approx(1 / 3)
    assert (result.text_to_image["r1"].n, result.image_to_text["r1"].n) == (6, 3)
    assert (result.templates, result.templates_from) == (("{}",), "captions as they are")


def test_captions_that_several_images_share_are_counted_and_said(colour_model, captioned: Path, paint):
    assert (evaluate_set(colour_model, captioned).shared_captions, evaluate_set(colour_model, captioned).remarks) == (
        0,
        (),
    )
    paint(captioned / "more.png", "red")
    # Twice at one image is not shared; once at another is, and then both are.
    (captioned / "more.txt").write_text("more red\nmore red\nall red")
    result = evaluate_set(colour_model, captioned)
    assert (result.captions, result.shared_captions) == (9, 2)
    assert "2 of 9 captions are those of other images too" in result.remarks[0]


def test_a_result_survives_json_and_comes_out_the_same_twice(colour_model, labelled: Path, captioned: Path):
    for source in (labelled, captioned):
        result = evaluate_set(colour_model, source)
        assert json.loads(json.dumps(result.to_json())) == result.to_json()
        assert result == evaluate_set(colour_model, source)


def test_templates_come_from_the_call_then_the_set_then_the_model(colour_model, labelled: Path, tmp_path: Path):
    result = evaluate_set(colour_model, labelled)
    assert (result.templates, result.templates_from) == (("a photo of something {}.",), "the model")
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "classnames.txt").write_text("red\nblue\n")
    (shards / "zeroshot_classification_templates.txt").write_text("a {c} thing\n")
    with tarfile.open(shards / "0.tar", "w") as tar:
        for name, data in [("a.png", (labelled / "blue" / "1.png").read_bytes()), ("a.cls", b"1")]:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    result = evaluate_set(colour_model, shards)
    assert (result.templates, result.templates_from, result.top1.value) == (("a {} thing",), "the set", 1)
    assert colour_model.texts_seen[-1] == "a blue thing"
    result = evaluate_set(colour_model, shards, templates="none")
    assert (result.templates, result.templates_from) == (("{}",), "the call")
    assert colour_model.texts_seen[-1] == "blue"


def test_a_set_that_the_paper_knows_is_asked_as_the_paper_did(colour_model, paint, tmp_path: Path):
    for name in ("seven", "other"):
        paint(tmp_path / "eval-mnist" / name / "0.png", "red")
    result = evaluate_set(colour_model, tmp_path / "eval-mnist")
    assert result.templates == ('a photo of the number: "{}".',)
    assert result.templates_from == result.class_names_from == "the paper, for mnist"
    assert colour_model.texts_seen[-2:] == ['a photo of the number: "other".', 'a photo of the number: "7".']
    result = evaluate_set(colour_model, tmp_path / "eval-mnist", templates="none")
    assert (result.templates_from, result.class_names_from) == ("the call", "the set")
    assert colour_model.texts_seen[-2:] == ["other", "seven"]


def test_what_was_left_out_is_counted_by_reason_and_changes_n(colour_model, labelled: Path):
    (labelled / "red" / "1.png").write_bytes(b"no image")
    (labelled / "green" / "3.jxl").write_bytes(b"another kind")
    result = evaluate_set(colour_model, labelled)
    assert (result.n, result.skipped) == (7, 2)
    assert result.skipped_by_reason == {"unsupported format": 1, "not an image": 1}
    assert result.top1.value == pytest.approx(5 / 7)


def test_the_fingerprint_knows_another_set(colour_model, labelled: Path, paint):
    before = evaluate_set(colour_model, labelled).data_fingerprint
    paint(labelled / "red" / "5.png", "red")
    assert evaluate_set(colour_model, labelled).data_fingerprint != before


def test_a_set_of_broken_images_is_refused(colour_model, labelled: Path):
    for image in labelled.glob("*/*.png"):
        image.write_bytes(b"no image")
    with pytest.raises(RefusedInput, match=r"none of the 8 images of colours could be read.*8 x not an image"):
        evaluate_set(colour_model, labelled)


def test_a_source_that_is_no_set_is_refused(colour_model, tmp_path: Path):
    with pytest.raises(UsageError):
        evaluate_set(colour_model, tmp_path / "nowhere")

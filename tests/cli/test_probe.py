import json
from pathlib import Path

import pytest

from seesay.cli.probe import equal_shots


@pytest.fixture
def sets(tmp_path: Path, paint) -> tuple[Path, Path]:
    for part, count in (("train", 4), ("test", 2)):
        for name, colour in (("red", "red"), ("green", "yellow"), ("blue", "blue")):
            for number in range(count):
                paint(tmp_path / "album" / part / name / f"{number}.png", colour, side=4 + (part == "test"))
    return tmp_path / "album" / "train", tmp_path / "album" / "test"


def test_a_probe_is_shown_beside_zero_shot_and_few_shots(seesay, sets, tmp_path: Path):
    code, out, err = seesay(
        "probe", *sets, "--model", "m", "--shots", "2,1", "--penalty", "1", "--json", tmp_path / "probe.json"
    )
    assert (code, err, seesay.asked) == (0, f"numbers: {tmp_path / 'probe.json'}\n", ["m"])
    title, head, _, *rows, last = out.splitlines()
    assert title == "album/test: accuracy of 6 images, 3 classes, chance 33.3"
    assert " ".join(head.split()) == "examples per class score [95 %] penalty"
    assert [" ".join(row.split()) for row in rows] == [
        "zero-shot 0 66.7 [22.3, 95.7] -",
        "few-shot 1 100.0 [100.0, 100.0] 1 1 1",
        "few-shot 2 100.0 [100.0, 100.0] 1 1 1",
        "all 4.0 100.0 [54.1, 100.0] 1",
    ]
    assert last == "equal to zero-shot: 1 shot or fewer (intervals of few shots are over 3 choices)"
    result = json.loads((tmp_path / "probe.json").read_text())
    assert result["score"] == 1.0 and [entry["shots"] for entry in result["shots"]] == [1, 2]


@pytest.mark.parametrize(
    ("equal", "words"), [(None, "no number of shots up to all"), (0.03, "1 shot or fewer"), (5.44, "5.4 shots")]
)
def test_where_the_curve_meets_zero_shot_is_put_into_words(equal: float | None, words: str):
    assert equal_shots(equal) == words


def test_without_shots_there_are_two_rows(seesay, sets):
    code, out, _ = seesay("probe", *sets, "--model", "m", "--penalty", "1", "--metric", "roc-auc")
    assert code == 0 and len(out.splitlines()) == 5 and "roc-auc" in out and "chance 50.0" in out


def test_from_words_begins_at_zero_shot_and_says_so(seesay, sets):
    code, out, err = seesay("probe", *sets, "--model", "m", "--from-words", "--shots", "0,1", "--seeds", "1")
    title, _, _, *rows, _ = out.splitlines()
    assert (code, err) == (0, "")
    assert title.startswith("album/test: accuracy of 6 images, 3 classes, chance 33.3, from words (logits times 0.")
    assert [" ".join(row.split()[:3]) for row in rows[:3]] == [
        "zero-shot 0 66.7",
        "few-shot 0 66.7",
        "few-shot 1 100.0",
    ]


def test_skipped_images_are_reported_and_too_many_are_exit_3(seesay, sets):
    (sets[0] / "red" / "0.png").write_bytes(b"no image")
    code, out, err = seesay("probe", *sets, "--model", "m", "--penalty", "1")
    assert code == 3 and "all" in out
    assert "skipped 1 of 18 images: 1 x not an image" in err


def test_a_second_probe_encodes_nothing_again(seesay, sets, tmp_path: Path, monkeypatch, colour_model):
    monkeypatch.setenv("SEESAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("seesay.model.cache.image_fingerprint", lambda model: "colours")
    encoded = []
    tower = type(colour_model.clip.image_tower)
    features = tower.features
    monkeypatch.setattr(tower, "features", lambda self, x: encoded.append(len(x)) or features(self, x))
    first = seesay("probe", *sets, "--model", "m", "--penalty", "1")
    assert sum(encoded) == 18
    assert seesay("probe", *sets, "--model", "m", "--penalty", "1") == first
    assert sum(encoded) == 18
    (sets[1] / "red" / "0.png").write_bytes((sets[1] / "blue" / "0.png").read_bytes())
    seesay("probe", *sets, "--model", "m", "--penalty", "1")
    assert sum(encoded) == 18 + 6


@pytest.mark.parametrize("part", [0, 1])
def test_a_class_of_broken_images_is_named(seesay, sets, part: int):
    for image in (sets[part] / "red").iterdir():
        image.write_bytes(b"no image")
    code, out, err = seesay("probe", *sets, "--model", "m", "--penalty", "1")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"not one image of class 'red' of album/{sets[part].name} can be read" in err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["{train}"], "Missing argument"),
        (["{train}", "{test}/nowhere"], "There is no "),
        (["box", "{test}"], "box is a model: seesay finetune box trains it, and other verbs take it as --model box."),
        (["{train}", "{test}", "--shots", "1,two"], "--shots '1,two' should be numbers"),
        (["{train}", "{test}", "--shots", ""], "the word after --shots is empty"),
        (["{train}", "{test}", "--shots", "5"], "5 shots are requested, but class 'blue' of album/train has 4 images"),
        (["{train}", "{test}", "--seeds", "0"], "seeds 0"),
        (["{train}", "{test}", "--penalty", "swep"], "should be sweep or a number"),
        (["{train}", "{test}", "--penalty", "-1"], "penalty is -1.0"),
        (["{train}", "{test}", "--metric", "f1"], "Invalid value"),
        (["{train}", "{test}", "--json", "{test}"], "name the file"),
        (["{test}", "{more}"], "classes of more that album/test does not have: 'white'"),
        (["{train}", "{hollow}"], "without an image that can be read: 'red'"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_any_model_is_loaded(
    seesay, sets, paint, tmp_path: Path, words: list[str], complaint: str
):
    paint(tmp_path / "more" / "white" / "0.png", "white")
    paint(tmp_path / "hollow" / "blue" / "0.png", "blue")
    (tmp_path / "hollow" / "red").mkdir()
    places = {"train": sets[0], "test": sets[1], "more": tmp_path / "more", "hollow": tmp_path / "hollow"}
    code, out, err = seesay("probe", *(word.format(**places) for word in words))
    assert (code, out, seesay.asked) == (2, "", [])
    assert complaint in err
    assert err.count("\n") == 1

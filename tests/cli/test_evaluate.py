import json
from itertools import product
from pathlib import Path

import pytest

from seesay.base.errors import SeesayError


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


def test_the_columns_of_a_table_are_named_on_the_command_line(seesay, captioned: Path):
    rows = [f"{colour}.png,no word,{colour}" for colour in ("red", "green", "blue")]
    (captioned / "all.csv").write_text("\n".join(["where,title,what", *rows]) + "\n")
    code, out, _ = seesay("evaluate", "box", captioned / "all.csv", "--columns", "where, what")
    assert code == 0 and " ".join(out.splitlines()[2].split()[:8]) == "all.csv 3 3 text to image 100.0 100.0"
    for words in ("where", "where,", ",what"):
        code, _, err = seesay("evaluate", "box", captioned / "all.csv", "--columns", words)
        assert code == 2 and "should be two names, as --columns file,text" in err
    code, _, err = seesay("evaluate", "box", captioned / "all.csv", "--columns", "where,whta")
    assert code == 2 and "whta" in err


def test_json_holds_the_list_of_results_as_fractions(seesay, labelled: Path, captioned: Path, tmp_path: Path):
    code, out, _ = seesay("evaluate", "box", labelled, captioned, "--json", tmp_path / "scores.json")
    assert code == 0
    assert len(out.splitlines()) == 3 + 1 + 4
    results = json.loads((tmp_path / "scores.json").read_text())
    assert [(result["set"], result["task"]) for result in results] == [("colours", "zero-shot"), ("pairs", "retrieval")]
    assert results[0]["top1"] == 0.75
    assert results[1]["text_to_image"]["r1"] == 1


def test_templates_are_passed_on(seesay, labelled: Path, tmp_path: Path):
    seesay("evaluate", "box", labelled, "--templates", "pets", "--json", tmp_path / "scores.json")
    assert json.loads((tmp_path / "scores.json").read_text())[0]["templates"] == ["a photo of a {}, a type of pet."]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "Missing argument"),
        (["box"], "no set to measure box on"),
        (["{}"], "is no model, and models come first; did you mean: seesay evaluate box {}"),
        (["{}", "box"], "is no model, and models come first; did you mean: seesay evaluate box {}"),
        (["limits", "box"], "'limits' is no model, and models come first; did you mean: seesay evaluate box limits"),
        (["box", "{}", "{}/nowhere"], "There is no "),
        (["box", "{}", "--templates", "imagnet80"], "Nearest: imagenet80"),
        (["box", "{}", "--json", "{}"], "name the file"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_any_model_is_loaded(
    seesay, labelled: Path, words: list[str], complaint: str
):
    code, out, err = seesay("evaluate", *(word.format(labelled) for word in words))
    assert (code, out, seesay.asked) == (2, "", [])
    assert complaint.format(labelled) in err
    assert err.count("\n") == 1


def test_skipped_images_are_counted_by_reason_and_too_many_are_exit_3(seesay, labelled: Path, tmp_path: Path):
    (labelled / "red" / "0.png").write_bytes(b"no image")
    code, out, err = seesay("evaluate", "box", labelled, "--json", tmp_path / "scores.json")
    assert code == 3
    assert "zero-shot" in out
    assert json.loads((tmp_path / "scores.json").read_text())[0]["skipped"] == 1
    assert "colours: skipped 1 of 4 images: 1 x not an image" in err
    assert "1 of 4 images of colours were skipped, more than 5%" in err


def test_sets_before_one_that_fails_are_still_shown(seesay, labelled: Path, tmp_path: Path):
    (tmp_path / "bare").mkdir()
    code, out, err = seesay("evaluate", "box", labelled, tmp_path / "bare", "--json", tmp_path / "scores.json")
    assert code == 2
    assert "75.0" in out
    assert "bare" in err
    assert not (tmp_path / "scores.json").exists()


def test_several_models_and_sets_are_named_and_compared(seesay, labelled: Path, captioned: Path, tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.json").write_text("{}")
    code, out, _ = seesay("evaluate", "box", tmp_path / "run", labelled, captioned)
    assert (code, seesay.asked) == (0, ["box", str(tmp_path / "run")])
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0].startswith("model set n task")
    assert lines[2].startswith("colours colours 4") and lines[3].startswith(f"{tmp_path}/run colours 4")
    assert f"colours top1 colours 75.0 {tmp_path}/run 75.0 0.0 [0.0, 0.0] 1 sign" in lines
    assert any("text to image r10" in line and "paired bootstrap" in line for line in lines)


@pytest.mark.journey
def test_the_page_and_a_file_per_result_are_written(seesay, labelled: Path, captioned: Path, tmp_path: Path):
    page, folder = tmp_path / "out" / "report.html", tmp_path / "results"
    code, _, _ = seesay("evaluate", "box", labelled, captioned, "--report", page, "--results", folder)
    assert code == 0
    assert "<h2>Scores</h2>" in page.read_text() and "<script" not in page.read_text()
    assert sorted(file.name for file in folder.iterdir()) == [
        "colours--colours--zero-shot.json",
        "colours--pairs--retrieval.json",
    ]
    result = json.loads((folder / "colours--colours--zero-shot.json").read_text())
    assert result["top1"] == 0.75 and result["settings"]["preprocess"] == "exact" and "commit" in result["environment"]


@pytest.mark.journey
def test_what_a_person_should_know_of_a_probe_is_said_and_on_the_page(seesay, paint, tmp_path: Path):
    for part, colour, number in product(("train", "test"), ("red", "blue"), "01"):
        paint(tmp_path / "set" / part / colour / f"{number}.png", colour)
    page = tmp_path / "scores.html"
    code, _, err = seesay("evaluate", "box", tmp_path / "set", "--probe", "--shots", "1,3", "--report", page)
    assert code == 0
    for line in (
        "set: test/ is measured, train/ is not.",
        "set: probe: it was trained and measured on the same images, all of 4: the score says little of others.",
        "set: probe: a class has too few training images for 3 shots.",
    ):
        assert line in err and line in page.read_text(), line


def test_a_shift_is_shown_and_written(seesay, labelled: Path, paint, tmp_path: Path):
    for colour in ("red", "blue"):
        paint(tmp_path / "drawn" / colour / "0.png", colour)
    words = ["--shift", "colours=drawn", "--json", tmp_path / "scores.json"]
    code, out, _ = seesay("evaluate", "box", labelled, tmp_path / "drawn", *words)
    assert code == 0
    assert "effective robustness" in out
    assert json.loads((tmp_path / "scores.json").read_text())[-1]["gap"] == 0.25


def test_a_set_of_the_papers_has_its_words_and_a_line_says_so(seesay, paint, tmp_path: Path):
    for name in ("one", "two"):
        paint(tmp_path / "eval-mnist" / name / "0.png", "red")
    code, _, err = seesay("evaluate", "box", tmp_path / "eval-mnist")
    assert (code, err.count("\n")) == (0, 1)
    assert "template 'a photo of the number: \"{}\".' of the paper, for mnist, and its class names; --templates" in err
    assert seesay("evaluate", "box", tmp_path / "eval-mnist", "--templates", "simple")[2] == ""


def test_a_data_set_of_the_hub_is_a_set_by_its_split(seesay, labelled: Path, monkeypatch):
    from seesay.data.evalsets import open_evalset

    opened = []
    monkeypatch.setattr(
        "seesay.evaluation.entries.open_evalset",
        lambda source, **columns: opened.append(source) or open_evalset(labelled),
    )
    code, _, _ = seesay("evaluate", "box", "hf:somebody/colours:test,label=colour")
    assert (code, opened) == (0, ["hf:somebody/colours:test,label=colour"])
    code, _, err = seesay("evaluate", "box", "hf:somebody/colours:test,lable=colour")
    assert (code, err.count("\n")) == (2, 1) and "Nearest: label" in err


def test_two_classes_of_one_name_are_named_and_measured(seesay, labelled: Path, tmp_path: Path):
    (tmp_path / "names.txt").write_text("blue\nblue\n")
    code, out, err = seesay("evaluate", "box", labelled, "--class-names", tmp_path / "names.txt")
    assert code == 0
    assert "colours: more than one class is called 'blue'; images of classes that share a name" in err
    assert " 0.0 [0.0, 60.2] " in out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["box", "box"], "no set to measure box on"),
        (["box", "{}", "box"], "'box' is a model after a set"),
        (["box", "{}", "--shots", "1,x"], "numbers of 1 or more"),
        (["box", "{}", "--shift", "colours=other"], "two of the sets that are measured: colours"),
        (["box", "{}", "--baseline", "x.json"], "name its two sets with shift"),
        (["box", "{}", "--descriptions", "none.json"], "none.json cannot be read"),
        (["box", "{}", "--class-names", "eurosad"], "eurosad"),
        (["box", "{}", "--templates", "{}/bad.txt"], "exactly once"),
        (["box", "{}", "--report", "{}"], "name the file"),
    ],
)
def test_options_that_cannot_be_followed_are_one_line_before_any_model_is_loaded(
    seesay, labelled: Path, words: list[str], complaint: str
):
    (labelled / "bad.txt").write_text("a photo\n")
    code, out, err = seesay("evaluate", *(word.format(labelled) for word in words))
    assert (code, out, seesay.asked) == (2, "", [])
    assert complaint in err
    assert err.count("\n") == 1


def test_a_class_without_an_image_is_named(seesay, labelled: Path):
    (labelled / "empty").mkdir()
    code, _, err = seesay("evaluate", "box", labelled)
    assert code == 2
    assert "without an image that can be read: 'empty'" in err
    assert err.count("\n") == 1


def test_images_of_the_train_part_that_cannot_be_read_are_too_many_as_for_probe(seesay, paint, tmp_path: Path):
    for part, count in (("train", 3), ("test", 1)):
        for label, colour in (("red", "red"), ("blue", "blue")):
            for number in range(count):
                paint(tmp_path / "set" / part / label / f"{number}.png", colour)
    (tmp_path / "set/train/red/0.png").write_bytes(b"no image")
    code, out, err = seesay("evaluate", "box", tmp_path / "set", "--probe")
    assert code == 3 and "probe" in out
    assert "error: 1 of 8 images of set/train and set were skipped, more than 5%" in err


def test_a_class_of_broken_images_is_named(seesay, labelled: Path):
    (labelled / "blue" / "0.png").write_bytes(b"no image")
    code, _, err = seesay("evaluate", "box", labelled)
    assert code == 2
    assert "not one image of class 'blue' of colours can be read (1 x not an image in all)" in err
    assert err.count("\n") == 1


def test_json_and_tables_are_there_although_the_page_cannot_be_drawn(seesay, labelled, tmp_path, monkeypatch):
    def draw(*_, **__):
        raise SeesayError("no ink")

    monkeypatch.setattr("seesay.evaluation.evaluate.build_page", draw)
    files = ["--json", tmp_path / "scores.json", "--report", tmp_path / "page.html"]
    code, out, err = seesay("evaluate", "box", labelled, *files)
    assert code == 1 and err.endswith(f"\nnumbers: {files[1]}\nerror: no ink\n")
    assert "75.0" in out and json.loads((tmp_path / "scores.json").read_text())[0]["top1"] == 0.75

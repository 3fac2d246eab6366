import csv
import io
import json
import os
from pathlib import Path

import pytest


@pytest.fixture
def album(tmp_path: Path, paint) -> Path:
    for colour in ("blue", "green", "red"):
        paint(tmp_path / "album" / f"{colour}.png", colour)
    return tmp_path / "album"


def test_json_lists_every_photo_with_its_labels_best_first(seesay, album: Path):
    code, out, _ = seesay("classify", album, "red", "green", "white", "--format", "json", "--top", 2)
    assert code == 0
    results = json.loads(out)
    assert [Path(row["path"]).name for row in results] == ["blue.png", "green.png", "red.png"]
    red = results[2]["labels"]
    assert [label["label"] for label in red] == ["red", "white"]
    # Cosines 1, 1/sqrt(3) and 0, times 10.
    weights = [2.718281828**10, 2.718281828 ** (10 / 3**0.5), 1]
    assert [label["probability"] for label in red] == pytest.approx([w / sum(weights) for w in weights[:2]], rel=1e-4)


def test_csv_has_a_column_pair_per_rank_and_survives_commas(seesay, album: Path, paint):
    paint(album / "a, b.png", "red")
    code, out, _ = seesay("classify", album, "red, the colour", "blue", "--format", "csv")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == ["path", "label_1", "probability_1", "label_2", "probability_2"]
    assert Path(rows[0]["path"]).name == "a, b.png"
    assert {row["label_1"] for row in rows} == {"red, the colour", "blue"}
    assert float(rows[0]["probability_1"]) + float(rows[0]["probability_2"]) == pytest.approx(1, abs=1e-5)


def test_the_table_names_photos_in_full_and_percent(seesay, album: Path):
    code, out, _ = seesay("classify", album / "red.png", "red", "green", "--top", 1)
    assert code == 0
    assert str(album / "red.png") in out
    assert "red 100.0 %" in out
    assert "green" not in out


def test_a_file_name_cannot_steer_the_terminal_or_be_taken_for_markup(seesay, album: Path, paint):
    paint(album / "\x1b[31m[bold]evil.png", "red")
    _, out, _ = seesay("classify", album, "red", "green")
    assert "\x1b" not in out
    assert r"\x1b[31m[bold]evil.png" in out


@pytest.mark.parametrize("kind", ["table", "csv", "json"])
def test_a_file_name_that_is_not_utf8_ends_no_run(seesay, album: Path, paint, tmp_path: Path, kind: str):
    paint(album / os.fsdecode(b"caf\xe9.png"), "red")
    assert seesay("classify", album, "red", "green", "--format", kind)[0] == 0
    assert seesay("classify", album, "red", "green", "--format", kind, "-o", tmp_path / "out")[0] == 0


def test_with_a_file_only_one_line_goes_to_standard_output(seesay, album: Path, tmp_path: Path):
    out_file = tmp_path / "out.json"
    code, out, _ = seesay("classify", album, "red", "green", "-o", out_file)
    assert (code, out) == (0, f"3 photos, 2 labels -> {out_file}\n")
    assert len(json.loads(out_file.read_text())) == 3
    seesay("classify", album, "red", "green", "-o", out_file, "--format", "csv")
    assert out_file.read_text().startswith("path,label_1,")


def test_a_folder_as_result_file_is_refused_before_any_model_is_loaded(seesay, album: Path):
    code, _, err = seesay("classify", album, "red", "green", "-o", album)
    assert (code, seesay.asked) == (2, [])
    assert "name the file" in err


def test_the_small_model_is_announced_in_one_line_with_what_is_known_of_it(seesay, album: Path, colour_model):
    colour_model.facts = {
        "evaluation": [
            {"set": "cifar10", "task": "zero-shot", "top1": 0.3, "n": 2000, "classes": 10},
            {"set": "tinyimagenet-val", "task": "zero-shot", "top1": 0.2814, "n": 2395, "classes": 200},
            {"set": "flickr8k", "task": "retrieval"},
        ]
    }
    _, _, err = seesay("classify", album, "red", "green")
    assert seesay.asked == ["box"]
    assert err == (
        "model: the small one in the box (top-1 28.1 % on tinyimagenet-val, 200 classes); "
        "name a larger one with --model FOLDER.\n"
    )


def test_nothing_is_announced_when_a_model_is_named(seesay, album: Path):
    assert seesay("classify", album, "red", "green", "--model", "box")[2] == ""
    assert seesay("classify", album, "red", "green", "--model", "runs/1/model")[2] == ""
    assert seesay.asked == ["box", "runs/1/model"]


def test_labels_come_from_a_file_as_well_and_repeated_ones_count_once(seesay, album: Path, tmp_path: Path):
    (tmp_path / "labels.txt").write_text("green\n# a comment\nred\nblue\nred\n")
    code, out, err = seesay(
        "classify", album / "red.png", "red", "--labels-file", tmp_path / "labels.txt", "--format=json"
    )
    assert code == 0
    assert {label["label"] for label in json.loads(out)[0]["labels"]} == {"red", "green", "blue"}
    assert err.count("counted once: red\n") == 1


def test_templates_are_passed_on(seesay, album: Path, colour_model):
    seesay("classify", album, "red", "green", "--templates", "mnist")
    assert colour_model.texts_seen == ['a photo of the number: "red".', 'a photo of the number: "green".']


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["{}", "red"], "one label always gets probability 1"),
        (["{}"], "one label always gets probability 1"),
        (["{}/nowhere", "red", "green"], "There is no "),
        (["{}/blue.png", "{}/red.png", "red", "green"], "write the pattern in quotes"),
        (["{}", "red", "green", "--templates", "imagnet80"], "Nearest: imagenet80"),
        (["{}", "red", "green", "--top", "0"], "--top"),
        (["{}", "red", "green", "--format", "xml"], "--format"),
        (["{}", "red", "green", "--labels-file", "{}/none.txt"], "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_before_any_model_is_loaded(
    seesay, album: Path, words: list[str], complaint: str
):
    code, out, err = seesay("classify", *(word.format(album) for word in words))
    assert (code, out, seesay.asked) == (2, "", [])
    assert complaint in err
    assert err.count("\n") == 1


def test_skipped_photos_are_counted_by_reason_and_few_are_forgiven(seesay, album: Path, paint):
    for number in range(17):
        paint(album / f"more{number}.png", "red")
    (album / "empty.png").touch()
    code, out, err = seesay("classify", album, "red", "green", "--model", "any", "--format", "json")
    assert (code, len(json.loads(out))) == (0, 20)
    assert err == f"skipped 1 of 21 photos: 1 x empty file (first: {album / 'empty.png'})\n"


def test_more_than_one_in_twenty_skipped_is_exit_3_after_the_results(seesay, album: Path):
    (album / "empty.png").touch()
    code, out, err = seesay("classify", album, "red", "green", "--model", "any", "--format", "json")
    assert (code, len(json.loads(out))) == (3, 3)
    assert "1 of 4 photos were skipped, more than 5%" in err.splitlines()[-1]


def test_only_broken_photos_are_exit_4(seesay, tmp_path: Path):
    (tmp_path / "empty.png").touch()
    code, out, err = seesay("classify", tmp_path, "red", "green", "--model", "any")
    assert (code, out) == (4, "")
    assert "1 x empty file" in err


@pytest.mark.parametrize("verb", ["classify", "evaluate"])
def test_help_fits_one_screen_and_shows_an_example(seesay, verb: str, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = seesay(verb, "--help")
    assert code == 0
    assert f"Example: seesay {verb}" in out
    assert len(out.splitlines()) <= 40
    assert max(map(len, out.splitlines())) <= 100

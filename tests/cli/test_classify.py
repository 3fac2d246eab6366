import csv
import io
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from seesay.base.records import Ranking
from seesay.tasks.answer_files import FORMATS
from seesay.tasks.answers import Answer


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


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_name_that_is_not_utf8_ends_no_run(seesay, album: Path, paint, tmp_path: Path, kind: str):
    paint(album / os.fsdecode(b"caf\xe9.png"), "red")
    assert seesay("classify", album, "red", "green", "--format", kind)[0] == (0 if FORMATS[kind].is_text else 2)
    assert seesay("classify", album, "red", "green", "--format", kind, "-o", tmp_path / "out")[0] == 0


def test_with_a_file_only_one_line_goes_to_standard_output(seesay, album: Path, tmp_path: Path):
    out_file = tmp_path / "out.json"
    code, out, _ = seesay("classify", album, "red", "green", "-o", out_file)
    assert (code, out) == (0, f"3 photos, 2 labels -> {out_file}\n")
    assert len(json.loads(out_file.read_text())) == 3
    seesay("classify", album, "red", "green", "-o", tmp_path / "out", "--format", "csv")
    assert (tmp_path / "out").read_text("utf-8-sig").startswith("path,label_1,")


def test_a_page_of_very_many_photos_is_warned_of_before_the_work(seesay, album: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(FORMATS, "html", replace(FORMATS["html"], most_photos=2))
    words = ["classify", album, "red", "green", "--model", "any", "-o"]
    code, _, err = seesay(*words, tmp_path / "out.html")
    assert (code, err) == (0, "3 photos make a .html file that is slow to open; .parquet and .csv are not.\n")
    assert (tmp_path / "out.html").read_text().count("<article") == 3
    assert seesay(*words, tmp_path / "out.csv")[2] == ""


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
        (["{}", "red", "green", "--threshold", "0.5"], "--threshold is for --multi-label"),
        (["{}", "red", "green", "--multi-label", "--threshold", "red=high"], "should be a probability"),
        (["{}", "red", "green", "--multi-label", "--threshold", "rad=0.3"], "Nearest: red"),
        (["{}", "red", "green", "--calibrate", "{}"], "it needs a folder of photos for every label"),
        (["{}", "red", "green", "--max-bad", "2"], "--max-bad"),
        (["{}", "red", "green", "--bad", "{}"], "name the file"),
        (["{}", "red", "green", "--bad", "{}.xlsx"], "Excel opens .csv"),
        (["{}", "red", "green", "--bad", "{}.html"], "should end in .csv, .tsv, .json or .jsonl"),
        (["{}", "red", "green", "-o", "{}.xlsx"], "Excel opens .csv"),
        (["{}", "red", "green", "-o", "{}.md"], "or .txt, which says how it is written"),
        (["{}", "red", "green", "-o", "{}.csv.gz"], "should end in .csv"),
        (["{}", "red", "green", "-o", "{}-labels"], "should end in .csv"),
        (["{}", "red", "green", "-o", "{}.json", "--format", "csv"], "--format csv writes .csv"),
        (["{}", "red", "green", "-o", "{}.xlsx", "--format", "csv"], "--format csv writes .csv"),
        (["{}", "red", "green", "--format", "parquet"], "add -o FILE.parquet"),
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
    assert err == f"skipped 1 of 21 photos: 1 x empty file\n  {album / 'empty.png'}: empty file\n"


def test_more_than_one_in_twenty_skipped_is_exit_3_after_the_results(seesay, album: Path):
    (album / "empty.png").touch()
    code, out, err = seesay("classify", album, "red", "green", "--model", "any", "--format", "json")
    assert (code, len(json.loads(out))) == (3, 3)
    assert "1 of 4 photos were skipped, more than 5%" in err.splitlines()[-1]


def test_no_file_that_is_written_begins_a_cell_with_a_formula(seesay, tmp_path: Path, paint, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "=1+2.png", "red")
    (tmp_path / "-bad.png").touch()
    out, bad = tmp_path / "out.csv", tmp_path / "bad.csv"
    words = ["classify", "*.png", "@red", "+green", "--model", "any", "-o", out, "--bad", bad, "--max-bad", 1]
    assert seesay(*words)[0] == 0
    answers, skipped = (list(csv.reader(io.StringIO(path.read_text()))) for path in (out, bad))
    assert answers[1][0] == "'=1+2.png" and {answers[1][1], answers[1][3]} == {"'@red", "'+green"}
    assert float(answers[1][2]) + float(answers[1][4]) == pytest.approx(1)
    assert skipped[1] == ["'-bad.png", "empty file", ""]


def test_only_broken_photos_are_exit_4(seesay, tmp_path: Path):
    (tmp_path / "empty.png").touch()
    code, out, err = seesay("classify", tmp_path, "red", "green", "--model", "any")
    assert (code, out) == (4, "")
    assert "1 x empty file" in err


def test_all_broken_photos_are_listed_in_a_file_and_a_few_by_name(seesay, album: Path, tmp_path: Path):
    for number in range(7):
        (album / f"empty{number}.png").touch()
    words = ["classify", album, "red", "green", "--model", "any", "--bad", tmp_path / "bad.csv", "--max-bad", 0.7]
    code, _, err = seesay(*words)
    assert code == 0
    assert err.splitlines()[-1] == f"  and 2 more, in {tmp_path / 'bad.csv'}"
    rows = list(csv.reader((tmp_path / "bad.csv").read_text("utf-8-sig").splitlines()))
    assert rows[:2] == [["path", "reason", "detail"], [str(album / "empty0.png"), "empty file", ""]]
    assert len(rows) == 8
    code, _, err = seesay(*words[:-1], 0.699)
    assert code == 3
    assert "7 of 10 photos were skipped, more than 69.9%" in err.splitlines()[-1]


@pytest.fixture
def known(tmp_path: Path, paint) -> Path:
    """Sixty images with known labels, red and green."""
    for number in range(60):
        colour = ("red", "green")[number % 2]
        paint(tmp_path / "known" / colour / f"{number}.png", colour)
    return tmp_path / "known"


def test_what_shows_none_of_the_labels_is_answered_so(seesay, album: Path, known: Path):
    words = ["classify", album, "red", "green", "--calibrate", known, "--none-of-these", 0.05]
    code, out, err = seesay(*words, "--model", "any", "--format", "csv")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0])[:3] == ["path", "answer", "label_1"]
    assert [row["answer"] for row in rows] == ["none of these", "green", "red"]
    calibrated, none = err.splitlines()
    assert calibrated.startswith("calibrated on 60 photos of known: temperature ")
    assert none.endswith("at most 4.87 % (95 % confidence), unless the model was trained on these")
    code, out, _ = seesay(*words, "--top", 1)
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()[2:]] == ["none", "green", "red"]


def test_without_labels_those_of_the_known_photos_are_asked_for(seesay, album: Path, known: Path):
    code, out, _ = seesay("classify", album, "--calibrate", known, "--format", "json")
    assert code == 0
    assert {label["label"] for label in json.loads(out)[0]["labels"]} == {"red", "green"}


def test_several_labels_may_hold_or_none(seesay, album: Path, paint, known: Path):
    paint(album / "yellow.png", "yellow")
    words = ["classify", album, "red", "green", "--calibrate", known, "--multi-label", "--top", 1]
    # 30 photos of every other label hold 10 %; at a probability of 0.01 yellow is both.
    code, out, err = seesay(*words, "--false-alarms", 0.1, "--format", "json")
    assert code == 0
    assert [row["answer"] for row in json.loads(out)[:3]] == [[], ["green"], ["red"]]
    assert "60 of 60 own labels are found, 0 of 60 others are given wrongly" in err
    code, out, _ = seesay(*words, "--threshold", 0.01, "--threshold", "red=0.999999", "--format", "csv")
    assert code == 0
    assert {row["path"][-10:]: row["answer"] for row in csv.DictReader(io.StringIO(out))}["yellow.png"] == "green"


def test_a_stopped_command_says_so_and_goes_on_or_is_refused(seesay, album: Path, paint, tmp_path: Path, colour_model):
    for number in range(130):
        paint(album / f"more{number:03}.png", "red")
    words = ["classify", album, "red", "green", "--model", "any", "-o", tmp_path / "out.csv"]
    assert seesay(*words)[0] == 0
    unbroken = (tmp_path / "out.csv").read_bytes()
    encode, calls = colour_model.encode_pixels, []

    def stopping(pixels_B3SS):
        calls.append(len(pixels_B3SS))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(pixels_B3SS)

    colour_model.encode_pixels = stopping
    code, _, err = seesay(*words)
    assert code == 130
    replaced = f"{tmp_path}/out.csv is there already, and is replaced at the end."
    stopped = f"stopped: 64 of 133 photos are done and in {tmp_path}/out.csv.part; the same command goes on."
    assert err.splitlines() == [replaced, stopped]
    code, _, err = seesay(*words, "--top", 1)
    assert code == 2
    assert "half of another command: top: 5 -> 1; run that one to its end, or begin anew with --force." in err
    code, out, err = seesay(*words)
    assert (code, out) == (0, f"133 photos, 2 labels -> {tmp_path / 'out.csv'}\n")
    assert err == f"going on after 64 of 133 photos, from {tmp_path}/out.csv.part\n"
    assert (tmp_path / "out.csv").read_bytes() == unbroken
    assert calls == [64, 64, 64, 5]


def test_the_speed_is_told_where_there_are_enough_photos(seesay, album: Path, paint):
    for number in range(100):
        paint(album / f"more{number:03}.png", "red")
    _, _, err = seesay("classify", album, "red", "green", "--model", "any", "--format", "csv")
    assert err.startswith("103 photos in ")
    assert err.endswith(" per second and core\n")


def test_photos_whose_best_label_is_likelier_wrong_are_counted(seesay, album: Path):
    # Blue is as far from red as from green and yellow: a third each.
    code, shown, told = seesay("classify", album, "red", "green", "yellow")
    assert code == 0
    assert [line.count("?") for line in shown.splitlines()[2:]] == [1, 0, 0]
    assert "in doubt: 1 of 3 photos; their best label has less than 50 %" in told
    assert "in doubt" not in seesay("classify", album, "red", "green", "blue")[2]
    (album / "broken.png").write_bytes(b"no image")
    assert "in doubt: 1 of 3 photos" in seesay("classify", album, "red", "green", "yellow", "--max-bad", "1")[2]


@pytest.mark.parametrize("labels", [None, ("red",), ()])
@pytest.mark.parametrize("is_multi_label", [False, True])
def test_no_answer_and_several_answers_are_in_no_doubt(labels, is_multi_label):
    ranking = Ranking(labels=("red", "green", "blue"), probabilities=(0.4, 0.3, 0.3))
    answer = Answer(photo="red.png", ranking=ranking, labels=labels, is_multi_label=is_multi_label)
    assert answer.is_in_doubt == (labels != () and not is_multi_label)


@pytest.mark.journey
def test_a_command_that_was_killed_ends_in_the_same_file(tmp_path: Path, paint):
    for number in range(1500):
        paint(tmp_path / "album" / f"{number:04}.png", ("red", "green", "blue")[number % 3])
    words = [sys.executable, "-m", "seesay", "classify", "album", "red", "green", "-o"]
    subprocess.run([*words, "whole.csv"], cwd=tmp_path, check=True, capture_output=True)
    part = tmp_path / "killed.csv.part"
    with subprocess.Popen(
        [*words, "killed.csv"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as run:
        while run.poll() is None and (not part.exists() or part.read_bytes().count(b"\n") < 200):
            time.sleep(0.001)
        run.kill()
    assert part.exists()
    again = subprocess.run([*words, "killed.csv"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "going on after" in again.stderr
    assert (tmp_path / "killed.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.parametrize("verb", ["classify", "evaluate"])
def test_help_fits_one_screen_and_shows_an_example(seesay, verb: str, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = seesay(verb, "--help")
    assert code == 0
    assert f"Example: seesay {verb}" in out
    assert len(out.splitlines()) <= 40
    assert max(map(len, out.splitlines())) <= 100


def test_photos_of_several_places_are_classified_with_labels_as_an_option(seesay, tmp_path, paint):
    for colour in ("red", "blue"):
        paint(tmp_path / f"{colour}s" / f"{colour}.png", colour)
    code, out, _ = seesay("classify", tmp_path / "reds", tmp_path / "blues", "--labels", "red, blue", "--top", "1")
    assert code == 0 and "reds/red.png" in out and "blues/blue.png" in out
    code, _, err = seesay("classify", tmp_path / "reds", "--labels", "red")
    assert code == 2 and "give two or more" in err


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["photos/other", "cat", "dog"], "seesay classify photos photos/other --labels 'cat,dog'"),
        (["other", "cat"], "seesay classify photos other --labels 'cat'"),
        (["other/", "more/"], "seesay classify photos other/ more/ --labels 'cat,dog'"),
        (["./other", "cat"], "seesay classify photos ./other --labels 'cat'"),
        (["other/", *["more/"] * 9, "cat"], "seesay classify photos other/ more/ ... --labels 'cat'; if it is a label"),
        (["other/", *"abcdefgh"], "seesay classify photos other/ --labels 'a,b,c,...'; if it is a label"),
    ],
)
def test_a_folder_among_the_labels_is_answered_with_the_option(seesay, tmp_path, paint, monkeypatch, labels, said):
    for place in ("photos", "photos/other", "other", "more"):
        paint(tmp_path / place / "red.png", "red")
    monkeypatch.chdir(tmp_path)
    code, _, err = seesay("classify", "photos", *labels)
    assert code == 2 and said in err and "is a folder" in err


def test_labels_may_be_called_as_folders_of_classes_are(seesay, tmp_path, paint, monkeypatch):
    for place in ("photos", "red", "blue"):
        paint(tmp_path / place / "red.png", "red")
    monkeypatch.chdir(tmp_path)
    code, out, _ = seesay("classify", "photos", "red", "blue", "--top", "1")
    assert code == 0 and "photos/red.png   red " in out


@pytest.mark.parametrize("words", ["classify {set} red blue", "evaluate box {set}", "probe {set} {set} --penalty 1"])
@pytest.mark.parametrize(("device", "said"), [("gpu", "device 'gpu' is not known"), ("cuda:7", "is not here")])
def test_every_verb_that_encodes_takes_a_device(seesay, tmp_path, paint, words, device, said):
    for colour in ("red", "blue"):
        paint(tmp_path / colour / "a.png", colour)
    words = words.format(set=tmp_path).split()
    code, _, err = seesay(*words, "--device", device)
    assert code == 2 and said in err
    assert seesay(*words, "--device", "cpu")[0] == 0


def test_precision_and_batch_size_are_taken_and_others_refused(seesay, album: Path):
    plain = seesay("classify", album, "red", "green")[1]
    assert seesay("classify", album, "red", "green", "--precision", "bfloat16", "--batch-size", 2)[:2] == (0, plain)
    assert seesay("classify", album, "red", "green", "--precision", "int8")[0] == 2
    assert seesay("classify", album, "red", "green", "--batch-size", 0)[0] == 2

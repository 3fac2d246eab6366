"""Names that try to steer a terminal, at every door: files, folders, classes, labels, tensors, keys, options."""

import json
import unicodedata

import pytest
import torch
from safetensors.torch import save_file

from seesay.base.printable import LONGEST, UNSEEN
from seesay.cli.main import DOORS
from seesay.model.build import build

HOSTILE = "a\x1b[31mb\u202ec\u2028d\u200be"
# Hostile, and a formula without end to matplotlib.
FORMULA = "$q_{$\x1b[2J"


@pytest.fixture
def checked(seesay):
    """Run a command; what it prints has lines and tabs, and no other character that is not seen."""

    def run(*words, code):
        ended, out, err = seesay(*words)
        assert ended == code, err
        unseen = {letter for letter in out + err if unicodedata.category(letter) in UNSEEN} - {"\n", "\t"}
        assert not unseen
        assert max(map(len, err.splitlines()), default=0) <= LONGEST + len("error: ")
        return out + err

    return run


@pytest.fixture
def photos(tmp_path, paint):
    """A folder with a folder per colour, both hostile in name, one image that is broken."""
    folder = tmp_path / HOSTILE
    for colour in ("red", "blue"):
        for number in range(3):
            paint(folder / f"{colour}{HOSTILE}" / f"{number}{HOSTILE}.png", colour)
    (folder / f"red{HOSTILE}" / f"broken{HOSTILE}.png").write_bytes(b"no image")
    return folder


def test_classify_and_its_lists_of_broken_photos(checked, photos, tmp_path):
    labels = ["red", f"blue{HOSTILE}"]
    shown = checked("classify", photos, *labels, "--max-bad", 1, code=0)
    assert "blue" in shown and "\\x1b[31m" in shown and "broken" in shown
    checked("classify", photos, *labels, *labels, "-o", tmp_path / f"{HOSTILE}.csv", "--max-bad", 0, code=3)
    checked("classify", f"{photos}x", *labels, code=2)
    checked("classify", photos, *labels, "--threshold", HOSTILE, code=2)


@pytest.mark.journey
def test_evaluate_its_report_and_its_files(checked, photos, tmp_path):
    report = tmp_path / f"{FORMULA}.html"
    shown = checked("evaluate", "box", photos, "--report", report, "--json", tmp_path / f"{HOSTILE}.json", code=3)
    assert "zero-shot" in shown and "could not be drawn" not in shown and report.exists()
    checked("evaluate", "box", f"{photos}x", code=2)
    checked("evaluate", "box", photos, "--shift", f"{HOSTILE}={HOSTILE}", code=2)


def test_probe(checked, photos):
    assert "accuracy of 6 images" in checked("probe", photos, photos, "--penalty", 1, code=3)
    checked("probe", photos, photos, "--penalty", HOSTILE, code=2)


@pytest.mark.journey
def test_train_with_a_check_whose_name_is_a_formula_is_trained_to_its_end(checked, coloured_pairs, photos, tmp_path):
    check = photos.rename(tmp_path / FORMULA)
    out = tmp_path / f"run{HOSTILE}"
    short = ("--model", "conv-tiny", "--steps", 2, "--batch-size", 8, "--workers", 0, "--device", "cpu")
    shown = checked("train", coloured_pairs(name=HOSTILE), "--out", out, "--check", check, *short, code=0)
    assert "could not be drawn" not in shown and "done: 2 steps" in shown
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    checked("train", coloured_pairs(name="others"), "--out", out, "--check", check, *short, code=2)


def test_doctor_and_train_where_names_are_wrong(checked, coloured_pairs, tmp_path):
    pairs = coloured_pairs(name=HOSTILE)
    for verb in ("train", "doctor"):
        for option in ("--model", "--objective", "--device", "--check", "--val", "--recipe", "--set"):
            checked(verb, pairs, "--out", tmp_path / HOSTILE, option, f"{HOSTILE}=1", code=2)


def test_convert_a_foreign_model_with_hostile_tensors_and_keys(seesay, checked, tmp_path, monkeypatch):
    monkeypatch.undo()  # the real `load`
    save_file({HOSTILE: torch.zeros(2), f"{HOSTILE}2": torch.zeros(2)}, tmp_path / f"{HOSTILE}.safetensors")
    words = ("convert", tmp_path / f"{HOSTILE}.safetensors", tmp_path / f"{HOSTILE}-new", "--to", "hf")
    checked(*words, code=4)
    build("conv-tiny").save(tmp_path / HOSTILE)
    facts = json.loads((tmp_path / HOSTILE / "model.json").read_text())
    (tmp_path / HOSTILE / "model.json").write_text(json.dumps({**facts, HOSTILE * 100_000: 1}))
    checked("convert", tmp_path / HOSTILE, tmp_path / f"{HOSTILE}-new", "--to", "seesay", code=4)


def test_compare_with_a_hostile_recipe(checked, tmp_path):
    recipe = tmp_path / f"{HOSTILE}.toml"
    checked("compare", recipe, "--out", tmp_path / HOSTILE, code=2)
    recipe.write_text(f"{json.dumps(HOSTILE)} = 1\n")
    checked("compare", recipe, "--out", tmp_path / HOSTILE, code=2)


@pytest.mark.parametrize("verb", DOORS)
def test_a_hostile_option_and_a_hostile_word_too_many(checked, verb):
    checked(verb, f"--{HOSTILE}", code=2)
    checked(verb, *[HOSTILE] * (3 if verb != "models" else 1), code=2)


@pytest.mark.journey
def test_a_hostile_verb(checked):
    checked(HOSTILE, code=2)
    checked("x" * 5_000_000, code=2)


@pytest.mark.parametrize(
    "words",
    [
        ("probe", "photos", "photos", "--shots", "9" * 5000),
        ("train", "pairs", "--set", f"data.workers={'9' * 5000}"),
        ("train", "pairs", "--device", "cpu:99999999999"),
        ("train", "pairs", "--device", "cpu:²"),
    ],
)
def test_a_number_without_end_is_refused(checked, words, coloured_pairs, monkeypatch, tmp_path):
    coloured_pairs()
    monkeypatch.chdir(tmp_path)
    checked(*words, code=2)

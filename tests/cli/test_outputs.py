"""Where results go is tried before the work: no model is loaded and no image is read for what cannot be written."""

import importlib
import json
import os
from pathlib import Path

import pytest

import seesay as package
from seesay.base.errors import StorageError, UsageError
from seesay.base.publish import FORMAT_ENDINGS, publish_file, refuse_unwritable_file
from seesay.cli.main import DOORS as COMMANDS
from seesay.data.sources import IMAGE_SUFFIXES

DOORS = {
    "classify -o": ["classify", "{images}", "red", "blue", "-o", "{place}.csv"],
    "classify --bad": ["classify", "{images}", "red", "blue", "--bad", "{place}"],
    "evaluate --json": ["evaluate", "box", "{images}", "--json", "{place}"],
    "evaluate --report": ["evaluate", "box", "{images}", "--report", "{place}"],
    "evaluate --results": ["evaluate", "box", "{images}", "--results", "{place}"],
    "probe --json": ["probe", "{images}", "{images}", "--json", "{place}"],
    "doctor --json": ["doctor", "{images}", "--json", "{place}"],
    "compare --json": ["compare", "{recipe}", "--out", "{free}", "--json", "{place}"],
    "compare --out": ["compare", "{recipe}", "--out", "{place}", "--pairs", "{images}", "--check", "{images}"],
    "convert DST": ["convert", "box", "{place}", "--to", "hf"],
    "train --out": ["train", "{images}", "--out", "{place}", "--steps", "1"],
}
RECIPE = """objectives = ["contrastive"]
learning_rates = [0.001]
seeds = [0]
images = 16
"""


@pytest.fixture
def images(tmp_path: Path, paint) -> Path:
    for colour in ("red", "blue"):
        paint(tmp_path / "images" / colour / "0.png", colour)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path / "images"


@pytest.mark.journey
@pytest.mark.parametrize("door", DOORS)
def test_a_place_below_a_file_is_refused_before_the_work(seesay, images: Path, tmp_path: Path, door: str):
    (tmp_path / "file").write_text("mine")
    names = {"images": images, "recipe": tmp_path / "recipe.toml", "free": tmp_path / "free"}
    words = [word.format(place=tmp_path / "file" / "new", **names) for word in DOORS[door]]
    code, out, error = seesay(*words)
    assert (code, out, error.count("\n")) == (5, "", 1)
    assert error.startswith("error: ") and f"{tmp_path / 'file'} is a file and no folder" in error
    assert seesay.asked == []
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "ending"),
    [
        (["evaluate", "box", "{images}", "--report"], ".html"),
        (["evaluate", "box", "{images}", "--json"], ".json"),
        (["probe", "{images}", "{images}", "--json"], ".json"),
        (["overlap", "{images}", "--against", "{images}", "--remove"], ".txt"),
        (["doctor", "{images}", "--json"], ".json"),
        (["compare", "{recipe}", "--out", "{free}", "--json"], ".json"),
    ],
)
def test_a_name_that_ends_as_another_format_is_refused_before_the_work(
    seesay, images: Path, tmp_path: Path, words: list[str], ending: str
):
    names = {"images": images, "recipe": tmp_path / "recipe.toml", "free": tmp_path / "free"}
    for other in (".csv", ".XLSX", ".pdf", ".JPG", ".webp", ".tar", ".html" if ending == ".json" else ".json"):
        path = tmp_path / f"result{other}"
        code, out, error = seesay(*(word.format(**names) for word in words), path)
        assert (code, out) == (2, "")
        assert error == f"error: {words[-1]} {path} is written as {ending}; let its name end in {ending}.\n"
        assert not path.exists() and not (tmp_path / "free").exists()
    assert seesay.asked == []


def test_the_ending_of_every_image_is_that_of_another_format():
    assert {f".{suffix}" for suffix in IMAGE_SUFFIXES} < FORMAT_ENDINGS


def test_functions_refuse_the_ending_of_another_format(tmp_path: Path, images: Path, colour_model):
    for call in (
        lambda: package.evaluate(colour_model, images, report=tmp_path / "page.pdf"),
        lambda: package.compare(tmp_path / "recipe.toml", out=tmp_path / "out", json_file=tmp_path / "result.csv"),
    ):
        with pytest.raises(UsageError, match="is written as"):
            call()
    # Without an ending, and with one that names no format, there is nothing to be wrong.
    for name in ("page", "page.2024", "page.html", "page.HTML"):
        refuse_unwritable_file(tmp_path / name, "--report", ending=".html")


@pytest.mark.parametrize("words", [["evaluate", "m"], ["probe", "{images}", "--model", "m", "--penalty", "1"]])
def test_json_to_a_dash_is_alone_on_standard_output_and_the_table_beside_the_messages(seesay, images, words: list[str]):
    words = [*(word.format(images=images) for word in words), images]
    code, table, _ = seesay(*words)
    assert code == 0
    code, out, error = seesay(*words, "--json", "-")
    assert code == 0 and json.loads(out)
    assert table in error and "numbers:" not in error


def test_every_door_with_json_leaves_standard_output_to_it():
    texts = [Path(importlib.import_module(module).__file__).read_text() for module, _ in COMMANDS.values()]
    with_json = [text for text in texts if '"--json"' in text]
    assert len(with_json) == 7
    for text in with_json:
        assert "refuse_unwritable_json(" in text and 'metavar="FILE|-"' in text
        assert "print(" not in text and "sys.stdout" not in text


def test_no_other_file_is_named_by_a_dash(seesay, images: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, error = seesay("evaluate", "box", images, "--report", "-")
    assert (code, out) == (2, "") and error.startswith("error: --report - would be a file of that name; name another")
    assert seesay.asked == [] and not (tmp_path / "-").exists()


def test_a_device_or_a_pipe_is_not_replaced(seesay, images: Path, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        code, out, error = seesay("evaluate", "box", images, "--json", path)
        assert (code, out) == (2, "")
        assert error == f"error: --json {path} is a device or a pipe; name the file to write in its place.\n"
        with pytest.raises(UsageError, match="is a device or a pipe"):
            publish_file(path, b"x")
        assert not path.is_file()
    assert seesay.asked == []


def test_a_file_that_can_be_written_is_left_as_it_is_and_nothing_stays_beside_it(tmp_path: Path):
    (tmp_path / "a.json").write_text("old")
    refuse_unwritable_file(tmp_path / "a.json", "--json")
    refuse_unwritable_file(tmp_path / "new" / "deep" / "b.json", "--json")
    refuse_unwritable_file(None, "--json")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


@pytest.mark.skipif(os.geteuid() == 0, reason="modes do not stop root")
def test_a_folder_without_permission_is_refused(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="permission is denied"):
        refuse_unwritable_file(tmp_path / "a.json", "--json")


def test_functions_refuse_as_the_doors_do(tmp_path: Path, images: Path, colour_model):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "new"
    for call in (
        lambda: package.evaluate(colour_model, images, report=place),
        lambda: package.evaluate(colour_model, images, results=place),
        lambda: package.convert(colour_model, place, to="hf"),
        lambda: package.classify_folder(
            colour_model, images, ["red", "blue"], out=place.with_suffix(".csv")
        ),
        lambda: package.compare(tmp_path / "recipe.toml", out=tmp_path / "out", json_file=place),
    ):  # fmt: skip
        with pytest.raises(StorageError, match="is a file and no folder"):
            call()


@pytest.mark.parametrize("setting", ["minutes", "stuck_minutes", "checkpoint.every_minutes", "data.timeout_seconds"])
@pytest.mark.parametrize("number", ["inf", "nan", "-inf", "1e308", "-1", "0"])
def test_times_are_finite_and_above_0(seesay, images: Path, tmp_path: Path, setting: str, number: str):
    code, _, error = seesay("train", images, "--out", tmp_path / "run", "--set", f"{setting}={number}")
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith(f"error: {setting} is ") and ", but it should be " in error
    assert not (tmp_path / "run").exists()


def test_more_seeds_than_anybody_needs_are_refused(seesay, images: Path):
    code, _, error = seesay("probe", images, images, "--seeds", 10**20)
    assert (code, error) == (2, f"error: seeds is {10**20}; give 1,000 or fewer.\n")
    assert seesay.asked == []

"""docs/reliability.md names tests and folders that exist, each figure once and all thirty items."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reliability.md"
# The figures the product is held to, by letter: one of training on a GPU is F-T1g.
COUNTS = {"T": 6, "D": 4, "I": 2, "M": 4, "K": 1, "X": 6, "P": 3, "H": 6, "C": 1, "S": 3, "V": 2}
ITEMS = 30


def rows(text, first):
    """The cells of the rows whose first cell matches `first`."""
    cells = [
        [cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]
    return [row for row in cells if re.fullmatch(first, row[0])]


def missing_tests(text):
    """What is written as `tests/FILE.py::NAME` and is not there."""
    missing = []
    for name, function in re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", text):
        path = ROOT / name
        if not path.is_file() or (function and not re.search(rf"^ *def {function}\(", path.read_text(), re.MULTILINE)):
            missing.append(f"{name}::{function}")
    return missing


def test_every_figure_has_one_row():
    expected = {f"F-{letter}{number}" for letter, count in COUNTS.items() for number in range(1, count + 1)} | {"F-T1g"}
    found = [row[0] for row in rows(PAGE.read_text(), r"F-[A-Z]\d+g?")]
    assert sorted(found) == sorted(expected) and len(found) == 39


def test_the_checklist_has_thirty_items_each_with_a_test_or_the_words_no_door():
    items = rows(PAGE.read_text(), r"\d+")
    assert [int(row[0]) for row in items] == list(range(1, ITEMS + 1))
    assert [row[0] for row in items if "tests/" not in row[-1] and not row[-1].startswith("no door")] == []


def test_tests_and_folders_that_are_named_exist():
    text = PAGE.read_text()
    assert missing_tests(text) == []
    assert missing_tests("tests/test_house.py::test_nothing") == ["tests/test_house.py::test_nothing"]
    folders = re.findall(r"`(\d{4}-\d{2}-\d{2}-[\w-]+)`", text)
    # A source distribution holds no benchmarks.
    if (ROOT / "benchmarks").is_dir():
        assert [name for name in folders if not (ROOT / "benchmarks" / name).is_dir()] == []


WATCHED = """
import os, sys
def watch(event, values):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        print("network:", event, values[1:], file=sys.stderr)
    writes = event == "open" and not isinstance(values[0], int) and values[2] & (os.O_WRONLY | os.O_RDWR)
    if writes and os.fsdecode(values[0]).startswith(sys.argv[1]):
        print("opened for writing:", values[0], file=sys.stderr)
sys.addaudithook(watch)
from seesay.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


def facts_of(folder):
    """What must not change about somebody's files."""
    files = sorted(folder.rglob("*"))
    return [(f.name, hashlib.sha256(f.read_bytes()).hexdigest(), f.stat().st_mtime_ns, f.stat().st_mode) for f in files]


@pytest.mark.journey
@pytest.mark.parametrize("verb", ["train", "classify", "doctor"])
def test_work_on_local_files_opens_no_connection_and_leaves_them_as_they_are(verb, tmp_path):
    """F-P1, F-P2 for the verbs there are: every open and every connection of the command's own process is watched."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(12):
        Image.new("RGB", (24, 24), (20 * index, 100, 200)).save(photos / f"{index:02}.png")
        (photos / f"{index:02}.txt").write_text(f"a square of kind {index}\n")
    small = ["--set", "model=conv-tiny", "--set", "batch_size=4", "--set", "data.workers=0", "--set", "steps=2"]
    words = {
        "train": ["train", str(photos), "--out", str(tmp_path / "run"), *small],
        "classify": ["classify", str(photos), "red", "blue"],
        "doctor": ["doctor", str(photos), "--seconds", "2", *small],
    }[verb]
    before = facts_of(photos)
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(photos), *words],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    assert "network:" not in done.stderr and "opened for writing:" not in done.stderr, done.stderr
    assert facts_of(photos) == before

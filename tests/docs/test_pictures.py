"""Each picture of the pages is made by a script, and is not older than what it shows."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHOWN = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
LARGEST_BYTES = 300_000


@pytest.fixture
def made(script):
    """The script; its test of the first command is that pages and benchmarks are there."""
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("a source distribution holds no benchmarks, which pictures show")
    return script("pictures")


def shown_in():
    """Picture -> texts of the pages that show it."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*/README.md")]
    found = {}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for address in SHOWN.findall(text):
            if not address.startswith("http"):
                path = (page.parent / address).resolve().relative_to(ROOT).as_posix()
                found.setdefault(path, []).append(text)
    return found


def too_old(made, shown):
    """Pictures that are older than what they show, where a page does not say so."""
    return [
        path for path in made.old() if not all(made.pictures()[path].get("said", "\0") in page for page in shown[path])
    ]


def test_every_picture_is_in_the_list_with_a_script_and_what_it_shows(made):
    listed = made.pictures()
    assert set(shown_in()) == set(listed)
    for path, line in listed.items():
        assert all((ROOT / name).is_file() for name in (path, line["made_by"], *line["shows"])), path
    scripts = {"tools/docs/moving_picture.py", "tools/docs/pictures.py", "src/seesay/experiments/page.py"}
    assert {line["made_by"] for line in listed.values()} == scripts


def test_no_picture_is_older_than_what_it_shows(made):
    """`python tools/docs/pictures.py NAME` makes one again; look at it."""
    assert too_old(made, shown_in()) == []


def test_a_picture_of_something_that_has_changed_is_found(made, monkeypatch, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "shown.txt").write_text("one")
    (tmp_path / "docs" / "pictures.toml").write_text(
        '["a.png"]\nmade_by = "b.py"\nshows = ["shown.txt"]\nsha256 = ""\n'
    )
    monkeypatch.setattr(made, "ROOT", tmp_path)
    monkeypatch.setattr(made, "LIST", tmp_path / "docs" / "pictures.toml")
    made.mark("a.png")
    assert too_old(made, {"a.png": ["a page"]}) == []
    (tmp_path / "shown.txt").write_text("two")
    assert too_old(made, {"a.png": ["a page"]}) == ["a.png"]
    with made.LIST.open("a") as file:
        file.write('said = "of yesterday"\n')
    assert too_old(made, {"a.png": ["a page"]}) == ["a.png"]
    assert too_old(made, {"a.png": ["it is of yesterday"]}) == []


def test_the_moving_picture_is_drawn_from_its_record_and_loads_nothing(made):
    film = made.moving_picture
    text = film.PICTURE.read_text(encoding="utf-8")
    scenes = json.loads(film.RECORD.read_text(encoding="utf-8"))
    assert film.drawn(scenes) == text
    assert [scene["command"] for scene in scenes] == list(film.COMMANDS)
    assert len(text.encode()) < LARGEST_BYTES
    assert not re.search(r"<script|href|url\((?!#)|@import|/(?:tmp|home|root|work)/", text)
    rows = [element.text for element in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    assert "$" in rows and all(len(row) <= film.COLUMNS for row in rows)
    assert "done: " in " ".join(rows) and "prefers-reduced-motion" in text


def test_the_readme_shows_the_commands_of_the_moving_picture_first(made):
    first = SHOWN.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert first and first[1] == "docs/first-minute.svg"

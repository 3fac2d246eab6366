"""The site as it is built: no warning, nothing from another machine, and a search that needs no server."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.journey,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("mkdocs", "material", "mkdocstrings"))),
        reason="the site is built with pip install '.[docs]', or `make docs`",
    ),
    pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="a source distribution holds no benchmarks"),
]


@pytest.fixture(scope="module")
def site(script, tmp_path_factory):
    """The built site."""
    make = script("make_pages")
    build, make.BUILD = make.BUILD, tmp_path_factory.mktemp("docs")
    try:
        assert make.main() == 0
        done = subprocess.run(
            [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(make.BUILD / "mkdocs.yml")],
            check=False, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0 and "WARNING" not in done.stdout, done.stdout
        return make.BUILD / "site"
    finally:
        make.BUILD = build


def test_pages_load_nothing_from_another_machine(site):
    loaded = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=\"?(https?:[^\">\s]+)")
    found = {
        (page.relative_to(site).as_posix(), address)
        for page in site.rglob("*.html")
        for address in loaded.findall(page.read_text(encoding="utf-8"))
    }
    assert found == set()


def test_the_search_knows_settings_messages_and_names_and_needs_no_server(site):
    text = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    entries = json.loads(text.removeprefix("var __index = "))["docs"]
    places = {entry["location"] for entry in entries}
    assert {"reference/settings.html", "reference/python/classes/LinearProbe.html", "how-to/serve.html"} <= places
    assert any("patch_dropout" in entry["text"] for entry in entries)


def test_the_reference_holds_docstrings(site):
    page = (site / "reference" / "python" / "functions" / "train.html").read_text(encoding="utf-8")
    assert "Train a model on image-caption pairs and return it" in page
    assert "max_iterations" in (site / "reference/python/classes/LinearProbe.html").read_text(encoding="utf-8")

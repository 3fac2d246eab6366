"""The scripts that make the site, as modules."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tools" / "docs"


@pytest.fixture(scope="session")
def script():
    """A function that imports one of the scripts in tools/docs by its name."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="session")
def made_site(script):
    """The text of every page by its path on the site, and the site."""
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("a source distribution holds no benchmarks, to which pages lead")
    return script("make_pages").all_pages()


@pytest.fixture(scope="session")
def pages(made_site):
    """Path on the site -> text of every page."""
    return made_site[0]

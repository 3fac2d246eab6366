"""The blocks of the pages run as they stand, as those of the README do (tests/test_readme.py says how they are marked).

The blocks of docs/how-to/index.md are run first; every other page gets a copy of the folder that they make.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_readme import TIMEOUT_S, blocks_of, run_blocks, unmarked

DOCS = Path(__file__).resolve().parents[2] / "docs"
SETUP = DOCS / "how-to" / "index.md"
EXAMPLES = DOCS / "python-examples.md"
NOTES = {"decisions", "clusters.md", "reliability.md"}
PAGES = sorted(page for page in DOCS.rglob("*.md") if page.relative_to(DOCS).parts[0] not in NOTES and page != EXAMPLES)
SLOW = [page for page in PAGES if "<!-- test: slow -->" in page.read_text(encoding="utf-8")]
# Minutes on two cores: their commands stand on the shorter pages too.
LONG = {DOCS / "tutorial.md", DOCS / "how-to" / "train.md"}
RUN = [page for page in PAGES if page != SETUP and "<!-- test: fast -->" in page.read_text(encoding="utf-8")]


def runnable(page, marks=("fast",)):
    return [block for block in blocks_of(page.read_text(encoding="utf-8")) if block.mark in marks]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Where the blocks of the first how-to page were run."""
    pytest.importorskip("skimage", reason="the photographs lie in scikit-image: pip install '.[demo]'")
    pytest.importorskip("lancedb", reason="the index needs pip install '.[search]'")
    made = tmp_path_factory.mktemp("how-to")
    run_blocks(runnable(SETUP), made)
    return made


def copy_of(folder, target):
    return shutil.copytree(folder, target, ignore=shutil.ignore_patterns("examples", "recipes"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_every_block_says_how_it_is_run(page):
    assert unmarked(blocks_of(page.read_text(encoding="utf-8"))) == []


@pytest.mark.journey
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] * (page in LONG)) for page in RUN],
    ids=lambda page: page.relative_to(DOCS).as_posix(),
)
def test_the_blocks_of_a_page_do_what_they_say(page, folder, tmp_path):
    run_blocks(runnable(page), copy_of(folder, tmp_path / "here"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", SLOW, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_the_slow_blocks_of_a_page_do_what_they_say_too(page, folder, tmp_path):
    run_blocks(runnable(page, tuple(TIMEOUT_S)), copy_of(folder, tmp_path / "here"))


RUNNER = """
import re, sys
with open(sys.argv[1], encoding="utf-8") as file:
    parts = re.split(r"^## (\\w+)\\n", file.read(), flags=re.MULTILINE)[1:]
for name, text in zip(parts[::2], parts[1::2], strict=True):
    print("#", name, flush=True)
    exec(compile(re.search(r"```python\\n(.*?)```", text, re.DOTALL)[1], name, "exec"), {"__name__": "example"})
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_example_of_every_public_name_runs(folder, tmp_path):
    here = copy_of(folder, tmp_path / "here")
    shutil.copytree(DOCS.parent / "recipes", here / "recipes")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(EXAMPLES)], check=False, cwd=here, env=environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert len(re.findall(r"^# \w+$", done.stdout, re.MULTILINE)) == EXAMPLES.read_text(encoding="utf-8").count("\n## ")

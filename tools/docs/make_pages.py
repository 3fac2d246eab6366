"""Write the source of the site into build/docs: the pages of docs/, and those made from the code and from benchmarks/.

    python tools/docs/make_pages.py && mkdocs build --strict -f build/docs/mkdocs.yml      # this is `make docs`

Nothing generated is committed. A page that is unchanged is not written again, so that `mkdocs serve` sees what is new.
"""

import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from command_pages import command_pages
from evidence_pages import benchmark_pages, decision_list, detail_list, licence_page, recipe_page
from links import Site, rewritten, without_marks
from message_pages import error_page, message_page
from python_pages import example_blocks, python_pages
from sets_page import sets_page
from settings_page import settings_page

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "docs"
DOCS = ROOT / "docs"
INCLUDE = re.compile(r"^<!-- include: (\S+) -->$", re.MULTILINE)
LAST_FOUND = ("benchmarks/", "decisions/", "project/changelog.md", "reliability.md")
# Files of the repository that are pages, and where they are on the site.
COPIED = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "CODE_OF_CONDUCT.md": "project/code-of-conduct.md",
    "src/seesay/model/box/README.md": "project/box.md",
}
# Pages of docs/ that go elsewhere on the site, or are read by this script alone.
MOVED = {"docs/python-examples.md": None}


def generated() -> dict[str, str]:
    """Path on the site -> text, of every page that is made from code."""
    examples = example_blocks((DOCS / "python-examples.md").read_text(encoding="utf-8"))
    return {
        **python_pages(examples),
        **command_pages(),
        "reference/settings.md": settings_page((DOCS / "settings.toml").read_text(encoding="utf-8")),
        "reference/sets.md": sets_page((ROOT / "src/seesay/data/known_sets.json").read_text(encoding="utf-8")),
        "reference/exit-codes.md": error_page(),
        "reference/messages.md": message_page(),
        "reference/recipes.md": recipe_page(ROOT / "recipes"),
        "project/licences.md": licence_page(),
        "decisions/index.md": decision_list(DOCS / "decisions"),
        **detail_list(ROOT),
    }


def copied() -> dict[str, tuple[str, str]]:
    """Path in the repository -> (path on the site, text), of every page that stands in the repository."""
    pages = {}
    for path in sorted(DOCS.rglob("*.md")):
        name = path.relative_to(ROOT).as_posix()
        target = MOVED.get(name, path.relative_to(DOCS).as_posix())
        if target:
            pages[name] = (target, path.read_text(encoding="utf-8"))
    for name, target in COPIED.items():
        pages[name] = (target, (ROOT / name).read_text(encoding="utf-8"))
    for name, target in benchmark_pages(ROOT).items():
        pages[name] = (target, (ROOT / name).read_text(encoding="utf-8"))
    return pages


def with_files(text: str) -> str:
    """A page with the files that it includes, each as a block of code."""

    def block(found: re.Match[str]) -> str:
        return f"```python\n{(ROOT / found[1]).read_text(encoding='utf-8').rstrip()}\n```"

    return INCLUDE.sub(block, text)


def write(path: Path, text: str) -> None:
    """A page, unless it is there already as it shall be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def navigation(pages: Mapping[str, str], nav: list[Any]) -> list[Any]:
    """The list of the configuration, in which "FOLDER/*" stands for the pages of a folder."""
    full: list[Any] = []
    for entry in nav:
        if isinstance(entry, dict):
            ((title, below),) = entry.items()
            full.append({title: navigation(pages, below) if isinstance(below, list) else below})
        elif entry.endswith("/*"):
            folder = entry.removesuffix("/*")
            names = (name for name in pages if name.rpartition("/")[0] == folder and not name.endswith("/index.md"))
            full += sorted(names)
        else:
            full.append(entry)
    return full


def all_pages() -> tuple[dict[str, str], Site]:
    """Path on the site -> text of every page, and the images that they show."""
    pages = copied()
    site = Site(root=ROOT, target={name: target for name, (target, _) in pages.items()})
    texts = {target: rewritten(text, name, site) for name, (target, text) in pages.items()} | generated()
    return {name: with_weight(name, with_files(without_marks(text))) for name, text in texts.items()}, site


def with_weight(name: str, text: str) -> str:
    """A page with how much the search thinks of it: measurements and changes hold every word, and come last."""
    return f"---\nsearch:\n  boost: 0.2\n---\n\n{text}" if name.startswith(LAST_FOUND) else text


def main() -> int:
    """Make everything; 0."""
    texts, site = all_pages()
    source = BUILD / "source"
    for name, text in texts.items():
        write(source / name, text)
    for path in source.rglob("*.md") if source.is_dir() else ():
        if path.relative_to(source).as_posix() not in texts:
            path.unlink()
    for image in site.images:
        target = source / site.image_target(image)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, target)
    shutil.copytree(ROOT / "tools" / "docs" / "assets", source / "assets", dirs_exist_ok=True)
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    settings["nav"] = navigation(texts, settings["nav"])
    settings |= {"docs_dir": str(source), "site_dir": str(BUILD / "site")}
    write(BUILD / "mkdocs.yml", yaml.safe_dump(settings, sort_keys=False))
    print(f"{len(texts)} pages in {source}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

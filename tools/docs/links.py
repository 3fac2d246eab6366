"""Links of the repository's Markdown, as they are on the site; what the site does not hold becomes plain words."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path, PurePosixPath

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
FOLDER = re.compile(r"`(\d{4}-\d{2}-\d{2}-[\w-]+)/?`")
MARK = re.compile(r"^<!-- test: \w+ -->\n", re.MULTILINE)
IMAGES = (".png", ".svg", ".jpg", ".gif")


@dataclass
class Site:
    """Where the pages of the repository are on the site, and the images that they show (filled by `rewritten`)."""

    root: Path
    target: dict[str, str]
    images: set[Path] = field(default_factory=set)

    def image_target(self, path: Path) -> str:
        """The place of an image on the site."""
        return path.relative_to(self.root).as_posix().removeprefix("docs/")

    def find(self, name: str) -> str | None:
        """The page of a file or folder of the repository; README.md leads to the first page."""
        if name == "README.md":
            return "index.md"
        for known in (name, f"{name.rstrip('/')}/README.md"):
            if known in self.target:
                return self.target[known]
        if name.rstrip("/") == "docs/decisions":
            return "decisions/index.md"
        # A page that is generated: hand-written pages of docs/ may link to it.
        return name.removeprefix("docs/") if name.startswith("docs/") and name.endswith(".md") else None


def without_marks(text: str) -> str:
    """A page without the comments that say how its blocks are tested."""
    return MARK.sub("", text)


def pieces(text: str) -> Iterator[tuple[str, bool]]:
    """(lines, whether they are a fenced block), in order."""
    inside = False
    found: list[tuple[str, bool]] = []
    for line in text.splitlines(keepends=True):
        is_fence = line.lstrip().startswith("```")
        found.append((line, inside or is_fence))
        inside ^= is_fence
    for is_fenced, lines in groupby(found, key=itemgetter(1)):
        yield "".join(line for line, _ in lines), is_fenced


def rewritten(text: str, name: str, site: Site) -> str:
    """The Markdown of the repository's file `name` with the links that it needs on the site."""
    here = PurePosixPath(site.target[name]).parent

    def relative(target: str) -> str:
        return os.path.relpath(target, here).replace(os.sep, "/")

    def link(found: re.Match[str]) -> str:
        mark, words, address = found.groups()
        if re.match(r"[a-z]+:|#", address):
            return found[0]
        path, _, heading = address.partition("#")
        there = os.path.normpath(PurePosixPath(name).parent / path).replace(os.sep, "/")
        if mark or path.endswith(IMAGES):
            site.images.add(site.root / there)
            return f"{mark}[{words}]({relative(site.image_target(site.root / there))})"
        target = site.find(there)
        if target is None:
            return words if words.startswith("`") else f"{words} (`{there}`)"
        return f"[{words}]({relative(target)}{'#' + heading if heading else ''})"

    def folder(found: re.Match[str]) -> str:
        target = site.target.get(f"benchmarks/{found[1]}/README.md")
        return f"[`{found[1]}`]({relative(target)})" if target else found[0]

    def page(lines: str) -> str:
        # Two lists side by side, as benchmarks print them, would be a link of Markdown's other form.
        return FOLDER.sub(folder, LINK.sub(link, lines)).replace("] [", "] &#91;")

    return "".join(lines if is_fenced else page(lines) for lines, is_fenced in pieces(text))

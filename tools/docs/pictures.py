"""The pictures of the pages: made again by name, or a list of those that are older than what they show.

    python tools/docs/pictures.py                            # those that are old; 1 if there is one
    python tools/docs/pictures.py explain                    # docs/explain.png: the command of its page
    python tools/docs/pictures.py demo                       # docs/demo.png: the page of `make demo`
    python tools/docs/pictures.py report WORK/report.html    # docs/report.png: WORK is that of 2026-11-29-report/run.sh
    python tools/docs/pictures.py first-minute               # docs/first-minute.svg: runs its commands

What each shows, with its SHA-256 when the picture was made, is in docs/pictures.toml. Pages are taken by Chromium.
"""

import hashlib
import io
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import moving_picture
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
LIST = ROOT / "docs" / "pictures.toml"
WIDTH = 1000
DEMO_HEIGHT, REPORT_HEIGHT, REPORT_WIDTH = 2580, 1500, 1000
# The part of the report that is beside its beginning.
SECOND_PART = "<h2>Models compared"
WHY = "photos/motorcycle_left.png", "a photo of a motorcycle", "--contrast", "a photo of a cat"


def pictures() -> dict[str, dict[str, Any]]:
    """Path -> what makes it, what it shows, of every picture of the pages."""
    return tomllib.loads(LIST.read_text(encoding="utf-8"))


def digest(shown: list[str]) -> str:
    """The SHA-256 of files, one behind the other with their names."""
    whole = hashlib.sha256()
    for name in shown:
        whole.update(f"{name}\0".encode() + hashlib.sha256((ROOT / name).read_bytes()).digest())
    return whole.hexdigest()


def old() -> list[str]:
    """The pictures that are older than what they show."""
    return [path for path, line in pictures().items() if digest(line["shows"]) != line["sha256"]]


def mark(path: str) -> None:
    """Note that a picture shows what is there now."""
    text = LIST.read_text(encoding="utf-8")
    section = re.compile(rf'(\["{re.escape(path)}"\][^\[]*?shows = \[[^\]]*\]\nsha256 = )"\w*"')
    LIST.write_text(section.sub(rf'\1"{digest(pictures()[path]["shows"])}"', text), encoding="utf-8")


def run(*words: str, folder: str) -> None:
    """One command of this environment."""
    subprocess.run([sys.executable, *words], check=True, cwd=folder)  # noqa: S603


def taken(page: Path, *, width: int, height: int) -> Image.Image:
    """A page as headless Chromium shows it."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(  # noqa: S603
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",  # noqa: S607
             f"--window-size={width},{height}", f"--screenshot={folder}/page.png", page.resolve().as_uri()],
            check=True, capture_output=True,
        )  # fmt: skip
        return Image.open(io.BytesIO(Path(folder, "page.png").read_bytes())).convert("RGB")


def save(image: Image.Image, path: str) -> None:
    """A small PNG of 256 colours, and a note of what it shows."""
    image.quantize(256, dither=Image.Dither.NONE).save(ROOT / path, optimize=True)
    mark(path)


def explain() -> None:
    """The command of the page, in the width of the page."""
    with tempfile.TemporaryDirectory() as folder:
        run(str(ROOT / "examples" / "photos.py"), "photos", folder=folder)
        run("-m", "seesay", "explain", *WHY, "--out", "why.png", folder=folder)
        image = Image.open(Path(folder, "why.png")).convert("RGB")
    save(image.resize((WIDTH, round(WIDTH * image.height / image.width)), Image.Resampling.LANCZOS), "docs/explain.png")


def demo() -> None:
    """The beginning of the page that `make demo` writes."""
    with tempfile.TemporaryDirectory() as folder:
        run(str(ROOT / "examples" / "digits.py"), "--out", "demo", folder=folder)
        save(taken(Path(folder, "demo", "digits.html"), width=WIDTH, height=DEMO_HEIGHT), "docs/demo.png")


def report(page: str) -> None:
    """The beginning of a report, and beside it where models are compared."""
    text = Path(page).read_text(encoding="utf-8")
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        head, _, rest = text.partition("<h1")
        for shown in (rest, rest[rest.index(SECOND_PART) :]):
            beginning = "<h1" if shown is rest else ""
            file = Path(folder, "part.html")
            file.write_text(head + beginning + shown, encoding="utf-8")
            parts.append(taken(file, width=REPORT_WIDTH, height=REPORT_HEIGHT))
    both = Image.new("RGB", (2 * REPORT_WIDTH, REPORT_HEIGHT), "white")
    for number, part in enumerate(parts):
        both.paste(part, (number * REPORT_WIDTH, 0))
    save(both, "docs/report.png")


def first_minute() -> None:
    """The moving picture of the README, from its commands."""
    moving_picture.record()
    moving_picture.draw()
    mark("docs/first-minute.svg")


MAKERS = {"explain": explain, "demo": demo, "report": report, "first-minute": first_minute}


def main(words: list[str]) -> int:
    """Make one, or list the old ones; 1 if there are any."""
    if words:
        MAKERS[words[0]](*words[1:])
        return 0
    found = old()
    print("\n".join(found) or "no picture is older than what it shows")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The moving picture of the README: three commands, and what they printed.

`python tools/docs/pictures.py first-minute` runs the commands in a new folder (docs/first-minute.json) and draws
docs/first-minute.svg from what they printed. The lines are those of the commands; the new folder, which `search`
prints, is written as ~. Training is shown faster than it was. The SVG has no script and loads nothing; who asks for
less motion sees the first command and its answer.
"""

import html
import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "docs" / "first-minute.json"
PICTURE = ROOT / "docs" / "first-minute.svg"
SETUP = ("python examples/photos.py photos", "python examples/digits.py --quick --out demo")
COMMANDS = (
    "seesay classify photos cat motorcycle rocket cup astronaut coins grass --top 2",
    'seesay search photos "a rocket" --top 3',
    "seesay train demo/digits --epochs 20 --check demo/held-out --out runs/film",
)
COLUMNS, ROWS = 100, 15
# Pixels of a letter, a line and the edge.
LETTER, LINE, EDGE = 7.23, 19, 16
# Seconds for a word that is typed, a line that is printed, and an answer to be read.
WORD_S, PRINTED_S, READ_S = 0.18, 0.22, 4.5


@dataclass(frozen=True)
class Piece:
    """A text in the picture: where it is, and from when to when it is seen, in seconds."""

    text: str
    column: int
    row: int
    scene: int
    start_s: float


def record() -> None:
    """Run the commands in a new folder, and write what each prints."""
    scripts = sysconfig.get_path("scripts")
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "XDG_CACHE_HOME": f"{folder}/cache",
            "COLUMNS": str(COLUMNS),
            "NO_COLOR": "1",
            "HF_HUB_OFFLINE": "1",
        }
        shutil.copytree(ROOT / "examples", f"{folder}/examples")
        printed = {}
        for command in (*SETUP, *COMMANDS):
            done = subprocess.run(  # noqa: S603
                ["bash", "-c", command], check=True, cwd=folder, env=environment, text=True,  # noqa: S607
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            printed[command] = done.stdout
        write_record({command: printed[command] for command in COMMANDS}, folder)


def write_record(printed: dict[str, str], folder: str) -> None:
    """What was printed in `folder`, as docs/first-minute.json."""
    scenes = [
        {"command": command, "lines": text.replace(folder, "~").rstrip().splitlines()}
        for command, text in printed.items()
    ]
    RECORD.write_text(json.dumps(scenes, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def as_printed(lines: list[str]) -> list[str]:
    """The rows of a terminal of COLUMNS letters."""
    return [line[at : at + COLUMNS] for line in lines for at in range(0, max(1, len(line)), COLUMNS)]


def pieces(scenes: list[dict]) -> tuple[list[Piece], list[list[float]], list[float]]:
    """Every text; for each scene, when it scrolls by a row; and when each scene ends."""
    now, found, scrolls, ends = 0.3, [], [], []
    for scene, shown in enumerate(scenes):
        column = 2
        found.append(Piece("$", 0, 0, scene, now))
        for word in shown["command"].split(" "):
            now += WORD_S
            found.append(Piece(word, column, 0, scene, now))
            column += len(word) + 1
        now += 3 * WORD_S
        scrolls.append([])
        for row, line in enumerate(as_printed(shown["lines"]), start=1):
            now += PRINTED_S
            found.append(Piece(line, 0, row, scene, now))
            if row >= ROWS:
                scrolls[scene].append(now)
        now += READ_S
        ends.append(now)
    return found, scrolls, ends


def drawn(scenes: list[dict]) -> str:
    """The picture as SVG with animations of CSS."""
    found, scrolls, ends = pieces(scenes)
    total = ends[-1]

    def share(seconds: float) -> str:
        return f"{100 * seconds / total:.2f}%"

    style, body = [], []
    groups: list[list[str]] = [[] for _ in scenes]
    for number, piece in enumerate(found):
        style.append(f"@keyframes p{number}{{0%{{opacity:0}}{share(piece.start_s)},100%{{opacity:1}}}}")
        colour = ' class="c"' if piece.row == 0 else ""
        groups[piece.scene].append(
            f'<text{colour} x="{EDGE + piece.column * LETTER:.1f}" y="{EDGE + 14 + piece.row * LINE}" '
            f'style="animation-name:p{number}">{html.escape(piece.text)}</text>'
        )
    for scene, lines in enumerate(groups):
        start = ends[scene - 1] if scene else 0.0
        hides = f"0%{{opacity:0}}{share(start)}" if scene else "0%"
        seen = f"{hides}{{opacity:1}}{share(ends[scene])}"
        last = "{opacity:0}100%{opacity:0}" if scene < len(scenes) - 1 else "{opacity:1}"
        style.append(f"@keyframes s{scene}{{{seen}{last}}}")
        moves = "".join(
            f"{share(at)}{{transform:translateY({-LINE * row}px)}}" for row, at in enumerate(scrolls[scene], start=1)
        )
        stays = f"100%{{transform:translateY({-LINE * len(scrolls[scene])}px)}}"
        style.append(f"@keyframes m{scene}{{0%{{transform:none}}{moves}{stays}}}")
        hidden = ' opacity="0"' if scene else ""
        body.append(
            f'<g{hidden} style="animation-name:s{scene}"><g style="animation-name:m{scene}">{"".join(lines)}</g></g>'
        )
    width, height = round(2 * EDGE + COLUMNS * LETTER), 2 * EDGE + ROWS * LINE
    title = "; ".join(shown["command"] for shown in scenes)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">',
            f"<title>{html.escape(title)}</title>",
            "<style>",
            "text{font:12px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#d6deeb;white-space:pre}",
            ".c{fill:#ffd580}",
            f"text,g{{animation:{total:.2f}s step-end infinite}}",
            "@media(prefers-reduced-motion:reduce){text,g{animation:none!important}}",
            *style,
            "</style>",
            f'<clipPath id="w"><rect y="{EDGE}" width="{width}" height="{ROWS * LINE + 4}"/></clipPath>',
            f'<rect width="{width}" height="{height}" rx="8" fill="#10151f"/>',
            f'<g clip-path="url(#w)">{"".join(body)}</g>',
            "</svg>\n",
        ]
    )


def draw() -> None:
    """docs/first-minute.svg from what was recorded."""
    PICTURE.write_text(drawn(json.loads(RECORD.read_text(encoding="utf-8"))), encoding="utf-8")

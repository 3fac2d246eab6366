"""Results by the ending of their file (A5): what is tried, the command, and what it must print.

A contact sheet of 9,465 photos (Caltech-101 and food at up to 224 pixels, WebP) has 36.2 MB, 3.8 KB a photo with
thumbnails of 140 pixels, and was made in 378 MB of memory; one of 21 photos has 5.5 KB each, with the full 192 pixels.
"""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "=1+2": (30, 40, 220), "ünï": (230, 220, 40)}
LABELS = ["red", "@green"]


def album(folder: Path) -> Path:
    """Four images of one colour, with names that are formulas or no ASCII, and one broken file."""
    (folder / "album").mkdir(parents=True, exist_ok=True)
    for name, colour in COLOURS.items():
        Image.new("RGB", (64, 48), colour).save(folder / "album" / f"{name}.png")
    (folder / "album" / "empty.png").touch()
    return folder / "album"


def classify(out: str, *more: str) -> Callable[[Path], list[str]]:
    """`seesay classify` of the album into the file `out`."""

    def words(folder: Path) -> list[str]:
        return ["classify", str(album(folder)), *LABELS, "--max-bad", "1", "-o", str(folder / out), *more]

    return words


def listed(bad: str) -> Callable[[Path], list[str]]:
    """`seesay classify` of the album with its broken photos in the file `bad`."""

    def words(folder: Path) -> list[str]:
        return ["classify", str(album(folder)), *LABELS, "--max-bad", "1", "--bad", str(folder / bad)]

    return words


def read_back(name: str, check: str) -> Callable[[Path], str]:
    """Python that classifies the album into `name` and prints what `check` gives of `path`, the file, and `done`."""

    def snippet(folder: Path) -> str:
        return (
            "python: import csv, json, seesay; from pathlib import Path; "
            f"path = Path({str(folder / name)!r}); "
            f"done = seesay.classify_folder('box', {str(album(folder))!r}, {LABELS!r}, out=path); print({check})"
        )

    return snippet


WRITTEN = r"4 photos, 2 labels -> .*exit 0"
ROWS = "len(list(done.rows())), sorted(Path(row['path']).name for row in done.rows())"
FOUR_ROWS = r"4 \['=1\+2\.png', 'green\.png', 'red\.png', 'ünï\.png'\]"
CASES = [
    ("A5", "-o x.csv", classify("x.csv"), WRITTEN),
    ("A5", "-o x.TSV", classify("x.TSV"), WRITTEN),
    ("A5", "-o x.json", classify("x.json"), WRITTEN),
    ("A5", "-o x.jsonl", classify("x.jsonl"), WRITTEN),
    ("A5", "-o x.parquet", classify("x.parquet"), WRITTEN),
    ("A5", "-o x.html", classify("x.html"), WRITTEN),
    ("A5", "-o x.txt", classify("x.txt"), WRITTEN),
    ("A5", "-o x.xlsx", classify("x.xlsx"), r"error: -o .*x\.xlsx should end in .*Excel opens \.csv\.\s+exit 2"),
    ("A5", "-o x.feather", classify("x.feather"), r"should end in \.csv, .* which says how it is written\.\s+exit 2"),
    ("A5", "-o x, without an ending", classify("x"), r"should end in .*exit 2"),
    ("A5", "-o x.csv.gz", classify("x.csv.gz"), r"should end in .*exit 2"),
    ("A5", "-o x.json --format csv", classify("x.json", "--format", "csv"), r"--format csv writes \.csv.*exit 2"),
    ("A5", "-o x --format csv", classify("x", "--format", "csv"), WRITTEN),
    ("A5", "--bad x.jsonl", listed("x.jsonl"), r"skipped 1 of 5 photos: 1 x empty file[\s\S]*exit 0"),
    ("A5", "--bad x.xlsx", listed("x.xlsx"), r"error: --bad .*x\.xlsx should end in .*exit 2"),
    ("A5", "rows of CSV", read_back("x.csv", ROWS), FOUR_ROWS),
    ("A5", "rows of TSV", read_back("x.tsv", ROWS), FOUR_ROWS),
    ("A5", "rows of JSON Lines", read_back("x.jsonl", ROWS), FOUR_ROWS),
    ("A5", "rows of Parquet", read_back("x.parquet", ROWS), FOUR_ROWS),
    (
        "A5",
        "CSV begins with Excel's mark, and a formula is text",
        read_back("x.csv", "path.read_bytes()[:7], '@green' in path.read_text(), \"'@green\" in path.read_text()"),
        r"b'\\xef\\xbb\\xbfpath' True True",
    ),
    (
        "A5",
        "the page has every photo, and nothing from elsewhere",
        read_back("x.html", "[path.read_text().count(text) for text in ('<article', '<img', 'http', '<script>')]"),
        r"\[5, 4, 1, 1\]",
    ),
    (
        "A5",
        "probe --json x.csv",
        lambda folder: ["probe", str(album(folder)), str(folder), "--json", str(folder / "x.csv")],
        r"error: --json .*x\.csv is written as \.json; .*exit 2",
    ),
    (
        "A5",
        "evaluate --report x.pdf",
        lambda folder: ["evaluate", "box", str(album(folder)), "--report", str(folder / "x.pdf")],
        r"error: --report .*x\.pdf is written as \.html; .*exit 2",
    ),
]

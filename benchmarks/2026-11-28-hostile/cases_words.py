"""Names that are mathematics, steer a terminal, have no end, or are empty; and outputs that are no files."""

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import SEESAY, measured, measured_python
from PIL import Image

from seesay.model.build import build

HOSTILE = "a\x1b[31mb\u202ec\u2028d"
FORMULA = "$q_{$"
# The command with its results among its messages, which are what is measured.
TOGETHER = """
import os, sys
os.dup2(2, 1)
from seesay.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
# The command in a child of its own, and the length of its longest line.
LONGEST_LINE = """
import subprocess, sys
done = subprocess.run([sys.executable, "-m", "seesay", *sys.argv[1:]], capture_output=True)
lines = done.stderr.split(b"\\n")
print(f"longest line: {max(map(len, lines)):,} bytes", file=sys.stderr)
sys.exit(done.returncode)
"""
NO_NAME = """
import os, sys, seesay
os.chdir(os.path.dirname(sys.argv[1]))
try:
    seesay.train(sys.argv[1], out="", model="conv-tiny", steps=1, batch_size=4, workers=0)
except seesay.SeesayError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""
PIPE = """
import os, stat, sys
from seesay.base.errors import SeesayError
from seesay.base.publish import publish_file
os.mkfifo(sys.argv[1])
reader = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
try:
    publish_file(sys.argv[1], b"result")
    print("the pipe is there:", stat.S_ISFIFO(os.stat(sys.argv[1]).st_mode), file=sys.stderr)
except SeesayError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""
STALE = """
import sys
from seesay.base.publish import remove_stale
print(len(remove_stale(sys.argv[1])), "removed", file=sys.stderr)
"""


def photos(folder: Path, *classes: str) -> Path:
    """Two images in a folder for each class."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for which in range(2):
            Image.new("RGB", (16, 16), (80 * number, 40, 200)).save(folder / name / f"{which}.png")
    return folder


def pairs(folder: Path) -> Path:
    """Eight images with captions."""
    folder.mkdir(parents=True)
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("a square")
    return folder


def visible(result: dict[str, Any]) -> dict[str, Any]:
    """The result with the number of raw controls in its outcome, and those spelt out."""
    raw = [letter for letter in result["outcome"] if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp")]
    return {**result, "outcome": f"{len(raw)} raw controls: {result['outcome']!a}"}


def report_of_a_formula(folder: Path) -> dict[str, Any]:
    source, page = photos(folder / FORMULA, "red", "blue"), folder / "page.html"
    result = measured([*SEESAY, "evaluate", "box", str(source), "--report", str(page)])
    return {**result, "outcome": f"page written: {page.exists()}; {result['outcome']}"}


def report_with_emoji(folder: Path) -> dict[str, Any]:
    source, page = photos(folder / "猫 🐈", "猫", "🐈"), folder / "page.html"
    result = measured([*SEESAY, "evaluate", "box", str(source), "--report", str(page)])
    return {**result, "outcome": f"page written: {page.exists()}; {result['outcome']}"}


def check_of_a_formula(folder: Path) -> dict[str, Any]:
    words = ["train", pairs(folder / "pairs"), "--check", photos(folder / FORMULA, "red", "blue")]
    short = ["--model", "conv-tiny", "--steps", 2, "--batch-size", 4, "--workers", 0, "--out", folder / "run"]
    result = measured([*SEESAY, *map(str, [*words, *short])])
    return {**result, "outcome": f"curves drawn: {(folder / 'run/curves.png').exists()}; {result['outcome']}"}


def nearest(folder: Path) -> dict[str, Any]:
    photos(folder / f"photos{HOSTILE}", "red", "blue")
    return visible(measured([*SEESAY, "evaluate", "box", str(folder / "photo")]))


def key_of_a_model(folder: Path) -> dict[str, Any]:
    build("conv-tiny").save(folder / "model")
    file = folder / "model" / "model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), HOSTILE: 1}))
    return visible(measured([*SEESAY, "convert", str(folder / "model"), str(folder / "new"), "--to", "seesay"]))


def row_of_a_table(folder: Path) -> dict[str, Any]:
    source = photos(folder / "photos\x1b[31mb\u202ec", "red", "blue")
    return visible(measured_python(TOGETHER, "evaluate", "box", source))


def a_line_without_end(folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text(f"{json.dumps('x' * 5_000_000)} = 1\n")
    return measured_python(LONGEST_LINE, "train", pairs(folder / "pairs"), "--recipe", folder / "recipe.toml")


def command(*words: str) -> Callable[[Path], dict[str, Any]]:
    """A case: `seesay` with these words, in which PHOTOS and PAIRS are folders."""

    def run(folder: Path) -> dict[str, Any]:
        sources = {"PHOTOS": photos(folder / "photos", "red", "blue"), "PAIRS": pairs(folder / "pairs")}
        return measured([*SEESAY, *(str(sources.get(word, word)) for word in words)])

    return run


def run_without_a_name(folder: Path) -> dict[str, Any]:
    return measured_python(NO_NAME, pairs(folder / "pairs"))


def pipe(folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    return measured_python(PIPE, folder / "pipe")


def leftover(folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f".x.tmp-{'9' * 20}-0123abcd").touch()
    return measured_python(STALE, os.fspath(folder))


CASES = [
    ("$ in a set's name: evaluate --report", report_of_a_formula),
    ("$ in a set's name: train --check", check_of_a_formula),
    ("letters that no font has: evaluate --report", report_with_emoji),
    ("controls in the name that is offered as nearest", nearest),
    ("controls in a key of model.json", key_of_a_model),
    ("controls in a table", row_of_a_table),
    ("a key of 5,000,000 characters", a_line_without_end),
    ('--model ""', command("classify", "PHOTOS", "red", "blue", "--model", "")),
    ("--templates=", command("evaluate", "box", "PHOTOS", "--templates=")),
    ('seesay.train(..., out="")', run_without_a_name),
    ("--set with a number of 5,000 digits", command("doctor", "PAIRS", "--set", f"data.workers={'9' * 5000}")),
    ("--shots with a number of 5,000 digits", command("probe", "PHOTOS", "PHOTOS", "--shots", "9" * 5000)),
    ("a device without end", command("train", "PAIRS", "--device", "cpu:99999999999")),
    ("an output that is a pipe", pipe),
    ("a leftover of a process that cannot be", leftover),
]

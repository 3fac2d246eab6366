"""What strangers bring, case by case: does the outcome match what it should be, before and after?

    python benchmarks/2026-11-28-strangers/run.py --version before=EXPORT/src --version after=src

A case makes its input in a folder of its own, runs a command or a few lines of Python there with the package of one
version, and its outcome (both outputs, then "exit N") is compared with a regular expression. The table is result.md,
the outcomes result.json; cases that are in it already are not run again.
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PARTS = ("tables", "estimator", "formats", "outputs", "habits", "training", "portable", "encoding")
# Seconds that a case may take, and letters of an outcome that are kept.
MOST_SECONDS = 600
SHOWN = 600


def cases_of(part: str) -> list[tuple[str, str, Any, str]]:
    """(item of the issue, what is tried, function of a folder, what the outcome must match) of one file."""
    spec = importlib.util.spec_from_file_location(f"cases_{part}", HERE / f"cases_{part}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CASES


def outcome_of(words: list[str], folder: Path, source: str) -> str:
    """What the command or the lines of Python said, and how they ended."""
    code = words[0].removeprefix("python:").strip() if words[0].startswith("python:") else None
    command = [sys.executable, *(["-c", code] if code is not None else ["-m", "seesay", *words])]
    # Warnings of imports say nothing of the case.
    env = {**os.environ, "PYTHONPATH": str(Path(source).absolute()), "COLUMNS": "200", "SEESAY_CACHE": "off"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=MOST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no end within {MOST_SECONDS} s"
    return f"{done.stdout.decode('utf-8', 'replace').rstrip()}\nexit {done.returncode}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="append", required=True, metavar="NAME=SRC")
    parser.add_argument("--out", type=Path, default=HERE / "result.json")
    parser.add_argument("--only", nargs="*", default=PARTS, choices=PARTS)
    options = parser.parse_args()
    result = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    for part in options.only:
        for item, tried, make, expected in cases_of(part):
            row = result.setdefault(f"{item} {tried}", {"item": item, "tried": tried, "expected": expected})
            for version in options.version:
                label, _, source = version.partition("=")
                if label in row:
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    words = make(Path(folder)) if callable(make) else make
                    words = [words] if isinstance(words, str) else words
                    outcome = outcome_of(words, Path(folder), source).replace(folder, "FOLDER")
                row[label] = {"matches": bool(re.search(expected, outcome, re.DOTALL)), "outcome": outcome[-SHOWN:]}
                options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
                print(item, "|", tried, "|", label, "|", "right" if row[label]["matches"] else "WRONG", flush=True)
    options.out.with_suffix(".md").write_text(table(result), encoding="utf-8")


def table(result: dict[str, dict[str, Any]]) -> str:
    """A row for each case: item, what is tried, and for each version whether it came out right and its last words."""
    labels = list(dict.fromkeys(label for row in result.values() for label, seen in row.items() if type(seen) is dict))
    lines = [f"| item | tried | {' | '.join(labels)} |", f"|---|---|{'---|' * len(labels)}"]
    for row in sorted(result.values(), key=lambda row: row["item"]):
        cells = [row["item"], row["tried"].replace("|", "/")]
        for label in labels:
            seen = row.get(label, {"matches": False, "outcome": "not run"})
            last = [line for line in seen["outcome"].splitlines() if line.strip()][-2:]
            words = " / ".join(last).replace("|", "/").replace("`", "'")[:140]
            cells.append(f"{'right' if seen['matches'] else '**wrong**'}: {words}")
        lines.append(f"| {' | '.join(cells)} |")
    counts = [f"{label} {sum(row.get(label, {}).get('matches', False) for row in result.values())}" for label in labels]
    return "\n".join([f"Right of {len(result)}: {', '.join(counts)}.", "", *lines]) + "\n"


if __name__ == "__main__":
    main()

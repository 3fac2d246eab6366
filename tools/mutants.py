"""Do the fast tests see a fault? Plants one at a time into a copy of the tree and reports how many die, per room.

    python tools/mutants.py [--only ROOM_OR_ID ...] [--tests FOLDER] [--json FILE] [--check]

The faults are in `mutants.toml`: a file below src/seesay, its exact text, what is put in its place, and the test files
that ought to see it (fast ones alone are run: not slow, not journey, not gpu; with `journeys = true` whole commands
too, where no fast test can see it). A fault whose text is not found, or is
found more than once, ends the script with exit code 1 and the list of them, before anything is run: the code has moved
on, and so should the list. Exit code 0 otherwise, survivors or not.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_name("mutants.toml")
FAST = "not slow and not journey and not gpu"
WITH_JOURNEYS = "not slow and not gpu"
# A guess: the slowest of the test files named takes a tenth of it here.
MOST_SECONDS = 600
WHAT_TESTS_READ = (
    "src",
    "examples",
    "recipes",
    "docs",
    "tools",
    "locks",
    "pyproject.toml",
    "README.md",
    "Makefile",
    "constraints.txt",
)


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One fault: `old` stands exactly once in `file` and becomes `new`; `tests` are files below tests/."""

    id: str
    why: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    journeys: bool = False

    @property
    def room(self) -> str:
        """The folder of src/seesay that the file lies in."""
        return self.file.partition("/")[0]


def read_mutants(path: Path = LIST) -> list[Mutant]:
    """The faults of a TOML file; KeyError or TypeError for one that lacks a part."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    return [Mutant(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


def misfits(mutants: Sequence[Mutant], root: Path, tests: Path) -> list[str]:
    """A line for each fault that cannot be planted as it is written."""
    lines = [f"{name}: this id is given twice" for name, count in Counter(m.id for m in mutants).items() if count > 1]
    for mutant in mutants:
        path = root / "src" / "seesay" / mutant.file
        if not path.is_file():
            lines.append(f"{mutant.id}: {mutant.file} does not exist")
            continue
        count = path.read_text(encoding="utf-8").count(mutant.old)
        if count != 1:
            lines.append(f"{mutant.id}: {mutant.file} has its old text {count} times, not once: {mutant.old!r}")
        lines += [f"{mutant.id}: tests/{name} does not exist" for name in mutant.tests if not (tests / name).exists()]
    return lines


def is_killed(mutant: Mutant, copy: Path) -> tuple[bool, str]:
    """Plant a fault in `copy`, run its tests there, take it out; whether they failed, and the first that did."""
    path = copy / "src" / "seesay" / mutant.file
    honest = path.read_text(encoding="utf-8")
    path.write_text(honest.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        code, output = run_tests(copy, mutant.tests, WITH_JOURNEYS if mutant.journeys else FAST)
    finally:
        path.write_text(honest, encoding="utf-8")
    failed = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if code not in (0, 1, 2, None):
        raise SystemExit(f"{mutant.id}: pytest ended with {code}, which says nothing of the fault:\n{output[-2000:]}")
    return code != 0, failed[0][:160] if failed else ("" if code == 0 else "no end" if code is None else "import")


def run_tests(copy: Path, tests: Sequence[str], marks: str) -> tuple[int | None, str]:
    """pytest's exit code (None: it did not end) and what it printed."""
    # Without bytecode: two versions of a file of one length within a second would pass for one.
    environment = {"PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", marks]
    try:
        done = subprocess.run(  # noqa: S603
            [*command, *(f"tests/{name}" for name in tests)],
            cwd=copy,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=MOST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout + done.stderr


def copied_tree(folder: Path, tests: Path) -> Path:
    """A copy of what the tests need, with those of the folder `tests`."""
    copy = folder / "tree"
    skipped = shutil.ignore_patterns("__pycache__", "*.pyc", ".pytest_cache")
    copy.mkdir()
    for name in WHAT_TESTS_READ:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=skipped)
        elif source.exists():
            shutil.copy2(source, copy / name)
    shutil.copytree(tests, copy / "tests", ignore=skipped)
    return copy


def table(results: Sequence[dict]) -> str:
    """Killed of planted, room by room."""
    rooms = dict.fromkeys(result["room"] for result in results)
    lines = [f"{'room':<12} killed of planted"]
    for room in rooms:
        own = [result["is_killed"] for result in results if result["room"] == room]
        lines.append(f"{room:<12} {sum(own):>6} of {len(own)}")
    lines.append(f"{'all':<12} {sum(result['is_killed'] for result in results):>6} of {len(results)}")
    survivors = [f"  {result['id']}: {result['why']}" for result in results if not result["is_killed"]]
    return "\n".join([*lines, *(["survivors:", *survivors] if survivors else [])])


def main() -> int:
    """Plant, run, report; the table goes to standard output, each outcome to standard error as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=(), metavar="ROOM|ID", help="these rooms or single faults alone")
    parser.add_argument("--tests", type=Path, default=ROOT / "tests", help="another folder of tests, as of a commit")
    parser.add_argument("--json", type=Path, help="write the outcomes there")
    parser.add_argument("--check", action="store_true", help="see whether all faults fit, and plant none")
    arguments = parser.parse_args()
    mutants = [m for m in read_mutants() if not arguments.only or {m.room, m.id} & set(arguments.only)]
    if wrong := misfits(mutants, ROOT, ROOT / "tests"):
        print("\n".join(["these faults do not fit the code; nothing was run:", *wrong]), file=sys.stderr)
        return 1
    if arguments.check:
        print(f"{len(mutants)} faults fit")
        return 0
    results = []
    with tempfile.TemporaryDirectory() as folder:
        copy = copied_tree(Path(folder), arguments.tests)
        for mutant in mutants:
            began = time.monotonic()
            known = [name for name in mutant.tests if (copy / "tests" / name).exists()]
            if not known:
                raise SystemExit(f"{mutant.id}: {arguments.tests} has none of its tests")
            killed, by = is_killed(Mutant(**{**asdict(mutant), "tests": tuple(known)}), copy)
            seconds = round(time.monotonic() - began, 1)
            results.append({"room": mutant.room, **asdict(mutant), "is_killed": killed, "by": by, "seconds": seconds})
            print(f"{'killed  ' if killed else 'SURVIVED'} {mutant.id} ({seconds} s) {by}", file=sys.stderr, flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())

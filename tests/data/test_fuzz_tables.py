"""Mutated tables, tars, logs and descriptions: every one is read or refused in one line, in a gigabyte and ten seconds.

`SEESAY_FUZZ_SECONDS` says for how long (default 60). The mutations of round n are those of the seed n: what a failure
names is repeated with `SEESAY_FUZZ_FIRST=n`, and the input it failed on is named too.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("fuzz_tables.py")


@pytest.mark.slow
def test_mutated_tables_are_read_or_refused(tmp_path: Path):
    seconds = float(os.environ.get("SEESAY_FUZZ_SECONDS", "60"))
    first = os.environ.get("SEESAY_FUZZ_FIRST", "0")
    words = [sys.executable, str(CHILD), str(tmp_path), str(seconds), first]
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 300)
    number, name = (tmp_path / "round").read_text().split()
    assert done.returncode == 0, f"round {number}, {tmp_path / name}, exit {done.returncode}: {done.stderr[-3000:]}"
    rounds, peak = map(int, done.stdout.split())
    print(f"{rounds:,} rounds, peak {peak} MB")
    assert rounds > 0

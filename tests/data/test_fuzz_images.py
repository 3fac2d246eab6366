"""Mutated images without end: each is read or refused as one kind of error, within 1 GB and 10 seconds."""

import os
import subprocess
import sys
from pathlib import Path

import image_fuzzer
import pytest

# For the record of a release: 1800.
SECONDS = float(os.environ.get("SEESAY_FUZZ_SECONDS", "60"))
FIRST = 20261128
# Of data; the libraries alone have a gigabyte of addresses.
MEMORY = 1 << 30


def test_a_mutant_is_the_same_each_time_and_most_differ():
    mutants = [image_fuzzer.mutant(number) for number in range(200)]
    assert mutants == [image_fuzzer.mutant(number) for number in range(200)] and len(set(mutants)) > 190


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 600)
def test_mutated_images_are_read_or_refused_within_the_limits(tmp_path, capsys):
    resource = pytest.importorskip("resource", reason="memory is not limited on this system", exc_type=ImportError)
    progress = tmp_path / "number"
    progress.write_bytes(b"%020d" % FIRST)
    command = [sys.executable, image_fuzzer.__file__, str(FIRST), str(SECONDS), str(progress)]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=SECONDS + 500,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY)),
    )
    if result.returncode:
        number = int(progress.read_bytes())
        path = Path(os.environ.get("SEESAY_FUZZ_FOLDER", str(tmp_path))) / f"mutant-{number}"
        path.write_bytes(image_fuzzer.mutant(number))
        pytest.fail(f"mutant {number}, saved as {path}: exit {result.returncode}\n{result.stderr[-3000:]}")
    with capsys.disabled():
        print(f"\n{result.stdout.strip()}")

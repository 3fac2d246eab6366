"""The fast tests of four folders in a Python that lacks what Windows lacks; `without_unix/` says what that is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FOLDERS = ("base", "data", "tasks", "training")
# Why a test may be skipped there, besides what is skipped everywhere.
REASONS = {
    "this system has no fork",
    "this system has no locks for files",
    "this system does not limit what a process takes",
    "this system does not sync folders",
    "this system has no signal that asks for a stack",
}


def hidden(*words: str, **options) -> subprocess.CompletedProcess:
    """Run Python with these words in the folder above the tests, with everything hidden that `without_unix/` hides."""
    path = os.pathsep.join([str(TESTS / "without_unix"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, *words],
        env={**environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@pytest.mark.slow
def test_everything_is_hidden_from_a_process_and_from_those_it_starts():
    code = """
import importlib.util, multiprocessing, os, signal, subprocess, sys
assert not [name for name in ("fcntl", "resource") if importlib.util.find_spec(name)]
assert not [name for name in ("fork", "sched_getaffinity", "geteuid", "O_DIRECTORY", "pread") if hasattr(os, name)]
assert not [name for name in ("SIGUSR1", "SIGHUP", "pthread_sigmask") if hasattr(signal, name)]
assert multiprocessing.get_all_start_methods() == ["spawn"]
print("hidden")
if len(sys.argv) == 1:
    subprocess.run([sys.executable, "-c", open(0).read(), "child"], check=True)
"""
    done = hidden("-c", code, input=code)
    assert done.stdout.split() == ["hidden"] * 2, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_fast_tests_are_green_in_a_python_without_fork_locks_and_limits(tmp_path):
    done = hidden(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "those")),
        *("-m", "not slow and not gpu and not journey"),
        # The hub's own library says so where it finds no `fcntl` on what it takes for Linux.
        *("-W", "ignore:only soft file lock is available:UserWarning"),
        *(str(TESTS / folder) for folder in FOLDERS),
        timeout=1700,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 1000
    assert {reason for reason in REASONS if reason in done.stdout} == REASONS

"""Run a command in a child process under limits, and measure it."""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

# The command line of whatever seesay is on PYTHONPATH.
SEESAY = [sys.executable, "-m", "seesay"]


def measured(
    command: list[str], *, env: dict | None = None, stdin=None, limit_mb: int = 6000, limit_s: float = 150
) -> dict[str, Any]:
    """Outcome (last line of stderr, behind the first of a traceback), exit code, seconds, and peak memory in MB.

    The child may have `limit_mb` of data and `limit_s` seconds; after those it is killed and its exit is -9.
    """
    # By way of a small process, because a child begins with the peak of the one that starts it.
    job = json.dumps({"command": command, "limit_mb": limit_mb, "limit_s": limit_s})
    done = subprocess.run(
        [sys.executable, "-I", "-S", __file__, job],
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        stdin=stdin if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def measured_python(code: str, *arguments: str | Path, **limits: Any) -> dict[str, Any]:
    """`measured` for a few lines of Python."""
    return measured([sys.executable, "-c", code, *map(str, arguments)], **limits)


def _run(command: list[str], *, limit_mb: int, limit_s: float) -> dict[str, Any]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit_mb << 20, limit_mb << 20))

    with tempfile.TemporaryFile() as errors:
        started = time.monotonic()
        child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=errors, preexec_fn=limit, start_new_session=True
        )
        timer = threading.Timer(limit_s, os.killpg, (child.pid, signal.SIGKILL))
        timer.start()
        _, status, usage = os.wait4(child.pid, 0)
        timer.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        errors.seek(0)
        lines = [line for line in errors.read(1 << 20).decode("utf-8", "replace").splitlines() if line.strip()]
    traceback = next((f"{line} " for line in lines if line.startswith("Traceback")), "")
    return {
        "outcome": f"{traceback}{lines[-1] if lines else ''}"[:300],
        "exit": child.returncode,
        "seconds": round(seconds, 2),
        "peak_mb": round(usage.ru_maxrss / 1024, 1),
    }


if __name__ == "__main__":
    print(json.dumps(_run(**json.loads(sys.argv[1]))))

"""The process of one run of an experiment: an ordinary run of `seesay train`, with the experiment's check.

Its job is the first line of standard input. Where standard input ends, the process that started this one is gone: the
run saves and stops, so that another process can resume it.
"""

import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from seesay.base.errors import SeesayError
from seesay.base.journal import LOCK_NAME
from seesay.base.locks import take_lock
from seesay.base.settings import read_settings
from seesay.base.streams import say
from seesay.training.settings import TrainSettings
from seesay.training.train import train_model
from seesay.training.validation import ZeroShotCheck

CHECK = "zero-shot"
# A guess: how long the run of a killed process may take to save, in seconds.
MOST_WAITING = 60.0


def main() -> int:
    """Do the job and return the exit code; a `SeesayError` is one line on standard error."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        _run(job)
    except SeesayError as error:
        say(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _run(job: dict[str, Any]) -> None:
    out = Path(job["out"])
    _wait_for(out)
    check = ZeroShotCheck(job["check"], most=job["check_images"], templates=job["templates"])
    settings = read_settings(TrainSettings, file=None, base=job["settings"])
    checks = {CHECK: lambda model: {**check.measure(model), "n": check.n}}
    # Every run leaves out the same broken pairs, so that their number is no reason to fail.
    train_model(job["pairs"], out=out, settings=settings, checks=checks, most_skipped=1.0)


def _stop_with_parent() -> None:
    sys.stdin.read()
    # Not os.kill, which on Windows ends the process before it saves.
    signal.raise_signal(signal.SIGTERM)


def _wait_for(out: Path) -> None:
    """Wait until no other process holds the folder, as one does that saves after its parent was killed."""
    end = time.monotonic() + MOST_WAITING
    while (out / LOCK_NAME).exists() and time.monotonic() < end:
        with (out / LOCK_NAME).open("ab") as lock:
            if take_lock(lock):
                return
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())

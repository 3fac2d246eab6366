"""A short real run in a process of its own: what it needs, how fast it is, whether it can overfit one batch.

If memory runs out, the system ends that process and not this one, and what it had measured is not lost. It reads a job
as JSON from standard input, and writes each measurement as a line of JSON to standard output.
"""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from seesay.base.errors import SeesayError, UsageError
from seesay.base.journal import ProgressLine
from seesay.base.version import IMPORT_PATH
from seesay.training.settings import TrainSettings

# Guesses: a short run is ended that takes ten times its seconds and five minutes more.
PATIENCE, MOST_WAITING = 10, 300
# A guess, for the progress line: reading the pairs and fitting the tokenizer take half of the measured time.
TAKES = 1.5
# Variables that torchrun sets for its processes; the short run has one process.
NOT_FOR_THE_CHILD = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# A guess: how often the progress line moves.
POLL_SECONDS = 0.5
MODULE = "seesay.preflight.short_run_worker"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be run: the settings of the run, and how long it may take.

    `sizes`: the sides of the crops, each measured. `with_cached`: also measure epochs of images cached in memory.
    """

    sources: Sequence[str]
    validation: Sequence[str]
    settings: TrainSettings
    seconds: float
    sizes: Sequence[int]
    with_cached: bool
    overfit_steps: int

    def to_json(self, folder: str) -> str:
        """The job with the temporary folder for its runs."""
        settings = json.loads(self.settings.model_dump_json(exclude_none=True))
        return json.dumps({**vars(self), "settings": settings, "folder": folder})


@dataclass(frozen=True, kw_only=True)
class ShortRunReport:
    """Measurements of the process, by kind in their order. Where it ended early, `message` says why in one line.

    `lacked_memory`: memory ran out.
    """

    measured: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    message: str = ""
    lacked_memory: bool = False

    def last(self, kind: str) -> Mapping[str, Any] | None:
        """The last measurement of a kind; None without any."""
        return self.measured[kind][-1] if self.measured.get(kind) else None


def run_short(job: Job) -> ShortRunReport:
    """Run the job and remove its files. Raises `UsageError` where the run itself would."""
    with tempfile.TemporaryDirectory(prefix="seesay-doctor-") as folder, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(),
        )
        try:
            measured, is_late = _listen(process, job, folder)
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        errors.seek(0)
        final_error = errors.read().decode("utf-8", "replace").strip().splitlines()[-1:]
    failed = measured.pop("failed", None)
    if failed:
        if failed[-1]["is_usage"]:
            raise UsageError(failed[-1]["message"])
        return ShortRunReport(
            measured=measured, message=failed[-1]["message"], lacked_memory=failed[-1]["lacked_memory"]
        )
    if is_late:
        return ShortRunReport(measured=measured, message=f"it was not done after {_patience(job):,.0f} s")
    if "done" in measured:
        return ShortRunReport(measured=measured)
    # Nothing else ends a process of its own with this signal.
    return ShortRunReport(
        measured=measured, message=" ".join(final_error) or "the process was ended", lacked_memory=True
    )


def _environment() -> dict[str, str]:
    """The environment of this process, with this package on the path, without the variables of torchrun."""
    variables = {
        key: value
        for key, value in os.environ.items()
        if key not in NOT_FOR_THE_CHILD and not key.startswith("TORCHELASTIC_")
    }
    return {
        **variables,
        "PYTHONPATH": os.pathsep.join([str(IMPORT_PATH), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }


def _patience(job: Job) -> float:
    return job.seconds * PATIENCE + MOST_WAITING


def _listen(process: subprocess.Popen, job: Job, folder: str) -> tuple[dict[str, list[dict[str, Any]]], bool]:
    """What was measured until the process ended or its time was up, and whether that was so."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(job.to_json(folder).encode())
        process.stdin.close()
    except BrokenPipeError as error:
        raise SeesayError("the short run did not start; try `seesay train` itself for the reason.") from error
    measured: dict[str, list[dict[str, Any]]] = {}
    line, started = ProgressLine("short run"), time.monotonic()
    arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_forward, args=(process.stdout, arrived), daemon=True).start()
    while (elapsed := time.monotonic() - started) < _patience(job):
        line.show(min(0.99, elapsed / (TAKES * job.seconds)))
        with suppress(queue.Empty):
            text = arrived.get(timeout=POLL_SECONDS)
            if not text.endswith(b"\n"):  # the end, or what a process wrote last that was ended
                line.close()
                return measured, False
            measurement = json.loads(text)
            measured.setdefault(measurement.pop("kind"), []).append(measurement)
    line.close()
    return measured, True


def _forward(output: IO[bytes], arrived: "queue.SimpleQueue[bytes]") -> None:
    """The lines of `output`, then b"". By a thread, as Windows cannot wait for a pipe and a clock at once."""
    with suppress(ValueError):  # closed, after the time was up
        while line := output.readline():
            arrived.put(line)
    arrived.put(b"")

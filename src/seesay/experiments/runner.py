"""The runs of an experiment as processes, several at a time, until all are done or a stop is requested."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seesay.base.errors import Interrupted, Stopped
from seesay.base.journal import Journal, ProgressLine
from seesay.base.version import IMPORT_PATH
from seesay.experiments.recipe import Experiment, ExperimentRun
from seesay.experiments.schedule import (
    Diverged,
    Failed,
    Finished,
    Outcome,
    count_runs,
    known_runs,
    outcome_of,
    share_done,
)
from seesay.training.faults import stop_requests

MODULE = "seesay.experiments.worker"
LOGS = "logs"
# Guesses: how often ended processes are looked for, and how often all events are read for the progress line.
POLL_SECONDS = 0.2
PROGRESS_SECONDS = 2.0
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Runs:
    """The runs of `experiment` below `root`: `jobs` processes at a time, `threads` threads in each.

    `outcomes` has every run that is done, in the order in which they ended.
    """

    experiment: Experiment
    root: Path
    journal: Journal
    jobs: int
    threads: int
    outcomes: dict[ExperimentRun, Outcome] = field(default_factory=dict)
    _running: dict[ExperimentRun, subprocess.Popen] = field(default_factory=dict)

    @property
    def failed(self) -> dict[ExperimentRun, str]:
        """The runs that failed, each with the reason."""
        return {run: outcome.reason for run, outcome in self.outcomes.items() if isinstance(outcome, Failed)}

    def make_all(self) -> None:
        """Make the runs that are not done yet. Raises `Stopped` after all have saved when a stop is requested."""
        line, counted_at = ProgressLine("compare"), 0.0
        self._add_finished()
        count = count_runs(self.experiment, self.outcomes)
        line.say(f"{len(self.outcomes)} of {count} runs are done; {self.jobs} at a time")
        line.begin(self._share())
        with stop_requests() as requests:
            try:
                while not requests and self._begin_some():
                    time.sleep(POLL_SECONDS)
                    for run in [run for run, process in self._running.items() if process.poll() is not None]:
                        self._end(run, line, is_stopping=bool(requests))
                    if time.monotonic() - counted_at >= PROGRESS_SECONDS:
                        counted_at, share = time.monotonic(), self._share()
                        line.show(share, self._progress(share))
                line.close()
            finally:
                self._stop()
        if requests:
            kind = Interrupted if signal.SIGINT in requests else Stopped
            raise kind(f"stopped with {len(self.outcomes)} runs done, the others saved; the same command goes on.")

    def _add_finished(self) -> None:
        """Read the outcomes of runs that are done already; the rates show which other runs there are."""
        while finished := {
            run: outcome
            for run in known_runs(self.experiment, self.outcomes)
            if run not in self.outcomes and (outcome := outcome_of(run.folder(self.root)))
        }:
            self.outcomes |= finished

    def _begin_some(self) -> bool:
        """Start runs until `jobs` are running; False when none is."""
        for run in known_runs(self.experiment, self.outcomes):
            if len(self._running) >= self.jobs:
                break
            if run not in self.outcomes and run not in self._running:
                self._running[run] = self._begin(run)
        return bool(self._running)

    def _begin(self, run: ExperimentRun) -> subprocess.Popen:
        job = {
            "pairs": list(self.experiment.pairs),
            "check": self.experiment.check,
            "check_images": self.experiment.check_images,
            "templates": list(run.templates(self.experiment)),
            "out": str(run.folder(self.root)),
            "settings": self._settings_of(run),
        }
        log = self.log_of(run)
        log.parent.mkdir(parents=True, exist_ok=True)
        self.journal.event(event="begin", run=run.name)
        with log.open("ab") as log_file:
            # In a session of its own, on Windows a process group, so that Ctrl-C reaches this process alone.
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", MODULE],
                stdin=subprocess.PIPE,
                stdout=log_file,
                stderr=log_file,
                env=_environment(self.threads),
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:  # it ended before it read: its exit code says so
            pass
        return process

    def _settings_of(self, run: ExperimentRun) -> dict[str, Any]:
        settings = run.settings(self.experiment).model_dump(mode="json", exclude_none=True)
        if self.jobs > 1:
            # Every core has a run: processes that read ahead would slow the other runs down.
            settings["data"].setdefault("workers", 0)
        return settings

    def _end(self, run: ExperimentRun, line: ProgressLine, *, is_stopping: bool) -> None:
        """Record the outcome of a run whose process has ended. What its folder says counts, not the exit code."""
        process = self._running.pop(run)
        _close(process)
        outcome = outcome_of(run.folder(self.root))
        if is_stopping and outcome is None:
            return
        self.outcomes[run] = outcome or Failed(reason=f"exit code {process.returncode}, see {self.log_of(run)}")
        self.journal.event(event="end", run=run.name, exit_code=process.returncode)
        line.say(end_line(run, self.outcomes[run]))

    def log_of(self, run: ExperimentRun) -> Path:
        """The file with everything that the run prints."""
        return self.root / LOGS / f"{run.name.replace('/', '-')}.txt"

    def _share(self) -> float:
        """The share of all images that is processed; a run that diverged or failed has nothing left to do."""
        done = [
            1.0 if run in self.outcomes else min(1.0, share_done(run.folder(self.root), self.experiment.steps))
            for run in known_runs(self.experiment, self.outcomes)
        ]
        return min(1.0, sum(done) / count_runs(self.experiment, self.outcomes))

    def _progress(self, share: float) -> str:
        """Runs and images done, for the progress line."""
        count = count_runs(self.experiment, self.outcomes)
        done = len(self.outcomes) - len(self.failed)
        images = share * count * self.experiment.steps * self.experiment.batch_size
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"{done} of {count} runs{failed}, {images:,.0f} images"

    def _stop(self) -> None:
        """Let all runs that are left save and end, as they do where their standard input ends, and wait for them."""
        for process in self._running.values():
            _close(process)
        for process in self._running.values():
            process.wait()
        self._running.clear()


def end_line(run: ExperimentRun, outcome: Outcome) -> str:
    """What a person reads when a run has ended."""
    if isinstance(outcome, Finished):
        return f"{run.name}: {100 * outcome.accuracy:.2f} %"
    if isinstance(outcome, Diverged):
        return f"{run.name}: diverged at step {outcome.step:,}"
    return f"warning: run {run.name} failed ({outcome.reason}); the others go on."


def _close(process: subprocess.Popen) -> None:
    if process.stdin is not None and not process.stdin.closed:
        process.stdin.close()


def _environment(threads: int) -> Mapping[str, str]:
    """The environment of this process, with this package on the path and `threads` threads."""
    path = os.pathsep.join([str(IMPORT_PATH), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, **dict.fromkeys(THREAD_VARIABLES, str(threads))}

"""The runs of a contest as processes, several at a time, until all are done or somebody asks to stop."""

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
from seesay.experiments.schedule import Outcome, known_runs, outcome_of, runs_in_all, share_done
from seesay.training.faults import stop_requests

MODULE = "seesay.experiments.worker"
LOGS = "logs"
LOOK_SECONDS = 0.2
COUNT_SECONDS = 2.0
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Runs:
    """The runs of `experiment` below `root`, so many `jobs` at a time with so many `threads` each.

    `outcomes` are those of the runs that are done, None for those that failed; `failed` says how.
    """

    experiment: Experiment
    root: Path
    journal: Journal
    jobs: int
    threads: int
    outcomes: dict[ExperimentRun, Outcome | None] = field(default_factory=dict)
    failed: dict[ExperimentRun, str] = field(default_factory=dict)
    _running: dict[ExperimentRun, subprocess.Popen] = field(default_factory=dict)

    def make_all(self) -> None:
        """Make what is not made yet. Raises `Stopped` when asked to stop, after all runs have saved."""
        line, counted_at = ProgressLine("compare"), 0.0
        self._take_up_finished()
        line.say(f"{len(self.outcomes)} of {runs_in_all(self.experiment)} runs are done; {self.jobs} at a time")
        before = self._share()
        with stop_requests() as asked:
            try:
                while not asked and self._begin_some():
                    time.sleep(LOOK_SECONDS)
                    for run in [run for run, process in self._running.items() if process.poll() is not None]:
                        self._end(run, line, is_asked=bool(asked))
                    if time.monotonic() - counted_at >= COUNT_SECONDS:
                        counted_at, share = time.monotonic(), self._share()
                        # What was done before this began took none of this time.
                        line.show((share - before) / max(1e-9, 1 - before), self._told(share))
                line.close()
            finally:
                self._stop(signal.SIGINT if signal.SIGINT in asked else signal.SIGTERM)
        if asked:
            kind = Interrupted if signal.SIGINT in asked else Stopped
            raise kind(f"stopped with {len(self.outcomes)} runs done, the others saved; the same command goes on.")

    def _take_up_finished(self) -> None:
        """Runs that are done already; those show which others there are."""
        while found := {
            run: outcome
            for run in known_runs(self.experiment, self.outcomes)
            if run not in self.outcomes and (outcome := outcome_of(run.folder(self.root)))
        }:
            self.outcomes |= found

    def _begin_some(self) -> bool:
        """Start runs where there is room for them; False when there is nothing left to wait for."""
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
        with log.open("ab") as told:
            # In a session of its own, so that Ctrl-C reaches it once, and from here.
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", MODULE],
                stdin=subprocess.PIPE,
                stdout=told,
                stderr=told,
                env=_environment(self.threads),
                start_new_session=True,
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
            # The cores are taken: what reads ahead would stand in the way of the other runs.
            settings["data"].setdefault("workers", 0)
        return settings

    def _end(self, run: ExperimentRun, line: ProgressLine, *, is_asked: bool) -> None:
        """Note what a process that has ended came to."""
        process = self._running.pop(run)
        _close(process)
        outcome = outcome_of(run.folder(self.root))
        if is_asked and outcome is None:
            return
        self.outcomes[run] = outcome
        self.journal.event(event="end", run=run.name, exit_code=process.returncode)
        if process.returncode == 0 and outcome is not None:
            line.say(f"{run.name}: {100 * outcome.accuracy:.2f} %")
            return
        self.failed[run] = f"exit code {process.returncode}, see {self.log_of(run)}"
        line.say(f"warning: run {run.name} failed ({self.failed[run]}); the others go on.")

    def log_of(self, run: ExperimentRun) -> Path:
        return self.root / LOGS / f"{run.name.replace('/', '-')}.txt"

    def _share(self) -> float:
        """How much of all images is processed; a run that failed has nothing left to do."""
        known = known_runs(self.experiment, self.outcomes)
        done = [
            1.0 if run in self.outcomes else min(1.0, share_done(run.folder(self.root), self.experiment.steps))
            for run in known
        ]
        return min(1.0, sum(done) / runs_in_all(self.experiment))

    def _told(self, share: float) -> str:
        done = sum(outcome is not None for outcome in self.outcomes.values())
        images = share * runs_in_all(self.experiment) * self.experiment.steps * self.experiment.batch_size
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"{done} of {runs_in_all(self.experiment)} runs{failed}, {images:,.0f} images"

    def _stop(self, number: int) -> None:
        """Ask all runs that are left to save and end, and wait for them."""
        for process in self._running.values():
            process.send_signal(number)
        for process in self._running.values():
            process.wait()
            _close(process)
        self._running.clear()


def _close(process: subprocess.Popen) -> None:
    if process.stdin is not None and not process.stdin.closed:
        process.stdin.close()


def _environment(threads: int) -> Mapping[str, str]:
    """As here, with this package to be found, and so many threads."""
    path = os.pathsep.join([str(IMPORT_PATH), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, **dict.fromkeys(THREAD_VARIABLES, str(threads))}

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

import seesay
from seesay.base.errors import Interrupted, Stopped
from seesay.base.journal import Journal, ProgressLine
from seesay.evaluation.contest_schedule import Outcome, outcome_of, runs_in_all, share_done, trials_known
from seesay.evaluation.contest_settings import Contest, Trial
from seesay.training.stopping import stop_requests

MODULE = "seesay.evaluation.contest_run"
LOGS = "logs"
LOOK_SECONDS = 0.2
COUNT_SECONDS = 2.0
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Runs:
    """The runs of `contest` below `root`, so many `jobs` at a time with so many `threads` each.

    `outcomes` are those of the runs that are done, None for those that failed; `failed` says how.
    """

    contest: Contest
    root: Path
    journal: Journal
    jobs: int
    threads: int
    outcomes: dict[Trial, Outcome | None] = field(default_factory=dict)
    failed: dict[Trial, str] = field(default_factory=dict)
    _running: dict[Trial, subprocess.Popen] = field(default_factory=dict)

    def make_all(self) -> None:
        """Make what is not made yet. Raises `Stopped` when asked to stop, after all runs have saved."""
        line, counted_at = ProgressLine("compare"), 0.0
        self._take_up_finished()
        line.say(f"{len(self.outcomes)} of {runs_in_all(self.contest)} runs are done; {self.jobs} at a time")
        before = self._share()
        with stop_requests() as asked:
            try:
                while not asked and self._begin_some():
                    time.sleep(LOOK_SECONDS)
                    for trial in [trial for trial, process in self._running.items() if process.poll() is not None]:
                        self._end(trial, line, is_asked=bool(asked))
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
            trial: outcome
            for trial in trials_known(self.contest, self.outcomes)
            if trial not in self.outcomes and (outcome := outcome_of(trial.folder(self.root)))
        }:
            self.outcomes |= found

    def _begin_some(self) -> bool:
        """Start runs where there is room for them; False when there is nothing left to wait for."""
        for trial in trials_known(self.contest, self.outcomes):
            if len(self._running) >= self.jobs:
                break
            if trial not in self.outcomes and trial not in self._running:
                self._running[trial] = self._begin(trial)
        return bool(self._running)

    def _begin(self, trial: Trial) -> subprocess.Popen:
        job = {
            "pairs": list(self.contest.pairs),
            "check": self.contest.check,
            "check_images": self.contest.check_images,
            "templates": list(trial.templates(self.contest)),
            "out": str(trial.folder(self.root)),
            "settings": self._settings_of(trial),
        }
        log = self.log_of(trial)
        log.parent.mkdir(parents=True, exist_ok=True)
        self.journal.event(event="begin", run=trial.name)
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

    def _settings_of(self, trial: Trial) -> dict[str, Any]:
        settings = trial.settings(self.contest).model_dump(mode="json", exclude_none=True)
        if self.jobs > 1:
            # The cores are taken: what reads ahead would stand in the way of the other runs.
            settings["data"].setdefault("workers", 0)
        return settings

    def _end(self, trial: Trial, line: ProgressLine, *, is_asked: bool) -> None:
        """Note what a process that has ended came to."""
        process = self._running.pop(trial)
        _close(process)
        outcome = outcome_of(trial.folder(self.root))
        if is_asked and outcome is None:
            return
        self.outcomes[trial] = outcome
        self.journal.event(event="end", run=trial.name, exit_code=process.returncode)
        if process.returncode == 0 and outcome is not None:
            line.say(f"{trial.name}: {100 * outcome.accuracy:.2f} %")
            return
        self.failed[trial] = f"exit code {process.returncode}, see {self.log_of(trial)}"
        line.say(f"warning: run {trial.name} failed ({self.failed[trial]}); the others go on.")

    def log_of(self, trial: Trial) -> Path:
        return self.root / LOGS / f"{trial.name.replace('/', '-')}.txt"

    def _share(self) -> float:
        """How much of all images is processed; a run that failed has nothing left to do."""
        known = trials_known(self.contest, self.outcomes)
        done = [
            1.0 if trial in self.outcomes else min(1.0, share_done(trial.folder(self.root), self.contest.steps))
            for trial in known
        ]
        return min(1.0, sum(done) / runs_in_all(self.contest))

    def _told(self, share: float) -> str:
        done = sum(outcome is not None for outcome in self.outcomes.values())
        images = share * runs_in_all(self.contest) * self.contest.steps * self.contest.batch_size
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"{done} of {runs_in_all(self.contest)} runs{failed}, {images:,.0f} images"

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
    here = str(Path(seesay.__file__).resolve().parent.parent)
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, **dict.fromkeys(THREAD_VARIABLES, str(threads))}

"""Everything a run holds while it goes on, in one value that can be saved and continued."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from seesay.base.journal import Journal, ProgressLine
from seesay.data.images import Preprocess
from seesay.nets.clip import LOGIT_SCALE_MAX, Clip
from seesay.training.best import BestCheck
from seesay.training.checkpoint import Position
from seesay.training.faults import BadSteps, SkipLog
from seesay.training.plan import RunPlan
from seesay.training.process_group import ProcessGroup
from seesay.training.run_log import SpikeWatch
from seesay.training.sharding import ParallelModel
from seesay.training.step import Stepper
from seesay.training.trackers import Tracker

Check = Callable[[], Mapping[str, Any]]


@dataclass
class TrainState:
    """A run where it stands. With several processes each holds one; the first alone writes and speaks.

    `vocab_size` is how many words its captions are made of, `key` names a pair by its number. `best` is None where
    nothing is validated on.
    """

    plan: RunPlan
    parallel: ParallelModel
    optimizer: torch.optim.Optimizer
    preprocess: Preprocess
    position: Position
    journal: Journal
    skips: SkipLog
    line: ProgressLine
    vocab_size: int
    checks: Mapping[str, Check] = field(default_factory=dict)
    trackers: Sequence[Tracker] = ()
    key: Callable[[int], str] = str
    best: BestCheck | None = None
    checked_step: int | None = None
    bad_steps: BadSteps = field(default_factory=BadSteps)
    spikes: SpikeWatch = field(default_factory=SpikeWatch)
    saved_step: int = field(init=False)
    stepper: Stepper = field(init=False)
    is_scale_held: bool = False
    is_judged: bool = False
    data_seconds: float = 0.0
    started_at: float = 0.0
    _seconds_before: float = 0.0
    _speed_mark: tuple[int, float, float] = (0, 0.0, 0.0)

    def __post_init__(self) -> None:
        # A run that goes on stands at a checkpoint; one that begins has none at step 0, and saves one if asked to.
        self.saved_step = self.position.step or -1
        plan = self.plan
        self.stepper = Stepper(
            parallel=self.parallel,
            preprocess=self.preprocess,
            objective=plan.objective,
            seed=plan.settings.seed,
            micro_batch=plan.micro_batch,
            share_repeats=plan.data.share_repeats,
            captions_per_image=plan.settings.data.captions_per_image,
            in_bfloat16=plan.precision == "bfloat16",
        )

    @property
    def clip(self) -> Clip:
        """The model that is trained."""
        return self.parallel.clip

    @property
    def processes(self) -> ProcessGroup:
        """The processes of the run."""
        return self.parallel.processes

    @property
    def seconds(self) -> float:
        """Seconds spent on this run, those before a stop included."""
        return self._seconds_before + time.monotonic() - self.started_at

    def start_clock(self) -> None:
        """Count seconds from now on, behind those before a stop."""
        self.started_at, self._seconds_before = time.monotonic(), self.position.seconds
        self._speed_mark = self.position.pairs_seen, self.position.seconds, 0.0
        self.is_scale_held = not 0 < float(self.clip.logit_scale.detach()) < LOGIT_SCALE_MAX - 1e-6

    def speed(self) -> tuple[float, float]:
        """Since this was called last: pairs per second, and the share of the time that was waiting for them."""
        before, self._speed_mark = self._speed_mark, (self.position.pairs_seen, self.seconds, self.data_seconds)
        pairs, seconds, waited = (now - then for now, then in zip(self._speed_mark, before, strict=True))
        return round(pairs / max(seconds, 1e-9), 2), round(min(1.0, waited / max(seconds, 1e-9)), 3)

    def share(self, step: int) -> float:
        """How much of the run is done when `step` steps are made: by steps, or by the clock at the last of them."""
        return self.plan.length.share(step, self.position.seconds)

    def log_event(self, event: str, **values: Any) -> None:
        """One event of the step that is being made."""
        self.journal.event(event=event, step=self.position.step, **values)

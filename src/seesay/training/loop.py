"""The run, read top to bottom: batch, rate, loss, update, log, check, save; until it is done or asked to stop."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from seesay.base.errors import Interrupted, Stopped
from seesay.base.journal import Journal, ProgressLine
from seesay.base.records import Batch, Skipped
from seesay.base.runtime import Runtime
from seesay.data.images import Preprocess
from seesay.data.loader import Batches
from seesay.nets.clip import LOGIT_SCALE_MAX, Clip
from seesay.training.checkpoint import CHECKPOINTS, Position, checkpoints, save_checkpoint
from seesay.training.distributed import Peers
from seesay.training.guards import BadStep, BadSteps, RunningStatistics, SpikeWatch, memory_told
from seesay.training.heartbeat import ended_when_stuck
from seesay.training.objectives import OBJECTIVES
from seesay.training.objectives.face import Objective
from seesay.training.optimizer import rate_factor, size_at
from seesay.training.settings import TrainSettings
from seesay.training.skips import SkipLog
from seesay.training.spread import Spread
from seesay.training.step import Stepper
from seesay.training.stopping import stop_requests
from seesay.training.trackers import Tracker

SMOOTHING = 0.98
LEARNING_MARGIN = 0.05
JUDGED_AFTER = 0.1
JUDGED_STEPS = 200

Check = Callable[[], Mapping[str, Any]]


@dataclass
class Run:
    """Everything a run holds while it goes on.

    `steps` is None where the length is given in minutes; `vocab_size` is how many words its captions are
    made of.

    With several processes each holds one. All go through the same steps; the first alone writes and speaks.
    """

    clip: Clip
    optimizer: torch.optim.Optimizer
    preprocess: Preprocess
    settings: TrainSettings
    steps: int | None
    position: Position
    journal: Journal
    skips: SkipLog
    line: ProgressLine
    checks: Mapping[str, Check] = field(default_factory=dict)
    trackers: Sequence[Tracker] = ()
    peers: Peers = field(default_factory=lambda: Peers(Runtime(device="cpu", cores=1)))
    spread: Spread | None = None
    objective: Objective = field(default_factory=lambda: OBJECTIVES["contrastive"])
    vocab_size: int = 1
    key: Callable[[int], str] = str
    bad_steps: BadSteps = field(default_factory=BadSteps)
    spikes: SpikeWatch = field(default_factory=SpikeWatch)
    saved_step: int | None = None
    is_held: bool = False
    was_judged: bool = False
    data_seconds: float = 0.0
    started_at: float = 0.0
    _before: float = 0.0
    _told: tuple[int, float, float] = (0, 0.0, 0.0)

    def __post_init__(self) -> None:
        # A run that goes on stands at a checkpoint.
        self.saved_step = self.position.step or None
        self.stepper = Stepper(
            spread=self.spread or Spread(clip=self.clip, forward=self.clip, peers=self.peers),
            peers=self.peers,
            preprocess=self.preprocess,
            objective=self.objective,
            statistics=RunningStatistics(self.clip),
            seed=self.settings.seed,
            micro_batch=self.settings.micro_batch,
            share_repeats=bool(self.settings.data.share_repeats),
            in_bfloat16=self.settings.towers.precision == "bfloat16",
        )

    @property
    def seconds(self) -> float:
        """Seconds spent on this run, those before a stop included."""
        return self._before + time.monotonic() - self.started_at

    def start_clock(self) -> None:
        self.started_at, self._before = time.monotonic(), self.position.seconds
        self._told = self.position.pairs_seen, self.position.seconds, 0.0
        self.is_held = not 0 < float(self.clip.logit_scale.detach()) < LOGIT_SCALE_MAX - 1e-6

    def speed(self) -> tuple[float, float]:
        """Since this was asked last: pairs per second, and the share of the time that was waiting for them."""
        told, self._told = self._told, (self.position.pairs_seen, self.seconds, self.data_seconds)
        pairs, seconds, waited = (now - before for now, before in zip(self._told, told, strict=True))
        return round(pairs / max(seconds, 1e-9), 2), round(min(1.0, waited / max(seconds, 1e-9)), 3)

    def share(self, step: int) -> float:
        """How much of the run is done when `step` steps are made: by steps, or by the clock at the last of them."""
        if self.steps:
            return min(1.0, step / self.steps)
        return min(1.0, self.position.seconds / (60 * (self.settings.minutes or 1)))

    def say(self, event: str, **values: Any) -> None:
        """One event of the step that is being made."""
        self.journal.event(event=event, step=self.position.step, **values)


def train(run: Run, batches: Batches) -> None:
    """Go on from where `run` stands to its end. Raises `Stopped` after saving when asked to stop."""
    settings, position = run.settings, run.position
    run.start_clock()
    part = run.peers.rank, run.peers.ranks
    stream = batches.starting_at(
        position.step,
        size_at=lambda step: size_at(run.share(step), settings.schedule.sizes or ()),
        workers=settings.data.workers or 0,
        part=part,
        timeout_seconds=settings.data.timeout_seconds,
    )
    next_check = _next_mark(run.share(position.step), settings.check.every)
    saved_at = time.monotonic()
    run.peers.meet()
    told = batches.failures_told(lambda: position.step, part)
    stuck = ended_when_stuck(settings.stuck_minutes)
    memory = memory_told_of(settings, ranks=run.peers.ranks, folder=run.journal.folder)
    with closing(batches), told, stuck as alive, stop_requests() as asked, _own_random_state(run), memory:
        while run.share(position.step) < 1:
            alive()
            step_once(run, _next_batch(run, stream))
            share = run.share(position.step)
            at = settings.check.at
            is_marked = share >= next_check if at is None else position.step in at
            if is_marked and share < 1:
                next_check = _next_mark(share, settings.check.every)
                alive()
                check(run)
                alive()
            is_due = time.monotonic() - saved_at >= 60 * settings.checkpoint.every_minutes
            stop, is_due = _agree(run, asked, is_due)
            every_steps = settings.checkpoint.every_steps
            if stop or is_due or (every_steps and position.step % every_steps == 0):
                save(run)
                saved_at = time.monotonic()
            if stop:
                kind = Interrupted if signal.SIGINT in stop else Stopped
                raise kind(f"stopped after step {position.step:,}, saved; the same command goes on.")
    save(run)
    run.line.close()
    check(run)


def step_once(run: Run, batch: Batch) -> None:
    """One update from one batch; a loss or gradient that is not finite leaves the model as it is."""
    position = run.position
    rows, skipped = _share_out(run, batch)
    rate = _set_rate(run)
    run.clip.train()
    run.skips.watch(sum(rows), skipped)
    position.step += 1
    if sum(rows) < 2:
        return
    done = run.share(position.step - 1)
    value, norm = run.stepper.gradients(batch, rows, step=position.step, done=done)
    if not (math.isfinite(value) and math.isfinite(norm)):
        _leave_out(run, batch, value, norm)
        return
    run.bad_steps.clear()
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    _watch(run, value)
    position.pairs_seen += sum(rows)
    smooth = position.smooth_loss
    weight = min(SMOOTHING, 1 - 1 / position.step)
    position.smooth_loss = value if smooth is None else weight * smooth + (1 - weight) * value
    _log(run, value, rate=rate)
    _judge(run, sum(rows))


def check(run: Run) -> None:
    """Run all checks and log what they say, and how much of the run's time went into them."""
    began = run.seconds
    run.clip.eval()
    results: dict[str, Any] = {}
    for name, measure in run.checks.items():
        results.update({f"{name}/{key}": value for key, value in measure().items()})
    run.peers.meet()
    if results:
        clock = {"seconds": round(run.seconds, 3), "check_seconds": round(run.seconds - began, 3)}
        run.say("check", pairs_seen=run.position.pairs_seen, smooth_loss=run.position.smooth_loss, **clock, **results)
        for tracker in run.trackers:
            tracker.track(results, step=run.position.step)
        told = "  ".join(f"{key} {value:.3g}" for key, value in results.items())
        run.line.say(f"{run.line.label} {run.share(run.position.step):4.0%}  {told}")


def save(run: Run) -> None:
    """Publish a checkpoint of the run as it stands, if its last step is not saved yet."""
    if run.saved_step == run.position.step:
        return
    root = run.journal.folder / CHECKPOINTS
    position = replace(run.position, seconds=run.seconds)
    keep, is_main = run.settings.checkpoint.keep, run.peers.is_main
    folder = save_checkpoint(root, run.clip, run.optimizer, position, keep=keep, is_writer=is_main)
    run.say("checkpoint", folder=folder.name)
    run.saved_step = run.position.step
    run.peers.meet()


def _next_batch(run: Run, stream: Iterator[Batch]) -> Batch:
    began = time.monotonic()
    batch = next(stream)
    run.data_seconds += time.monotonic() - began
    return batch


def _share_out(run: Run, batch: Batch) -> tuple[list[int], tuple[Skipped, ...]]:
    """How many pairs each process has for this step, and what all had to leave out; the main one's clock is all's."""
    own = [float(len(batch.image_id_B)), float(len(batch.skipped)), run.seconds]
    told = run.peers.numbers(own)
    run.position.seconds = told[0][2]
    skipped = batch.skipped
    if run.peers.ranks > 1 and any(count for _, count, _ in told):
        everyones = run.peers.tell([asdict(sample) for sample in skipped])
        skipped = tuple(Skipped(**sample) for samples in everyones for sample in samples)
    return [int(count) for count, _, _ in told], skipped


def _agree(run: Run, asked: set[int], is_due: bool) -> tuple[set[int], bool]:
    """The signals that any process was sent, and whether the main one's clock says that it is time to save."""
    if run.peers.ranks == 1:
        return asked, is_due
    told = run.peers.numbers([signal.SIGTERM in asked, signal.SIGINT in asked, is_due])
    stop: set[int] = {
        number for place, number in enumerate((signal.SIGTERM, signal.SIGINT)) if any(row[place] for row in told)
    }
    return stop, bool(told[0][2])


def _watch(run: Run, loss: float) -> None:
    """Say what a person would want to look at: a scale that reached its limit, a loss that jumped."""
    was_held, run.is_held = run.is_held, run.clip.hold_logit_scale()
    if run.is_held and not was_held:
        run.say("clamp", scale=float(run.clip.logit_scale.detach().exp()))
    median = run.spikes.sees(loss)
    if median is not None:
        run.say("spike", loss=loss, median=median)
        run.line.say(f"warning: the loss is {loss:.3f} at step {run.position.step:,}, where {median:.3f} was usual.")


def _leave_out(run: Run, batch: Batch, value: float, norm: float) -> None:
    """Undo a step, and tell which pictures were in it."""
    run.stepper.statistics.put_back()
    run.optimizer.zero_grad(set_to_none=True)
    images = [image for images in run.peers.tell(batch.sample_B.tolist()) for image in images]
    run.say("skipped_batch", loss=value, gradient_norm=norm, images=images)
    keys = [run.key(image) for image in images]
    bad = BadStep(step=run.position.step, loss=value, gradient_norm=norm, images=images, keys=keys)
    run.bad_steps.add(bad, run.journal.folder if run.peers.is_main else None)


def memory_told_of(settings: TrainSettings, *, ranks: int, folder: Path) -> AbstractContextManager[None]:
    """`memory_told` for a run in `folder`."""
    batch_size = settings.batch_size or 2
    held = -(-batch_size // ranks)
    return memory_told(
        batch_size=batch_size,
        micro_batch=min(held, settings.micro_batch or held),
        is_saved=lambda: bool(checkpoints(folder / CHECKPOINTS)),
    )


def _set_rate(run: Run) -> float:
    schedule, peak = run.settings.schedule, run.settings.optimizer.learning_rate or 0.0
    # The middle of the step, so that neither the first nor the last step has rate 0.
    half = 0.5 / run.steps if run.steps else 0.0
    rate = peak * rate_factor(min(1.0, run.share(run.position.step) + half), schedule.warmup or 0.0)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    return rate


def _log(run: Run, loss: float, *, rate: float) -> None:
    position = run.position
    average = position.pairs_seen / max(run.seconds, 1e-9)
    if position.step % run.settings.log.every_steps == 0 or position.step == 1:
        speed, data_wait = run.speed()
        values = {
            "loss": loss,
            "smooth_loss": position.smooth_loss,
            "pairs_seen": position.pairs_seen,
            "pairs_per_second": speed,
            "data_wait": data_wait,
            "seconds": round(run.seconds, 3),
            "learning_rate": rate,
            "scale": float(run.clip.logit_scale.detach().exp()),
        }
        run.journal.event(step=position.step, **values)
        for tracker in run.trackers:
            tracker.track(values, step=position.step)
    waits = run.data_seconds / max(time.monotonic() - run.started_at, 1e-9)
    text = f"step {position.step:,}  loss {position.smooth_loss:.3f}  {average:,.0f} pairs/s, {waits:.0%} data wait"
    run.line.show(run.share(position.step), text)


def _judge(run: Run, batch_size: int) -> None:
    """Say once, early in the run, if the loss is still what guessing gives."""
    position = run.position
    if run.was_judged or position.step < JUDGED_STEPS or run.share(position.step) < JUDGED_AFTER:
        return
    run.was_judged = True
    guess = run.objective.guess(batch_size, run.vocab_size)
    if guess is not None and (position.smooth_loss or 0.0) > guess - LEARNING_MARGIN:
        run.say("not_learning", smooth_loss=position.smooth_loss, guess=guess)
        run.line.say(
            f"warning: the loss is {position.smooth_loss:.3f} after {position.step:,} steps, and guessing gives "
            f"{guess:.3f}: the model is not learning. Try a lower optimizer.learning_rate, and "
            "check that captions belong to their images."
        )


def _next_mark(share: float, every: float) -> float:
    return (math.floor(share / every + 1e-9) + 1) * every


@contextmanager
def _own_random_state(run: Run) -> Iterator[None]:
    """Every step seeds torch's generators; whoever called gets them back as they were."""
    device = run.clip.logit_scale.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield

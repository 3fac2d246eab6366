"""The run, read top to bottom: batch, rate, loss, update, log, check, save; until it is done or asked to stop."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from seesay.base.errors import Interrupted, SeesayError, Stopped
from seesay.base.journal import Journal, ProgressLine
from seesay.base.records import Batch
from seesay.data.images import Preprocess
from seesay.data.loader import Batches
from seesay.formulas.contrastive import contrastive_loss, matches
from seesay.nets.clip import Clip
from seesay.training.checkpoint import Position, save_checkpoint
from seesay.training.optimizer import rate_factor, size_at
from seesay.training.settings import TrainSettings
from seesay.training.skips import SkipLog

SMOOTHING = 0.98
MOST_BAD_STEPS = 3
LEARNING_MARGIN = 0.05
JUDGED_AFTER = 0.1
JUDGED_STEPS = 200

Check = Callable[[], Mapping[str, Any]]


@dataclass
class Run:
    """Everything a run holds while it goes on. `steps` is None where the length is given in minutes."""

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
    bad_steps: int = 0
    was_judged: bool = False
    _since: float = 0.0
    _before: float = 0.0
    _told: tuple[int, float] = (0, 0.0)

    @property
    def seconds(self) -> float:
        """Seconds spent on this run, those before a stop included."""
        return self._before + time.monotonic() - self._since

    def start_clock(self) -> None:
        self._since, self._before = time.monotonic(), self.position.seconds
        self._told = self.position.pairs_seen, self.position.seconds

    def speed(self) -> float:
        """Pairs per second since this was asked last, reading them included."""
        pairs, seconds = self.position.pairs_seen, self.seconds
        speed = (pairs - self._told[0]) / max(seconds - self._told[1], 1e-9)
        self._told = pairs, seconds
        return round(speed, 2)

    def share(self, step: int) -> float:
        """How much of the run is done when `step` steps are made: by steps, or by the clock."""
        if self.steps:
            return min(1.0, step / self.steps)
        return min(1.0, self.seconds / (60 * (self.settings.minutes or 1)))


def train(run: Run, batches: Batches) -> None:
    """Go on from where `run` stands to its end. Raises `Stopped` after saving when asked to stop."""
    settings, position = run.settings, run.position
    run.start_clock()
    stream = batches.starting_at(
        position.step,
        size_at=lambda step: size_at(run.share(step), settings.schedule.sizes or ()),
        workers=settings.data.workers or 0,
    )
    next_check = _next_mark(run.share(position.step), settings.check.every)
    saved_at = time.monotonic()
    with _stop_requests() as stop:
        while run.share(position.step) < 1:
            step_once(run, next(stream))
            share = run.share(position.step)
            if share >= next_check and share < 1:
                next_check = _next_mark(share, settings.check.every)
                check(run)
            is_due = time.monotonic() - saved_at >= 60 * settings.checkpoint.every_minutes
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
    """One update from one batch; a loss or gradient that is not finite leaves the weights as they are."""
    position = run.position
    rate = _set_rate(run)
    run.clip.train()
    run.skips.watch(len(batch.image_id_B), batch.skipped)
    position.step += 1
    position.seconds = run.seconds
    if len(batch.image_id_B) < 2:
        return
    loss = _loss(run, batch)
    loss.backward()
    norm = torch.nn.utils.get_total_norm(p.grad for p in run.clip.parameters() if p.grad is not None)
    value = float(loss.detach())
    if not (math.isfinite(value) and bool(torch.isfinite(norm))):
        _leave_out(run, batch, value)
        return
    run.bad_steps = 0
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    if run.clip.hold_logit_scale():
        run.journal.event(event="clamp", step=position.step)
    position.pairs_seen += len(batch.image_id_B)
    smooth = position.smooth_loss
    weight = min(SMOOTHING, 1 - 1 / position.step)
    position.smooth_loss = value if smooth is None else weight * smooth + (1 - weight) * value
    position.seconds = run.seconds
    _log(run, value, rate=rate)
    _judge(run, len(batch.image_id_B))


def check(run: Run) -> None:
    """Run all checks and log what they say."""
    run.clip.eval()
    results: dict[str, Any] = {}
    for name, measure in run.checks.items():
        results.update({f"{name}/{key}": value for key, value in measure().items()})
    if results:
        run.journal.event(event="check", step=run.position.step, pairs_seen=run.position.pairs_seen, **results)
        told = "  ".join(f"{key} {value:.3g}" for key, value in results.items())
        run.line.say(f"{run.line.label} {run.share(run.position.step):4.0%}  {told}")


def save(run: Run) -> Path:
    """Publish a checkpoint of the run as it stands."""
    run.position.seconds = run.seconds
    root = run.journal.folder / "checkpoints"
    folder = save_checkpoint(root, run.clip, run.optimizer, run.position, keep=run.settings.checkpoint.keep)
    run.journal.event(event="checkpoint", step=run.position.step, folder=folder.name)
    return folder


def _loss(run: Run, batch: Batch) -> torch.Tensor:
    device = run.clip.logit_scale.device
    pixels = run.preprocess.normalise(batch.pixels_B3SS.to(device, non_blocking=True))
    embedded = run.clip(pixels, batch.tokens.to(device))
    is_match_BB = None
    if run.settings.data.share_repeats:
        is_match_BB = matches(batch.image_id_B.to(device), batch.caption_id_B.to(device))
    return contrastive_loss(embedded.image_BD, embedded.text_BD, embedded.scale, is_match_BB=is_match_BB)


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
    average = position.pairs_seen / max(position.seconds, 1e-9)
    if position.step % run.settings.log.every_steps == 0 or position.step == 1:
        run.journal.event(
            step=position.step,
            loss=loss,
            smooth_loss=position.smooth_loss,
            pairs_seen=position.pairs_seen,
            pairs_per_second=run.speed(),
            seconds=round(position.seconds, 3),
            learning_rate=rate,
            scale=float(run.clip.logit_scale.detach().exp()),
        )
    text = f"step {position.step:,}  loss {position.smooth_loss:.3f}  {average:,.0f} pairs/s"
    run.line.show(run.share(position.step), text)


def _judge(run: Run, batch_size: int) -> None:
    """Say once, early in the run, if the loss is still what guessing gives."""
    position = run.position
    if run.was_judged or position.step < JUDGED_STEPS or run.share(position.step) < JUDGED_AFTER:
        return
    run.was_judged = True
    guess = math.log(batch_size)
    if (position.smooth_loss or 0.0) > guess - LEARNING_MARGIN:
        run.journal.event(event="not_learning", step=position.step, smooth_loss=position.smooth_loss, guess=guess)
        run.line.say(
            f"warning: the loss is {position.smooth_loss:.3f} after {position.step:,} steps, and guessing gives "
            f"ln({batch_size}) = {guess:.3f}: the model is not learning. Try a lower optimizer.learning_rate, and "
            "check that captions belong to their images."
        )


def _leave_out(run: Run, batch: Batch, value: float) -> None:
    run.optimizer.zero_grad(set_to_none=True)
    run.bad_steps += 1
    step = run.position.step
    run.journal.event(event="skipped_batch", step=step, loss=value, images=batch.image_id_B.tolist())
    if run.bad_steps >= MOST_BAD_STEPS:
        raise SeesayError(
            f"loss or gradient was not finite {MOST_BAD_STEPS} steps in a row, up to step {step:,}; the last "
            "checkpoint is whole: lower optimizer.learning_rate, or look at the images named in events.jsonl."
        )


def _next_mark(share: float, every: float) -> float:
    return (math.floor(share / every + 1e-9) + 1) * every


@contextmanager
def _stop_requests() -> Iterator[set[int]]:
    """Signals that asked for a stop; a second one of them ends the process at once."""
    asked: set[int] = set()

    def ask(number: int, _: object) -> None:
        asked.add(number)
        signal.signal(number, signal.SIG_DFL)

    try:
        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread: whoever owns it handles signals
        before = {}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

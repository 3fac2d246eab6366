"""The loop, read top to bottom: batch, learning rate, loss, update, log, check, save; until it is done or stopped."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from seesay.base.errors import Interrupted, Stopped
from seesay.base.memory import keep_freed_memory
from seesay.base.records import Batch, Skipped
from seesay.data.loader import Batches
from seesay.formulas.schedule import size_at
from seesay.nets.batch_norm import train_mode
from seesay.training.best import is_stopped_early, keep_best, warn_if_rising
from seesay.training.checkpoint import CHECKPOINTS, checkpoints, save_checkpoint
from seesay.training.faults import BadStep, ended_when_stuck, explain_out_of_memory, stop_requests
from seesay.training.optimizer import next_learning_rate
from seesay.training.plan import RunPlan
from seesay.training.run_log import log_step, log_surprises, warn_if_not_learning
from seesay.training.state import TrainState

# A guess: the smoothed loss is a mean over about the last fifty steps.
SMOOTHING = 0.98


def run_loop(state: TrainState, batches: Batches) -> None:
    """Go on from where the run stands to its end. Raises `Stopped` after saving when asked to stop."""
    plan, position = state.plan, state.position
    check_settings, checkpoint_settings = plan.settings.check, plan.settings.checkpoint
    keep_freed_memory()
    state.start_clock()
    part = state.processes.rank, state.processes.world_size
    stream = batches.starting_at(
        position.step,
        size_at=lambda step: size_at(state.share(step), plan.sizes),
        workers=plan.data.workers,
        part=part,
        timeout_seconds=plan.data.timeout_seconds,
        largest_size=max(size for size, _ in plan.sizes),
    )
    marks = _marks_passed(state.share(position.step), check_settings.every)
    saved_at = time.monotonic()
    state.processes.barrier()
    state.line.begin(state.share(position.step))
    stuck = ended_when_stuck(plan.settings.stuck_minutes)
    memory = explaining_out_of_memory(plan, world_size=state.processes.world_size, folder=state.journal.folder)
    with closing(batches), stuck as alive, stop_requests() as requests, _own_random_state(state), memory:
        while state.share(position.step) < 1 and not is_stopped_early(state):
            alive()
            train_step(state, _next_batch(state, stream))
            share = state.share(position.step)
            marks, marks_before = _marks_passed(share, check_settings.every), marks
            is_marked = position.step in check_settings.at if check_settings.at else marks > marks_before
            if is_marked and share < 1:
                alive()
                check(state)
                alive()
            is_due = time.monotonic() - saved_at >= 60 * checkpoint_settings.every_minutes
            stop, is_due = _agreed(state, requests, is_due)
            every_steps = checkpoint_settings.every_steps
            if stop or is_due or (every_steps and position.step % every_steps == 0):
                save(state)
                saved_at = time.monotonic()
            if stop:
                kind = Interrupted if signal.SIGINT in stop else Stopped
                raise kind(f"stopped after step {position.step:,}, saved; the same command goes on.")
    save(state)
    state.line.close()
    if state.checked_step != position.step:
        check(state)


def train_step(state: TrainState, batch: Batch) -> None:
    """One update from one batch; a loss or gradient that is not finite leaves the model as it is."""
    position = state.position
    rows, skipped = _share_out(state, batch)
    learning_rate = _set_learning_rate(state)
    # A batch of one target is no sample of the images that the model began with.
    train_mode(state.clip, has_statistics=state.plan.settings.has_statistics)
    state.skips.watch(sum(rows), skipped)
    position.step += 1
    if sum(rows) < 2:
        return
    loss, norm = state.stepper.gradients(batch, rows, step=position.step, done=state.share(position.step - 1))
    if not (math.isfinite(loss) and math.isfinite(norm)):
        _leave_out(state, batch, loss, norm)
        return
    state.bad_steps.clear()
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    log_surprises(state, loss)
    position.pairs_seen += sum(rows)
    position.smooth_loss = smoothed(position.smooth_loss, loss, step=position.step)
    log_step(state, loss, learning_rate=learning_rate)
    warn_if_not_learning(state, sum(rows))


def smoothed(before: float | None, loss: float, *, step: int) -> float:
    """The mean of all losses up to the fiftieth step, an exponential one with that memory from there on."""
    weight = min(SMOOTHING, 1 - 1 / step)
    return loss if before is None else weight * before + (1 - weight) * loss


def check(state: TrainState) -> None:
    """Run all checks and log their results, and how much of the run's time went into them."""
    began = state.seconds
    state.clip.eval()
    results: dict[str, Any] = {}
    for name, measure in state.checks.items():
        results.update({f"{name}/{key}": value for key, value in measure().items()})
    state.processes.barrier()
    state.checked_step = state.position.step
    if results:
        # Before the event, so that what the log says of a step is on disk.
        keep_best(state, results)
        position = state.position
        clock = {"seconds": round(state.seconds, 3), "check_seconds": round(state.seconds - began, 3)}
        counted = {"pairs_seen": position.pairs_seen, "smooth_loss": position.smooth_loss}
        state.log_event("check", **counted, **clock, **results)
        for tracker in state.trackers:
            tracker.track(results, step=position.step)
        numbers = "  ".join(f"{key} {value:.3g}" for key, value in results.items())
        state.line.say(f"{state.line.label} {state.share(position.step):4.0%}  {numbers}")
        warn_if_rising(state, results)


def save(state: TrainState) -> None:
    """Publish a checkpoint of the run as it stands, if its last step is not saved yet."""
    if state.saved_step == state.position.step:
        return
    root = state.journal.folder / CHECKPOINTS
    position = replace(state.position, seconds=state.seconds)
    keep, is_main = state.plan.settings.checkpoint.keep, state.processes.is_main
    folder = save_checkpoint(root, state.clip, state.optimizer, position, keep=keep, is_writer=is_main)
    state.log_event("checkpoint", folder=folder.name)
    state.saved_step = state.position.step
    state.processes.barrier()


def _next_batch(state: TrainState, stream: Iterator[Batch]) -> Batch:
    began = time.monotonic()
    batch = next(stream)
    state.data_seconds += time.monotonic() - began
    return batch


def _share_out(state: TrainState, batch: Batch) -> tuple[list[int], tuple[Skipped, ...]]:
    """How many pairs each process has for this step, and what all had to leave out; the main one's clock is all's."""
    local = [float(len(batch.image_id_B)), float(len(batch.skipped)), state.seconds]
    counts = state.processes.all_gather_floats(local)
    state.position.seconds = counts[0][2]
    skipped = batch.skipped
    if state.processes.world_size > 1 and any(count for _, count, _ in counts):
        by_process = state.processes.all_gather_object([asdict(sample) for sample in skipped])
        skipped = tuple(Skipped(**sample) for samples in by_process for sample in samples)
    return [int(count) for count, _, _ in counts], skipped


def _agreed(state: TrainState, requests: set[int], is_due: bool) -> tuple[set[int], bool]:
    """The signals that any process was sent, and whether the main one's clock says that it is time to save."""
    if state.processes.world_size == 1:
        return requests, is_due
    numbers = (signal.SIGTERM, signal.SIGINT)
    votes = state.processes.all_gather_floats([*(number in requests for number in numbers), is_due])
    stop: set[int] = {number for column, number in enumerate(numbers) if any(vote[column] for vote in votes)}
    return stop, bool(votes[0][2])


def _leave_out(state: TrainState, batch: Batch, loss: float, norm: float) -> None:
    """Undo a step, and report which images were in it."""
    state.stepper.statistics.restore()
    state.optimizer.zero_grad(set_to_none=True)
    images = [image for images in state.processes.all_gather_object(batch.sample_B.tolist()) for image in images]
    state.log_event("skipped_batch", loss=loss, gradient_norm=norm, images=images)
    keys = [state.key(image) for image in images]
    bad = BadStep(step=state.position.step, loss=loss, gradient_norm=norm, images=images, keys=keys)
    folder = state.journal.folder if state.processes.is_main else None
    state.bad_steps.add(bad, folder, log_event=state.log_event)


def explaining_out_of_memory(plan: RunPlan, *, world_size: int, folder: Path) -> AbstractContextManager[None]:
    """`explain_out_of_memory` for a run in `folder`."""
    return explain_out_of_memory(
        batch_size=plan.batch_size,
        micro_batch=min(-(-plan.batch_size // world_size), plan.micro_batch),
        is_saved=lambda: bool(checkpoints(folder / CHECKPOINTS)),
    )


def _set_learning_rate(state: TrainState) -> float:
    learning_rate = next_learning_rate(state.plan, state.position.step, state.position.seconds)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate
    return learning_rate


def _marks_passed(share: float, every: float) -> int:
    """How many checks are due by now. 0.3 / 0.1 is a little under 3: the 1e-9 keeps that check at its step."""
    return math.floor(share / every + 1e-9)


@contextmanager
def _own_random_state(state: TrainState) -> Iterator[None]:
    """Every step seeds torch's generators; whoever called gets them back as they were."""
    device = state.parallel.device
    mps = torch.mps.get_rng_state() if device.type == "mps" else None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            if mps is not None:  # `fork_rng` does not know it
                torch.mps.set_rng_state(mps)

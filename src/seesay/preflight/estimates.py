"""Time and memory of the whole run, computed from a short one."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from seesay.base.errors import UsageError
from seesay.formulas.schedule import Length, Minutes
from seesay.preflight.report import MemoryReport, SideSpeed, TimeReport

# Weights, gradients and moments are in single precision (IEEE 754 binary32).
FLOAT_BYTES = 4
# Guesses: the range of speeds is that of fifths of a short run, and its first two steps are not counted.
PARTS = 5
WARMING_STEPS = 2
# A backward pass takes two matrix products for each one of its forward pass.
FORWARD_GAIN = 3
# A guess: a tenth of the memory is left free, since a run that fills all of it is ended by the next allocation.
USABLE = 0.9

# (pairs seen, seconds passed) at the end of each step.
Marks = Sequence[tuple[int, float]]


def speeds(measured: Mapping[str, Sequence[Mapping[str, Any]]], *, pairs: int) -> tuple[SideSpeed, ...]:
    """The speed at each side, from steps as (pairs seen, seconds passed). `pairs`: those in one epoch."""
    speeds_by_side = []
    for run in measured.get("steps", ()):
        steps = [(int(seen), float(seconds)) for seen, seconds in run["steps"]]
        first = [step for step in steps if step[0] <= pairs]
        first = first if len(first) > WARMING_STEPS else steps
        if not first or first[-1][0] == 0:
            continue
        parts = _parts(first)
        later = [step for step in steps if step[0] > pairs]
        speeds_by_side.append(
            SideSpeed(
                side=run["side"],
                steps=len(steps),
                first_epoch=_speed(_warm(first)),
                cached=_speed(later) if len(later) > WARMING_STEPS else None,
                slowest=min(parts),
                fastest=max(parts),
            )
        )
    return _with_cached(speeds_by_side, measured.get("cached", ()))


def time_of(
    measured: Sequence[SideSpeed],
    *,
    length: Length,
    batch_size: int,
    pairs: int,
    sizes: Sequence[tuple[int, float]],
    around_seconds: float,
    checked_pairs: int,
) -> TimeReport:
    """The whole run: the first epoch at the speed of reading images, later ones at that of cached images.

    `around_seconds` are those before the first step and after the last. `checked_pairs`, of all checks together, cost a
    third of training on them: they go forward only. A run of a length in minutes takes these; its steps are estimated.
    """
    by_side = {speed.side: speed for speed in measured}
    phases = [(by_side[side], share) for side, share in sizes if side in by_side]
    if isinstance(length, Minutes):
        later = statistics.fmean(speed.cached or speed.first_epoch for speed, _ in phases)
        steps = max(1, round(60 * length.minutes * later / batch_size))
        spent = low = high = 60 * length.minutes
    else:
        steps = length.count
        spent, low, high = (
            _seconds(phases, steps * batch_size, pairs, at=at) for at in ("middle", "fastest", "slowest")
        )
    check_seconds = checked_pairs / (FORWARD_GAIN * measured[-1].first_epoch)
    around = around_seconds + check_seconds
    return TimeReport(
        steps=steps,
        epochs=steps * batch_size / pairs,
        seconds=spent + around,
        low_seconds=low + around,
        high_seconds=high + around,
        around_seconds=around_seconds,
        check_seconds=check_seconds,
        speeds=tuple(measured),
    )


def _seconds(phases: Sequence[tuple[SideSpeed, float]], total: int, pairs: int, *, at: str) -> float:
    spent, passed = 0.0, 0.0
    for speed, share in phases:
        scale = {"middle": 1.0, "fastest": speed.fastest, "slowest": speed.slowest}[at]
        factor = 1.0 if at == "middle" else scale / speed.first_epoch
        here = share * total
        first = min(max(0.0, pairs - passed), here)
        spent += first / (speed.first_epoch * factor) + (here - first) / ((speed.cached or speed.first_epoch) * factor)
        passed += here
    return spent


def _warm(steps: Marks) -> Marks:
    """Without the first steps, in which memory is allocated and threads are started, if others are left."""
    return steps[WARMING_STEPS - 1 :] if len(steps) > 2 * WARMING_STEPS else steps


def _speed(steps: Marks) -> float:
    if len(steps) == 1:
        return steps[0][0] / max(steps[0][1], 1e-9)
    return (steps[-1][0] - steps[0][0]) / max(steps[-1][1] - steps[0][1], 1e-9)


def _parts(steps: Marks) -> list[float]:
    """Pairs per second in each of `PARTS` equal parts of the steps."""
    warm = _warm(steps)
    marks = sorted({round(part * (len(warm) - 1) / PARTS) for part in range(PARTS + 1)})
    return [_speed([warm[left], warm[right]]) for left, right in pairwise(marks)] or [_speed(warm)]


def _with_cached(speeds_by_side: Sequence[SideSpeed], cached: Sequence[Mapping[str, Any]]) -> tuple[SideSpeed, ...]:
    """Fill in the speed of cached images where it was measured at one side only: the time saved is that of reading."""
    if not cached or not speeds_by_side:
        return tuple(speeds_by_side)
    steps = [(int(seen), float(seconds)) for seen, seconds in cached[-1]["steps"]]
    later = steps[WARMING_STEPS:]
    largest = speeds_by_side[-1]
    if len(later) <= WARMING_STEPS or largest.side != cached[-1]["side"]:
        return tuple(speeds_by_side)
    saved = max(0.0, 1 / largest.first_epoch - 1 / _speed(later))
    return tuple(
        SideSpeed(**{**vars(speed), "cached": speed.cached or 1 / max(1 / speed.first_epoch - saved, 1e-9)})
        for speed in speeds_by_side
    )


def memory_of(
    run: Mapping[str, Any],
    *,
    program: int,
    cached_images: int,
    available: int,
    device: str,
    batch_size: int,
    measured_batch: int,
    micro_batch: int,
    keep: int,
    disk_free: int,
) -> MemoryReport:
    """What the run needs, from one whose batch was `measured_batch` (smaller than the run's if that did not fit).

    On a GPU only its own memory is counted. `cached_images`: bytes of images that will be cached and were not yet.
    """
    parameters = run["parameters"]
    weights = parameters * FLOAT_BYTES
    on_gpu = device.startswith("cuda")
    measured = run["gpu_bytes"] if on_gpu else run["bytes"]
    base = 0 if on_gpu else program
    fixed = base + 4 * weights
    rest = max(0, measured - fixed)
    at_once = min(micro_batch, batch_size)
    measured_at_once = min(at_once, measured_batch)
    later = 0 if on_gpu else cached_images
    needed = fixed + round(rest * at_once / measured_at_once) + later
    return MemoryReport(
        device=device,
        parameters=parameters,
        program=base,
        weights=weights,
        gradients=weights,
        moments=2 * weights,
        rest=rest,
        cached_images=later,
        measured=measured,
        measured_batch_size=measured_batch,
        needed=needed,
        available=available,
        suggested_micro_batch=_micro_batch(fixed + later, rest / measured_at_once, at_once, available=available),
        checkpoints=3 * weights * (keep + 1),
        disk_free=disk_free,
    )


def _micro_batch(fixed: int, per_pair: float, at_once: int, *, available: int) -> int | None:
    """The largest power of two of pairs that fits, None where all that are planned do, 0 where not even one does."""
    room = USABLE * available - fixed
    if at_once * per_pair <= room:
        return None
    fitting = int(room / per_pair) if per_pair else 0
    return 1 << (fitting.bit_length() - 1) if fitting >= 1 else 0


def halved(batch_size: int) -> int:
    """The next batch to try where one did not fit; `UsageError` where there is none."""
    if batch_size < 4:
        raise UsageError(f"not even a batch of {batch_size} fits into memory; choose a smaller --model.")
    return batch_size // 2

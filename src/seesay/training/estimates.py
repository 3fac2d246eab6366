"""What a rehearsal tells about the whole run: its time and its memory. Pure sums, nothing is measured here."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from seesay.base.errors import UsageError
from seesay.training.diagnosis import MemoryReport, SideSpeed, TimeReport

FLOAT_BYTES = 4
PARTS = 5
WARMING_STEPS = 2
# A backward pass costs twice its forward pass.
FORWARD_GAIN = 3
# What is left free: a run that fills memory to the last byte is ended by whoever asks next.
USABLE = 0.9

Steps = Sequence[tuple[int, float]]


def speeds(told: Mapping[str, Sequence[Mapping[str, Any]]], *, pairs: int) -> tuple[SideSpeed, ...]:
    """The speed at each side, from steps as (pairs seen, seconds passed). `pairs`: those in one visit to all."""
    found = []
    for run in told.get("steps", ()):
        steps = [(int(seen), float(seconds)) for seen, seconds in run["steps"]]
        first = [step for step in steps if step[0] <= pairs]
        first = first if len(first) > WARMING_STEPS else steps
        if not first or first[-1][0] == 0:
            continue
        parts = _parts(first)
        later = [step for step in steps if step[0] > pairs]
        found.append(
            SideSpeed(
                side=run["side"],
                steps=len(steps),
                first_visit=_speed(_warm(first)),
                kept=_speed(later) if len(later) > WARMING_STEPS else None,
                slowest=min(parts),
                fastest=max(parts),
            )
        )
    return _with_kept(found, told.get("kept", ()))


def time_of(
    measured: Sequence[SideSpeed],
    *,
    steps: int | None,
    minutes: float | None,
    batch_size: int,
    pairs: int,
    sizes: Sequence[tuple[int, float]],
    around_seconds: float,
    checked_pairs: int,
) -> TimeReport:
    """The whole run: the first visit to each pair at the speed of reading it, later ones at that of pictures kept.

    `around_seconds` are those before the first step and after the last. `checked_pairs`, of all checks together, cost a
    third of training on them: they go forward only. A run given in minutes takes these; its steps are estimated.
    """
    by_side = {speed.side: speed for speed in measured}
    phases = [(by_side[side], share) for side, share in sizes if side in by_side]
    if minutes is not None:
        later = statistics.fmean(speed.kept or speed.first_visit for speed, _ in phases)
        steps = max(1, round(60 * minutes * later / batch_size))
        spent = low = high = 60 * minutes
    else:
        total = (steps or 1) * batch_size
        spent, low, high = (_seconds(phases, total, pairs, at=at) for at in ("middle", "fastest", "slowest"))
    check_seconds = checked_pairs / (FORWARD_GAIN * measured[-1].first_visit)
    around = around_seconds + check_seconds
    steps = steps or 1
    return TimeReport(
        steps=steps,
        visits=steps * batch_size / pairs,
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
        factor = 1.0 if at == "middle" else scale / speed.first_visit
        here = share * total
        first = min(max(0.0, pairs - passed), here)
        spent += first / (speed.first_visit * factor) + (here - first) / ((speed.kept or speed.first_visit) * factor)
        passed += here
    return spent


def _warm(steps: Steps) -> Steps:
    """Without the first steps, in which memory is taken and threads are started, if others are left."""
    return steps[WARMING_STEPS - 1 :] if len(steps) > 2 * WARMING_STEPS else steps


def _speed(steps: Steps) -> float:
    if len(steps) == 1:
        return steps[0][0] / max(steps[0][1], 1e-9)
    return (steps[-1][0] - steps[0][0]) / max(steps[-1][1] - steps[0][1], 1e-9)


def _parts(steps: Steps) -> list[float]:
    """The speed of each of a few equal parts."""
    warm = _warm(steps)
    marks = sorted({round(part * (len(warm) - 1) / PARTS) for part in range(PARTS + 1)})
    return [_speed([warm[left], warm[right]]) for left, right in pairwise(marks)] or [_speed(warm)]


def _with_kept(found: Sequence[SideSpeed], kept: Sequence[Mapping[str, Any]]) -> tuple[SideSpeed, ...]:
    """Fill in the speed of pictures kept where it was measured apart, at one side: the reading saved is the same."""
    if not kept or not found:
        return tuple(found)
    steps = [(int(seen), float(seconds)) for seen, seconds in kept[-1]["steps"]]
    later = steps[WARMING_STEPS:]
    largest = found[-1]
    if len(later) <= WARMING_STEPS or largest.side != kept[-1]["side"]:
        return tuple(found)
    saved = max(0.0, 1 / largest.first_visit - 1 / _speed(later))
    return tuple(
        SideSpeed(**{**vars(speed), "kept": speed.kept or 1 / max(1 / speed.first_visit - saved, 1e-9)})
        for speed in found
    )


def memory_of(
    run: Mapping[str, Any],
    *,
    program: int,
    pictures_kept: int,
    available: int,
    device: str,
    batch_size: int,
    measured_batch: int,
    micro_batch: int | None,
    keep: int,
    disk_free: int,
) -> MemoryReport:
    """What the run needs, from one whose batch was `measured_batch` (smaller than the run's if that did not fit).

    On a GPU only its own memory is counted. `pictures_kept`: bytes of pictures that will be kept and were not yet.
    """
    parameters = run["parameters"]
    weights = parameters * FLOAT_BYTES
    on_gpu = device.startswith("cuda")
    measured = run["gpu_bytes"] if on_gpu else run["bytes"]
    base = 0 if on_gpu else program
    fixed = base + 4 * weights
    rest = max(0, measured - fixed)
    at_once = min(micro_batch or batch_size, batch_size)
    measured_at_once = min(at_once, measured_batch)
    later = 0 if on_gpu else pictures_kept
    needed = fixed + round(rest * at_once / measured_at_once) + later
    return MemoryReport(
        device=device,
        parameters=parameters,
        program=base,
        weights=weights,
        gradients=weights,
        moments=2 * weights,
        rest=rest,
        pictures_kept=later,
        measured=measured,
        batch_size=measured_batch,
        needed=needed,
        available=available,
        micro_batch=_micro_batch(fixed + later, rest / measured_at_once, at_once, available=available),
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

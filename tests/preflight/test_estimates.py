"""Time and memory of a run from a short run, by hand."""

import pytest

from seesay.base.errors import UsageError
from seesay.formulas.schedule import Minutes, Steps
from seesay.preflight.estimates import halved, memory_of, speeds, time_of

MIB = 1 << 20


def steady(side: int, *, batch: int, seconds: float, count: int) -> dict:
    """A short run in which every step takes as long."""
    return {"side": side, "steps": [(batch * n, seconds * n) for n in range(1, count + 1)]}


def plan(measured, **changes):
    known = {"length": Steps(100), "batch_size": 10, "pairs": 100, "sizes": ((32, 0.5), (64, 0.5))}
    return time_of(measured, **{**known, "around_seconds": 3.0, "checked_pairs": 0, **changes})


def test_steady_steps_give_pairs_over_seconds_and_no_range():
    measurements = {"steps": [steady(32, batch=10, seconds=0.1, count=9), steady(64, batch=10, seconds=0.5, count=9)]}
    measured = speeds(measurements, pairs=1000)
    assert [(speed.side, speed.first_epoch) for speed in measured] == [
        (32, pytest.approx(100)),
        (64, pytest.approx(20)),
    ]
    time = plan(measured)
    # 500 pairs at 100 a second, 500 at 20 a second, and 3 seconds around.
    assert time.seconds == time.low_seconds == time.high_seconds == pytest.approx(5 + 25 + 3)
    assert time.steps == 100 and time.epochs == 10


def test_later_epochs_go_at_the_speed_of_cached_images():
    measurements = {
        "steps": [steady(32, batch=10, seconds=0.2, count=9), steady(64, batch=10, seconds=0.5, count=9)],
        "cached": [steady(64, batch=10, seconds=0.4, count=9)],
    }
    measured = speeds(measurements, pairs=1000)
    # Reading costs 0.01 s for each pair, at both sizes.
    assert [speed.cached for speed in measured] == [pytest.approx(100), pytest.approx(25)]
    assert plan(measured).seconds == pytest.approx(100 * 0.02 + 400 * 0.01 + 500 * 0.04 + 3)


def test_checks_cost_a_third_of_training():
    measured = speeds({"steps": [steady(64, batch=10, seconds=0.1, count=9)]}, pairs=1000)
    assert plan(measured, sizes=((64, 1.0),), checked_pairs=600).check_seconds == pytest.approx(2)


def test_a_run_in_minutes_takes_these_and_its_steps_are_estimated():
    measured = speeds({"steps": [steady(64, batch=10, seconds=0.5, count=9)]}, pairs=1000)
    time = plan(measured, length=Minutes(2.0), sizes=((64, 1.0),))
    assert time.steps == 240 and time.seconds == pytest.approx(123)


def test_the_range_is_that_of_the_parts():
    steps = [(10 * n, 0.1 * n if n <= 15 else 1.5 + 0.2 * (n - 15)) for n in range(1, 31)]
    (speed,) = speeds({"steps": [{"side": 64, "steps": steps}]}, pairs=1000)
    assert speed.slowest == pytest.approx(50) and speed.fastest == pytest.approx(100)
    assert 50 < speed.first_epoch < 100


def memory(**changes):
    known = {
        "program": 200 * MIB,
        "cached_images": 0,
        "available": 4000 * MIB,
        "device": "cpu",
        "batch_size": 64,
        "measured_batch": 64,
        "micro_batch": 64,
        "keep": 2,
        "disk_free": 1 << 40,
    }
    run = {"parameters": 25 * MIB, "bytes": 1240 * MIB, "gpu_bytes": 0}
    return memory_of(run, **{**known, **changes})


def test_memory_is_taken_apart_and_adds_up():
    report = memory(cached_images=7 * MIB)
    assert (report.weights, report.gradients, report.moments) == (100 * MIB, 100 * MIB, 200 * MIB)
    assert report.rest == 640 * MIB and report.needed == 1247 * MIB and report.suggested_micro_batch is None
    assert report.checkpoints == 900 * MIB


def test_what_does_not_fit_is_given_the_largest_micro_batch_that_does():
    # 600 MiB are fixed and a pair takes 10: of 990 usable MiB, 390 are left for 39 pairs.
    assert memory(available=1100 * MIB).suggested_micro_batch == 32
    assert memory(available=600 * MIB).suggested_micro_batch == 0


def test_a_smaller_batch_that_was_measured_is_scaled_to_the_one_that_is_planned():
    report = memory(batch_size=256, micro_batch=256)
    assert report.needed == (600 + 4 * 640) * MIB and report.measured_batch_size == 64
    assert memory(batch_size=256, micro_batch=32).needed == (600 + 640) * MIB


def test_a_batch_that_cannot_be_halved_is_refused():
    assert halved(9) == 4
    with pytest.raises(UsageError, match="smaller model"):
        halved(3)

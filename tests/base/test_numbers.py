"""Numbers of the ground worked out by hand: what a run forgets, the time that is left, the cores of a process."""

import os

import pytest

from seesay.base import journal
from seesay.base.errors import UsageError
from seesay.base.journal import Journal, ProgressLine, read_events
from seesay.base.runtime import Runtime


def test_a_run_that_goes_on_forgets_what_came_after_its_step_and_nothing_else(tmp_path):
    with Journal(tmp_path) as run:
        run.event(event="began")
        for step in (1, 2, 3):
            run.event(step=step, loss=float(step))
        run.cut_after(2)
        run.event(step=3, loss=9.0)
    events = read_events(tmp_path / "events.jsonl")
    assert [event.get("step") for event in events] == [None, 1, 2, 3]
    assert events[-1]["loss"] == 9.0


@pytest.mark.parametrize(
    ("share", "elapsed", "left"),
    [(0.25, 60, "3:00 left"), (0.5, 60, "1:00 left"), (0.01, 100, "2:45:00 left"), (1.0, 90, "0:00 left")],
)
def test_the_time_that_is_left_is_that_of_the_rest(share, elapsed, left, monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: now[0])
    line = ProgressLine("train")
    now[0] += elapsed
    line.show(share, "words")
    assert capsys.readouterr().err == f"train {share:4.0%}  words  {left}\n"


def test_the_time_that_is_left_counts_from_where_the_work_began(monkeypatch, capsys):
    """A run that goes on began with half of it done, and what was made ready before took ten minutes."""
    now = [1000.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: now[0])
    line = ProgressLine("train")
    now[0] += 600
    line.begin(0.5)
    now[0] += 60
    line.show(0.5)
    now[0] += 60
    line.show(0.75)
    assert capsys.readouterr().err == "train  50%  starting\ntrain  75%  2:00 left\n"


def test_nothing_is_shown_in_the_first_two_seconds_nor_again_within_half_a_minute(monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: now[0])
    line = ProgressLine("train")
    shown = []
    for seconds in (1.9, 29.9, 30.0, 59.9, 60.0):
        now[0] = 1000.0 + seconds
        line.show(0.5)
        if capsys.readouterr().err:
            shown.append(seconds)
    assert shown == [30.0, 60.0]


@pytest.mark.parametrize(("local", "cores"), [(None, 8), (1, 8), (2, 4), (3, 2), (16, 1)])
def test_the_processes_of_a_machine_share_its_cores(local, cores, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    if local is not None:
        for name, value in (("RANK", 5), ("WORLD_SIZE", 32), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", local)):
            monkeypatch.setenv(name, str(value))
    runtime = Runtime.find("cpu")
    assert runtime.cores == cores
    assert (runtime.rank, runtime.world_size) == ((0, 1) if local is None else (5, 32))


def test_what_torchrun_never_sets_is_refused(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UsageError, match="WORLD_SIZE is 'two'"):
        Runtime.find("cpu")

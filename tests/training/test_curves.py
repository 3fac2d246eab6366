"""The curves of a run have the loss of guessing, as long as the run had that batch size."""

import pytest

from seesay.base.journal import read_events
from seesay.training.run_log import _draw_chance, log_chance


class Axes:
    """Keeps what is drawn."""

    def __init__(self):
        self.lines = []

    def plot(self, x, y, *, label, **style):
        self.lines.append((tuple(x), y[0], label))


def chance(pairs_seen, training, validation):
    sizes = {"training": training, "validation": validation}
    losses = {"training": training / 10, "validation": validation / 10}
    return {"event": "chance", "pairs_seen": pairs_seen, "batch_sizes": sizes, "losses": losses}


def drawn(*events, until):
    axes = Axes()
    _draw_chance(axes, events, until=until)
    return axes.lines


def test_a_run_whose_batch_size_changed_has_a_line_for_each():
    lines = drawn(chance(0, 32, 20), chance(640, 16, 16), until=960)
    assert lines == [
        ((0, 640), 3.2, "guessing, batches of 32"),
        ((0, 640), 2.0, "guessing, batches of 20"),
        ((640, 960), 1.6, "guessing, batches of 16"),
    ]


def test_a_run_that_was_stopped_names_a_batch_size_once():
    lines = drawn(chance(0, 16, 16), chance(320, 16, 16), until=960)
    assert lines == [((0, 320), 1.6, "guessing, batches of 16"), ((320, 960), 1.6, None)]


def test_what_guessing_gives_is_logged_for_training_and_validation(small_run):
    log_chance(small_run, 3)
    log_chance(small_run, 0)
    events = read_events(small_run.journal.folder / "events.jsonl")
    assert [event["batch_sizes"] for event in events] == [
        {"training": 4, "validation": 3},
        {"training": 4, "validation": 0},
    ]
    assert events[0]["losses"] == pytest.approx({"training": 1.386294, "validation": 1.098612}, rel=1e-5)
    assert list(events[1]["losses"]) == ["training"]

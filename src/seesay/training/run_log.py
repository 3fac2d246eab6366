"""What a run logs: a line of numbers per step, a loss that jumps, a model that does not learn; and its curves.

A process that is not the main one has `QuietJournal` and `QuietLine` in place of a journal and a progress line.
"""

import math
import statistics
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesay.base.drawing import COLOURS, FAINT, LINE, canvas, look_of, plain_figure, plain_label
from seesay.base.errors import SeesayError
from seesay.base.journal import EVENTS_NAME, Journal, ProgressLine, read_events
from seesay.base.publish import publish_file
from seesay.base.streams import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from seesay.training.state import TrainState

CURVES_NAME = "curves.png"
# Guesses: a loss ten times the median of the last hundred is worth a line, once twenty are known.
SPIKE = 10.0
SPIKE_WINDOW = 100
SPIKE_LEAST = 20
# Guesses: a run is judged once, after a tenth of it and 200 steps, by whether it is 0.05 nats below guessing.
LEARNING_MARGIN = 0.05
JUDGED_AFTER = 0.1
JUDGED_STEPS = 200


class SpikeWatch:
    """Sees a loss above ten times the median of the last hundred; it is reported and nothing is rolled back."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=SPIKE_WINDOW)

    def sees(self, loss: float) -> float | None:
        """The median that `loss` stands ten times above, else None."""
        median = statistics.median(self._last) if len(self._last) >= SPIKE_LEAST else math.inf
        self._last.append(loss)
        return median if loss > SPIKE * median else None


def log_step(state: "TrainState", loss: float, *, learning_rate: float) -> None:
    """The numbers of a step, every so many steps, for the journal and the trackers; the progress line at each."""
    position = state.position
    if position.step % state.plan.settings.log.every_steps == 0 or position.step == 1:
        speed, data_wait = state.speed()
        values = {
            "loss": loss,
            "smooth_loss": position.smooth_loss,
            "pairs_seen": position.pairs_seen,
            "pairs_per_second": speed,
            "data_wait": data_wait,
            "seconds": round(state.seconds, 3),
            "learning_rate": learning_rate,
            "scale": float(state.clip.logit_scale.detach().exp()),
        }
        state.journal.event(step=position.step, **values)
        for tracker in state.trackers:
            tracker.track(values, step=position.step)
    waits = state.data_seconds / max(time.monotonic() - state.started_at, 1e-9)
    pairs_per_second = position.pairs_seen / max(state.seconds, 1e-9)
    numbers = f"{pairs_per_second:,.0f} pairs/s, {waits:.0%} data wait"
    state.line.show(state.share(position.step), f"step {position.step:,}  loss {position.smooth_loss:.3f}  {numbers}")


def log_chance(state: "TrainState", validation_pairs: int) -> None:
    """What guessing gives from here on, in training and on so many validation pairs: it depends on the batch size."""
    chance_loss, size = state.plan.objective.chance_loss, state.plan.batch_size
    sizes = {"training": size, "validation": min(size, validation_pairs)}
    losses = {name: chance_loss(count, state.vocab_size) for name, count in sizes.items() if count >= 2}
    if None not in losses.values():
        state.log_event("chance", pairs_seen=state.position.pairs_seen, batch_sizes=sizes, losses=losses)


def log_surprises(state: "TrainState", loss: float) -> None:
    """What a person would want to look at: a logit scale that reached its limit, a loss that jumped."""
    was_held, state.is_scale_held = state.is_scale_held, state.clip.hold_logit_scale()
    if state.is_scale_held and not was_held:
        state.log_event("clamp", scale=float(state.clip.logit_scale.detach().exp()))
    median = state.spikes.sees(loss)
    if median is not None:
        state.log_event("spike", loss=loss, median=median)
        state.line.say(f"warning: the loss is {loss:.3f} at step {state.position.step:,}; its median was {median:.3f}.")


def warn_if_not_learning(state: "TrainState", batch_size: int) -> None:
    """Say once, early in the run, if the loss is still what guessing gives."""
    position = state.position
    if state.is_judged or position.step < JUDGED_STEPS or state.share(position.step) < JUDGED_AFTER:
        return
    state.is_judged = True
    chance_loss = state.plan.objective.chance_loss(batch_size, state.vocab_size)
    if chance_loss is None or position.smooth_loss is None or position.smooth_loss <= chance_loss - LEARNING_MARGIN:
        return
    state.log_event("not_learning", smooth_loss=position.smooth_loss, chance_loss=chance_loss)
    state.line.say(
        f"warning: the loss is {position.smooth_loss:.3f} after {position.step:,} steps, and guessing gives "
        f"{chance_loss:.3f}: the model is not learning. Try a lower optimizer.learning_rate, and "
        "check that captions belong to their images."
    )


class QuietJournal(Journal):
    """Knows the run's folder and does not touch it."""

    def __enter__(self) -> "QuietJournal":
        return self

    def event(self, **values: Any) -> None:
        """Nothing."""

    def cut_after(self, step: int) -> None:
        """Nothing."""


class QuietLine(ProgressLine):
    """A progress line that shows nothing."""

    def show(self, share: float, text: str = "") -> None:
        """Nothing."""

    def say(self, *lines: str) -> None:
        """Nothing."""


def draw_curves(folder: Path) -> None:
    """Draw `curves.png` in a run folder from its `events.jsonl`; where the disk refuses it, a message says so."""
    try:
        publish_file(folder / CURVES_NAME, curves(read_events(folder / EVENTS_NAME)).png())
    except SeesayError as error:
        say(f"warning: the curves are not drawn: {error}")


@plain_figure
def curves(events: Sequence[Mapping[str, Any]]) -> "Figure":
    """Loss and checks over the pairs seen."""
    from matplotlib.ticker import EngFormatter

    steps = [event for event in events if "smooth_loss" in event and "event" not in event]
    figure, (left, right) = canvas(10, 4, panels=2)
    left.plot([e["pairs_seen"] for e in steps], [e["loss"] for e in steps], color=LINE, linewidth=0.6, label="batch")
    left.plot([e["pairs_seen"] for e in steps], [e["smooth_loss"] for e in steps], color=COLOURS[0], label="smoothed")
    _draw_chance(left, events, until=steps[-1]["pairs_seen"] if steps else 0)
    checks = _series(events)
    for index, (name, points) in enumerate(checks.items(), 1):
        axes = left if name.endswith("/loss") else right
        pairs_seen, values = zip(*points, strict=True)
        axes.plot(pairs_seen, values, markersize=3, label=plain_label(name), **look_of(index))
    left.set(xlabel="pairs seen", ylabel="loss", title="Contrastive loss")
    right.set(xlabel="pairs seen", ylabel="share right", title="Checks during the run")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.grid()
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    return figure


def _draw_chance(axes: Any, events: Sequence[Mapping[str, Any]], *, until: int) -> None:
    """The loss of guessing, a line for each batch size, as long as the run had it."""
    begun = [event for event in events if event.get("event") == "chance"]
    if not begun:
        return
    ends = [*(event["pairs_seen"] for event in begun[1:]), until]
    parts: dict[float, list[tuple[int, int]]] = defaultdict(list)
    sizes: dict[float, set[int]] = defaultdict(set)
    for event, end in zip(begun, ends, strict=True):
        for name, loss in event["losses"].items():
            if (span := (event["pairs_seen"], end)) not in parts[loss]:
                parts[loss].append(span)
            sizes[loss].add(event["batch_sizes"][name])
    for number, (loss, spans) in enumerate(parts.items()):
        label = f"guessing, batches of {' and '.join(map(str, sorted(sizes[loss])))}"
        style = ("dashed", "dotted", "dashdot")[number % 3]
        for span in spans:
            axes.plot(span, (loss, loss), color=FAINT, linestyle=style, label=label if span == spans[0] else None)


def _series(events: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Every measure of the checks as points (pairs seen, value)."""
    series: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for event in events:
        if event.get("event") == "check":
            for name, value in event.items():
                if "/" in name and value is not None:
                    series[name].append((event["pairs_seen"], value))
    return series

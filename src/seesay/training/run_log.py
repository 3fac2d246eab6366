"""What a run logs: a line of numbers per step, a loss that jumps, a model that does not learn; and silence elsewhere.

A process that is not the main one has `QuietJournal` and `QuietLine` in place of a journal and a progress line.
"""

import math
import statistics
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from seesay.base.journal import Journal, ProgressLine

if TYPE_CHECKING:
    from seesay.training.state import TrainState

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

    def say(self, text: str) -> None:
        """Nothing."""

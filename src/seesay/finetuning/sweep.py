"""Between the old model and the new one: weights on the line from one to the other, and the best that forgets little.

Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", equation 1: (1 - a) old + a new, every tensor.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from seesay.base.journal import progress
from seesay.finetuning.measures import Answered, Measure, difference
from seesay.model.bundle import Model
from seesay.nets.clip import empty_clip
from seesay.training.start import with_first_context

# From the old model to the new one in tenths, and how often the step behind the last allowed one is halved (guesses).
GRID = tuple(step / 10 for step in range(11))
HALVINGS = 3

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Change:
    """A measure at one point: its mean, and what was gained since the old model, with the 95 % interval of that.

    `likelihood` is the mean of log p of the right answers, where that was measured.
    """

    name: str
    value: float
    gain: float
    interval95: Interval
    likelihood: float = 0.0

    @property
    def most_lost(self) -> float:
        """What may have been lost: the lower end of the interval, as a loss."""
        return max(0.0, -self.interval95[0])


@dataclass(frozen=True, kw_only=True)
class Point:
    """The model at `a` of the way from the old one (0) to the new one (1); `target` before any of the `guards`."""

    a: float
    target: Change
    guards: tuple[Change, ...]

    @property
    def most_lost(self) -> float:
        """The largest loss that the interval of a guard does not exclude."""
        return max(guard.most_lost for guard in self.guards)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as finetune.json holds them."""
        target, *guards = ({**asdict(each), "interval95": [*each.interval95]} for each in (self.target, *self.guards))
        return {"a": self.a, "target": target, "guards": guards}


def interpolated(old: Model, new: Model, a: float) -> Model:
    """The model whose floating tensors are (1 - a) old + a new, running statistics too.

    Whole numbers are the new one's. Both have one architecture; at 0 and 1 the tensors are bit-equal to those of one.
    """
    tensors = dict(new.clip.state_dict())
    for name, before in old.clip.state_dict().items():
        if before.is_floating_point():
            after = tensors[name].to(before.device)
            # Written so that equal tensors stay as they are.
            tensors[name] = after if a == 1 else before + a * (after - before)
    between = copy.copy(new)
    between.clip = empty_clip(new.architecture)
    between.clip.fill(tensors)
    between.clip.eval()
    return between


def between(old: Model, new: Model, a: float) -> Model:
    """As `interpolated`; of a learned prompt the old model is the one without it, and a is from its first words on."""
    if a == 0:
        return old
    if new.architecture == old.architecture:
        return interpolated(old, new, a)
    return interpolated(with_first_context(old, new), new, a)


def sweep(
    old: Model,
    new: Model,
    *,
    target: Measure,
    guards: Sequence[Measure],
    most_loss: float,
    between: Callable[[Model, Model, float], Model] = between,
) -> list[Point]:
    """Points from 0 to 1, in order: tenths, and finer ones around the last that is allowed, if more would be better."""
    measures = [target, *guards]
    before: list[Answered] = []
    points: dict[float, Point] = {}

    def measure(a: float) -> None:
        nonlocal before
        model = between(old, new, a)
        answers = [each.answers(model) for each in measures]
        before = before or answers
        names = ["target", *(guard.name for guard in guards)]
        changes = [change(*both) for both in zip(names, before, answers, strict=True)]
        points[a] = Point(a=a, target=changes[0], guards=tuple(changes[1:]))

    with progress(len(GRID) + HALVINGS, "sweep") as advance:
        for a in GRID:
            measure(a)
            advance(1)
        for _ in range(HALVINGS):
            if (a := between_allowed(list(points.values()), most_loss)) is not None:
                measure(a)
            advance(1)
    return [points[a] for a in sorted(points)]


def change(name: str, before: Answered, after: Answered) -> Change:
    """What was gained from one to the other."""
    gain, interval = difference(before, after)
    return Change(name=name, value=after.mean, gain=gain, interval95=interval, likelihood=after.likelihood)


def between_allowed(points: Sequence[Point], most_loss: float) -> float | None:
    """The middle between the last allowed point and the next, where that is better on the target; else None."""
    points = sorted(points, key=lambda point: point.a)
    allowed = [point.most_lost <= most_loss for point in points]
    # The old model loses nothing, so there is a first that is not allowed behind one that is.
    if all(allowed):
        return None
    first = allowed.index(False)
    best = max(point.target.value for point in points[:first])
    if points[first].target.value <= best:
        return None
    return round((points[first - 1].a + points[first].a) / 2, 6)


def chosen_point(points: Sequence[Point], most_loss: float) -> Point | None:
    """The best on the target of those that lose at most `most_loss`; None where none is better than the old model.

    Of equals, as there are many where few images are held out, the one that finds the right answers likelier, and of
    these the nearest to the old one. The first steps away from the old model change no answer and are no better for it.
    """
    allowed = [point for point in points[1:] if point.most_lost <= most_loss]
    best = max(allowed, key=lambda point: (point.target.value, point.target.likelihood, -point.a), default=None)
    return best if best is not None and best.target.value > points[0].target.value else None


def held_back(points: Sequence[Point], chosen: Point, most_loss: float) -> Point | None:
    """The best on the target, above `chosen`, of those that lose no more than `most_loss` as measured.

    It is not allowed, as its guard has too few images to exclude a larger loss.
    """
    seen = [point for point in points if all(guard.gain >= -most_loss for guard in point.guards)]
    best = max(seen, key=lambda point: (point.target.value, -point.a))
    return best if best.target.value > chosen.target.value else None


def may_lose(point: Point) -> str:
    """As in `may lose 1.03 points on photos`: the guard of the largest loss, rounded up, so that it is not allowed."""
    worst = max(point.guards, key=lambda guard: guard.most_lost)
    return f"may lose {math.ceil(round(1e4 * worst.most_lost, 6)) / 100:.2f} points on {worst.name}"


def allowing(point: Point) -> int:
    """The fewest whole points of a bound that allows it; 100 x 0.07 is a little more than 7."""
    points = math.floor(100 * point.most_lost)
    return points + (points / 100 < point.most_lost)

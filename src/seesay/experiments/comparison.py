"""What a comparison of objectives measured, as values. S = seeds, P = points of a curve."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from seesay.base.errors import UsageError, nearest
from seesay.base.printable import printable
from seesay.base.values import html_table, to_pandas
from seesay.experiments.recipe import Experiment
from seesay.formulas.efficiency import Curve

# What a factor may be counted in, and its name in a sentence.
UNITS = {"images": "images", "flops": "FLOPs", "seconds": "seconds"}

Edge = Literal["", "highest", "lowest", "only"]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A run after `step` steps: `accuracy` (share of `n` test images, with its exact 95 % interval) and its cost.

    `loss` is the smoothed training loss, None where it is not finite. `seconds` are those of training alone, without
    the checks; `flops` are counted over one real step and multiplied.
    """

    step: int
    images: int
    accuracy: float
    interval95: tuple[float, float]
    n: int
    loss: float | None
    seconds: float
    flops: int

    def to_json(self) -> dict[str, Any]:
        """The keys of a point in result.json."""
        return asdict(self) | {"interval95": list(self.interval95)}


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """One finished run: its folder below that of the comparison, its settings, its machine and data, its points."""

    objective: str
    learning_rate: float
    seed: int
    folder: str
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    data: Mapping[str, Any]
    points: tuple[Point, ...]

    def to_json(self) -> dict[str, Any]:
        """The keys of a run in result.json."""
        return {**vars(self), "points": [point.to_json() for point in self.points]}


@dataclass(frozen=True, kw_only=True)
class TriedRate:
    """A learning rate on the first seed: accuracy and loss at the end, or the step at which the run diverged.

    Without either the run failed.
    """

    learning_rate: float
    seed: int
    accuracy: float | None = None
    loss: float | None = None
    diverged_at_step: int | None = None


@dataclass(frozen=True, kw_only=True)
class ObjectiveResult:
    """The chosen learning rate (None if no rate can be chosen), all that were tried, and the seeds' points with it."""

    learning_rate: float | None
    templates: tuple[str, ...]
    tuning: tuple[TriedRate, ...]
    seeds: Mapping[int, tuple[Point, ...]] = field(default_factory=dict)

    @property
    def final_accuracies(self) -> list[float]:
        """Accuracy at the end, of each seed with the chosen learning rate."""
        return [points[-1].accuracy for points in self.seeds.values()]

    @property
    def mean_accuracy(self) -> float | None:
        """The mean of `final_accuracies`; None without runs."""
        accuracies = self.final_accuracies
        return sum(accuracies) / len(accuracies) if accuracies else None

    @property
    def has_diverged(self) -> bool:
        """Whether every learning rate diverged: then there is none to train the other seeds with."""
        return bool(self.tuning) and all(tried.diverged_at_step is not None for tried in self.tuning)

    @property
    def rate_is(self) -> Edge:
        """Whether the chosen rate is the "highest", "lowest" or "only" one tried; "" where others lie on both sides.

        A rate that diverged was tried, one whose run failed was not.
        """
        if self.learning_rate is None:
            return ""
        rates = [
            tried.learning_rate
            for tried in self.tuning
            if tried.accuracy is not None or tried.diverged_at_step is not None
        ]
        if len(rates) == 1:
            return "only"
        edges: dict[float, Edge] = {max(rates): "highest", min(rates): "lowest"}
        return edges.get(self.learning_rate, "")

    def curve(self, over: str) -> Curve | None:
        """Accuracy over one of `UNITS`, `UsageError` for another; None without runs."""
        _check_over(over)
        if not self.seeds:
            return None
        n_SP = np.array([[getattr(point, over) for point in points] for points in self.seeds.values()], np.float64)
        return Curve(n_SP, np.array([[point.accuracy for point in points] for points in self.seeds.values()]))

    def to_json(self) -> dict[str, Any]:
        """The keys of an objective in result.json; of each point only what its curves need."""
        names = ("images", "accuracy", "seconds", "flops")
        return {
            "learning_rate": self.learning_rate,
            "rate_is": self.rate_is,
            "templates": list(self.templates),
            "tuning": [asdict(tried) for tried in self.tuning],
            "seeds": {
                str(seed): [{name: getattr(point, name) for name in names} for point in points]
                for seed, points in self.seeds.items()
            },
        }


@dataclass(frozen=True, kw_only=True)
class Factor:
    """How many times more of `over` the objective `slow` needs than `fast` for the same accuracy.

    `factor` is None where `reason` says why, `interval95` (over seeds) also. `common` is the range of accuracies that
    were compared; `resamples_without_range` the share of the interval's resamples that had none; `seeds` how many
    `fast` and `slow` have.
    """

    fast: str
    slow: str
    over: str
    factor: float | None = None
    interval95: tuple[float, float] | None = None
    common: tuple[float, float] | None = None
    reason: str = ""
    resamples_without_range: float = 0.0
    seeds: tuple[int, int] = (0, 0)

    def reverse(self) -> "Factor":
        """The same with both objectives exchanged: one over the factor."""
        interval = self.interval95
        return replace(
            self,
            fast=self.slow,
            slow=self.fast,
            factor=self.factor and 1 / self.factor,
            interval95=interval and (1 / interval[1], 1 / interval[0]),
            seeds=self.seeds[::-1],
        )

    def to_json(self) -> dict[str, Any]:
        """The keys of a factor in result.json, where `common` is called "range"."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}
        return {("range" if key == "common" else key): value for key, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class PairsFacts:
    """The training pairs: where they are from, how many, and the fingerprint of their content."""

    name: str
    pairs: int
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class CheckFacts:
    """The labelled set: `n` images used out of `classes` classes.

    `chance` is one over the classes; `most_by_chance` the accuracy that random answers exceed once in 40 tries.
    """

    name: str
    n: int
    classes: int
    chance: float
    most_by_chance: float
    fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """The keys of the check set in result.json, where `most_by_chance` is called "most_by_guessing"."""
        values = asdict(self)
        return {("most_by_guessing" if key == "most_by_chance" else key): value for key, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Objectives side by side: everything measured, with what it was measured on.

    `runs` are the finished runs. `diverged` gives the step by the name of the run, `failed` the reason. `jobs` runs
    were trained at the same time.
    """

    recipe: Experiment
    pairs: PairsFacts
    check: CheckFacts
    objectives: Mapping[str, ObjectiveResult]
    efficiency: tuple[Factor, ...]
    runs: tuple[RunResult, ...]
    diverged: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    jobs: int
    machine: Mapping[str, Any]

    @property
    def ranked(self) -> list[str]:
        """The names of the objectives with finished runs, the best mean accuracy at the end first."""
        means = {name: objective.mean_accuracy for name, objective in self.objectives.items()}
        return sorted((name for name, mean in means.items() if mean is not None), key=lambda name: -(means[name] or 0))

    def factor(self, fast: str, slow: str, *, over: str) -> Factor | None:
        """The factor of `fast` over `slow`, whichever the recipe names first; None where it could not be measured.

        `over` is "images", "flops" or "seconds". `UsageError` for another one, and for an objective that is not in it.
        """
        _check_over(over)
        for name in (fast, slow):
            if name not in self.objectives:
                known = ", ".join(self.objectives)
                raise UsageError(f"{name!r} is not in this comparison of {known}.{nearest(name, self.objectives)}")
        for factor in self.efficiency:
            if factor.over == over and (factor.fast, factor.slow) == (fast, slow):
                return factor
            if factor.over == over and (factor.fast, factor.slow) == (slow, fast):
                return factor.reverse()
        return None

    def to_json(self) -> dict[str, Any]:
        """The whole of result.json."""
        return {
            "recipe": self.recipe.model_dump(mode="json", exclude_none=True),
            "data": {"pairs": asdict(self.pairs), "check": self.check.to_json()},
            "objectives": {name: objective.to_json() for name, objective in self.objectives.items()},
            "efficiency": [factor.to_json() for factor in self.efficiency],
            "runs": [run.to_json() for run in self.runs],
            "diverged": dict(self.diverged),
            "failed": dict(self.failed),
            "jobs": self.jobs,
            "machine": dict(self.machine),
        }

    def to_pandas(self) -> Any:
        """A pandas DataFrame with one row for each point of each finished run. Raises `UsageError` without pandas."""
        return to_pandas(
            [
                {
                    "objective": run.objective,
                    "learning_rate": run.learning_rate,
                    "seed": run.seed,
                    "is_chosen_rate": run.learning_rate == self.objectives[run.objective].learning_rate,
                    **{key: value for key, value in vars(point).items() if key != "interval95"},
                    "low95": point.interval95[0],
                    "high95": point.interval95[1],
                }
                for run in self.runs
                for point in run.points
            ]
        )

    def __repr__(self) -> str:
        ends = [f"{name} {100 * (self.objectives[name].mean_accuracy or 0):.1f} %" for name in self.ranked]
        ends += [f"{name} has no runs" for name in self.objectives if name not in self.ranked]
        counts = [f"{len(self.runs)} runs"]
        counts += [
            f"{len(runs)} {what}" for what, runs in (("diverged", self.diverged), ("failed", self.failed)) if runs
        ]
        return printable(f"<Comparison: {', '.join(ends)}; {', '.join(counts)}>")

    def _repr_html_(self) -> str:
        head = ("objective", "learning rate", "seeds", "top-1, %", "lowest to highest seed")
        return html_table(head, [_end_cells(name, objective) for name, objective in self.objectives.items()])


def _end_cells(name: str, objective: ObjectiveResult) -> Sequence[str]:
    accuracies = [100 * accuracy for accuracy in objective.final_accuracies]
    if not accuracies:
        return (name, "every rate diverged" if objective.has_diverged else "none", "0", "", "")
    mean, span = sum(accuracies) / len(accuracies), f"{min(accuracies):.1f} to {max(accuracies):.1f}"
    rate = f"{objective.learning_rate:g}"
    return (name, rate, str(len(accuracies)), f"{mean:.1f}", span)


def _check_over(over: str) -> None:
    if over not in UNITS:
        raise UsageError(f"over is {over!r}; it should be one of {', '.join(UNITS)}.{nearest(over, UNITS)}")

"""What a contest of objectives is told, and the runs that it comes to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from seesay.base.errors import UsageError
from seesay.base.runtime import is_faster_in_bfloat16
from seesay.base.settings import Settings, difference, read_settings
from seesay.training.objectives import objective_of
from seesay.training.run_folder import SETTINGS_NAME
from seesay.training.settings import Positive, TrainSettings

BATCH_SIZE = 128
RUNS = "runs"
# Settings of a run that the contest itself gives: where they stand in `[train]`, and what gives them.
GIVEN = {
    "objective": "objectives",
    "seed": "seeds",
    "steps": "images",
    "epochs": "images",
    "minutes": "images",
    "optimizer.learning_rate": "learning_rates",
    "check.at": "points",
    "check.every": "points",
}


class Experiment(Settings):
    """Objectives that learn from the same pairs under the same conditions, and are asked zero-shot on the way.

    `pairs` and `check` (a labelled set, of which `check_images` images are asked: all if None) may be given on the
    command line instead. Every run processes `images`; there are `points` checks, each after twice as many as the one
    before. Class names are put into `templates`, but for objectives that have their own, as those that predict words,
    which are asked with the bare name. Each objective is tried with all `learning_rates` on the first of the `seeds`,
    and the others have the best.
    `train` is shared by all: what is left out is chosen as `seesay train` chooses it, which but for the published
    augmentations of some objectives is the same for all.
    """

    objectives: Annotated[tuple[str, ...], Field(min_length=1)]
    images: Positive
    points: Annotated[int, Field(ge=1, le=40)] = 11
    learning_rates: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**63)], ...], Field(min_length=1)] = (0, 1, 2)
    pairs: tuple[str, ...] = ()
    check: str | None = None
    check_images: Positive | None = None
    templates: Annotated[tuple[str, ...], Field(min_length=1)] = ("a photo of a {}.",)
    train: TrainSettings = TrainSettings()

    @model_validator(mode="after")
    def _is_a_contest(self):
        for name in ("objectives", "learning_rates", "seeds"):
            values = getattr(self, name)
            if twice := next((value for value in values if values.count(value) > 1), None):
                raise ValueError(f"{name} has {twice!r} twice; name each once")
        for path, instead in GIVEN.items():
            section, _, name = path.rpartition(".")
            group = getattr(self.train, section) if section else self.train
            if getattr(group, name) != type(group).model_fields[name].default:
                raise ValueError(f"train.{path} is given, but it follows from {instead}; leave it out")
        return self

    @property
    def batch_size(self) -> int:
        return self.train.batch_size or BATCH_SIZE

    @property
    def steps(self) -> int:
        return math.ceil(self.images / self.batch_size)

    @property
    def checked_steps(self) -> tuple[int, ...]:
        """The steps after which accuracy is measured; the last is the end, and each is half of the next."""
        halves = (round(self.steps / 2**back) for back in range(self.points))
        return tuple(sorted({step for step in halves if step >= 1}))


@dataclass(frozen=True, kw_only=True)
class ExperimentRun:
    """One run of a contest."""

    objective: str
    learning_rate: float
    seed: int

    @property
    def name(self) -> str:
        """Where it lies below the folder of all runs."""
        return f"{self.objective}/rate-{self.learning_rate:g}/seed-{self.seed}"

    def folder(self, root: Path) -> Path:
        return root / RUNS / self.name

    def templates(self, experiment: Experiment) -> tuple[str, ...]:
        """What class names are put into when the model of this run is asked."""
        return objective_of(self.objective).templates or experiment.templates

    def settings(self, experiment: Experiment) -> TrainSettings:
        train = experiment.train
        return train.model_copy(
            update={
                "objective": self.objective,
                "seed": self.seed,
                "steps": experiment.steps,
                "batch_size": experiment.batch_size,
                "optimizer": train.optimizer.model_copy(update={"learning_rate": self.learning_rate}),
                "check": train.check.model_copy(update={"at": experiment.checked_steps}),
            }
        )


def read_experiment(
    recipe: Path, *, pairs: Sequence[str] = (), check: str | None = None, overrides: Sequence[str] = ()
) -> Experiment:
    """The recipe with what is given beside it; `UsageError` where pairs, set or a known objective are missing."""
    base = read_settings(Experiment, file=recipe, overrides=overrides).model_dump(exclude_unset=True)
    given = {"pairs": list(pairs)} if pairs else {}
    experiment = read_settings(Experiment, file=None, base={**base, **given, **({"check": check} if check else {})})
    if not experiment.pairs:
        raise UsageError(f"{recipe} names no pairs; give them with --pairs.")
    if not experiment.check:
        raise UsageError(f"{recipe} names no labelled set to check; give it with --check.")
    for name in experiment.objectives:
        objective_of(name)
    return experiment


def settled(experiment: Experiment, root: Path, *, device: str) -> Experiment:
    """`experiment` without what could come out otherwise from run to run; `UsageError` where `root` holds another one.

    Nothing is held out for validation unless that is asked for, and the precision is measured once for all runs.
    """
    kept = root / SETTINGS_NAME
    before = read_settings(Experiment, file=kept) if kept.is_file() else None
    train = experiment.train
    if "validation" not in train.data.model_fields_set:
        train = train.model_copy(update={"data": train.data.model_copy(update={"validation": 0.0})})
    precision = train.towers.precision or (before and before.train.towers.precision)
    if precision is None:
        precision = "bfloat16" if is_faster_in_bfloat16(device) else "float32"
    towers = train.towers.model_copy(update={"precision": precision})
    update = {"towers": towers, "device": device, "batch_size": experiment.batch_size}
    experiment = experiment.model_copy(update={"train": train.model_copy(update=update)})
    if before is not None and (changes := difference(before, experiment)):
        raise UsageError(f"{root} holds runs of another recipe ({'; '.join(changes)}); choose another --out.")
    if before is None and (root / RUNS).exists():
        raise UsageError(f"{root} holds {RUNS} that are of no recipe; choose another --out.")
    return experiment

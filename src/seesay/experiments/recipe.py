"""The settings of an experiment, read from its recipe, and the runs that follow from them."""

import math
from collections import Counter
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

# Pairs per step where the recipe names none: those of benchmarks/2026-11-21-figure2.
BATCH_SIZE = 128
RUNS = "runs"
# Settings of `[train]` that follow from the experiment's own, and from which.
DERIVED = {
    "objective": "objectives",
    "seed": "seeds",
    "steps": "images",
    "epochs": "images",
    "minutes": "images",
    "optimizer.learning_rate": "learning_rates",
    "check.at": "points",
    "check.every": "points",
    "check.patience": "images",
}


class Experiment(Settings):
    """Objectives that learn from the same pairs under the same conditions, with zero-shot checks during the run.

    `pairs` and `check` may also be given on the command line. `check` is a labelled set, of which `check_images` images
    are classified (None: all). Every run processes `images`; of its `points` checks each comes after twice as many
    images as the one before. Class names are put into `templates`, except for objectives that have their own: those
    that predict words take the bare name. Each objective is trained with all `learning_rates` on the first of the
    `seeds`, and with the best rate on the other seeds.
    `train` holds for all runs. Settings that it leaves out are chosen as by `seesay train`, the same for all objectives
    except for the published augmentations of some.
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
    def _is_consistent(self):
        for name in ("objectives", "learning_rates", "seeds"):
            values = getattr(self, name)
            value, count = Counter(values).most_common(1)[0]
            if count > 1:
                raise ValueError(f"{name} has {value!r} twice; name each once")
        for path, source in DERIVED.items():
            section, _, name = path.rpartition(".")
            group = getattr(self.train, section) if section else self.train
            if getattr(group, name) != type(group).model_fields[name].default:
                raise ValueError(f"train.{path} is given, but it follows from {source}; leave it out")
        return self

    @property
    def batch_size(self) -> int:
        """Pairs per step."""
        return self.train.batch_size or BATCH_SIZE

    @property
    def steps(self) -> int:
        """Steps of each run, the last of them with the rest of `images`."""
        return math.ceil(self.images / self.batch_size)

    @property
    def checked_steps(self) -> tuple[int, ...]:
        """The steps after which accuracy is measured; the last is the end, and each is half of the next."""
        halves = (round(self.steps / 2**back) for back in range(self.points))
        return tuple(sorted({step for step in halves if step >= 1}))


@dataclass(frozen=True, kw_only=True)
class ExperimentRun:
    """One run of an experiment: an objective with one learning rate and one seed."""

    objective: str
    learning_rate: float
    seed: int

    @property
    def name(self) -> str:
        """Its folder below the one of all runs."""
        return f"{self.objective}/rate-{self.learning_rate:g}/seed-{self.seed}"

    def folder(self, root: Path) -> Path:
        """Its run folder, where `root` is the folder of the experiment."""
        return root / RUNS / self.name

    def templates(self, experiment: Experiment) -> tuple[str, ...]:
        """The templates of its zero-shot checks."""
        return objective_of(self.objective).templates or experiment.templates

    def settings(self, experiment: Experiment) -> TrainSettings:
        """The settings of `seesay train` for this run."""
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
    """The recipe with `overrides`; `pairs` and `check` replace its own.

    Raises `UsageError` where pairs or labelled set are missing, or an objective is unknown.
    """
    base = read_settings(Experiment, file=recipe, overrides=overrides).model_dump(exclude_unset=True)
    base |= {"pairs": list(pairs)} if pairs else {}
    base |= {"check": check} if check else {}
    experiment = read_settings(Experiment, file=None, base=base)
    if not experiment.pairs:
        raise UsageError(f"{recipe} names no pairs; give them with --pairs.")
    if not experiment.check:
        raise UsageError(f"{recipe} names no labelled set to check; give it with --check.")
    for name in experiment.objectives:
        objective_of(name)
    return experiment


def settle(experiment: Experiment, root: Path, *, device: str) -> Experiment:
    """`experiment` with everything decided that must not differ between its runs.

    No pairs are held out for validation unless the recipe says so, and the precision is measured once for all runs.
    `root` may hold runs of fewer objectives, learning rates or seeds: what is added leaves those as they are.
    Raises `UsageError` where `root` has runs of another recipe.
    """
    file = root / SETTINGS_NAME
    before = read_settings(Experiment, file=file) if file.is_file() else None
    train = experiment.train
    if "validation" not in train.data.model_fields_set:
        train = train.model_copy(update={"data": train.data.model_copy(update={"validation": 0.0})})
    precision = train.towers.precision or (before and before.train.towers.precision)
    if precision is None:
        precision = "bfloat16" if is_faster_in_bfloat16(device) else "float32"
    towers = train.towers.model_copy(update={"precision": precision})
    update = {"towers": towers, "device": device, "batch_size": experiment.batch_size}
    experiment = experiment.model_copy(update={"train": train.model_copy(update=update)})
    if before is not None and (changes := difference(_extended(before, experiment), experiment)):
        raise UsageError(f"{root} holds runs of another recipe ({'; '.join(changes)}); choose another --out.")
    if before is None and (root / RUNS).exists():
        raise UsageError(f"{root} has a folder {RUNS} but no {SETTINGS_NAME}; choose another --out.")
    return experiment


def _extended(before: Experiment, experiment: Experiment) -> Experiment:
    """`before` with what `experiment` adds to its lists; the first seed stays, for it chooses the learning rate."""
    added = {
        name: getattr(experiment, name)
        for name in ("objectives", "learning_rates", "seeds")
        if set(getattr(before, name)) <= set(getattr(experiment, name))
    }
    if before.seeds[0] != experiment.seeds[0]:
        added.pop("seeds", None)
    return before.model_copy(update=added)

"""Which runs of an experiment can begin, by what is known of those that are done: first the rates, then the seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seesay.base.journal import EVENTS_NAME, read_events
from seesay.experiments.recipe import Experiment, ExperimentRun
from seesay.experiments.worker import CHECK
from seesay.training.run_folder import MODEL_FOLDER


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that reached its end: accuracy on the check set, and the smoothed loss (None where it is not finite)."""

    accuracy: float
    loss: float | None


@dataclass(frozen=True, kw_only=True)
class Diverged:
    """A run whose loss or gradient was not finite several steps in a row, from `step` on. It is not run again."""

    step: int


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A run that ended for another reason; the next call tries it again."""

    reason: str


Outcome = Finished | Diverged | Failed
Outcomes = Mapping[ExperimentRun, Outcome]


def tuning_runs(experiment: Experiment) -> list[ExperimentRun]:
    """Every objective with every learning rate, on the first seed."""
    return [
        ExperimentRun(objective=objective, learning_rate=rate, seed=experiment.seeds[0])
        for rate in experiment.learning_rates
        for objective in experiment.objectives
    ]


def best_of(finished: Mapping[ExperimentRun, Finished]) -> ExperimentRun:
    """The one with the best accuracy; of equal ones that with the lower loss, then with the smaller rate."""

    def rank(run: ExperimentRun) -> tuple[float, float, float]:
        loss = finished[run].loss
        return -finished[run].accuracy, float("inf") if loss is None else loss, run.learning_rate

    return min(finished, key=rank)


def is_tuned(experiment: Experiment, objective: str, outcomes: Outcomes) -> bool:
    """Whether every learning rate of the objective has an outcome."""
    return all(run in outcomes for run in tuning_runs(experiment) if run.objective == objective)


def chosen_rate(experiment: Experiment, objective: str, outcomes: Outcomes) -> float | None:
    """The learning rate for the other seeds; None while some have no outcome yet, or where no run finished."""
    if not is_tuned(experiment, objective, outcomes):
        return None
    runs = [run for run in tuning_runs(experiment) if run.objective == objective]
    finished = {run: outcome for run in runs if isinstance(outcome := outcomes[run], Finished)}
    return best_of(finished).learning_rate if finished else None


def known_runs(experiment: Experiment, outcomes: Outcomes) -> list[ExperimentRun]:
    """All runs that are certain to be made, in the order in which they should begin."""
    known = tuning_runs(experiment)
    for seed in experiment.seeds[1:]:
        for objective in experiment.objectives:
            if (rate := chosen_rate(experiment, objective, outcomes)) is not None:
                known.append(ExperimentRun(objective=objective, learning_rate=rate, seed=seed))
    return known


def count_runs(experiment: Experiment, outcomes: Outcomes) -> int:
    """How many runs there are in all; an objective of which no rate finished has none with the other seeds."""
    open_objectives = [name for name in experiment.objectives if not is_tuned(experiment, name, outcomes)]
    return len(known_runs(experiment, outcomes)) + len(open_objectives) * (len(experiment.seeds) - 1)


def outcome_of(folder: Path) -> Finished | Diverged | None:
    """What the run in `folder` came to, by the last of its events; None if it is not done."""
    if not (folder / EVENTS_NAME).is_file():
        return None
    events = read_events(folder / EVENTS_NAME)
    last = events[-1] if events else {}
    if last.get("event") == "diverged":
        return Diverged(step=last["first_step"])
    if last.get("event") != "done" or not (folder / MODEL_FOLDER).is_dir():
        return None
    check = checks_of_run(events)[-1]
    hits, n = round(check[f"{CHECK}/top1"] * check[f"{CHECK}/n"]), check[f"{CHECK}/n"]
    return Finished(accuracy=hits / n, loss=last["loss"])


def checks_of_run(events: Sequence[Mapping]) -> list[Mapping]:
    """The zero-shot checks in the order of their steps; of one that a stopped run made twice the last."""
    by_step = {event["step"]: event for event in events if f"{CHECK}/top1" in event}
    return [by_step[step] for step in sorted(by_step)]


def share_done(folder: Path, steps: int) -> float:
    """The share of `steps` that a run has made, by its events; 0 if it has not begun."""
    if not (folder / EVENTS_NAME).is_file():
        return 0.0
    events = read_events(folder / EVENTS_NAME)
    return max((event.get("step", 0) for event in events), default=0) / steps

"""Which runs of a contest can begin, by what is known of those that are done: first the rates, then the seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seesay.base.journal import EVENTS_NAME, read_events
from seesay.experiments.recipe import Experiment, ExperimentRun
from seesay.experiments.worker import CHECK
from seesay.training.run_folder import MODEL_FOLDER


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a finished run came to: accuracy on the check set, and the smoothed loss (None where it is not finite)."""

    accuracy: float
    loss: float | None


def tuning_runs(experiment: Experiment) -> list[ExperimentRun]:
    """Every objective with every learning rate, on the first seed."""
    return [
        ExperimentRun(objective=objective, learning_rate=rate, seed=experiment.seeds[0])
        for rate in experiment.learning_rates
        for objective in experiment.objectives
    ]


def best_of(tried: Mapping[ExperimentRun, Outcome]) -> ExperimentRun:
    """The one with the best accuracy; of equal ones that with the lower loss, then with the smaller rate."""

    def rank(run: ExperimentRun) -> tuple[float, float, float]:
        loss = tried[run].loss
        return -tried[run].accuracy, float("inf") if loss is None else loss, run.learning_rate

    return min(tried, key=rank)


def chosen_rate(
    experiment: Experiment, objective: str, outcomes: Mapping[ExperimentRun, Outcome | None]
) -> float | None:
    """The learning rate of the other seeds; None while some are not tried yet, or where all have failed."""
    runs = [run for run in tuning_runs(experiment) if run.objective == objective]
    if any(run not in outcomes for run in runs):
        return None
    tried = {run: outcome for run in runs if (outcome := outcomes[run]) is not None}
    return best_of(tried).learning_rate if tried else None


def known_runs(experiment: Experiment, outcomes: Mapping[ExperimentRun, Outcome | None]) -> list[ExperimentRun]:
    """All runs that are sure to be made, in the order in which they should begin. None stands for a run that failed."""
    known = tuning_runs(experiment)
    for seed in experiment.seeds[1:]:
        for objective in experiment.objectives:
            if (rate := chosen_rate(experiment, objective, outcomes)) is not None:
                known.append(ExperimentRun(objective=objective, learning_rate=rate, seed=seed))
    return known


def runs_in_all(experiment: Experiment) -> int:
    return len(experiment.objectives) * (len(experiment.learning_rates) + len(experiment.seeds) - 1)


def outcome_of(folder: Path) -> Outcome | None:
    """What the run in `folder` came to, if it is done."""
    if not (folder / EVENTS_NAME).is_file() or not (folder / MODEL_FOLDER).is_dir():
        return None
    events = read_events(folder / EVENTS_NAME)
    if not events or events[-1].get("event") != "done":
        return None
    last = checks_of_run(events)[-1]
    hits, n = round(last[f"{CHECK}/top1"] * last[f"{CHECK}/n"]), last[f"{CHECK}/n"]
    return Outcome(accuracy=hits / n, loss=events[-1]["loss"])


def checks_of_run(events: Sequence[Mapping]) -> list[Mapping]:
    """The zero-shot checks in the order of their steps; of one that a stopped run made twice the last."""
    found = {event["step"]: event for event in events if f"{CHECK}/top1" in event}
    return [found[step] for step in sorted(found)]


def share_done(folder: Path, steps: int) -> float:
    """How much of a run that may not have begun is done, by its events."""
    if not (folder / EVENTS_NAME).is_file():
        return 0.0
    events = read_events(folder / EVENTS_NAME)
    return max((event.get("step", 0) for event in events), default=0) / steps

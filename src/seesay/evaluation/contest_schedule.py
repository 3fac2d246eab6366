"""Which runs of a contest can begin, by what is known of those that are done: first the rates, then the seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seesay.base.journal import EVENTS_NAME, read_events
from seesay.evaluation.contest_run import CHECK
from seesay.evaluation.contest_settings import Contest, Trial
from seesay.training.start import MODEL_FOLDER


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a finished run came to: accuracy on the check set, and the smoothed loss (None where it is not finite)."""

    accuracy: float
    loss: float | None


def tuning_trials(contest: Contest) -> list[Trial]:
    """Every objective with every learning rate, on the first seed."""
    return [
        Trial(objective=objective, learning_rate=rate, seed=contest.seeds[0])
        for rate in contest.learning_rates
        for objective in contest.objectives
    ]


def best_of(tried: Mapping[Trial, Outcome]) -> Trial:
    """The one with the best accuracy; of equal ones that with the lower loss, then with the smaller rate."""

    def rank(trial: Trial) -> tuple[float, float, float]:
        loss = tried[trial].loss
        return -tried[trial].accuracy, float("inf") if loss is None else loss, trial.learning_rate

    return min(tried, key=rank)


def chosen_rate(contest: Contest, objective: str, outcomes: Mapping[Trial, Outcome | None]) -> float | None:
    """The learning rate of the other seeds; None while some are not tried yet, or where all have failed."""
    trials = [trial for trial in tuning_trials(contest) if trial.objective == objective]
    if any(trial not in outcomes for trial in trials):
        return None
    tried = {trial: outcome for trial in trials if (outcome := outcomes[trial]) is not None}
    return best_of(tried).learning_rate if tried else None


def trials_known(contest: Contest, outcomes: Mapping[Trial, Outcome | None]) -> list[Trial]:
    """All runs that are sure to be made, in the order in which they should begin. None stands for a run that failed."""
    known = tuning_trials(contest)
    for seed in contest.seeds[1:]:
        for objective in contest.objectives:
            if (rate := chosen_rate(contest, objective, outcomes)) is not None:
                known.append(Trial(objective=objective, learning_rate=rate, seed=seed))
    return known


def runs_in_all(contest: Contest) -> int:
    return len(contest.objectives) * (len(contest.learning_rates) + len(contest.seeds) - 1)


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

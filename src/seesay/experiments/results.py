"""What the runs of a contest came to, as the JSON has it: points of every run, learning rates, efficiency factors."""

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import bdtr

from seesay.base.errors import RefusedInput
from seesay.base.journal import EVENTS_NAME, read_events
from seesay.base.publish import publish_file
from seesay.base.records import PairSource
from seesay.base.settings import read_settings
from seesay.data.labelled import LabelledSet
from seesay.experiments.flops import flops_by_step
from seesay.experiments.recipe import Experiment, ExperimentRun
from seesay.experiments.schedule import Outcome, checks_of_run, chosen_rate, tuning_runs
from seesay.experiments.worker import CHECK
from seesay.formulas.efficiency import Curve, efficiency
from seesay.formulas.statistics import proportion_interval
from seesay.training.run_folder import FACTS_NAME, SETTINGS_NAME
from seesay.training.settings import TrainSettings
from seesay.training.validation import ZeroShotCheck

DATA_NAME = "data.json"
OVER = ("images", "flops", "seconds")
TAIL = 0.025


def results_of(
    experiment: Experiment,
    root: Path,
    outcomes: Mapping[ExperimentRun, Outcome | None],
    *,
    pairs: PairSource,
    asked: ZeroShotCheck,
) -> dict[str, Any]:
    """Everything measured. A run that failed is left out of "runs"; an objective without any is in "objectives" empty.

    "efficiency" is over the seeds that have the chosen learning rate: {"fast", "slow", "over", "factor", ...}, where
    the factor says how many times more the slow one needs.
    """
    done = [run for run, outcome in outcomes.items() if outcome is not None]
    flops = {
        name: flops_by_step(next(run for run in done if run.objective == name).folder(root), pairs)
        for name in dict.fromkeys(run.objective for run in done)
    }
    runs = [run_result(run, root, flops=flops[run.objective]) for run in done]
    n = max((point["n"] for run in runs for point in run["points"]), default=0)
    chance = 1 / len(asked.labelled.class_names)
    # A model that always says one name gets more than chance where that class is asked more often than others.
    floor = most_by_guessing(n, max(chance, asked.largest_share)) if n else chance
    objectives = {name: _objective_result(name, experiment, outcomes, runs) for name in experiment.objectives}
    return {
        "recipe": experiment.model_dump(mode="json", exclude_none=True),
        "data": {
            "pairs": {"name": pairs.name, "pairs": len(pairs), "fingerprint": pairs.fingerprint},
            "check": {
                "name": asked.labelled.name,
                "n": n,
                "classes": len(asked.labelled.class_names),
                "chance": chance,
                "most_by_guessing": floor,
                "fingerprint": asked.labelled.fingerprint,
            },
        },
        "objectives": objectives,
        "efficiency": factors_of(objectives, floor=floor),
        "runs": runs,
    }


def run_result(run: ExperimentRun, root: Path, *, flops: Sequence[int]) -> dict[str, Any]:
    """One finished run: where it is, how it was set, and its points."""
    folder = run.folder(root)
    facts = json.loads((folder / FACTS_NAME).read_text(encoding="utf-8"))
    settings = read_settings(TrainSettings, file=folder / SETTINGS_NAME)
    return {
        "objective": run.objective,
        "learning_rate": run.learning_rate,
        "seed": run.seed,
        "folder": str(folder.relative_to(root)),
        "settings": settings.model_dump(mode="json", exclude_none=True),
        "machine": facts["machine"],
        "data": facts["data"],
        "points": points_of(read_events(folder / EVENTS_NAME), flops=flops),
    }


def points_of(events: Sequence[Mapping[str, Any]], *, flops: Sequence[int]) -> list[dict[str, Any]]:
    """The checks of a run. "seconds" are those of its training alone: what the checks took is taken off."""
    points, checked = [], 0.0
    for event in checks_of_run(events):
        checked += event["check_seconds"]
        n = int(event[f"{CHECK}/n"])
        # The log has a 32-bit number.
        hits = round(event[f"{CHECK}/top1"] * n)
        points.append(
            {
                "step": event["step"],
                "images": event["pairs_seen"],
                "accuracy": hits / n,
                "interval95": list(proportion_interval(hits, n)),
                "n": n,
                "loss": event["smooth_loss"],
                "seconds": round(event["seconds"] - checked, 3),
                "flops": flops[event["step"]],
            }
        )
    return points


def most_by_guessing(n: int, chance: float) -> float:
    """The share of `n` that guessing gets right or less in 97.5 of 100 tries."""
    return int(np.searchsorted(bdtr(np.arange(n + 1), n, chance), 1 - TAIL)) / n


def _objective_result(
    name: str, experiment: Experiment, outcomes: Mapping[ExperimentRun, Outcome | None], runs: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The chosen learning rate, all that were tried, and the points of each seed that has the chosen one."""
    rate = chosen_rate(experiment, name, outcomes)
    tuning = []
    for run in tuning_runs(experiment):
        if run.objective == name:
            outcome = outcomes.get(run)
            told = {"accuracy": outcome and outcome.accuracy, "loss": outcome and outcome.loss}
            tuning.append({"learning_rate": run.learning_rate, "seed": run.seed, **told})
    seeds = {
        str(run["seed"]): [
            {key: point[key] for key in ("images", "accuracy", "seconds", "flops")} for point in run["points"]
        ]
        for run in runs
        if (run["objective"], run["learning_rate"]) == (name, rate)
    }
    templates = tuning_runs(experiment)[experiment.objectives.index(name)].templates(experiment)
    return {"learning_rate": rate, "templates": list(templates), "tuning": tuning, "seeds": seeds}


def factors_of(objectives: Mapping[str, Mapping[str, Any]], *, floor: float) -> list[dict[str, Any]]:
    """The efficiency of each objective over each that is named after it."""
    found = []
    for (fast, fast_result), (slow, slow_result) in combinations(objectives.items(), 2):
        for over in OVER:
            fast_curve, slow_curve = (curve_of(result["seeds"], over) for result in (fast_result, slow_result))
            told: dict[str, Any] = {"fast": fast, "slow": slow, "over": over}
            if fast_curve is None or slow_curve is None:
                missing = fast if fast_curve is None else slow
                told |= {"factor": None, "interval95": None, "reason": f"no run of {missing} is done"}
            else:
                result = efficiency(fast_curve, slow_curve, floor=floor)
                told |= {
                    "factor": result.factor,
                    "interval95": result.interval95 and list(result.interval95),
                    "range": result.common and list(result.common),
                    "reason": result.reason or result.interval_reason,
                    "resamples_without_range": result.lost,
                    "seeds": [len(fast_curve.n_SP), len(slow_curve.n_SP)],
                }
            found.append(told)
    return found


def curve_of(seeds: Mapping[str, Sequence[Mapping[str, float]]], over: str) -> Curve | None:
    if not seeds:
        return None
    n_SP = np.array([[point[over] for point in points] for points in seeds.values()], dtype=np.float64)
    accuracy_SP = np.array([[point["accuracy"] for point in points] for points in seeds.values()])
    return Curve(n_SP, accuracy_SP)


def refuse_other_data(root: Path, *, pairs: PairSource, labelled: LabelledSet) -> None:
    """Keep in `root` what its runs learn from and are asked; `RefusedInput` where that is not what they began with."""
    now = {"pairs": pairs.fingerprint, "check set": labelled.fingerprint}
    kept = root / DATA_NAME
    before = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else now
    for what, fingerprint in now.items():
        if before[what] != fingerprint:
            raise RefusedInput(
                f"{root} holds runs with other {what} ({before[what][:12]}, now {fingerprint[:12]}); "
                "choose another --out."
            )
    publish_file(kept, json.dumps(now, indent=1).encode())

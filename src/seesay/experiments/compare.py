"""Objectives side by side on the same pairs: the public `seesay.compare`. (Two models side by side: `compare`.)"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seesay.base.errors import SeesayError, UsageError
from seesay.base.journal import Journal, ProgressLine
from seesay.base.publish import publish_file, refuse_unwritable
from seesay.base.runtime import Runtime, machine_facts
from seesay.base.settings import as_toml
from seesay.experiments.page import build_page, figure_of
from seesay.experiments.recipe import Experiment, read_experiment, settled
from seesay.experiments.results import refuse_other_data, results_of
from seesay.experiments.runner import Runs
from seesay.training.pairs import open_training_pairs
from seesay.training.run_folder import SETTINGS_NAME
from seesay.training.train import listed
from seesay.training.validation import ZeroShotCheck

RESULT_NAME = "result.json"
PAGE_NAME = "page.html"
FIGURE_NAME = "figure.png"
MOST_JOBS = 8


def compare(
    recipe: str | Path,
    *,
    out: str | Path,
    pairs: str | Path | Sequence[str | Path] = (),
    check: str | Path | None = None,
    jobs: int | None = None,
    overrides: Sequence[str] = (),
    json_file: str | Path | None = None,
) -> dict[str, Any]:
    """Train the objectives of a TOML `recipe` under equal conditions and say how many times less each needs.

    `pairs` and `check` take the place of the recipe's, `overrides` are "key=value". So many `jobs` run at a time, with
    an equal share of the cores each (default: as many as there are cores, on a GPU one). All is kept in the folder
    `out`: the runs, result.json, page.html and figure.png; calling again skips what is done and goes on with the rest.
    Returns what is in result.json, and in `json_file` where one is named. Raises `Stopped` when asked to stop, and
    `SeesayError` at the end where runs failed.
    """
    root = Path(out)
    places = [str(place) for place in listed(pairs)]
    experiment = read_experiment(
        Path(recipe), pairs=places, check=None if check is None else str(check), overrides=overrides
    )
    runtime = Runtime.find(experiment.train.device)
    jobs = _jobs(jobs, experiment, runtime)
    refuse_unwritable(root)
    experiment = settled(experiment, root, device=runtime.device)
    asked = ZeroShotCheck(experiment.check or "", most=experiment.check_images)
    sources = open_training_pairs(experiment.pairs, (), experiment.train)
    refuse_other_data(root, pairs=sources.training, labelled=asked.labelled)
    with Journal(root) as journal:
        publish_file(root / SETTINGS_NAME, as_toml(experiment).encode())
        runs = Runs(experiment, root, journal, jobs=jobs, threads=max(1, runtime.cores // jobs))
        runs.make_all()
        result = results_of(experiment, root, runs.outcomes, pairs=sources.training, asked=asked)
        result |= {
            "failed": {run.name: told for run, told in runs.failed.items()},
            "jobs": jobs,
            "machine": machine_facts(runtime),
        }
        for place in filter(None, (root / RESULT_NAME, json_file)):
            publish_file(place, json.dumps(result, indent=1).encode())
        publish_file(root / FIGURE_NAME, figure_of(result))
        publish_file(root / PAGE_NAME, build_page(result).encode())
    ProgressLine("compare").say(f"page: {root / PAGE_NAME}   numbers: {root / RESULT_NAME}")
    if runs.failed:
        first, told = next((run.name, told) for run, told in runs.failed.items())
        more = f" (and {len(runs.failed) - 1} more)" if len(runs.failed) > 1 else ""
        raise SeesayError(f"run {first} failed{more}: {told}; the same command tries again.")
    return result


def _jobs(jobs: int | None, experiment: Experiment, runtime: Runtime) -> int:
    """How many runs at a time: small runs use two cores worse than two runs use one each."""
    if jobs is not None:
        if not 1 <= jobs <= 256:
            raise UsageError(f"--jobs is {jobs}; run between 1 and 256 at a time.")
        return jobs
    if runtime.device != "cpu":
        return 1
    return min(runtime.cores, len(experiment.objectives) * len(experiment.learning_rates), MOST_JOBS)

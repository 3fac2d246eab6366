"""Objectives side by side on the same pairs: the public `seesay.compare`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seesay.base.errors import SeesayError, UsageError
from seesay.base.journal import Journal, ProgressLine
from seesay.base.names import no_empty_names
from seesay.base.publish import publish_file, refuse_unwritable, refuse_unwritable_file
from seesay.base.runtime import Runtime, machine_facts
from seesay.base.settings import as_toml
from seesay.base.streams import say
from seesay.data.pairs import as_files, listed
from seesay.experiments.comparison import Comparison
from seesay.experiments.page import build_page, figure_of
from seesay.experiments.recipe import Experiment, read_experiment, settle
from seesay.experiments.results import refuse_other_data, results_of
from seesay.experiments.runner import Runs
from seesay.training.pairs import open_training_pairs
from seesay.training.run_folder import SETTINGS_NAME
from seesay.training.validation import ZeroShotCheck

RESULT_NAME = "result.json"
PAGE_NAME = "page.html"
FIGURE_NAME = "figure.png"
# Guesses: how many runs are trained at the same time without `jobs`, and with it.
DEFAULT_JOBS = 8
MOST_JOBS = 256


@no_empty_names
def compare(
    recipe: str | Path,
    *,
    out: str | Path,
    pairs: Any = (),
    check: str | Path | None = None,
    jobs: int | None = None,
    overrides: Sequence[str] = (),
    json_file: str | Path | None = None,
) -> Comparison:
    """Train the objectives of a TOML `recipe` under equal conditions; measure how many images each needs.

    `pairs` (as for `seesay.train`; what is in memory becomes a file in `out`) and the labelled set `check` replace
    those of the recipe; `overrides` are "key=value" settings of it. `jobs`
    runs are trained at the same time and share the CPU cores (default: one run per core, at most 8; on a GPU one).
    The folder `out` has the runs, result.json, page.html and figure.png, and `json_file` result.json once more.
    A second call skips runs that are done, those that diverged among them, and goes on with the others.

    Raises `Stopped` after saving when a stop is requested, `UsageError` where `out` is of another recipe,
    `RefusedInput` where it is of other data, and `SeesayError`, with everything written, where runs failed.
    """
    root = Path(out)
    refuse_unwritable_file(json_file, "json_file", ending=".json")
    experiment = read_experiment(
        Path(recipe),
        pairs=["given"] * len(listed(pairs)),
        check=None if check is None else str(check),
        overrides=overrides,
    )
    runtime = Runtime.find(experiment.train.device)
    jobs = _jobs(jobs, experiment, runtime)
    refuse_unwritable(root)
    if listed(pairs):
        experiment = experiment.model_copy(update={"pairs": _paths(pairs, experiment, root)})
    experiment = settle(experiment, root, device=runtime.device)
    zero_shot = ZeroShotCheck(experiment.check or "", most=experiment.check_images)
    training_pairs = open_training_pairs(experiment.pairs, (), experiment.train).training
    for note in training_pairs.notes:
        say(note)
    refuse_other_data(root, pairs=training_pairs, labelled=zero_shot.labelled)
    with Journal(root) as journal:
        publish_file(root / SETTINGS_NAME, as_toml(experiment).encode())
        runs = Runs(experiment, root, journal, jobs=jobs, threads=max(1, runtime.cores // jobs))
        runs.make_all()
        comparison = results_of(runs, pairs=training_pairs, check=zero_shot, machine=machine_facts(runtime))
        _publish(comparison, root, json_file)
    if comparison.failed:
        name, reason = next(iter(comparison.failed.items()))
        more = f" (and {len(comparison.failed) - 1} more)" if len(comparison.failed) > 1 else ""
        raise SeesayError(f"run {name} failed{more}: {reason}; the same command tries again.")
    return comparison


def _paths(pairs: Any, experiment: Experiment, root: Path) -> tuple[str, ...]:
    """The pairs as paths, which the runs read; what is in memory stays as a file in `root`, for a second call."""
    data = experiment.train.data
    with as_files(pairs, folder=root, image_column=data.image_column, caption_column=data.caption_column) as paths:
        return tuple(paths)


def _publish(comparison: Comparison, root: Path, json_file: str | Path | None) -> None:
    """Write result.json, figure and page below `root`, and say where they are."""
    for file in filter(None, (root / RESULT_NAME, json_file)):
        publish_file(file, json.dumps(comparison.to_json(), indent=1).encode())
    publish_file(root / FIGURE_NAME, figure_of(comparison).png())
    publish_file(root / PAGE_NAME, build_page(comparison).encode())
    ProgressLine("compare").say(f"page: {root / PAGE_NAME}   numbers: {root / RESULT_NAME}")


def _jobs(jobs: int | None, experiment: Experiment, runtime: Runtime) -> int:
    """How many runs at a time: small runs use two cores worse than two runs use one each."""
    if jobs is not None:
        if not 1 <= jobs <= MOST_JOBS:
            raise UsageError(f"jobs is {jobs}; give the number of runs trained at the same time, 1 to {MOST_JOBS}.")
        return jobs
    if runtime.device != "cpu":
        return 1
    return min(runtime.cores, len(experiment.objectives) * len(experiment.learning_rates), DEFAULT_JOBS)

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
from seesay.evaluation.contest_page import build_page, figure_of
from seesay.evaluation.contest_processes import Runs
from seesay.evaluation.contest_results import refuse_other_data, results_of
from seesay.evaluation.contest_settings import Contest, read_contest, settled
from seesay.evaluation.training import ZeroShotCheck, listed
from seesay.training.sources import open_sources
from seesay.training.start import SETTINGS_NAME

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
    contest = read_contest(Path(recipe), pairs=places, check=None if check is None else str(check), overrides=overrides)
    runtime = Runtime.find(contest.train.device)
    jobs = _jobs(jobs, contest, runtime)
    refuse_unwritable(root)
    contest = settled(contest, root, device=runtime.device)
    asked = ZeroShotCheck(contest.check or "", most=contest.check_images)
    sources = open_sources(contest.pairs, (), contest.train)
    refuse_other_data(root, pairs=sources.training, labelled=asked.labelled)
    with Journal(root) as journal:
        publish_file(root / SETTINGS_NAME, as_toml(contest).encode())
        runs = Runs(contest, root, journal, jobs=jobs, threads=max(1, runtime.cores // jobs))
        runs.make_all()
        result = results_of(contest, root, runs.outcomes, pairs=sources.training, asked=asked)
        result |= {
            "failed": {trial.name: told for trial, told in runs.failed.items()},
            "jobs": jobs,
            "machine": machine_facts(runtime),
        }
        for place in filter(None, (root / RESULT_NAME, json_file)):
            publish_file(place, json.dumps(result, indent=1).encode())
        publish_file(root / FIGURE_NAME, figure_of(result))
        publish_file(root / PAGE_NAME, build_page(result).encode())
    ProgressLine("compare").say(f"page: {root / PAGE_NAME}   numbers: {root / RESULT_NAME}")
    if runs.failed:
        first, told = next((trial.name, told) for trial, told in runs.failed.items())
        more = f" (and {len(runs.failed) - 1} more)" if len(runs.failed) > 1 else ""
        raise SeesayError(f"run {first} failed{more}: {told}; the same command tries again.")
    return result


def _jobs(jobs: int | None, contest: Contest, runtime: Runtime) -> int:
    """How many runs at a time: small runs use two cores worse than two runs use one each."""
    if jobs is not None:
        if not 1 <= jobs <= 256:
            raise UsageError(f"--jobs is {jobs}; run between 1 and 256 at a time.")
        return jobs
    if runtime.device != "cpu":
        return 1
    return min(runtime.cores, len(contest.objectives) * len(contest.learning_rates), MOST_JOBS)

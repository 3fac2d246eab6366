"""From the folders of the runs to a `Comparison`: points of every run, learning rates, FLOPs, efficiency factors."""

import json
from collections.abc import Mapping, Sequence
from itertools import accumulate, combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import bdtr
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from seesay.base.bounded import read_json
from seesay.base.errors import RefusedInput
from seesay.base.journal import EVENTS_NAME, read_events
from seesay.base.publish import publish_file
from seesay.base.records import PairSource
from seesay.base.runtime import Runtime
from seesay.base.settings import read_settings
from seesay.data.labelled import LabelledSet
from seesay.experiments.comparison import (
    UNITS,
    CheckFacts,
    Comparison,
    Factor,
    ObjectiveResult,
    PairsFacts,
    Point,
    RunResult,
    TriedRate,
)
from seesay.experiments.recipe import ExperimentRun
from seesay.experiments.runner import Runs
from seesay.experiments.schedule import Diverged, Failed, Finished, Outcome, checks_of_run, chosen_rate, tuning_runs
from seesay.experiments.worker import CHECK
from seesay.formulas.efficiency import efficiency
from seesay.formulas.schedule import Steps, size_at
from seesay.formulas.statistics import proportion_interval
from seesay.model.hub import load
from seesay.training.plan import RunPlan
from seesay.training.process_group import ProcessGroup
from seesay.training.run_folder import FACTS_NAME, MODEL_FOLDER, SETTINGS_NAME
from seesay.training.settings import TrainSettings
from seesay.training.setup import batches_of, set_up_towers
from seesay.training.sharding import parallelize
from seesay.training.step import Stepper
from seesay.training.validation import ZeroShotCheck


def flops_by_step(folder: Path, pairs: PairSource) -> list[int]:
    """FLOPs of the finished run in `folder` up to each of its steps; the first is 0, before any.

    Forward and backward pass of its first batch are counted once for each side of its crops: products of matrices,
    convolutions and attention, a product and a sum as two. Captions of other batches may be a little longer.
    """
    settings = read_settings(TrainSettings, file=folder / SETTINGS_NAME)
    # Images that are read ahead for a cache would not be counted anyway.
    settings = settings.model_copy(update={"data": settings.data.model_copy(update={"cache": False})})
    plan = RunPlan.of(settings, load(folder / MODEL_FOLDER).architecture, pairs=len(pairs))
    assert isinstance(plan.length, Steps)
    by_side = {side: step_flops(folder, plan, pairs, side=side) for side, _ in plan.sizes}
    return list(accumulate((by_side[side] for side in sides_of(plan.sizes, plan.length.count)), initial=0))


def sides_of(sizes: Sequence[tuple[int, float]], steps: int) -> list[int]:
    """The side of the crops of each step."""
    return [size_at(step / steps, sizes) for step in range(steps)]


def step_flops(folder: Path, plan: RunPlan, pairs: PairSource, *, side: int) -> int:
    """FLOPs of one step of the run's model on its first batch, at that side of the crops."""
    runtime = Runtime(device="cpu", cores=1)
    model = load(folder / MODEL_FOLDER)
    batch = next(batches_of(model, plan, pairs, runtime).starting_at(0, size_at=lambda _: side, workers=0))
    set_up_towers(model.clip, plan.settings.towers)
    stepper = Stepper(
        parallel=parallelize(model.clip.train().requires_grad_(True), ProcessGroup(runtime), parallel="ddp"),
        preprocess=model.preprocess,
        objective=plan.objective,
        seed=plan.settings.seed,
        micro_batch=plan.micro_batch,
        share_repeats=plan.data.share_repeats,
    )
    # The counter knows attention on a CPU only as the products it is made of.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        stepper.gradients(batch, [len(batch.sample_B)], step=1)
    return counter.get_total_flops()


DATA_NAME = "data.json"
# The upper tail of a two-sided 95 % interval.
TAIL = 0.025


def results_of(runs: Runs, *, pairs: PairSource, check: ZeroShotCheck, machine: Mapping[str, Any]) -> Comparison:
    """Everything measured by `runs` that are done. An objective without finished runs is there, without seeds.

    Efficiency factors are over the seeds that have the chosen learning rate.
    """
    finished = [run for run, outcome in runs.outcomes.items() if isinstance(outcome, Finished)]
    flops = {
        name: flops_by_step(next(run for run in finished if run.objective == name).folder(runs.root), pairs)
        for name in dict.fromkeys(run.objective for run in finished)
    }
    results = [run_result(run, runs.root, flops=flops[run.objective]) for run in finished]
    facts = check_facts(check, n=max((point.n for result in results for point in result.points), default=0))
    objectives = {name: objective_result(name, runs, results) for name in runs.experiment.objectives}
    return Comparison(
        recipe=runs.experiment,
        pairs=PairsFacts(name=pairs.name, pairs=len(pairs), fingerprint=pairs.fingerprint),
        check=facts,
        objectives=objectives,
        efficiency=factors_of(objectives, floor=facts.most_by_chance),
        runs=tuple(results),
        diverged={run.name: outcome.step for run, outcome in runs.outcomes.items() if isinstance(outcome, Diverged)},
        failed={run.name: outcome.reason for run, outcome in runs.outcomes.items() if isinstance(outcome, Failed)},
        jobs=runs.jobs,
        machine=machine,
    )


def run_result(run: ExperimentRun, root: Path, *, flops: Sequence[int]) -> RunResult:
    """The finished `run` below `root`; `flops` are those up to each step."""
    folder = run.folder(root)
    facts = read_json(folder / FACTS_NAME)
    settings = read_settings(TrainSettings, file=folder / SETTINGS_NAME)
    return RunResult(
        objective=run.objective,
        learning_rate=run.learning_rate,
        seed=run.seed,
        folder=str(folder.relative_to(root)),
        settings=settings.model_dump(mode="json", exclude_none=True),
        machine=facts["machine"],
        data=facts["data"],
        points=points_of(read_events(folder / EVENTS_NAME), flops=flops),
    )


def points_of(events: Sequence[Mapping[str, Any]], *, flops: Sequence[int]) -> tuple[Point, ...]:
    """The checks of a run; `flops` are those up to each step."""
    points, check_seconds = [], 0.0
    for event in checks_of_run(events):
        check_seconds += event["check_seconds"]
        n = int(event[f"{CHECK}/n"])
        # The log has a 32-bit number.
        hits = round(event[f"{CHECK}/top1"] * n)
        low, high = proportion_interval(hits, n)
        points.append(
            Point(
                step=event["step"],
                images=event["pairs_seen"],
                accuracy=hits / n,
                interval95=(low, high),
                n=n,
                loss=event["smooth_loss"],
                seconds=round(event["seconds"] - check_seconds, 3),
                flops=flops[event["step"]],
            )
        )
    return tuple(points)


def check_facts(check: ZeroShotCheck, *, n: int) -> CheckFacts:
    """The labelled set of which `n` images could be read (0 before any check)."""
    labelled = check.labelled
    chance = 1 / len(labelled.class_names)
    return CheckFacts(
        name=labelled.name,
        n=n,
        classes=len(labelled.class_names),
        chance=chance,
        # A model that always names the most frequent class has more than chance.
        most_by_chance=most_by_chance(n, max(chance, check.largest_share)) if n else chance,
        fingerprint=labelled.fingerprint,
    )


def most_by_chance(n: int, chance: float) -> float:
    """The share of `n` that random answers get right or less in 97.5 of 100 tries (binomial distribution)."""
    return int(np.searchsorted(bdtr(np.arange(n + 1), n, chance), 1 - TAIL)) / n


def objective_result(name: str, runs: Runs, results: Sequence[RunResult]) -> ObjectiveResult:
    """The chosen learning rate, all that were tried, and the points of each seed that has the chosen one."""
    rate = chosen_rate(runs.experiment, name, runs.outcomes)
    first_runs = [run for run in tuning_runs(runs.experiment) if run.objective == name]
    return ObjectiveResult(
        learning_rate=rate,
        templates=first_runs[0].templates(runs.experiment),
        tuning=tuple(tried_rate(run, runs.outcomes.get(run)) for run in first_runs),
        seeds={
            result.seed: result.points for result in results if (result.objective, result.learning_rate) == (name, rate)
        },
    )


def tried_rate(run: ExperimentRun, outcome: Outcome | None) -> TriedRate:
    """What a learning rate came to on the first seed."""
    is_finished = isinstance(outcome, Finished)
    return TriedRate(
        learning_rate=run.learning_rate,
        seed=run.seed,
        accuracy=outcome.accuracy if is_finished else None,
        loss=outcome.loss if is_finished else None,
        diverged_at_step=outcome.step if isinstance(outcome, Diverged) else None,
    )


def factors_of(objectives: Mapping[str, ObjectiveResult], *, floor: float) -> tuple[Factor, ...]:
    """The efficiency of each objective over each that is named after it; accuracies up to `floor` do not count."""
    return tuple(
        factor_of((fast, slow), objectives, over=over, floor=floor)
        for fast, slow in combinations(objectives, 2)
        for over in UNITS
    )


def factor_of(names: tuple[str, str], objectives: Mapping[str, ObjectiveResult], *, over: str, floor: float) -> Factor:
    """The efficiency of the first of two objectives over the second, counted in `over`."""
    fast, slow = names
    counts = len(objectives[fast].seeds), len(objectives[slow].seeds)
    fast_curve, slow_curve = objectives[fast].curve(over), objectives[slow].curve(over)
    if fast_curve is None or slow_curve is None:
        missing = fast if fast_curve is None else slow
        why = "every learning rate of {} diverged" if objectives[missing].has_diverged else "no run of {} is done"
        return Factor(fast=fast, slow=slow, over=over, reason=why.format(missing), seeds=counts)
    result = efficiency(fast_curve, slow_curve, floor=floor)
    return Factor(
        fast=fast,
        slow=slow,
        over=over,
        factor=result.factor,
        interval95=result.interval95,
        common=result.common,
        reason=result.reason or result.interval_reason,
        resamples_without_range=result.lost,
        seeds=counts,
    )


def refuse_other_data(root: Path, *, pairs: PairSource, labelled: LabelledSet) -> None:
    """Record in `root` which data its runs use; `RefusedInput` where they began with other pairs or another set."""
    now = {"pairs": pairs.fingerprint, "check set": labelled.fingerprint}
    file = root / DATA_NAME
    before = read_json(file) if file.is_file() else now
    for what, fingerprint in now.items():
        if before[what] != fingerprint:
            raise RefusedInput(
                f"{root} holds runs with other {what} ({before[what][:12]}, now {fingerprint[:12]}); "
                "choose another --out."
            )
    publish_file(file, json.dumps(now, indent=1).encode())

"""From pairs to a model, the public `seesay.train`: open, plan, begin or resume, loop, finish."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import torch

from seesay.base.errors import Interrupted, UsageError
from seesay.base.journal import EVENTS_NAME, Journal, ProgressLine, read_events
from seesay.base.names import check_arguments
from seesay.base.publish import refuse_unwritable, remove_stale
from seesay.base.runtime import Runtime, is_faster_in_bfloat16
from seesay.base.settings import merged, read_settings, setting_names
from seesay.data.memory_pairs import is_in_memory, name_of_memory
from seesay.data.pairs import listed
from seesay.model.bundle import Model
from seesay.training.best import best_line, is_stopped_early, save_model, start_keeping
from seesay.training.checkpoint import CHECKPOINTS
from seesay.training.faults import MOST_SKIPPED, SkipLog
from seesay.training.loop import explaining_out_of_memory, run_loop
from seesay.training.pairs import (
    TrainingPairs,
    caption_chances,
    data_facts,
    image_chances,
    open_training_pairs,
    same_everywhere,
    validation_line,
)
from seesay.training.plan import DataFacts, RunPlan, choose
from seesay.training.process_group import ProcessGroup, open_process_group
from seesay.training.run_folder import (
    MODEL_FOLDER,
    begun_with,
    is_new,
    read_vocabulary,
    write_beginning,
    write_settings,
)
from seesay.training.run_log import CURVES_NAME, QuietJournal, QuietLine, draw_curves, log_chance
from seesay.training.settings import TrainSettings
from seesay.training.setup import (
    add_teacher,
    batches_of,
    begin_or_resume,
    build_model,
    checks_of,
    named,
    refuse_too_many_skipped,
    warn_of_batch_norm,
)
from seesay.training.start import Towers, advice_lines, begin_with, open_towers
from seesay.training.state import TrainState
from seesay.training.trackers import refuse_missing
from seesay.training.validation import Check, ZeroShotCheck

WEIGHTS_NAME = "model.safetensors"
LENGTHS = ("steps", "epochs", "minutes")
# Paths, or what is in memory: `data.pairs.open_pairs`.
Sources = Any
Section = Mapping[str, Any] | None
# All fields of the settings are arguments of `train`, but for the section `check`: that argument names sets.
SETTINGS = frozenset(TrainSettings.model_fields) - {"check"}
SETTING_NAMES = tuple(setting_names(TrainSettings))
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def with_settings(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """As `no_empty_names`; a setting that is given as an argument is answered with its section."""

    @wraps(function)
    def checked(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        check_arguments(function, arguments, named, settings=SETTING_NAMES)
        return function(*arguments, **named)

    return checked


@with_settings
def train(
    pairs: Sources,
    *,
    out: str | Path | None = None,
    model: str | None = None,
    objective: str | None = None,
    widths: Sequence[int] | None = None,
    teacher: str | None = None,
    image_tower: str | None = None,
    text_tower: str | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    batch_size: int | None = None,
    micro_batch: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    workers: int | None = None,
    val: Sources = (),
    check: Sources = (),
    recipe: str | Path | None = None,
    allow_change: Sequence[str] = (),
    overrides: Sequence[str] = (),
    data: Section = None,
    towers: Section = None,
    optimizer: Section = None,
    schedule: Section = None,
    checkpoint: Section = None,
    log: Section = None,
    start: Section = None,
    distillation: Section = None,
    parallel: Literal["ddp", "fsdp"] | None = None,
    parallel_timeout_seconds: float | None = None,
    stuck_minutes: float | None = None,
) -> Model:
    """Train a model on image-caption pairs and return it; everything is kept in the run folder `out`.

    `pairs`, `val`: folders, tables or tar shards to learn from and to validate on, or frames of pandas, polars or
    Arrow, or a sequence of (image, caption). `check`: labelled sets measured zero-shot while training. What is None is
    chosen from the data and printed: `model` is a size (`seesay train --help` has the list of all options), `objective`
    what is learned, for rows cut to each of `widths` too, `teacher` a model whose answers are learned beside it,
    `image_tower` and `text_tower` models whose tower is begun with, the length one of `steps`, `epochs` and `minutes`,
    `batch_size` the pairs of a step, `micro_batch` those in memory at once, `workers` the processes that read images,
    `device` "cpu", "cuda" or "mps". A run that does nothing for `stuck_minutes` ends. Sections are dicts, as
    `optimizer={"learning_rate": 1e-3}`; `print(seesay.TrainSettings())` lists them. What is named wins over the TOML
    file `recipe`, `overrides` ("section.key=value") over both. The default `out` is `runs/NAME`; calling again goes on
    where a stopped run was, with the same settings but for those, sections or "pairs" that `allow_change` names. Raises
    `UsageError` for what cannot be trained so, `RefusedInput` for damaged files, `StorageError` where the disk fails,
    `Stopped` when stopped after saving, `TooManySkipped` after saving a model without 5 % of its samples.
    """
    request = run_request(pairs, locals())
    with _explain_interrupt(request.out):
        return train_model(
            request.sources,
            out=request.out,
            settings=request.settings,
            validation=listed(val),
            checks=_zero_shot_checks(check),
            allow_change=[allow_change] if isinstance(allow_change, str) else allow_change,
        )


def _zero_shot_checks(check: Sources) -> dict[str, Check]:
    """What is measured on each labelled set; `UsageError` for the settings of checks in their place."""
    if isinstance(check, Mapping):
        key = next(iter(check), "every")
        raise UsageError(f"check names labelled sets; its settings are overrides, as overrides=['check.{key}=...'].")
    sets = listed(check)
    return {name: ZeroShotCheck(source).measure for name, source in zip(named(sets), sets, strict=True)}


@contextmanager
def _explain_interrupt(out: Path) -> Iterator[None]:
    """Ctrl-C in here says what is saved; while steps are made it is a request, answered after one of them."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"stopped outside of a step; what {out} has is whole, and the same call goes on or begins anew."
        ) from error


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the arguments of `train` come to: where the pairs are, the run folder, and the settings."""

    sources: list[str | Path]
    out: Path
    settings: TrainSettings


def run_request(pairs: Sources, arguments: Mapping[str, Any]) -> RunRequest:
    """What the arguments of `train` or `doctor`, by name, come to; `UsageError` for what is wrong with them."""
    sources = listed(pairs)
    if not len(sources):
        raise UsageError("no pairs are given; name a folder, a table or shards.")
    recipe, out, workers = (arguments[name] for name in ("recipe", "out", "workers"))
    named_here = {name: value for name, value in arguments.items() if name in SETTINGS}
    base = read_settings(TrainSettings, file=Path(recipe) if recipe else None).model_dump(exclude_unset=True)
    if any(named_here[name] is not None for name in LENGTHS):
        # A run has one length: the one that is named here takes the place of the recipe's.
        base = {name: value for name, value in base.items() if name not in LENGTHS}
    base = merged(merged(base, named_here), {} if workers is None else {"data": {"workers": workers}})
    overrides = arguments["overrides"]
    overrides = [overrides] if isinstance(overrides, str) else overrides
    settings = read_settings(TrainSettings, file=None, overrides=overrides, base=base)
    first = sources[0]
    name = name_of_memory(first) if is_in_memory(first) else Path(first).stem.strip("*")
    folder = Path(out) if out else Path("runs") / (name or "run")
    return RunRequest(sources=sources, out=folder, settings=settings)


def train_model(
    sources: Sequence[str | Path] | TrainingPairs,
    *,
    out: Path,
    settings: TrainSettings,
    validation: Sequence[str | Path] = (),
    checks: Mapping[str, Check] | None = None,
    allow_change: Sequence[str] | None = (),
    most_skipped: float = MOST_SKIPPED,
    start: Model | None = None,
) -> Model:
    """As `train`, with settings that are checked; `checks` are measured on the model while it trains.

    `sources` may be opened already; `start` is the model to begin with. Returns the finished one, also in `out/model`;
    where more than `most_skipped` of the samples had to be left out, `TooManySkipped` says so instead.
    """
    refuse_missing(settings.log.to)
    runtime = Runtime.find(settings.device)
    start, settings = begin_with(settings, start)
    towers = open_towers(settings)
    with open_process_group(runtime, timeout_seconds=settings.parallel_timeout_seconds) as processes:
        if processes.is_main:
            refuse_unwritable(out / CHECKPOINTS)  # before the pairs are read, which may take its time
        line = ProgressLine("train") if processes.is_main else QuietLine("train")
        journal = Journal(out) if processes.is_main else QuietJournal(out)
        begun = processes.broadcast_from_main(lambda: begun_with(out))
        settings, pairs = _split(sources, validation, settings, share=begun["validation"])
        line.say(*pairs.lines())
        processes.check_equal(same_everywhere(settings, pairs))
        facts = _with_precision(data_facts(pairs.training, runtime), settings, begun["precision"], processes)
        plan = _plan_of(settings, pairs, facts, start, towers)
        begins, changes = processes.broadcast_from_main(lambda: is_new(out, plan, pairs, allow_change))
        memory = explaining_out_of_memory(plan, world_size=processes.world_size, folder=out)
        listing = out if processes.is_main else None
        with memory, journal, SkipLog(listing, len(pairs.training)) as skips, _without_denormals():
            skips.note(pairs.training.problems)
            line.say(*plan.reasons, f"validation {validation_line(pairs, batch_size=plan.batch_size)}")
            if processes.is_main:
                remove_stale(out)
                if begins:
                    write_beginning(out, plan, pairs)
                    line.say(*advice_lines(settings, facts, sources, out))
                elif changes:
                    # First the event: a kill in between must not leave a run that is finished and of the new length.
                    journal.event(event="changed", changes=changes)
                    write_settings(out, plan, pairs)
                    line.say(*(f"changed    {change}" for change in changes))
            vocabulary = processes.broadcast_from_main(lambda: read_vocabulary(out, plan.settings))
            model = build_model(plan, vocabulary, name=out.name, start=start, towers=towers)
            held = {"journal": journal, "skips": skips, "line": line, "processes": processes}
            state = begin_or_resume(model, plan, pairs.training, **held)
            warn_of_batch_norm(state)
            add_teacher(state, pairs)
            state.checks = checks_of(state, model, pairs.validation, checks or {})
            start_keeping(state, model, pairs.validation)
            log_chance(state, len(pairs.validation or ()))
            run_loop(state, batches_of(model, plan, pairs.training, runtime))
            model = _finish(state, model)
            refuse_too_many_skipped(state, pairs, most=most_skipped)
            return model


def _plan_of(
    settings: TrainSettings, pairs: TrainingPairs, facts: DataFacts, start: Model | None, towers: Towers
) -> RunPlan:
    captions, images = caption_chances(pairs.training), image_chances(pairs.sampled.image_id_M)
    first = {"start": start and start.architecture, "towers": towers.architecture}
    plan = choose(settings, facts, repeats=captions, image_repeats=images, **first)
    return replace(plan, reasons=(*plan.reasons, *towers.lines(plan.architecture.embed_dim)))


@contextmanager
def _without_denormals() -> Iterator[None]:
    """Numbers below 1e-38 slow a CPU down and carry nothing; the rest of the process gets them back."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _split(
    sources: Sequence[str | Path] | TrainingPairs,
    validation: Sequence[str | Path],
    settings: TrainSettings,
    *,
    share: float | None,
) -> tuple[TrainSettings, TrainingPairs]:
    """The pairs, and the settings with the share that is held out: as given, else `share`, which the run began with."""
    if isinstance(sources, TrainingPairs):
        return settings, sources
    if settings.data.validation is None:
        settings = _holding_out(settings, share)
    pairs = open_training_pairs(sources, validation, settings)
    return (settings if pairs.held_out is None else _holding_out(settings, pairs.held_out)), pairs


def _holding_out(settings: TrainSettings, share: float | None) -> TrainSettings:
    return settings.model_copy(update={"data": settings.data.model_copy(update={"validation": share})})


def _with_precision(facts: DataFacts, settings: TrainSettings, begun: str | None, processes: ProcessGroup) -> DataFacts:
    """`facts` with what decides on the precision where none is given: what is measured, if the run only begins."""
    if begun or settings.towers.precision:
        return replace(facts, begun_with=begun)
    # On one process, so that all have the same and none disturbs it.
    is_faster = processes.broadcast_from_main(lambda: is_faster_in_bfloat16(facts.device))
    return replace(facts, is_faster_in_bfloat16=is_faster)


def _finish(state: TrainState, model: Model) -> Model:
    """Save the model folder, draw the curves, and say that the run is done."""
    for tracker in state.trackers:
        tracker.close()
    position, out = state.position, state.journal.folder
    events = read_events(out / EVENTS_NAME) if state.processes.is_main else []
    last = next((event for event in reversed(events) if event.get("event") == "check"), {})
    model = save_model(state, model, out / MODEL_FOLDER, checks=last)
    if not state.processes.is_main:
        return model.to("cpu")
    with (out / MODEL_FOLDER / WEIGHTS_NAME).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    state.log_event(
        "done",
        pairs_seen=position.pairs_seen,
        seconds=round(position.seconds, 1),
        loss=position.smooth_loss,
        model=str(out / MODEL_FOLDER),
        sha256=sha256,
        **({"ended_early": True} if is_stopped_early(state) else {}),
    )
    draw_curves(out)
    state.line.say(
        *_done_lines(state),
        f"model: {out / MODEL_FOLDER}   curves: {out / CURVES_NAME}   weights: sha256 {sha256}",
        *best_line(state),
    )
    return model.to("cpu")


def _done_lines(state: TrainState) -> list[str]:
    """How long the run was, what it left out, and why it ended before its length."""
    position, skips, best = state.position, state.skips, state.best
    skipped = f"; left out {sum(skips.counts.values())}: {skips.summary()}" if skips.counts else ""
    lines = [
        f"done: {position.step:,} steps, {position.pairs_seen:,} pairs, {position.seconds / 60:.1f} minutes{skipped}"
    ]
    if best is not None and is_stopped_early(state):
        lines.append(
            f"ended early, at {state.share(position.step):.0%} of {state.plan.length}: {best.checks_since} checks in a "
            f"row had no lower validation loss than step {best.step:,} (check.patience)"
        )
    return lines

"""A model, and what it should be better at: the public `seesay.finetune`: open, train, sweep, choose, publish."""

import copy
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from seesay.base.errors import Interrupted, SeesayError, TooManySkipped, UsageError
from seesay.base.names import no_empty_names
from seesay.base.publish import publish_file, refuse_unwritable
from seesay.base.runtime import Runtime
from seesay.base.settings import leaves, merged, read_settings
from seesay.base.streams import say
from seesay.base.values import with_interval
from seesay.data.class_names import names_of
from seesay.data.evalsets import name_of_set
from seesay.data.memory_pairs import is_in_memory, name_of_memory
from seesay.data.pairs import listed
from seesay.finetuning.guards import ROWS, Guards, OldAnswers, open_guards, refuse_blind, taken_names
from seesay.finetuning.measures import Measure, OwnAnswers, images_in_words, unseen_change
from seesay.finetuning.page import build_page
from seesay.finetuning.result import (
    PAGE_NAME,
    RESULT_NAME,
    START_FOLDER,
    TRAIN_FOLDER,
    FineTuning,
    held_back_line,
    in_points,
    none_allowed,
    refuse_other_models,
    result_of,
    too_many_left_out,
)
from seesay.finetuning.sweep import between, chosen_point, held_back, sweep
from seesay.finetuning.target import Target, open_target
from seesay.model.bundle import Model
from seesay.model.confidence import CONFIDENCE
from seesay.training.run_folder import ADAPTER_FOLDER, MODEL_FOLDER, SETTINGS_NAME, open_run
from seesay.training.settings import CHANGEABLE, TrainSettings
from seesay.training.start import begin_with, is_small, open_start
from seesay.training.train import LENGTHS, train_model

How = Literal["full", "image", "lora", "prompt", "lock-image", "lock-text"]
# One point of a hundred.
MOST_LOSS = 1.0
# Wortsman et al. 2022 train 10 epochs; of few images more, so that there are some 200 batches of 16 (a guess).
EPOCHS, FEWEST_SEEN = 10, 3200
RUN_ARGUMENTS = frozenset(["steps", "epochs", "minutes", "batch_size", "micro_batch", "seed", "device"])
CHECKS = 0.25
# What `start.keep` is, and the larger steps, by Muon, of a small model that enough images of a guard hold
# (benchmarks/2026-11-29-finetune).
KEEP = 10.0
STEPS_WHEN_HELD = {"kind": "muon", "learning_rate": 3e-3, "weight_decay": 0.0}
KEEPING = ("full", "image", "lora")
HELD_BY, TAUGHT_BY = "start.guard_sha256", "distillation.sha256"


@no_empty_names
def finetune(
    model: Model | str | Path,
    data: Any,
    *,
    out: str | Path | None = None,
    how: How = "full",
    guard: Any = (),
    most_loss: float = MOST_LOSS,
    val: Any = (),
    steps: int | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    batch_size: int | None = None,
    micro_batch: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    workers: int | None = None,
    overrides: Sequence[str] = (),
) -> FineTuning:
    """Make a model better at `data` and measure what it loses elsewhere; all is kept in the run folder `out`.

    `data`: a labelled set, whose classes become prompts, or pairs as for `train`. `how` is what is trained: "full" both
    towers, "lock-image" or "lock-text" all but one of them, "image" the image tower and a row for each class, "lora"
    low-rank updates of matrices, "prompt" vectors in place of a template's words. `guard`: labelled or captioned sets
    whose score may fall by at most `most_loss` points (of a hundred), the end of the 95 % interval counted; without one
    what the model says of held-out images. `val` chooses the model, or a part of `data` that is held out.
    When training is done, the weights between the old model and the new one are measured, and `out/model` is the best
    of them that is allowed; `out/start` and `out/train/model` are the ends, `out/finetune.json` and `out/finetune.html`
    the numbers. All else is as in `train`. Raises `SeesayError` where no model is better and allowed, `UsageError` for
    one class, a guard that shares images, a model without a text tower, an `out` with another model, and where nothing
    could be recommended, and what `train` raises.

    Example: seesay.finetune("box", "digits/", how="lora", guard="photos/").model
    """
    check_loss(most_loss)
    arguments = {key: value for key, value in locals().items() if key in RUN_ARGUMENTS}
    settings = _settings(arguments, model, how, workers=workers, overrides=overrides)
    folder = Path(out) if out else Path("runs") / f"{_name_of(data)}-finetuned"
    refuse_other_models(folder, model, settings.teacher)
    if is_main := (runtime := Runtime.find(settings.device)).rank == 0:
        refuse_unwritable(folder)
    old = open_start(settings.start, model if isinstance(model, Model) else None)
    assert old is not None
    on_device = copied_to(runtime.device, old)
    target = open_target(on_device, data, val, settings, own_template=settings.start.how == "prompt")
    opened = open_guards(on_device, guard, target, is_held=keeps(settings))
    refuse_blind(opened.measures, most_loss)
    settings = with_guards(with_defaults(settings, target), old, opened)
    target, guards = with_old_answers(target, on_device, settings, opened), opened.measures
    if on_device is not old:
        on_device.to("cpu")  # so that there is room to train
    if is_main:
        say(*described(old, target, guards, settings, most_loss=most_loss, has_guard=bool(len(listed(guard)))))
    new = train_once(target, old, folder, settings, guards)
    result = result_of(target, guards, settings, folder=folder, model_name=old.name, most_loss=most_loss)
    if not is_main:
        return result
    return choose_and_tell(result, on_device.to(runtime.device), new.to(runtime.device))


def choose_and_tell(result: FineTuning, old: Model, new: Model) -> FineTuning:
    """As `choose_model`; then, or with its error, what was left out of training, if too much: `TooManySkipped`."""
    too_many = too_many_left_out(result)
    try:
        result = choose_model(result, old, new)
    except KeyboardInterrupt as error:
        trained = result.folder / TRAIN_FOLDER / MODEL_FOLDER
        raise Interrupted(f"{trained} is trained; the same command measures it.") from error
    except SeesayError:
        if too_many:
            say(too_many)
        raise
    if too_many:
        say(*str(result).rstrip("\n").split("\n"))
        raise TooManySkipped(too_many)
    return result


def with_old_answers(target: Target, old: Model, settings: TrainSettings, guards: Guards) -> Target:
    """The target, with what the old model says of images and texts that are not learned, if `start.keep` asks for it.

    `UsageError` for what trains no row of theirs.
    """
    if not settings.start.keep:
        return target
    if settings.start.how == "prompt":
        raise UsageError(f"start.keep is {settings.start.keep:g}, but a prompt changes no other row; leave it out.")
    rows = ROWS if is_held_firmly(old, guards) else 1
    answers = OldAnswers(old, taken_names(target), seed=settings.seed, holding=guards.holding, rows=rows)
    return replace(target, pairs=replace(target.pairs, old_answers=answers))


def check_loss(most_loss: float) -> None:
    """`UsageError` for a loss that there cannot be."""
    if isinstance(most_loss, bool) or not isinstance(most_loss, int | float) or not 0 <= most_loss <= 100:
        raise UsageError(f"most_loss is {most_loss!r}; give points between 0 and 100.")


def _settings(
    arguments: dict[str, Any], model: Any, how: str, *, workers: int | None, overrides: Sequence[str]
) -> TrainSettings:
    named = None if isinstance(model, Model) else str(model)
    base = merged(arguments, {"start": {"model": named, "how": how}})
    base = merged(base, {} if workers is None else {"data": {"workers": workers}})
    overrides = [overrides] if isinstance(overrides, str) else overrides
    return read_settings(TrainSettings, file=None, overrides=overrides, base=base)


def _name_of(data: Any) -> str:
    first = listed(data)[0]
    return name_of_memory(first) if is_in_memory(first) else Path(name_of_set(first).replace("/", "-")).stem.strip("*")


def keeps(settings: TrainSettings) -> bool:
    """Whether the run keeps what the old model answered: as `start.keep` says, else wherever it could."""
    start = settings.start
    return start.how in KEEPING if start.keep is None else start.keep > 0


def with_defaults(settings: TrainSettings, target: Target) -> TrainSettings:
    """The settings with what fine-tuning chooses from the target; what was given stays as it is."""
    count = len(target.pairs.training)
    chosen: dict[str, Any] = {"check": {"every": CHECKS}} if "check" not in settings.model_fields_set else {}
    if not any(getattr(settings, name) for name in LENGTHS):
        chosen["epochs"] = max(EPOCHS, math.ceil(FEWEST_SEEN / max(1, count)))
    if target.classes is not None and settings.start.how == "image":
        names = [names_of(name)[0] for name in target.classes.names]
        chosen["start"] = {**chosen.get("start", {}), "classes": names, "templates": [*target.classes.templates]}
    if target.classes is not None and settings.data.share_repeats is None:
        # Two images of one class are no mismatch.
        chosen["data"] = {"share_repeats": True}
    return read_settings(TrainSettings, file=None, base=merged(settings.model_dump(exclude_unset=True), chosen))


def with_guards(settings: TrainSettings, old: Model, guards: Guards) -> TrainSettings:
    """The settings with what of the guards holds the model, how much, and the larger steps that this allows.

    A weight, optimizer or rate that is given stays.
    """
    chosen: dict[str, Any] = {"start": {"guard_sha256": guards.holding.sha256}}
    if settings.start.keep is None:
        chosen["start"]["keep"] = KEEP if keeps(settings) else 0.0
    # Muon needs whole matrices.
    stays = bool({"kind", "learning_rate"} & settings.optimizer.model_fields_set) or settings.parallel == "fsdp"
    if is_held_firmly(old, guards) and settings.start.how in ("full", "image") and not stays:
        chosen["optimizer"] = {**STEPS_WHEN_HELD, **settings.optimizer.model_dump(exclude_unset=True)}
    return read_settings(TrainSettings, file=None, base=merged(settings.model_dump(exclude_unset=True), chosen))


def is_held_firmly(old: Model, guards: Guards) -> bool:
    """Whether a small model is held by images of a guard, so that it may take larger steps."""
    return is_small(old) and guards.holding.is_enough


def described(
    old: Model, target: Target, guards: Sequence[Measure], settings: TrainSettings, *, most_loss: float, has_guard: bool
) -> list[str]:
    """Lines for a person: what is trained, what it is chosen by, and what it must not lose."""
    lines = [f"start      {old.name}: {settings.start.how}", *(f"           {note}" for note in target.notes)]
    measure = target.measure
    lines.append(f"target     {target.name}: {measure.what}, on {images_in_words(measure)} that are held out")
    if target.pairs.old_answers is not None:
        lines.append(
            f"keep       {target.pairs.old_answers} keep what the old model answered: weight {settings.start.keep:g}"
        )
    for guard in guards:
        lines.append(f"guard      {guard.name}: {guard.what}, on {images_in_words(guard)}")
        if not isinstance(guard, OwnAnswers) and (unseen := 100 * unseen_change(guard.n)) > most_loss:
            hint = f"name more, or allow it with --most-loss {math.ceil(unseen)}"
            lines.append(f"           so few that a loss of {unseen:.2f} points cannot be excluded; {hint}")
    if not has_guard:
        lines.append("           measured only on images like the target's: name a set you care about with --guard")
        if keeps(settings):
            lines.append("           a part of some thousands of images then holds the model, which may learn more")
    return [*lines, f"bound      at most {in_points(most_loss)} lost on a guard, the end of the 95 % interval counted"]


def train_once(target: Target, old: Model, folder: Path, settings: TrainSettings, guards: Sequence[Measure]) -> Model:
    """The trained model of `folder/train`: that of a run that is done, or of one that begins or goes on."""
    run_folder, is_main = folder / TRAIN_FOLDER, Runtime.find(settings.device).rank == 0
    if (done := _finished(run_folder, target, old, settings)) is not None:
        if is_main:
            say(f"trained    already, in {run_folder}: measured anew")
        return done
    checks = {"target": target.measure, **{f"guard {guard.name}": guard for guard in guards}}
    return train_model(
        target.pairs,
        out=run_folder,
        settings=settings,
        start=old,
        checks={
            name: lambda model, check=check: {"score": check.answers(model).mean} for name, check in checks.items()
        },
        # What was left out is told when all is measured.
        allow_change=None,
        most_skipped=1.0,
    )


def _finished(folder: Path, target: Target, old: Model, settings: TrainSettings) -> Model | None:
    """The model of a finished run with the settings that are given, which is then only measured anew; else None.

    `UsageError` for a run that other images of a guard held: some of those that are measured now may be among them.
    """
    if not (folder / SETTINGS_NAME).is_file():
        return None
    run = open_run(folder)
    requested, kept = dict(leaves(begin_with(settings, old)[1])), dict(leaves(run.settings))
    if kept.get(HELD_BY) != requested.get(HELD_BY):
        raise UsageError(
            f"{folder} holds a run with other images of a guard, or of another version of seesay; name the guard that "
            "it began with, or choose another --out."
        )
    # That there is no teacher counts, too.
    requested = {TAUGHT_BY: None, **requested}
    same = run.facts["data"]["fingerprint"] == target.pairs.training.fingerprint and all(
        kept.get(name) == value
        for name, value in requested.items()
        if not name.startswith((*CHANGEABLE, "device", "data.workers"))
    )
    return run.load() if run.is_finished and same else None


def copied_to(device: str, model: Model) -> Model:
    """The model on a device; the one that is given stays where it is, and is taken where that is the device."""
    if str(model.device) == device:
        return model
    other = copy.copy(model)
    other.clip = copy.deepcopy(model.clip)
    return other.to(device)


def choose_model(result: FineTuning, old: Model, new: Model) -> FineTuning:
    """Measure what lies between the two, write numbers and page, and publish the best that is allowed.

    `SeesayError` where none is.
    """
    points = sweep(old, new, target=result.target, guards=result.guards, most_loss=result.most_loss / 100)
    result = result.with_points(points, chosen_point(points, result.most_loss / 100))
    folder, chosen = result.folder, result.chosen
    old.save(folder / START_FOLDER)
    # First: what an earlier call recommended must not stand beside other numbers.
    for earlier in (MODEL_FOLDER, ADAPTER_FOLDER):
        shutil.rmtree(folder / earlier, ignore_errors=True)
    publish_file(folder / RESULT_NAME, (json.dumps(result.to_json(), indent=1) + "\n").encode())
    publish_file(folder / PAGE_NAME, build_page(result).encode())
    if chosen is not None:
        best = between(old, new, chosen.a).to("cpu")
        best.name = folder.name
        best.facts = {"finetuned": {"from": old.name, "how": result.how, "a": chosen.a, "point": chosen.to_json()}}
        if CONFIDENCE in old.facts:
            # As right as of the old model where its answers are kept (benchmarks/2026-11-29-finetune); where nothing
            # is, it was not measured, and makes the model less sure.
            best.facts[CONFIDENCE] = old.facts[CONFIDENCE]
        best.save(folder / MODEL_FOLDER)
        if (folder / TRAIN_FOLDER / ADAPTER_FOLDER).is_dir():
            result.save_adapter(folder / ADAPTER_FOLDER)
    if chosen is None:
        say(*str(result).rstrip("\n").split("\n"))
        raise none_allowed(result)
    if chosen.target.interval95[0] <= 0:
        interval = with_interval(chosen.target.gain, chosen.target.interval95, sign=True)
        say(f"its gain on {result.target.name}, {interval} points, may be chance; choose by more images with --val.")
    if (better := held_back(result.points, chosen, result.most_loss / 100)) is not None:
        say(held_back_line(result, chosen, better))
    say(f"recommended: {folder / MODEL_FOLDER}   page: {folder / PAGE_NAME}   numbers: {folder / RESULT_NAME}")
    return result

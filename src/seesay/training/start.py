"""From pairs to a model: open, plan, go on or begin, run, save. The public `train` of the package ends here."""

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from seesay.base.errors import BrokenSample, UsageError
from seesay.base.journal import EVENTS_NAME, Journal, ProgressLine, read_events
from seesay.base.publish import publish_file
from seesay.base.records import PairSource
from seesay.base.runtime import Runtime, machine_facts
from seesay.base.settings import as_toml, difference, read_settings
from seesay.data.augment import Augment
from seesay.data.images import Preprocess, decode
from seesay.data.loader import Batches, Crops, Subset, can_fork, permutation
from seesay.data.pairs import open_pairs
from seesay.data.pixel_cache import PixelCache
from seesay.data.prompts import TEMPLATES
from seesay.data.tables import TABLE_SUFFIXES
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.bundle import Model
from seesay.nets.clip import build_clip
from seesay.training.checkpoint import restore_latest
from seesay.training.curves import draw_curves
from seesay.training.loop import Run, save, train
from seesay.training.optimizer import adamw
from seesay.training.plan import DataFacts, Plan, caption_chances, choose, steps_of
from seesay.training.settings import FREE_TO_CHANGE, TrainSettings
from seesay.training.skips import SKIPPED_NAME, SkipLog
from seesay.training.validation import Validation

SETTINGS_NAME = "settings.toml"
FACTS_NAME = "facts.json"
TOKENIZER_NAME = "tokenizer.json"
MODEL_FOLDER = "model"
BEFORE_SETTINGS = {EVENTS_NAME, SKIPPED_NAME, TOKENIZER_NAME, FACTS_NAME}
LOOKED_AT = 64
CACHE_MARGIN = 1.35
LEAST_VALIDATION, MOST_VALIDATION = 4, 1000
HELD_OUT_VISIT = 2**40

Check = Callable[[Model], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """What the run learns from, and what it is validated on (None where there is too little)."""

    training: PairSource
    validation: PairSource | None


def train_model(
    places: Sequence[str | Path],
    *,
    out: Path,
    settings: TrainSettings,
    validation: Sequence[str | Path] = (),
    checks: Mapping[str, Check] | None = None,
) -> Model:
    """Train on the pairs in `places`, in the run folder `out`; the same call goes on where a stopped run was.

    `checks` are measured on the model while it trains. Returns the finished model, which also lies in `out/model`.
    """
    line = ProgressLine("train")
    pairs = _open(places, validation, settings)
    line.say(f"pairs    {len(pairs.training):,} from {pairs.training.name}")
    plan = choose(settings, _facts(pairs.training, settings), repeats=caption_chances(pairs.training))
    is_new = _is_new(out, plan.settings, pairs)
    with Journal(out) as journal, SkipLog(out, len(pairs.training)) as skips, _without_denormals():
        skips.note(pairs.training.problems)
        line.say("\n".join(plan.reasons))
        if is_new:
            _begin(out, plan, pairs)
        model = _model(out, plan)
        run = _run(model, plan, pairs, journal=journal, skips=skips, line=line)
        run.checks = _checks(run, model, pairs, checks or {})
        train(run, _batches(model, plan.settings, pairs.training))
        return _finish(run, model, pairs)


@contextmanager
def _without_denormals() -> Iterator[None]:
    """Numbers below 1e-38 slow a CPU down and carry nothing; the rest of the process gets them back."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _open(places: Sequence[str | Path], validation: Sequence[str | Path], settings: TrainSettings) -> Pairs:
    """The pairs of the run; without validation pairs a share of the training pairs is held out."""
    columns = {"image_column": settings.data.image_column, "caption_column": settings.data.caption_column}
    source = open_pairs(places, **columns)
    if validation:
        # The columns are those of the training table; validation pairs may lie in a folder.
        named = columns if any(_is_table(place) for place in validation) else {}
        return Pairs(training=source, validation=open_pairs(validation, **named))
    held_out = min(MOST_VALIDATION, round(settings.data.validation * len(source)))
    if held_out < LEAST_VALIDATION:
        return Pairs(training=source, validation=None)
    shuffled = permutation(settings.seed, HELD_OUT_VISIT, len(source))
    return Pairs(
        training=Subset(source, np.sort(shuffled[held_out:])), validation=Subset(source, np.sort(shuffled[:held_out]))
    )


def _is_table(place: str | Path) -> bool:
    return Path(place).suffix.lower().removeprefix(".") in TABLE_SUFFIXES


def _facts(pairs: PairSource, settings: TrainSettings) -> DataFacts:
    runtime = Runtime.find(settings.device)
    sides = []
    for index in np.linspace(0, len(pairs) - 1, min(LOOKED_AT, len(pairs))).astype(int):
        try:
            sides.append(min(decode(pairs[int(index)].image).shape[:2]))
        except BrokenSample:
            continue
    if not sides:
        raise UsageError(f"none of {min(LOOKED_AT, len(pairs))} pictures looked at in {pairs.name} can be read.")
    return DataFacts(
        pairs=len(pairs),
        captions=sum(len(pairs.captions(index)) for index in range(len(pairs))),
        median_side=round(statistics.median(sides)),
        device=runtime.device,
        cores=runtime.cores,
        can_fork=can_fork(),
    )


def _is_new(out: Path, settings: TrainSettings, pairs: Pairs) -> bool:
    """True for a folder to begin in, False for an unfinished run of the same settings; anything else is refused.

    A run that was killed before its settings were written had not begun.
    """
    if not out.exists():
        return True
    if not out.is_dir():
        raise UsageError(f"{out} is a file; choose another --out.")
    if not (out / SETTINGS_NAME).is_file():
        foreign = {path.name for path in out.iterdir() if not path.name.startswith(".")} - BEFORE_SETTINGS
        if foreign:
            raise UsageError(f"{out} holds {min(foreign)} and is no run folder; choose another --out.")
        return True
    events = read_events(out / EVENTS_NAME) if (out / EVENTS_NAME).exists() else []
    if events and events[-1].get("event") == "done":
        raise UsageError(f"{out} holds a finished run; choose another --out, or use its model in {out / MODEL_FOLDER}.")
    changes = [
        line
        for line in difference(read_settings(TrainSettings, file=out / SETTINGS_NAME), settings)
        if not line.startswith(FREE_TO_CHANGE)
    ]
    if changes:
        changed = "; ".join(changes)
        raise UsageError(f"{out} holds an unfinished run with other settings ({changed}); choose another --out.")
    before = json.loads((out / FACTS_NAME).read_text(encoding="utf-8"))["data"]["fingerprint"]
    if before != pairs.training.fingerprint:
        raise UsageError(f"{out} holds an unfinished run on other pairs; choose another --out.")
    return False


def _begin(out: Path, plan: Plan, pairs: Pairs) -> None:
    """Write what the run is: the tokenizer, the facts, and last the settings that make the folder a run."""
    training, settings = pairs.training, plan.settings
    captions = (caption for index in range(len(training)) for caption in training.captions(index))
    tokenizer = CaptionTokenizer.train(
        captions,
        vocab_size=settings.data.vocab_size or plan.architecture.text.vocab_size,
        context=settings.data.context or plan.architecture.text.context,
    )
    facts = {
        "machine": machine_facts(Runtime.find(settings.device)),
        "data": {
            "name": training.name,
            "pairs": len(training),
            "validation_pairs": len(pairs.validation or ()),
            "fingerprint": training.fingerprint,
        },
        "plan": list(plan.reasons),
    }
    publish_file(out / TOKENIZER_NAME, json.dumps(tokenizer.to_json()).encode())
    publish_file(out / FACTS_NAME, json.dumps(facts, indent=1).encode())
    publish_file(out / SETTINGS_NAME, as_toml(settings).encode())


def _model(out: Path, plan: Plan) -> Model:
    """The untrained model of the run."""
    tokenizer = CaptionTokenizer.from_json(json.loads((out / TOKENIZER_NAME).read_text(encoding="utf-8")))
    text = plan.architecture.text.model_copy(update={"vocab_size": tokenizer.vocab_size, "context": tokenizer.context})
    architecture = plan.architecture.model_copy(update={"text": text})
    return Model(
        build_clip(architecture, seed=plan.settings.seed).to(plan.settings.device or "cpu"),
        architecture,
        tokenizer,
        preprocess=Preprocess(size=architecture.image.image_size),
        templates=TEMPLATES["short"],
        name=out.name,
    )


def _run(model: Model, plan: Plan, pairs: Pairs, *, journal: Journal, skips: SkipLog, line: ProgressLine) -> Run:
    """The run where it stands: at its start, or at its newest whole checkpoint."""
    optimizer = adamw(model.clip, plan.settings.optimizer)
    position, faults = restore_latest(journal.folder / "checkpoints", model.clip, optimizer)
    for fault in faults:
        line.say(f"warning: {fault}")
    journal.cut_after(position.step)
    if position.step:
        line.say(f"going on after step {position.step:,}")
        journal.event(event="resume", step=position.step)
    return Run(
        clip=model.clip,
        optimizer=optimizer,
        preprocess=model.preprocess,
        settings=plan.settings,
        steps=steps_of(plan.settings, len(pairs.training)),
        position=position,
        journal=journal,
        skips=skips,
        line=line,
    )


def _batches(model: Model, settings: TrainSettings, pairs: PairSource) -> Batches:
    sizes = settings.schedule.sizes or ((model.preprocess.size, 1.0),)
    side = round(CACHE_MARGIN * max(size for size, _ in sizes))
    is_cached = settings.data.cache and PixelCache.fits(len(pairs), side)
    crops = Crops(
        pairs,
        model.tokenizer,
        augment=settings.data.augment or Augment(),
        seed=settings.seed,
        cache=PixelCache(len(pairs), side) if is_cached else None,
    )
    return Batches(crops, batch_size=settings.batch_size or 2)


def _checks(run: Run, model: Model, pairs: Pairs, checks: Mapping[str, Check]) -> dict[str, Callable]:
    """What is measured while the run goes on; each is a function of nothing."""
    measured: dict[str, Callable] = {}
    if pairs.validation is not None:
        validation = Validation(model, pairs.validation, batch_size=run.settings.batch_size or 2)
        run.skips.note(validation.skipped)
        measured["validation"] = validation.measure
    for name, check in checks.items():
        measured[name] = lambda check=check: check(model)
    return measured


def _finish(run: Run, model: Model, pairs: Pairs) -> Model:
    """Save the model folder, draw the curves, and say that the run is done."""
    position, out = run.position, run.journal.folder
    save(run)
    facts = json.loads((out / FACTS_NAME).read_text(encoding="utf-8"))
    last = next((event for event in reversed(read_events(out / EVENTS_NAME)) if event.get("event") == "check"), {})
    model.facts = {
        "training": {
            **facts,
            "settings": json.loads(run.settings.model_dump_json(exclude_none=True)),
            "steps": position.step,
            "pairs_seen": position.pairs_seen,
            "seconds": round(position.seconds, 1),
            "loss": position.smooth_loss,
            "skipped": dict(run.skips.counts),
            "checks": {name: value for name, value in last.items() if "/" in name},
        }
    }
    model.clip.eval()
    model.save(out / MODEL_FOLDER)
    run.journal.event(
        event="done",
        step=position.step,
        pairs_seen=position.pairs_seen,
        seconds=round(position.seconds, 1),
        loss=position.smooth_loss,
        model=str(out / MODEL_FOLDER),
    )
    draw_curves(out)
    skipped = f"; left out {sum(run.skips.counts.values())}: {run.skips.summary()}" if run.skips.counts else ""
    run.line.say(
        f"done: {position.step:,} steps, {position.pairs_seen:,} pairs, {position.seconds / 60:.1f} minutes{skipped}\n"
        f"model: {out / MODEL_FOLDER}   curves: {out / 'curves.png'}"
    )
    return model.to("cpu")

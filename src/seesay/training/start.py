"""From pairs to a model: open, plan, go on or begin, run, save. The public `train` of the package ends here."""

import hashlib
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seesay.base.errors import BrokenSample, RefusedInput, UsageError, nearest
from seesay.base.journal import EVENTS_NAME, Journal, ProgressLine, read_events
from seesay.base.publish import publish_file, refuse_unwritable, remove_stale
from seesay.base.records import PairSource
from seesay.base.runtime import Runtime, is_faster_in_bfloat16, machine_facts
from seesay.base.settings import as_toml, difference, leaves, read_settings
from seesay.data.images import decode
from seesay.data.loader import Subset, can_fork, permutation
from seesay.data.pairs import open_pairs
from seesay.data.tables import TABLE_SUFFIXES
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.bundle import Model
from seesay.nets.clip import build_clip
from seesay.training.assemble import Check, batches_of, checks_of, model_of, run_of, warn_of_batch_norm
from seesay.training.checkpoint import CHECKPOINTS
from seesay.training.curves import draw_curves
from seesay.training.distributed import Peers, joined
from seesay.training.loop import Run, save, train
from seesay.training.plan import DataFacts, Plan, caption_chances, choose
from seesay.training.quiet import QuietJournal, QuietLine
from seesay.training.settings import FREE_TO_CHANGE, TrainSettings
from seesay.training.skips import SKIPPED_NAME, SkipLog
from seesay.training.spread import all_whole
from seesay.training.trackers import refuse_missing

SETTINGS_NAME = "settings.toml"
FACTS_NAME = "facts.json"
TOKENIZER_NAME = "tokenizer.json"
MODEL_FOLDER = "model"
WEIGHTS_NAME = "model.safetensors"
PAIRS = "pairs"
BEFORE_SETTINGS = {EVENTS_NAME, SKIPPED_NAME, TOKENIZER_NAME, FACTS_NAME}
LOOKED_AT = 64
LEAST_VALIDATION, MOST_VALIDATION = 4, 1000
HELD_OUT_VISIT = 2**40


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
    allow_change: Sequence[str] = (),
) -> Model:
    """Train on the pairs in `places`, in the run folder `out`; the same call goes on where a stopped run was.

    `checks` are measured on the model while it trains. `allow_change` names settings (or sections of them, or "pairs")
    that may be others than the stopped run's, which is otherwise refused.
    Returns the finished model, which also lies in `out/model`.
    """
    refuse_missing(settings.log.to)
    runtime = Runtime.find(settings.device)
    with joined(runtime, timeout_seconds=settings.parallel_timeout_seconds) as peers:
        given = {"validation": validation, "checks": checks or {}, "allow_change": allow_change}
        return _train(places, out, settings, **given, runtime=runtime, peers=peers)


def _train(
    places: Sequence[str | Path],
    out: Path,
    settings: TrainSettings,
    *,
    validation: Sequence[str | Path],
    checks: Mapping[str, Check],
    allow_change: Sequence[str],
    runtime: Runtime,
    peers: Peers,
) -> Model:
    """`train_model` on one of the run's processes."""
    if peers.is_main:
        # Before the pairs are read, which may take its time.
        refuse_unwritable(out / CHECKPOINTS)
    line, journal = (ProgressLine("train"), Journal(out)) if peers.is_main else (QuietLine("train"), QuietJournal(out))
    pairs = open_sources(places, validation, settings)
    line.say(f"pairs    {len(pairs.training):,} from {pairs.training.name}")
    peers.agree(_same_everywhere(settings, pairs))
    facts = data_facts(pairs.training, runtime)
    # Measured on each, and the same on all.
    facts = replace(facts, is_faster_in_bfloat16=peers.from_main(lambda: _in_bfloat16(out, facts)))
    plan = choose(settings, facts, repeats=caption_chances(pairs.training))
    is_new, changes = peers.from_main(lambda: _is_new(out, plan.settings, pairs, allow_change))
    with journal, SkipLog(out if peers.is_main else None, len(pairs.training)) as skips, _without_denormals():
        skips.note(pairs.training.problems)
        line.say("\n".join(plan.reasons))
        if peers.is_main:
            remove_stale(out)
            if is_new:
                _begin(out, plan, pairs)
            elif changes:
                _change(out, plan, pairs)
                journal.event(event="changed", changes=changes)
        model = model_of(out, plan, peers.from_main(lambda: json.loads((out / TOKENIZER_NAME).read_text("utf-8"))))
        run = run_of(model, plan, pairs.training, journal=journal, skips=skips, line=line, peers=peers)
        warn_of_batch_norm(run)
        run.checks = checks_of(run, model, pairs.validation, checks)
        train(run, batches_of(model, plan.settings, pairs.training, runtime))
        return _finish(run, model, pairs)


def _same_everywhere(settings: TrainSettings, pairs: Pairs) -> dict[str, str]:
    """What processes of one run must have in common, by names that a person would look for."""
    from seesay import __version__

    held_out = pairs.validation.fingerprint if pairs.validation is not None else "(none)"
    return {
        **dict(leaves(settings)),
        "the fingerprint of the pairs": pairs.training.fingerprint,
        "the fingerprint of the validation pairs": held_out,
        "the version of seesay": __version__,
        "the version of torch": torch.__version__,
    }


@contextmanager
def _without_denormals() -> Iterator[None]:
    """Numbers below 1e-38 slow a CPU down and carry nothing; the rest of the process gets them back."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def open_sources(places: Sequence[str | Path], validation: Sequence[str | Path], settings: TrainSettings) -> Pairs:
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


def data_facts(pairs: PairSource, runtime: Runtime) -> DataFacts:
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
        is_faster_in_bfloat16=is_faster_in_bfloat16(runtime.device),
    )


def _in_bfloat16(out: Path, facts: DataFacts) -> bool:
    """As the run began, if it has: the measurement may come out otherwise on another day."""
    settings = out / SETTINGS_NAME
    if not settings.is_file():
        return facts.is_faster_in_bfloat16
    return read_settings(TrainSettings, file=settings).towers.precision == "bfloat16"


def _is_new(out: Path, settings: TrainSettings, pairs: Pairs, allow_change: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether `out` is a folder to begin in, and what was allowed to change in the unfinished run that is there.

    Any other folder, and any other change, is refused. A run that was killed before its settings were written had not
    begun.
    """
    _refuse_unknown(allow_change, settings)
    if not out.exists():
        return True, []
    if not out.is_dir():
        raise UsageError(f"{out} is a file; choose another --out.")
    if not (out / SETTINGS_NAME).is_file():
        foreign = {path.name for path in out.iterdir() if not path.name.startswith(".")} - BEFORE_SETTINGS
        if foreign:
            raise UsageError(f"{out} holds {min(foreign)} and is no run folder; choose another --out.")
        return True, []
    events = read_events(out / EVENTS_NAME) if (out / EVENTS_NAME).exists() else []
    if events and events[-1].get("event") == "done":
        raise UsageError(f"{out} holds a finished run; choose another --out, or use its model in {out / MODEL_FOLDER}.")
    changes = [
        line
        for line in difference(read_settings(TrainSettings, file=out / SETTINGS_NAME), settings)
        if not line.startswith(FREE_TO_CHANGE)
    ]
    refused = [line for line in changes if not _is_named(line.partition(":")[0], allow_change)]
    way_out = "choose another --out, or name what may change with --allow-change"
    if refused:
        changed = "; ".join(refused)
        raise UsageError(f"{out} holds an unfinished run with other settings ({changed}); {way_out}.")
    before = json.loads((out / FACTS_NAME).read_text(encoding="utf-8"))["data"]["fingerprint"]
    if before != pairs.training.fingerprint:
        changes.append(f"{PAIRS}: {before[:12]} -> {pairs.training.fingerprint[:12]}")
        if PAIRS not in allow_change:
            raise RefusedInput(f"{out} holds an unfinished run on other pairs ({changes[-1]}); {way_out} {PAIRS}.")
    return False, changes


def _is_named(setting: str, names: Sequence[str]) -> bool:
    """Whether a setting or the section it is in is among `names`."""
    return any(setting == name or setting.startswith(f"{name}.") for name in names)


def _refuse_unknown(names: Sequence[str], settings: TrainSettings) -> None:
    known = [PAIRS, *_all_names(settings.model_dump())]
    for name in names:
        if not any(_is_named(key, [name]) for key in known):
            raise UsageError(f"--allow-change {name}: there is no such setting.{nearest(name, known)}")


def _all_names(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield above + key
        if isinstance(value, Mapping):
            yield from _all_names(value, f"{above}{key}.")


def _begin(out: Path, plan: Plan, pairs: Pairs) -> None:
    """Write what the run is: the tokenizer, the facts, and last the settings that make the folder a run."""
    training, settings = pairs.training, plan.settings
    captions = (caption for index in range(len(training)) for caption in training.captions(index))
    tokenizer = CaptionTokenizer.train(
        captions,
        vocab_size=settings.data.vocab_size or plan.architecture.text.vocab_size,
        context=settings.data.context or plan.architecture.text.context,
    )
    publish_file(out / TOKENIZER_NAME, json.dumps(tokenizer.to_json()).encode())
    _change(out, plan, pairs)


def _change(out: Path, plan: Plan, pairs: Pairs) -> None:
    """Write the facts and the settings of the run as they are from now on; its tokenizer stays."""
    facts = {
        "machine": machine_facts(Runtime.find(plan.settings.device)),
        "data": {
            "name": pairs.training.name,
            "pairs": len(pairs.training),
            "validation_pairs": len(pairs.validation or ()),
            "fingerprint": pairs.training.fingerprint,
        },
        "plan": list(plan.reasons),
    }
    publish_file(out / FACTS_NAME, json.dumps(facts, indent=1).encode())
    publish_file(out / SETTINGS_NAME, as_toml(plan.settings).encode())


def _finish(run: Run, model: Model, pairs: Pairs) -> Model:
    """Save the model folder, draw the curves, and say that the run is done."""
    position, out = run.position, run.journal.folder
    save(run)
    for tracker in run.trackers:
        tracker.close()
    if run.stepper.spread.sharded:
        weights = all_whole(model.clip.state_dict())
        model.clip = build_clip(model.architecture, seed=0)
        model.clip.load_state_dict(weights)
    model.clip.eval()
    if not run.peers.is_main:
        return model.to("cpu")
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
    model.save(out / MODEL_FOLDER)
    with (out / MODEL_FOLDER / WEIGHTS_NAME).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    run.journal.event(
        event="done",
        step=position.step,
        pairs_seen=position.pairs_seen,
        seconds=round(position.seconds, 1),
        loss=position.smooth_loss,
        model=str(out / MODEL_FOLDER),
        sha256=sha256,
    )
    draw_curves(out)
    skipped = f"; left out {sum(run.skips.counts.values())}: {run.skips.summary()}" if run.skips.counts else ""
    run.line.say(
        f"done: {position.step:,} steps, {position.pairs_seen:,} pairs, {position.seconds / 60:.1f} minutes{skipped}\n"
        f"model: {out / MODEL_FOLDER}   curves: {out / 'curves.png'}   weights: sha256 {sha256}"
    )
    return model.to("cpu")

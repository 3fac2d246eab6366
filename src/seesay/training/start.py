"""From pairs to a model: open, plan, go on or begin, run, save. The public `train` of the package ends here."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from seesay.base.errors import RefusedInput, TooManySkipped, UsageError, nearest
from seesay.base.journal import EVENTS_NAME, Journal, ProgressLine, read_events
from seesay.base.publish import publish_file, refuse_unwritable, remove_stale
from seesay.base.runtime import Runtime, is_faster_in_bfloat16, machine_facts
from seesay.base.settings import as_toml, difference, leaves, read_settings
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.bundle import Model
from seesay.nets.clip import build_clip
from seesay.training.assemble import Check, batches_of, checks_of, model_of, run_of, warn_of_batch_norm
from seesay.training.checkpoint import CHECKPOINTS
from seesay.training.curves import draw_curves
from seesay.training.distributed import Peers, joined
from seesay.training.loop import Run, memory_told_of, train
from seesay.training.plan import DataFacts, Plan, caption_chances, choose, image_chances
from seesay.training.quiet import QuietJournal, QuietLine
from seesay.training.settings import FREE_TO_CHANGE, TrainSettings
from seesay.training.skips import MOST, SKIPPED_NAME, SkipLog
from seesay.training.sources import Pairs, data_facts, open_sources
from seesay.training.spread import all_whole
from seesay.training.trackers import refuse_missing

SETTINGS_NAME = "settings.toml"
FACTS_NAME = "facts.json"
TOKENIZER_NAME = "tokenizer.json"
MODEL_FOLDER = "model"
WEIGHTS_NAME = "model.safetensors"
PAIRS = "pairs"
BEFORE_SETTINGS = {EVENTS_NAME, SKIPPED_NAME, TOKENIZER_NAME, FACTS_NAME}


def train_model(
    places: Sequence[str | Path],
    *,
    out: Path,
    settings: TrainSettings,
    validation: Sequence[str | Path] = (),
    checks: Mapping[str, Check] | None = None,
    allow_change: Sequence[str] = (),
    most_left_out: float = MOST,
) -> Model:
    """Train on the pairs in `places`, in the run folder `out`; the same call goes on where a stopped run was.

    `checks` are measured on the model while it trains. `allow_change` names settings (or sections of them, or "pairs")
    that may be others than the stopped run's, which is otherwise refused.
    Returns the finished model, which also lies in `out/model`; where more than `most_left_out` of the samples had to be
    left out, `TooManySkipped` says so instead.
    """
    refuse_missing(settings.log.to)
    runtime = Runtime.find(settings.device)
    with joined(runtime, timeout_seconds=settings.parallel_timeout_seconds) as peers:
        given = {"validation": validation, "checks": checks or {}, "allow_change": allow_change}
        given["most_left_out"] = most_left_out
        return _train(places, out, settings, **given, runtime=runtime, peers=peers)


def _train(
    places: Sequence[str | Path],
    out: Path,
    settings: TrainSettings,
    *,
    validation: Sequence[str | Path],
    checks: Mapping[str, Check],
    allow_change: Sequence[str],
    most_left_out: float,
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
    facts = _with_precision(data_facts(pairs.training, runtime), out, settings, peers=peers)
    repeats = caption_chances(pairs.training)
    plan = choose(settings, facts, repeats=repeats, image_repeats=image_chances(pairs.sampled.image_id_M))
    is_new, changes = peers.from_main(lambda: _is_new(out, plan.settings, pairs, allow_change))
    memory = memory_told_of(plan.settings, ranks=peers.ranks, folder=out)
    with memory, journal, SkipLog(out if peers.is_main else None, len(pairs.training)) as skips, _without_denormals():
        skips.note(pairs.training.problems)
        line.say("\n".join(plan.reasons))
        if peers.is_main:
            remove_stale(out)
            if is_new:
                _begin(out, plan, pairs)
            elif changes:
                _change(out, plan, pairs)
                journal.event(event="changed", changes=changes)
        words = peers.from_main(lambda: json.loads((out / TOKENIZER_NAME).read_text("utf-8")))
        model = model_of(out, plan, words, pairs.training, is_main=peers.is_main)
        run = run_of(model, plan, pairs.training, journal=journal, skips=skips, line=line, peers=peers)
        warn_of_batch_norm(run)
        run.checks = checks_of(run, model, pairs.validation, checks)
        train(run, batches_of(model, plan.settings, pairs.training, runtime))
        model = _finish(run, model, pairs)
        _refuse_left_out(run, pairs, most=most_left_out)
        return model


def _same_everywhere(settings: TrainSettings, pairs: Pairs) -> dict[str, str]:
    """What processes of one run must have in common, by names that a person would look for."""
    from seesay import __version__

    held_out = pairs.validation.fingerprint if pairs.validation is not None else "(none)"
    return {
        **dict(leaves(settings)),
        "the fingerprint of the pairs": pairs.training.fingerprint,
        "the digest of sampled pictures": pairs.sampled.digest,
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


def _with_precision(facts: DataFacts, out: Path, settings: TrainSettings, *, peers: Peers) -> DataFacts:
    """`facts` with what decides on the precision: what the run began in, or what is measured where nothing is given."""
    begun_in = peers.from_main(lambda: _begun_in(out))
    if begun_in or settings.towers.precision:
        return replace(facts, begun_in=begun_in)
    # On one process, so that all have the same and none disturbs it.
    return replace(facts, is_faster_in_bfloat16=peers.from_main(lambda: is_faster_in_bfloat16(facts.device)))


def _begun_in(out: Path) -> str | None:
    """The precision of the run that is in `out`, if it has begun: a measurement may come out otherwise now."""
    settings = out / SETTINGS_NAME
    return read_settings(TrainSettings, file=settings).towers.precision if settings.is_file() else None


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
    if changed := _changed_pairs(out, pairs):
        changes.append(changed)
        if PAIRS not in allow_change:
            raise RefusedInput(f"{out} holds an unfinished run on other pairs ({changed}); {way_out} {PAIRS}.")
    return False, changes


def _changed_pairs(out: Path, pairs: Pairs) -> str:
    """What differs from the pairs that the run in `out` began with; "" where nothing is seen to."""
    before = json.loads((out / FACTS_NAME).read_text(encoding="utf-8"))["data"]
    if before["fingerprint"] != pairs.training.fingerprint:
        return f"{PAIRS}: {before['fingerprint'][:12]} -> {pairs.training.fingerprint[:12]}"
    if before.get("pictures", pairs.sampled.digest) != pairs.sampled.digest:
        return f"{PAIRS}: other pictures of the same names and sizes"
    return ""


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
            "pictures": pairs.sampled.digest,
        },
        "plan": list(plan.reasons),
    }
    publish_file(out / FACTS_NAME, json.dumps(facts, indent=1).encode())
    publish_file(out / SETTINGS_NAME, as_toml(plan.settings).encode())


def _finish(run: Run, model: Model, pairs: Pairs) -> Model:
    """Save the model folder, draw the curves, and say that the run is done."""
    position, out = run.position, run.journal.folder
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


def _refuse_left_out(run: Run, pairs: Pairs, *, most: float) -> None:
    """Raise `TooManySkipped` on all processes where a run that is done had to leave out too much."""
    seen = min(len(pairs.training), run.position.step * (run.settings.batch_size or 2))
    looked_at = seen + len(pairs.validation or ()) + len(pairs.training.problems)
    # Only the main process knows of what was left out before a stop.
    if told := run.peers.from_main(lambda: run.skips.excess(looked_at, most)):
        raise TooManySkipped(f"the run is done and its model saved, but {told}; mend the data, or use it as it is.")

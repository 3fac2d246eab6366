"""The folder of a run: whether a run may begin or go on in it, what is written when it does, and reading it again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seesay.base.bounded import read_json
from seesay.base.errors import RefusedInput, UsageError, nearest_setting
from seesay.base.journal import EVENTS_NAME, read_events
from seesay.base.names import no_empty_names
from seesay.base.publish import publish_file
from seesay.base.runtime import Runtime, machine_facts
from seesay.base.settings import as_toml, difference, read_settings, setting_names
from seesay.data.tokenizer import CaptionTokenizer
from seesay.training.checkpoint import CHECKPOINTS, checkpoints
from seesay.training.faults import SKIPPED_NAME
from seesay.training.pairs import TrainingPairs
from seesay.training.plan import RunPlan, length_of
from seesay.training.settings import CHANGEABLE, TrainSettings

if TYPE_CHECKING:
    from seesay.model.bundle import Model

SETTINGS_NAME = "settings.toml"
FACTS_NAME = "facts.json"
TOKENIZER_NAME = "tokenizer.json"
MODEL_FOLDER = "model"
BEST_FOLDER = "best"
ADAPTER_FOLDER = "adapter"
TEACHER_FOLDER = "teacher"
PAIRS = "pairs"
# What may change of a finished run that goes on: its length, and the warm-up that is chosen by it.
LENGTH = ("steps", "epochs", "minutes", "schedule.warmup")
# What a run that was killed before its settings were written may have left.
BEFORE_SETTINGS = {EVENTS_NAME, SKIPPED_NAME, TOKENIZER_NAME, FACTS_NAME}


def is_new(
    out: Path, plan: RunPlan, pairs: TrainingPairs, allow_change: Sequence[str] | None
) -> tuple[bool, list[str]]:
    """Whether `out` is a folder to begin in, and what was allowed to change in the unfinished run that is there.

    A finished run goes on where its length is raised. Any other folder is a `UsageError`, and so is any other change of
    settings; other pairs are `RefusedInput`. A run that was killed before its settings were written had not begun.
    None for `allow_change`: the caller has no such option.
    """
    settings, hint = plan.settings, "choose another --out"
    if allow_change is not None:
        hint += ", or name what may change with --allow-change"
    named = "" if allow_change is None else f" {PAIRS}"
    allow_change = allow_change or ()
    _refuse_unknown(allow_change)
    if not out.exists():
        return True, []
    if not out.is_dir():
        raise UsageError(f"{out} is a file; choose another --out.")
    if not (out / SETTINGS_NAME).is_file():
        foreign = {path.name for path in out.iterdir() if not path.name.startswith(".")} - BEFORE_SETTINGS
        if foreign:
            raise UsageError(f"{out} holds {min(foreign)} and is no run folder; choose another --out.")
        return True, []
    before = read_settings(TrainSettings, file=out / SETTINGS_NAME)
    if is_finished := _is_finished(out):
        allow_change = [*allow_change, *LENGTH]
    changes = [line for line in difference(before, settings) if not line.startswith(CHANGEABLE)]
    refused = [line for line in changes if not _is_named(line.partition(":")[0], allow_change)]
    state = "a finished" if is_finished else "an unfinished"
    if refused:
        changed = "; ".join(refused)
        raise UsageError(f"{out} holds {state} run with other settings ({changed}); {hint}.")
    if changed := _changed_pairs(out, pairs):
        changes.append(changed)
        if PAIRS not in allow_change:
            raise RefusedInput(f"{out} holds {state} run on other pairs ({changed}); {hint}{named}.")
    if is_finished:
        _refuse_no_longer(out, before, plan, pairs)
    return False, changes


def write_beginning(out: Path, plan: RunPlan, pairs: TrainingPairs) -> None:
    """Write what the run is: its tokenizer, the facts, and last the settings that make the folder a run.

    A run that begins with a model, or with a text tower, has no tokenizer of its own.
    """
    if plan.settings.learns_words:
        tokenizer = learn_tokenizer(plan, pairs)
        publish_file(out / TOKENIZER_NAME, json.dumps(tokenizer.to_json()).encode())
    write_settings(out, plan, pairs)


def read_vocabulary(out: Path, settings: TrainSettings) -> dict[str, Any] | None:
    """The run's own tokenizer as JSON; None where it has that of a model that it begins with."""
    return read_json(out / TOKENIZER_NAME) if settings.learns_words else None


def learn_tokenizer(plan: RunPlan, pairs: TrainingPairs) -> CaptionTokenizer:
    """The tokenizer of the run, learned from all training captions."""
    training = pairs.training
    captions = (caption for index in range(len(training)) for caption in training.captions(index))
    return CaptionTokenizer.train(captions, vocab_size=plan.data.vocab_size, context=plan.data.context)


def write_settings(out: Path, plan: RunPlan, pairs: TrainingPairs) -> None:
    """Write the facts and the settings of the run as they are from now on; its tokenizer stays."""
    facts = {
        "machine": machine_facts(Runtime.find(plan.device)),
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


def begun_with(out: Path) -> dict[str, Any]:
    """What the run in `out` keeps where nothing is requested: its precision, and the share of pairs held out."""
    if not (out / SETTINGS_NAME).is_file():
        return {"precision": None, "validation": None}
    settings = read_settings(TrainSettings, file=out / SETTINGS_NAME)
    return {"precision": settings.towers.precision, "validation": settings.data.validation}


@dataclass(frozen=True)
class Run:
    """A run folder that is read again: `settings`, `facts` of machine and data, `history` and `checks` as rows."""

    folder: Path
    settings: TrainSettings
    facts: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...]

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end and saved its model."""
        return bool(self.events) and self.events[-1].get("event") == "done"

    @property
    def history(self) -> list[dict[str, Any]]:
        """One row per logged step: loss, smoothed loss, pairs seen, pairs per second, learning rate and scale."""
        return [dict(event) for event in self.events if "event" not in event]

    @property
    def checks(self) -> list[dict[str, Any]]:
        """One row per check: step, pairs seen, and what was measured, as "validation/loss"."""
        rows = [event for event in self.events if event.get("event") == "check"]
        return [{key: value for key, value in row.items() if key != "event"} for row in rows]

    def to_pandas(self) -> Any:
        """`history` as a pandas table; `UsageError` where pandas is not installed."""
        from seesay.base.values import to_pandas

        return to_pandas(self.history)

    def load(self, which: Literal["last", "best"] = "last") -> "Model":
        """The model at the end of the run, or the "best", with the lowest validation loss up to now.

        `UsageError` where the run has not come to its end, or has no best model.
        """
        from seesay.model.hub import load

        if which == "best":
            if not (self.folder / BEST_FOLDER).is_dir():
                raise UsageError(
                    f"{self.folder} has no best model: it is kept from the first check on validation pairs on; "
                    "name some with --val."
                )
            return load(self.folder / BEST_FOLDER)
        if which != "last":
            raise UsageError(f"which is {which!r}; name 'last' or 'best'.")
        if not (self.folder / MODEL_FOLDER).is_dir():
            raise UsageError(
                f"{self.folder} holds a run that is not finished; the same `seesay train` goes on with it."
            )
        return load(self.folder / MODEL_FOLDER)

    def __repr__(self) -> str:
        step = max((event.get("step", 0) for event in self.events), default=0)
        state = "finished" if self.is_finished else "not finished"
        loss = f", smoothed loss {self.history[-1]['smooth_loss']:.3f}" if self.history else ""
        return f"Run({str(self.folder)!r}: {self.settings.model}, step {step:,}{loss}, {state})"


@no_empty_names
def open_run(folder: str | Path) -> Run:
    """The run in `folder`, finished or not; `UsageError` for a folder that holds none."""
    folder = Path(folder)
    settings = folder / SETTINGS_NAME
    if not settings.is_file():
        raise UsageError(f"{folder} holds no {SETTINGS_NAME} and is no run folder; name one that `seesay train` wrote.")
    facts = read_json(folder / FACTS_NAME)
    events = read_events(folder / EVENTS_NAME) if (folder / EVENTS_NAME).exists() else []
    return Run(folder, read_settings(TrainSettings, file=settings), facts, tuple(events))


def _is_finished(out: Path) -> bool:
    return _last_event(out).get("event") == "done"


def _last_event(out: Path) -> Mapping[str, Any]:
    events = read_events(out / EVENTS_NAME) if (out / EVENTS_NAME).exists() else []
    return events[-1] if events else {}


def _refuse_no_longer(out: Path, before: TrainSettings, plan: RunPlan, pairs: TrainingPairs) -> None:
    """`UsageError` where a finished run has nothing more to do, or nothing to go on from."""
    length, patience = length_of(before, len(pairs.training)), plan.settings.check.patience
    is_longer = type(length) is type(plan.length) and astuple(plan.length) > astuple(length)
    hint = f"choose another --out, or use its model in {out / MODEL_FOLDER}"
    if _last_event(out).get("ended_early"):
        if 0 < patience <= before.check.patience:
            raise UsageError(
                f"{out} holds a finished run that check.patience {before.check.patience} ended early; set it to 0 or "
                f"higher to go on with it, {hint}."
            )
    elif not is_longer:
        name = next(name for name in LENGTH if getattr(before, name) is not None)
        raise UsageError(
            f"{out} holds a finished run of {length}; raise --{name} above {getattr(before, name):g} to go on with it, "
            f"{hint}."
        )
    if not checkpoints(out / CHECKPOINTS):
        raise UsageError(f"{out} holds a finished run, but its {CHECKPOINTS} to go on from are gone; {hint}.")


def _changed_pairs(out: Path, pairs: TrainingPairs) -> str:
    """What differs from the pairs that the run in `out` began with; "" where nothing does."""
    before = read_json(out / FACTS_NAME)["data"]
    if before["fingerprint"] != pairs.training.fingerprint:
        return f"{PAIRS}: {before['fingerprint'][:12]} -> {pairs.training.fingerprint[:12]}"
    if before.get("pictures", pairs.sampled.digest) != pairs.sampled.digest:
        return f"{PAIRS}: other images of the same names and sizes"
    return ""


def _is_named(setting: str, names: Sequence[str]) -> bool:
    """Whether a setting or the section it is in is among `names`."""
    return any(setting == name or setting.startswith(f"{name}.") for name in names)


def _refuse_unknown(names: Sequence[str]) -> None:
    known = [PAIRS, *setting_names(TrainSettings)]
    for name in names:
        if not any(_is_named(key, [name]) for key in known):
            raise UsageError(f"--allow-change {name}: there is no such setting.{nearest_setting(name, known)}")

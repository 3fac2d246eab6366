"""The models a run leaves: the one with the lowest validation loss, while it goes on, and the one at its end.

A validation loss that rises is said, and may end the run.

What is on disk decides where a run goes on: `RUN/best` holds the loss it was kept for, and what that was measured on.
"""

import copy
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesay.base.bounded import read_json
from seesay.base.errors import RefusedInput
from seesay.base.journal import EVENTS_NAME, read_events
from seesay.base.publish import refuse_unwritable
from seesay.base.records import PairSource
from seesay.base.streams import say
from seesay.model.adapters import adapter_files, updates_of, write_adapter
from seesay.model.bundle import Model
from seesay.model.layouts.seesay import CONFIG_NAME
from seesay.nets.clip import build_clip
from seesay.training.plan import RunPlan
from seesay.training.run_folder import ADAPTER_FOLDER, BEST_FOLDER, FACTS_NAME
from seesay.training.sharding import full_tensors
from seesay.training.start import without_adapters

if TYPE_CHECKING:
    from seesay.training.state import TrainState

LOSS = "validation/loss"
# Guesses. A loss has risen if it is well above the lowest at the third check behind it, or at the last of the run: by
# 0.05 nats, and by two standard errors where the loss of a pair moves by half a nat, which is 1 / sqrt(pairs).
RISING_CHECKS = 3
RISING_MARGIN = 0.05


@dataclass(kw_only=True)
class BestCheck:
    """The check with the lowest validation loss up to now; `checks_since` is how many came behind it.

    `measured_on` is a digest of what losses must have in common to be compared, on so many `pairs`. `keep` publishes
    the model as it stands with the results of its check; every process calls it.
    """

    measured_on: str
    pairs: int
    step: int = 0
    loss: float = math.inf
    smooth_loss: float = math.inf
    checks_since: int = 0
    is_rise_logged: bool = False
    keep: Callable[[Mapping[str, Any]], object] = lambda results: None

    @property
    def margin(self) -> float:
        """How far above the lowest a loss is no chance any more."""
        return max(RISING_MARGIN, 1 / math.sqrt(max(1, self.pairs)))

    def facts(self) -> dict[str, Any]:
        """What the kept model says of its check."""
        return {
            "step": self.step,
            "loss": self.loss,
            "smooth_loss": self.smooth_loss,
            "measured_on": self.measured_on,
        }

    def sees(self, step: int, loss: float, smooth_loss: float) -> bool:
        """Note a check; whether it is the best. A run that was killed makes some checks again: these count once."""
        if loss < self.loss:
            self.step, self.loss, self.smooth_loss, self.checks_since = step, loss, smooth_loss, 0
            return True
        self.checks_since += step > self.step
        return False


def start_keeping(state: "TrainState", model: Model, validation: PairSource | None) -> None:
    """Let the run keep its best model, from what its folder has of one; without validation pairs there is none."""
    if validation is None:
        return
    out = state.journal.folder

    def on_disk() -> dict[str, Any]:
        best = best_of_run(out, read_events(out / EVENTS_NAME), validation, state.plan)
        return {key: value for key, value in vars(best).items() if key != "keep"}

    best = BestCheck(**state.processes.broadcast_from_main(on_disk))
    best.keep = lambda checks: save_model(state, model, out / BEST_FOLDER, checks=checks, best=best.facts())
    state.best = best


def validation_digest(pairs: PairSource, plan: RunPlan) -> str:
    """What a validation loss depends on beside the model: its pairs, the batch size, the objective, its widths."""
    words = f"{pairs.fingerprint} {plan.batch_size} {plan.objective.name}"
    if plan.settings.widths:
        words += f" {list(plan.settings.widths)}"
    return hashlib.sha256(words.encode()).hexdigest()


def best_of_run(folder: Path, events: Sequence[Mapping[str, Any]], pairs: PairSource, plan: RunPlan) -> BestCheck:
    """What `folder/best` holds; nothing yet where it is missing, damaged, or of losses that cannot be compared.

    `events` are those of the run up to where it stands, `pairs` those that it is validated on.
    """
    measured_on = validation_digest(pairs, plan)
    best = BestCheck(measured_on=measured_on, pairs=len(pairs))
    best.is_rise_logged = any(event.get("event") == "validation_rises" for event in events)
    path = folder / BEST_FOLDER / CONFIG_NAME
    if not path.is_file():
        return best
    try:
        facts = read_json(path)["facts"]["training"]["best"]
        if facts["measured_on"] != measured_on:
            return best
        best.step, best.loss, best.smooth_loss = int(facts["step"]), float(facts["loss"]), float(facts["smooth_loss"])
    except (RefusedInput, OSError, KeyError, TypeError, ValueError) as error:
        say(f"warning: {path} is damaged ({error}); the best model is kept anew from here on.")
        return best
    best.checks_since = len({event["step"] for event in events if LOSS in event and event["step"] > best.step})
    return best


def keep_best(state: "TrainState", results: Mapping[str, Any]) -> None:
    """Publish the model as it stands in `RUN/best` if no check before had a lower validation loss."""
    if state.best is None or LOSS not in results:
        return
    # The main process decides for all: their last bits may differ.
    loss = state.processes.broadcast_from_main(lambda: float(results[LOSS]))
    if state.best.sees(state.position.step, loss, state.position.smooth_loss or 0.0):
        state.best.keep(results)
        state.processes.barrier()


def warn_if_rising(state: "TrainState", results: Mapping[str, Any]) -> None:
    """Say once that the validation loss rises while the training loss falls, and where the best model is."""
    best, position = state.best, state.position
    if best is None or best.is_rise_logged or LOSS not in results or position.smooth_loss is None:
        return
    loss, is_last = results[LOSS], state.share(position.step) >= 1
    is_falling = position.smooth_loss < best.smooth_loss
    if not (loss > best.loss + best.margin and is_falling and (is_last or best.checks_since >= RISING_CHECKS)):
        return
    best.is_rise_logged = True
    state.log_event("validation_rises", loss=loss, best_loss=best.loss, best_step=best.step)
    state.line.say(
        f"warning: the validation loss rises, from {best.loss:.3f} at step {best.step:,} to {loss:.3f} at step "
        f"{position.step:,}, while the training loss falls, from {best.smooth_loss:.3f} to {position.smooth_loss:.3f}: "
        f"the model begins to overfit. That of step {best.step:,} is in {state.journal.folder / BEST_FOLDER}; more "
        "pairs or stronger data.augment help, and check.patience=3 ends a run that does so."
    )


def is_stopped_early(state: "TrainState") -> bool:
    """Whether `check.patience` checks in a row were no better than the best one, before the end of the run."""
    patience = state.plan.settings.check.patience
    is_over = state.share(state.position.step) >= 1
    return patience > 0 and not is_over and state.best is not None and state.best.checks_since >= patience


def best_line(state: "TrainState") -> list[str]:
    """Where the best model is, for people; nothing without one."""
    best = state.best
    if best is None or not best.step:
        return []
    return [f"best: {state.journal.folder / BEST_FOLDER}   validation loss {best.loss:.3f} at step {best.step:,}"]


def whole_model(state: "TrainState", model: Model) -> Model:
    """`model` as it stands, with the weights of all processes, for inference. Every process must call it."""
    whole = copy.copy(model)
    if state.parallel.sharded:
        weights = full_tensors(model.clip.state_dict())
        whole.clip = build_clip(model.architecture, seed=0)
        whole.clip.load_state_dict(weights)
    whole.clip.eval()
    return without_adapters(whole)


def save_model(
    state: "TrainState", model: Model, folder: Path, *, checks: Mapping[str, Any], best: Mapping[str, Any] | None = None
) -> Model:
    """Publish the model as it stands, whole or not at all, and return it; the main process alone writes.

    `checks`: what was measured last; `best`: of the best model, its check. `StorageError` where it does not fit, before
    anything is written.
    """
    whole = whole_model(state, model)
    if state.processes.is_main and best is None and (updates := updates_of(model.clip)):
        files = adapter_files(updates, whole.architecture, base=str(state.plan.model), layout="seesay")
        write_adapter(folder.with_name(ADAPTER_FOLDER), files)
    if state.processes.is_main:
        whole.facts = {"training": {**training_facts(state, checks), **({"best": dict(best)} if best else {})}}
        refuse_unwritable(folder, needed=sum(tensor.nbytes for tensor in whole.clip.state_dict().values()))
        whole.save(folder)
    return whole


def training_facts(state: "TrainState", checks: Mapping[str, Any]) -> dict[str, Any]:
    """What the model folder says of its training."""
    position = state.position
    return {
        **read_json(state.journal.folder / FACTS_NAME),
        "settings": json.loads(state.plan.settings.model_dump_json(exclude_none=True)),
        "steps": position.step,
        "pairs_seen": position.pairs_seen,
        "seconds": round(position.seconds, 1),
        "loss": position.smooth_loss,
        "skipped": dict(state.skips.counts),
        "checks": {name: value for name, value in checks.items() if "/" in name},
    }

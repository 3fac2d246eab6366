"""Models times sets: everything that one report is made of, and what of it goes into JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from seesay.base.runtime import Runtime, machine_facts
from seesay.data.evalsets import open_evalset
from seesay.data.hub_sets import is_hub_set
from seesay.data.labelled import LabelledSet
from seesay.evaluation.compare import compare_all
from seesay.evaluation.probe import probe_set
from seesay.evaluation.prompts import PromptSpread, prompt_spread
from seesay.evaluation.robustness import Baseline, Shift, robustness_of
from seesay.evaluation.suite import Measured, Question, measure_set
from seesay.model.bundle import Model


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is wanted of every model and set, beyond the scores themselves."""

    question: Question = field(default_factory=Question)
    probe: bool = False
    shots: tuple[int, ...] = ()
    prompts: bool = False


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model on one set. `name` is what the model is called among those of the report."""

    name: str
    place: str
    measured: Measured
    spread: PromptSpread | None = None
    probe: dict[str, Any] | None = None

    @property
    def result(self) -> dict[str, Any]:
        return self.measured.result


def measure_entry(name: str, model: Model, place: str, request: Request) -> Entry:
    """The scores of a model on the set at a place, and what else was asked for; raises as `evaluate_set`."""
    found = open_evalset(place)
    measured = measure_set(model, found, request.question)
    measured = replace(measured, result=measured.result | {"model": name})
    is_zero_shot = isinstance(found, LabelledSet)
    # A model that predicts captions knows the templates of its training alone: others would say nothing about it.
    has_templates = request.question.descriptions is None and model.embeds_texts
    wants_spread = request.prompts and is_zero_shot and has_templates
    cache = request.question.cache
    probe = None
    if request.probe and isinstance(found, LabelledSet):
        probe = probe_set(model, place, found, shots=request.shots, cache=cache)
    return Entry(
        name=name,
        place=place,
        measured=measured,
        spread=prompt_spread(model, measured, cache=cache) if wants_spread else None,
        probe=probe,
    )


def shift_results(entries: Sequence[Entry], shift: Shift, baseline: Baseline | None) -> list[dict[str, Any]]:
    """`robustness_of` for every model that was measured on both sets."""
    by_model: dict[str, dict[str, Measured]] = {}
    for entry in entries:
        by_model.setdefault(entry.name, {})[entry.result["set"]] = entry.measured
    return [
        robustness_of(sets[shift.natural], sets[shift.shifted], baseline)
        for sets in by_model.values()
        if shift.natural in sets and shift.shifted in sets
    ]


def comparisons(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """`compare_all` for what the entries measured."""
    return compare_all([entry.measured for entry in entries], [entry.name for entry in entries])


def result_files(entries: Sequence[Entry], settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """One result per model, set and task by file name, each with the settings, the commit and the machine."""
    facts = {"settings": settings, "environment": machine_facts(Runtime.find())}
    files = {}
    for entry in entries:
        for result in [entry.result, *([entry.probe] if entry.probe else [])]:
            words = [entry.name, result["set"], result["task"]]
            stem = "--".join(word.replace("/", "-").replace("\\", "-").lstrip(".") for word in words)
            place = entry.place if is_hub_set(entry.place) else str(Path(entry.place).absolute())
            files[f"{stem}.json"] = {**result, "model": entry.name, "place": place, **facts}
    return files

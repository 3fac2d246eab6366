"""One model on one set with everything that a report shows of it: scores, single templates, a linear probe."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.journal import progress
from seesay.base.records import PairSource, Score
from seesay.data.class_names import class_prompts
from seesay.data.drawn_sets import is_drawn_set
from seesay.data.evalsets import open_evalset, open_train_part
from seesay.data.hub_sets import is_hub_set
from seesay.data.labelled import LabelledSet
from seesay.data.paper_sets import is_paper_set, open_paper_set
from seesay.data.paper_sets.images import PaperSet
from seesay.data.prompts import TEMPLATES
from seesay.evaluation.compare import Shift
from seesay.evaluation.confusions import Confusion, confusions_of, with_heat
from seesay.evaluation.paper_sets import measure_paper_set
from seesay.evaluation.results import RetrievalResult, SuiteResult, ZeroShotResult
from seesay.evaluation.suite import SEED, Measured, Question, measure_set
from seesay.formulas.metrics import top_k_hits
from seesay.formulas.statistics import proportion_interval
from seesay.model.bundle import Model
from seesay.model.cache import EmbeddingCache, cached_encode_prompts
from seesay.tasks.few_shot import check_sets, probe_sets
from seesay.tasks.probe_result import ProbeResult

# A set with fewer templates than this is measured with those of DEFAULT; a guess: the spread of one or two says little.
FEWEST = 3
# The seven templates that Radford et al. 2021 published as the best subset of their 80 (in their notebook).
DEFAULT = "imagenet7"


@dataclass(frozen=True, kw_only=True)
class Request:
    """The sets, the words for their classes, and what to measure beyond the scores themselves."""

    question: Question
    sources: tuple[str | PairSource, ...] = ()
    columns: Mapping[str, str | None] = field(default_factory=dict)
    probe: bool = False
    shots: tuple[int, ...] = ()
    prompts: bool = False
    shift: Shift | None = None


@dataclass(frozen=True, kw_only=True)
class PromptSpread:
    """Top-1 accuracy by template, the highest first."""

    by_template: dict[str, Score]

    @property
    def lowest(self) -> float:
        """The accuracy of the worst template."""
        return min(score.value for score in self.by_template.values())

    @property
    def highest(self) -> float:
        """The accuracy of the best template."""
        return max(score.value for score in self.by_template.values())


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model on one set.

    `name` is that of the model in the report, and no other model there has it. `source` is None for a set in memory.
    `spread` is the accuracy of single templates, `probe` a linear probe on the train part; each is None where it was
    not measured. `confusions` are the most frequent mistakes. `shots_left_out` are numbers of shots for which some
    class has too few training images.
    """

    name: str
    source: str | None
    measured: Measured
    spread: PromptSpread | None = None
    probe: ProbeResult | None = None
    confusions: tuple[Confusion, ...] = ()
    shots_left_out: tuple[int, ...] = ()

    @property
    def result(self) -> ZeroShotResult | RetrievalResult | SuiteResult:
        """The scores, with the name of the model in the report."""
        return self.measured.result

    @property
    def remarks(self) -> tuple[str, ...]:
        """The remarks of the result, then what a person should know of its probe, a line each."""
        own = self.result.remarks
        probe = () if self.probe is None else tuple(note for note in self.probe.notes if note not in own)
        counts = ", ".join(map(str, self.shots_left_out))
        left_out = (f"a class has too few training images for {counts} shots.",) if counts else ()
        return (*own, *(f"probe: {line}" for line in (*probe, *left_out)))

    def to_json(self) -> list[dict[str, Any]]:
        """One object per task, with the model's name and the set's path or address, null in memory."""
        source = self.source
        if source is not None and not (is_hub_set(source) or is_drawn_set(source) or is_paper_set(source)):
            source = str(Path(source).absolute())
        results = [self.result.to_json()]
        if self.probe is not None:
            left_out = list(self.shots_left_out)
            results.append({**self.probe.to_json(), "seed": SEED, "shots_left_out": left_out})
        return [{**result, "model": self.name, "place": source} for result in results]

    def __repr__(self) -> str:
        probe = "" if self.probe is None else f", {self.probe!r}"
        return f"Entry({self.result!r}{probe})"


def measure_entry(name: str, model: Model, source: str | PairSource, request: Request) -> Entry:
    """The scores of a model on the set that `source` names or is, and what else is requested.

    Raises what `open_evalset` and `measure_set` raise.
    """
    place, question = source if isinstance(source, str) else None, request.question
    if place is not None and is_paper_set(place):
        evalset = open_paper_set(place)
    else:
        evalset = open_evalset(source, **request.columns) if isinstance(source, str) else source
    own = isinstance(evalset, PaperSet)
    measured = measure_paper_set(model, evalset, question) if own else measure_set(model, evalset, question)
    entry = Entry(name=name, source=place, measured=replace(measured, result=replace(measured.result, model=name)))
    if not isinstance(evalset, LabelledSet):
        return entry
    entry = with_confusions(entry, model, has_heat=request.prompts)
    # A model that predicts captions knows the templates of its training alone: others would say nothing about it.
    if request.prompts and question.descriptions is None and model.embeds_texts:
        entry = replace(entry, spread=prompt_spread(model, measured, cache=question.cache))
    # A drawn set has a probe in any case: does the tower know it, or do words not reach it?
    is_probed = request.probe or (place is not None and is_drawn_set(place))
    train = open_train_part(place) if place is not None and is_probed else None
    if train is not None:
        # Nothing that is wrong with a probe may lose the scores of the set.
        try:
            return probe_entry(entry, model, train, evalset, shots=request.shots, cache=question.cache)
        except (UsageError, RefusedInput) as error:
            return with_note(entry, f"no probe: {error}")
    if request.probe and isinstance(measured.result, ZeroShotResult):
        return with_note(entry, "no probe, for there is no train part: a folder train/ beside test/ or val/ is one.")
    return entry


def with_note(entry: Entry, note: str) -> Entry:
    """The entry whose result has one more note."""
    result = replace(entry.result, notes=(*entry.result.notes, note))
    return replace(entry, measured=replace(entry.measured, result=result))


def with_confusions(entry: Entry, model: Model, *, has_heat: bool) -> Entry:
    """The entry with the most frequent mistakes, and what spoke for each; a note where the tower does not say it."""
    assert entry.measured.answers is not None
    found = confusions_of(entry.measured.answers)
    try:
        return replace(entry, confusions=with_heat(model, entry.measured, found) if has_heat else found)
    except UsageError as error:
        return replace(with_note(entry, f"no heat beside the mistakes: {error}"), confusions=found)


def prompt_spread(model: Model, measured: Measured, *, cache: EmbeddingCache) -> PromptSpread:
    """The images of a zero-shot measurement classified with one template at a time, and with the bare name.

    `model` is one that embeds texts.
    """
    answers = measured.answers
    assert answers is not None and answers.image_ND is not None, "only a zero-shot measurement has templates"
    first = answers.templates if len(answers.templates) >= FEWEST else TEMPLATES[DEFAULT]
    templates = tuple(dict.fromkeys([*first, *answers.templates, "{}"]))
    label_N = torch.from_numpy(answers.label_N)
    classes, n = len(answers.names), len(label_N)
    # One list of prompts per template and class, so that all of them share their beginnings.
    prompts = [prompt for template in templates for prompt in class_prompts(answers.names, [template])]
    row_TCD = cached_encode_prompts(model, prompts, cache=cache).view(len(templates), classes, -1)
    scores = {}
    for template, weights_CD in zip(templates, row_TCD, strict=True):
        hits = int(top_k_hits(answers.image_ND @ weights_CD.T, label_N, ks=(1,))[1].sum())
        scores[template] = Score(value=hits / n, interval95=proportion_interval(hits, n), chance=1 / classes, n=n)
    return PromptSpread(by_template=dict(sorted(scores.items(), key=lambda item: -item[1].value)))


def probe_entry(
    entry: Entry, model: Model, train: LabelledSet, test: LabelledSet, *, shots: Sequence[int], cache: EmbeddingCache
) -> Entry:
    """The entry with a probe (`tasks.few_shot.probe_sets`) on the train part of its set.

    Of many sets some have small classes: shots for which a class has too few images are left out and listed.
    """
    check_sets(train, test, ())
    fewest = min(Counter(train.label(index) for index in range(len(train))).values())
    possible = [count for count in shots if count <= fewest]
    with progress(len(train) + len(test), f"{test.name} probe") as advance:
        probe = probe_sets(model, train, test, shots=possible, cache=cache, progress=advance)
    left_out = tuple(count for count in shots if count > fewest)
    return replace(entry, probe=replace(probe, model=entry.name), shots_left_out=left_out)

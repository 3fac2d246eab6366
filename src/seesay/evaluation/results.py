"""What is measured, as values: a model on a set, a model between two sets, two models on one set.

Every share is a fraction from 0 to 1. `to_json()` gives what the JSON files of `seesay evaluate` hold.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from seesay.base.printable import printable
from seesay.base.records import Score
from seesay.base.values import percent, score_row, skipped_words, with_interval
from seesay.tasks.words import same_names_line

Direction = Literal["text_to_image", "image_to_text"]
DIRECTIONS: tuple[Direction, ...] = ("text_to_image", "image_to_text")


@dataclass(frozen=True, kw_only=True, repr=False)
class SetResult(ABC):
    """A model on a set. `n` images were read, others were skipped; `seed` is that of all bootstraps."""

    set_name: str
    model: str
    n: int
    skipped_by_reason: Mapping[str, int]
    data_fingerprint: str
    seed: int
    templates: tuple[str, ...]
    templates_from: str
    notes: tuple[str, ...] = ()

    @property
    def skipped(self) -> int:
        """Images left out, when the set was opened or when it was read."""
        return sum(self.skipped_by_reason.values())

    @property
    def remarks(self) -> tuple[str, ...]:
        """How the set was read, what was left out, and what a person should know of the scores, a line each."""
        skipped = skipped_words(self.skipped_by_reason, self.skipped + self.n)
        return (*self.notes, skipped) if skipped else self.notes

    @property
    @abstractmethod
    def task(self) -> str:
        """The name of what was measured, as in the JSON files."""

    @property
    @abstractmethod
    def scores(self) -> dict[str, Score]:
        """All scores by name, the headline first."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Plain values, with an interval and a chance for every share."""

    def rows(self) -> list[dict[str, Any]]:
        """A row for each score: model, set, task, score, value, low, high, chance, n."""
        names = {"model": self.model, "set": self.set_name, "task": self.task}
        return [{**names, "score": name, **score_row(score)} for name, score in self.scores.items()]

    def _common_json(self) -> dict[str, Any]:
        return {
            "set": self.set_name,
            "task": self.task,
            "n": self.n,
            "skipped": self.skipped,
            "skipped_by_reason": dict(self.skipped_by_reason),
            "model": self.model,
            "data_fingerprint": self.data_fingerprint,
            "seed": self.seed,
        }

    def __repr__(self) -> str:
        name, score = next(iter(self.scores.items()))
        shown = f"{name} {with_interval(score.value, score.interval95)} %, chance {percent(score.chance)} %"
        counts = f"{self.n:,} images{f', {self.skipped:,} skipped' if self.skipped else ''}"
        return printable(f"{type(self).__name__}({self.model} on {self.set_name}: {shown}, {counts})")


@dataclass(frozen=True, kw_only=True, repr=False)
class ZeroShotResult(SetResult):
    """Zero-shot classification of a labelled set. `same_names` are names that more than one class has.

    `calibration_error` is the expected calibration error of `formulas.reliability`; `measures` are those that the paper
    takes for this set beside accuracy, by name.
    """

    classes: int
    top1: Score
    top5: Score
    mean_per_class: Score
    calibration_error: float
    same_names: tuple[str, ...]
    class_names_from: str
    measures: Mapping[str, Score] = field(default_factory=dict)

    @property
    def remarks(self) -> tuple[str, ...]:
        if not self.same_names:
            return super().remarks
        return (*super().remarks, same_names_line(self.same_names))

    @property
    def task(self) -> str:
        return "zero-shot"

    @property
    def scores(self) -> dict[str, Score]:
        return {"top1": self.top1, "top5": self.top5, "mean_per_class": self.mean_per_class, **self.measures}

    def to_json(self) -> dict[str, Any]:
        return {
            **self._common_json(),
            "classes": self.classes,
            **{name: score.value for name, score in self.scores.items()},
            "interval95": list(self.top1.interval95),
            "interval95_top5": list(self.top5.interval95),
            "interval95_mean_per_class": list(self.mean_per_class.interval95),
            "chance": self.top1.chance,
            "chance_top5": self.top5.chance,
            **_ends_of(self.measures),
            "calibration_error": self.calibration_error,
            "same_names": list(self.same_names),
            "templates": list(self.templates),
            "templates_from": self.templates_from,
            "class_names_from": self.class_names_from,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class RetrievalResult(SetResult):
    """Retrieval on images with captions: recall by "r1", "r5" and "r10" in both directions.

    `shared_captions` are those of which another image has an equal one.
    """

    captions: int
    shared_captions: int
    text_to_image: Mapping[str, Score]
    image_to_text: Mapping[str, Score]

    @property
    def remarks(self) -> tuple[str, ...]:
        if not self.shared_captions:
            return super().remarks
        return (
            *super().remarks,
            f"{self.shared_captions:,} of {self.captions:,} captions are those of other images too, and only one's own "
            "counts as right: no model reaches 100 %. Where captions are names of classes, a folder per class measures "
            "accuracy instead.",
        )

    @property
    def task(self) -> str:
        return "retrieval"

    @property
    def headline(self) -> Score:
        """Recall at 10 from text to image."""
        return self.text_to_image["r10"]

    @property
    def scores(self) -> dict[str, Score]:
        rest = {f"{direction} {k}": score for direction in DIRECTIONS for k, score in self.recalls(direction).items()}
        return {"text_to_image r10": self.headline, **rest}

    def recalls(self, direction: Direction) -> Mapping[str, Score]:
        """The recalls of one direction by "r1", "r5" and "r10"."""
        return self.text_to_image if direction == "text_to_image" else self.image_to_text

    def to_json(self) -> dict[str, Any]:
        result = {**self._common_json(), "captions": self.captions}
        for direction in DIRECTIONS:
            result[direction] = {k: score.value for k, score in self.recalls(direction).items()}
        result["interval95"] = list(self.headline.interval95)
        for direction in DIRECTIONS:
            intervals = {k: list(score.interval95) for k, score in self.recalls(direction).items()}
            result[f"interval95_{direction}"] = intervals
        result["chance"] = self.headline.chance
        for direction in DIRECTIONS:
            result[f"chance_{direction}"] = {k: score.chance for k, score in self.recalls(direction).items()}
        words = {"templates": list(self.templates), "templates_from": self.templates_from}
        return {**result, **words, "notes": list(self.notes), "shared_captions": self.shared_captions}


@dataclass(frozen=True, kw_only=True, repr=False)
class SuiteResult(SetResult):
    """A set with measures of its own by name, the headline first, as those of RareAct or IM2GPS."""

    measures: Mapping[str, Score]

    @property
    def task(self) -> str:
        return "suite"

    @property
    def scores(self) -> dict[str, Score]:
        return dict(self.measures)

    def to_json(self) -> dict[str, Any]:
        headline = next(iter(self.measures.values()))
        return {
            **self._common_json(),
            **{name: score.value for name, score in self.measures.items()},
            "interval95": list(headline.interval95),
            "chance": headline.chance,
            **_ends_of(self.measures),
            "templates": list(self.templates),
            "templates_from": self.templates_from,
            "notes": list(self.notes),
        }


def _ends_of(measures: Mapping[str, Score]) -> dict[str, Any]:
    """The interval and the chance of each measure, under names that have its own."""
    intervals = {f"interval95_{name}": list(score.interval95) for name, score in measures.items()}
    return {**intervals, **{f"chance_{name}": score.chance for name, score in measures.items()}}


@dataclass(frozen=True, kw_only=True)
class EffectiveRobustness:
    """The accuracy on the shifted set less that of a line through standard models (`formulas.robustness`)."""

    value: float
    interval95: tuple[float, float]
    baseline_models: int
    baseline_slope: float
    baseline_offset: float


@dataclass(frozen=True, kw_only=True)
class ShiftResult:
    """A model on a natural set and on a shifted one of the same classes, both named.

    `gap` is shifted less natural top-1 accuracy; `effective_robustness` is None without a baseline.
    """

    model: str
    natural: str
    shifted: str
    accuracy_natural: Score
    accuracy_shifted: Score
    gap: float
    gap_interval95: tuple[float, float]
    effective_robustness: EffectiveRobustness | None
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Plain values; those of the effective robustness only where there is one."""
        natural, shifted, robustness = self.accuracy_natural, self.accuracy_shifted, self.effective_robustness
        result = {
            "task": "distribution-shift",
            "model": self.model,
            "natural": self.natural,
            "shifted": self.shifted,
            "accuracy_natural": natural.value,
            "interval95_natural": list(natural.interval95),
            "accuracy_shifted": shifted.value,
            "interval95_shifted": list(shifted.interval95),
            "n_natural": natural.n,
            "n_shifted": shifted.n,
            "chance": natural.chance,
            "gap": self.gap,
            "interval95_gap": list(self.gap_interval95),
            "seed": self.seed,
        }
        if robustness is not None:
            result |= {
                "effective_robustness": robustness.value,
                "interval95_effective_robustness": list(robustness.interval95),
                "baseline_models": robustness.baseline_models,
                "baseline_slope": robustness.baseline_slope,
                "baseline_offset": robustness.baseline_offset,
            }
        return result


@dataclass(frozen=True, kw_only=True)
class ComparisonResult:
    """Two models on the same questions, `n` of them: the shares they got right and whether the difference is chance.

    `difference` is the second share less the first. `test` names where `p` comes from: "sign", the exact test over
    images that one model alone got right (`first_only`, `second_only`), or "paired bootstrap", where these are None.
    """

    first: str
    second: str
    set_name: str
    task: str
    score: str
    n: int
    share_first: float
    share_second: float
    difference: float
    interval95: tuple[float, float]
    p: float
    test: Literal["sign", "paired bootstrap"]
    first_only: int | None = None
    second_only: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; `first_only` and `second_only` only where they were counted."""
        result: dict[str, Any] = {
            "task": self.task,
            "first": self.first,
            "second": self.second,
            "set": self.set_name,
            "score": self.score,
            "n": self.n,
            "share_first": self.share_first,
            "share_second": self.share_second,
            "difference": self.difference,
            "interval95": list(self.interval95),
            "p": self.p,
            "test": self.test,
        }
        if self.first_only is not None:
            result |= {"first_only": self.first_only, "second_only": self.second_only}
        return result

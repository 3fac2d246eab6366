"""What a linear probe came to, as a value. Every score is a fraction from 0 to 1."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

from seesay.base.printable import printable
from seesay.base.records import Score
from seesay.base.values import html_table, percent, score_row, skipped_words, to_pandas, with_interval


@dataclass(frozen=True, kw_only=True)
class ShotsResult:
    """Probes on `shots` images per class: a score and a penalty for every random choice of images, and their mean.

    `interval95` is that of the mean over choices; None where there was one choice.
    """

    shots: int
    mean: float
    interval95: tuple[float, float] | None
    scores: tuple[float, ...]
    penalties: tuple[float, ...]

    @property
    def words(self) -> str:
        """The mean in percent, with its interval where there is one."""
        return percent(self.mean) if self.interval95 is None else with_interval(self.mean, self.interval95)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "shots": self.shots,
            "mean": self.mean,
            "interval95": None if self.interval95 is None else list(self.interval95),
            "scores": list(self.scores),
            "penalties": list(self.penalties),
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class ProbeResult:
    """A linear probe that learned on the set `train` and was measured on `set_name`, beside zero-shot on the same.

    `score` is that of a probe on all `n_train` images, found with `penalty`; `validation_scores` are accuracies by the
    penalties that were tried, from words mean quadratic scores, -1 to 1. `features` is the width of a row.
    `shots_equal_to_zero_shot` is the number of images per class that gives the score of zero-shot, None where no number
    does or no shots were requested. `shared_images` of the set have the same bytes as one of `train`. `start_scale` is
    the factor on the logits of zero-shot from which that probe started; None where it started from nothing. `set_notes`
    are on how both sets and their names are read.
    """

    train: str
    set_name: str
    model: str
    metric: str
    n_train: int
    classes: int
    features: int
    score: Score
    zero_shot: Score
    penalty: float
    iterations: int
    validation_scores: Mapping[float, float]
    templates: tuple[str, ...]
    shots: tuple[ShotsResult, ...]
    seeds: int
    shots_equal_to_zero_shot: float | None
    skipped_by_reason: Mapping[str, int]
    data_fingerprints: tuple[str, str]
    shared_images: int
    start_scale: float | None = None
    set_notes: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the score, a line each."""
        skipped = skipped_words(self.skipped_by_reason, self.skipped + self.n_train + self.n)
        notes = (*self.set_notes, *([skipped] if skipped else []))
        if not self.shared_images:
            return notes
        which = "all of" if self.shared_images >= self.n else f"{self.shared_images:,} of"
        return (
            *notes,
            f"it was trained and measured on the same images, {which} {self.n:,}: the score says little of others.",
        )

    @property
    def n(self) -> int:
        """Images of the test set that were read."""
        return self.score.n

    @property
    def skipped(self) -> int:
        """Images of both sets that were left out."""
        return sum(self.skipped_by_reason.values())

    @property
    def shots_of_all(self) -> float:
        """Images per class in the whole training set, on average."""
        return self.n_train / self.classes

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `seesay probe --json` writes them."""
        return {
            "task": "linear-probe",
            "train": self.train,
            "set": self.set_name,
            "model": self.model,
            "metric": self.metric,
            "n": self.n,
            "n_train": self.n_train,
            "classes": self.classes,
            "features": self.features,
            "score": self.score.value,
            "interval95": list(self.score.interval95),
            "chance": self.score.chance,
            "penalty": self.penalty,
            "iterations": self.iterations,
            "validation_scores": {f"{value:.6g}": share for value, share in sorted(self.validation_scores.items())},
            "zero_shot": self.zero_shot.value,
            "interval95_zero_shot": list(self.zero_shot.interval95),
            "templates": list(self.templates),
            "shots": [entry.to_json() for entry in self.shots],
            "seeds": self.seeds,
            "shots_equal_to_zero_shot": self.shots_equal_to_zero_shot,
            "skipped": self.skipped,
            "skipped_by_reason": dict(self.skipped_by_reason),
            "data_fingerprints": list(self.data_fingerprints),
            "shared_images": self.shared_images,
            "start_scale": self.start_scale,
            "notes": list(self.notes),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Zero-shot, every number of shots, all images: examples, per_class, value, low, high, chance, n.

        Of a single choice of shots `low` and `high` are None.
        """
        few = [
            {"value": entry.mean, "low": low, "high": high, "chance": self.score.chance, "n": self.n}
            for entry in self.shots
            for low, high in [entry.interval95 or (None, None)]
        ]
        return [
            {"examples": "zero-shot", "per_class": 0.0, **score_row(self.zero_shot)},
            *(
                {"examples": "few-shot", "per_class": float(entry.shots), **row}
                for entry, row in zip(self.shots, few, strict=True)
            ),
            {"examples": "all", "per_class": self.shots_of_all, **score_row(self.score)},
        ]

    def cells(self) -> list[list[str]]:
        """The same rows as text, in percent: examples, per class, score with its interval, penalties."""
        score, zero_shot = self.score, self.zero_shot
        return [
            ["zero-shot", "0", with_interval(zero_shot.value, zero_shot.interval95), "-"],
            *(
                [
                    "few-shot",
                    str(entry.shots),
                    entry.words,
                    " ".join(f"{value:.2g}" for value in entry.penalties) or "-",
                ]
                for entry in self.shots
            ),
            [
                "all",
                f"{self.shots_of_all:.1f}",
                with_interval(score.value, score.interval95),
                f"{self.penalty:.2g}",
            ],
        ]

    def to_pandas(self) -> Any:
        """`rows` as a pandas table; `UsageError` where pandas is not installed."""
        return to_pandas(self.rows())

    def __repr__(self) -> str:
        shown = f"{self.metric} {with_interval(self.score.value, self.score.interval95)} %"
        zero_shot = f"zero-shot {with_interval(self.zero_shot.value, self.zero_shot.interval95)} %"
        return printable(
            f"ProbeResult({self.model}, {self.train} -> {self.set_name}: {shown}, {zero_shot}, {self.n:,} images"
            f"{f', {self.skipped:,} skipped' if self.skipped else ''})"
        )

    def _repr_html_(self) -> str:
        return html_table(PROBE_COLUMNS, self.cells()) + "".join(f"<p>{escape(note)}</p>" for note in self.notes)


def shots_equal_to(zero_shot: float, points: Sequence[tuple[float, float]]) -> float | None:
    """How many examples per class give the score `zero_shot`: `points` of (shots, score) joined by straight lines.

    Over the logarithm of the shots, as the paper's figure 7. Where the fewest shots are better already the first line
    is continued below them, if it rises, and their number is the answer if it does not. None where the scores never
    get there.
    """
    points = sorted(set(points))
    if points[0][1] >= zero_shot and not (points[1:2] and points[1][1] > points[0][1]):
        return float(points[0][0])
    for (fewer, low), (more, high) in pairwise(points):
        is_first = (fewer, low) == points[0]
        if high > low and high >= zero_shot and (low <= zero_shot or is_first):
            share = (zero_shot - low) / (high - low)
            return math.exp(math.log(fewer) + share * (math.log(more) - math.log(fewer)))
    return None


PROBE_COLUMNS = ("examples", "per class", "score [95 %]", "penalty")

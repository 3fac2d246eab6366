"""What fine-tuning came to, as a value: the points between the two models, and the one that is recommended."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from seesay.base.errors import SeesayError, UsageError
from seesay.base.values import table, with_interval
from seesay.finetuning.measures import Measure
from seesay.finetuning.sweep import Point, allowing, may_lose
from seesay.finetuning.target import Target
from seesay.model.adapters import Layout, adapter_files, has_peft_layout, read_updates, write_adapter
from seesay.model.bundle import Model
from seesay.model.hub import load
from seesay.training.faults import MOST_SKIPPED, SKIPPED_NAME, left_out_in_words, left_out_of
from seesay.training.run_folder import ADAPTER_FOLDER, MODEL_FOLDER, SETTINGS_NAME, open_run
from seesay.training.settings import TrainSettings

TRAIN_FOLDER, START_FOLDER = "train", "start"
RESULT_NAME, PAGE_NAME = "finetune.json", "finetune.html"


@dataclass(frozen=True, kw_only=True, eq=False)
class FineTuning:
    """A model that was fine-tuned: `points` between the old one and the trained one, and the `chosen` one of them.

    `folder` holds `model`, the one that is recommended, `start` and `train/model`, the two ends, and `finetune.json`.
    `target` and `guards` say what was measured; `most_loss` is in points of a hundred. `left_out` counts by reason
    what of the `looked_at` samples could not be learned from. With several processes the main one alone has points.

    Example: print(seesay.finetune("box", "digits/", guard="photos/"))
    """

    folder: Path
    model_name: str
    how: str
    target: Measure
    guards: Sequence[Measure]
    most_loss: float
    seconds: float
    left_out: Counter[str] = field(default_factory=Counter)
    looked_at: int = 0
    points: tuple[Point, ...] = ()
    chosen: Point | None = None

    def with_points(self, points: Sequence[Point], chosen: Point | None) -> "FineTuning":
        """The same with what was measured."""
        return replace(self, points=tuple(points), chosen=chosen)

    @cached_property
    def model(self) -> Model:
        """The model that is recommended."""
        return load(self.folder / MODEL_FOLDER)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `finetune.json` holds them: fractions, and intervals of 95 %."""
        described = [
            {"name": each.name, "what": each.what, "n": each.n, "left_out": dict(each.left_out)}
            for each in (self.target, *self.guards)
        ]
        return {
            "format": 1,
            "model": self.model_name,
            "how": self.how,
            "target": described[0],
            "guards": described[1:],
            "most_loss": self.most_loss,
            "seconds": self.seconds,
            "left_out": dict(self.left_out),
            "looked_at": self.looked_at,
            "points": [point.to_json() for point in self.points],
            "chosen": None if self.chosen is None else self.chosen.to_json(),
            "ends": {"old": "start", "new": "train/model"},
        }

    def save_adapter(self, folder: str | Path, layout: Layout | None = None) -> None:
        """Write the low-rank updates of the recommended model to a folder, where `how` is "lora".

        In PEFT's format where transformers' CLIPModel has the towers, else in seesay's own, unless `layout` names one.
        `UsageError` for towers that PEFT's format cannot name, and where no low-rank update is recommended.
        """
        learned = self.folder / TRAIN_FOLDER / ADAPTER_FOLDER
        if self.chosen is None or not learned.is_dir():
            raise UsageError(f"{self.folder} has no low-rank updates that are recommended; train them with --how lora.")
        architecture = load(self.folder / START_FOLDER).architecture
        updates = read_updates(learned, architecture)
        chosen = layout or ("peft" if has_peft_layout(architecture) else "seesay")
        files = adapter_files(updates, architecture, base=self.model_name, layout=chosen, share=self.chosen.a)
        write_adapter(Path(folder), files)

    @property
    def columns(self) -> tuple[str, ...]:
        """The heads of `rows`."""
        return ("a", f"{self.target.name}, %", "gain [95 %]", *(f"{guard.name} [95 %]" for guard in self.guards), "")

    def rows(self) -> list[tuple[str, ...]]:
        """One row per point, for people: `a`, the target, what was gained on it and on the guards, in points."""
        return [
            (
                f"{point.a:.4g}",
                f"{100 * point.target.value:.1f}",
                with_interval(point.target.gain, point.target.interval95, sign=True),
                # Bounds of 1 point are common, and one digit would show 1.03 as 1.0.
                *(with_interval(each.gain, each.interval95, sign=True, digits=2) for each in point.guards),
                _remark(point, self.chosen, self.most_loss / 100),
            )
            for point in self.points
        ]

    def __str__(self) -> str:
        return table(self.columns, self.rows())


def result_of(
    target: Target,
    guards: Sequence[Measure],
    settings: TrainSettings,
    *,
    folder: Path,
    model_name: str,
    most_loss: float,
) -> FineTuning:
    """What the finished run in `folder/train` came to, without the points."""
    run, pairs = open_run(folder / TRAIN_FOLDER), target.pairs
    seen = min(len(pairs.training), run.events[-1].get("pairs_seen", 0))
    return FineTuning(
        folder=folder,
        model_name=model_name,
        how=settings.start.how,
        target=target.measure,
        guards=guards,
        most_loss=most_loss,
        seconds=float(run.events[-1].get("seconds", 0.0)),
        left_out=left_out_of(run.folder),
        looked_at=seen + len(pairs.validation or ()) + len(pairs.training.problems),
    )


def too_many_left_out(result: FineTuning) -> str | None:
    """What to say of a run that left out more than any may of its samples, or of a set's images; None if it did not."""
    found = []
    if sum(result.left_out.values()) > MOST_SKIPPED * result.looked_at:
        listed = result.folder / TRAIN_FOLDER / SKIPPED_NAME
        found.append(f"{left_out_in_words(result.left_out, result.looked_at)}: {listed} lists them")
    for measure in (result.target, *result.guards):
        if sum(measure.left_out.values()) > MOST_SKIPPED * measure.looked_at:
            found.append(f"of what measures {measure.name} {left_out_in_words(measure.left_out, measure.looked_at)}")
    return f"all is measured and saved, but {'; '.join(found)}; fix the data, or use it as it is." if found else None


def refuse_other_models(folder: Path, *models: Model | str | Path | None) -> None:
    """`UsageError` for a folder with a model that is not of a fine-tuning, or with one that is named here.

    `start`, `model` and `adapter` there are replaced. Of a `Model` it is not known where it lies.
    """
    hint, is_ours = "choose another --out", (folder / RESULT_NAME).is_file()
    for name in (SETTINGS_NAME, MODEL_FOLDER, ADAPTER_FOLDER, START_FOLDER):
        is_begun = name == START_FOLDER and (folder / TRAIN_FOLDER / SETTINGS_NAME).is_file()
        if (folder / name).exists() and not (is_ours or is_begun):
            raise UsageError(f"{folder} holds {name}, which is not of a fine-tuning and would be lost; {hint}.")
    replaced = [(folder / name).resolve() for name in (MODEL_FOLDER, ADAPTER_FOLDER, START_FOLDER, TRAIN_FOLDER)]
    for model in models:
        if not isinstance(model, str | Path) or not Path(model).exists():
            continue
        kept = Path(model).resolve()
        if kept == folder.resolve() or any(kept.is_relative_to(each) for each in replaced):
            raise UsageError(f"{model} lies in {folder}, whose models are replaced; {hint}.")


def in_points(loss: float) -> str:
    """A loss in points of a hundred, in words."""
    return f"{loss:g} point{'s' * (loss != 1)}"


def held_back_line(result: FineTuning, chosen: Point, better: Point) -> str:
    """For a person: what a guard of few images keeps from being recommended."""
    more = 100 * (better.target.value - chosen.target.value)
    return (
        f"at a = {better.a:.4g} it gains {more:.1f} points more and loses at most {in_points(result.most_loss)} as "
        f"measured, but {may_lose(better)}: a --guard of more images tells, --most-loss {allowing(better)} allows it."
    )


def none_allowed(result: FineTuning) -> SeesayError:
    """The error where no model is better and allowed, with what the best on the target would gain and may lose."""
    first, best = result.points[0], max(result.points, key=lambda point: point.target.value)
    hint = "train longer, or on more images"
    if best.target.value > first.target.value:
        hint = (
            f"at a = {best.a:.4g} it gains {100 * best.target.gain:.1f} points and {may_lose(best)}; allow that "
            f"with --most-loss {allowing(best)}, or try another --how"
        )
    return SeesayError(
        f"no model between {result.model_name} and the trained one is better on {result.target.name} and loses at most "
        f"{in_points(result.most_loss)} on {' and '.join(guard.name for guard in result.guards)}; {hint}. Nothing is "
        f"recommended: {result.folder / TRAIN_FOLDER / MODEL_FOLDER} is the trained model, {result.folder / PAGE_NAME} "
        "the page."
    )


def _remark(point: Point, chosen: Point | None, most_loss: float) -> str:
    if chosen is not None and point.a == chosen.a:
        return "recommended"
    if point.a == 0:
        return "the old model"
    names = [guard.name for guard in point.guards if guard.most_lost > most_loss]
    where = f" on {' and '.join(names)}" if len(point.guards) > 1 else ""
    return f"may lose too much{where}" if names else ""

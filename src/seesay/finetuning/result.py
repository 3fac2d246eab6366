"""What fine-tuning came to, as a value: the points between the two models, and the one that is recommended."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from seesay.base.errors import UsageError
from seesay.base.values import table, with_interval
from seesay.finetuning.measures import Measure
from seesay.finetuning.sweep import Point
from seesay.finetuning.target import Target
from seesay.model.adapters import Layout, adapter_files, has_peft_layout, read_updates, write_adapter
from seesay.model.bundle import Model
from seesay.model.hub import load
from seesay.training.faults import MOST_SKIPPED, SKIPPED_NAME, left_out_in_words, left_out_of
from seesay.training.run_folder import ADAPTER_FOLDER, open_run
from seesay.training.settings import TrainSettings


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
        return load(self.folder / "model")

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `finetune.json` holds them: fractions, and intervals of 95 %."""
        described = [{"name": each.name, "what": each.what, "n": each.n} for each in (self.target, *self.guards)]
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
        learned = self.folder / "train" / ADAPTER_FOLDER
        if self.chosen is None or not learned.is_dir():
            raise UsageError(f"{self.folder} has no low-rank updates that are recommended; train them with --how lora.")
        architecture = load(self.folder / "start").architecture
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
    run, pairs = open_run(folder / "train"), target.pairs
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
    """What to say of a run that left out more of its samples than any may; None if it did not."""
    if sum(result.left_out.values()) <= MOST_SKIPPED * result.looked_at:
        return None
    listed = result.folder / "train" / SKIPPED_NAME
    left_out = left_out_in_words(result.left_out, result.looked_at)
    return f"all is measured and saved, but {left_out}: {listed} lists them; fix the data, or use it as it is."


def _remark(point: Point, chosen: Point | None, most_loss: float) -> str:
    if chosen is not None and point.a == chosen.a:
        return "recommended"
    if point.a == 0:
        return "the old model"
    names = [guard.name for guard in point.guards if guard.most_lost > most_loss]
    where = f" on {' and '.join(names)}" if len(point.guards) > 1 else ""
    return f"may lose too much{where}" if names else ""

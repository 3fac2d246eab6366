"""Training with zero-shot checks on the way: the public `seesay.train`."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.settings import read_settings
from seesay.data.evalsets import LabelledSet, open_evalset
from seesay.data.stored import count_reasons
from seesay.model.bundle import Model
from seesay.model.encode import read_pixels
from seesay.training.settings import TrainSettings
from seesay.training.start import train_model

BLOCK = 256
LENGTHS = ("steps", "epochs", "minutes")


def train(
    pairs: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    val: str | Path | Sequence[str | Path] = (),
    check: str | Path | Sequence[str | Path] = (),
    recipe: str | Path | None = None,
    overrides: Sequence[str] = (),
    allow_change: Sequence[str] = (),
    **settings: Any,
) -> Model:
    """Train a model on image-caption pairs and return it; everything is kept in the run folder `out`.

    `pairs`, `val`: folders, tables or tar shards. `check`: labelled sets measured zero-shot while training.
    `settings`: fields of `TrainSettings`, sections as dicts (`steps=500, optimizer={"learning_rate": 1e-3}`); they
    win over the TOML file `recipe`, and `overrides` ("section.key=value") win over both.
    The default `out` is `runs/NAME`; calling again goes on where a stopped run was, with the same settings but for
    those, sections or "pairs" that `allow_change` names. Raises `SeesayError`s.
    """
    places, folder, chosen = resolve(pairs, out=out, recipe=recipe, overrides=overrides, settings=settings)
    checks = {_name_of(place, listed(check)): ZeroShotCheck(place).measure for place in listed(check)}
    return train_model(
        places, out=folder, settings=chosen, validation=listed(val), checks=checks, allow_change=allow_change
    )


def resolve(
    pairs: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None,
    recipe: str | Path | None,
    overrides: Sequence[str],
    settings: Mapping[str, Any],
) -> tuple[list[str | Path], Path, TrainSettings]:
    """What the arguments of `train` come to: the places of the pairs, the run folder, and the settings."""
    places = listed(pairs)
    if not places:
        raise UsageError("no pairs are given; name a folder, a table or shards.")
    given = read_settings(TrainSettings, file=Path(recipe) if recipe else None).model_dump(exclude_unset=True)
    if any(settings.get(name) is not None for name in LENGTHS):
        # A run has one length: the one that is named here takes the place of the recipe's.
        given = {name: value for name, value in given.items() if name not in LENGTHS}
    chosen = read_settings(TrainSettings, file=None, overrides=overrides, base=_under(given, settings))
    folder = Path(out) if out else Path("runs") / (Path(places[0]).stem.strip("*") or "run")
    return places, folder, chosen


class ZeroShotCheck:
    """Top-1 of a labelled set; the pictures are decoded once and kept.

    `templates` are the model's own if none are given. `most`: so many pictures, evenly spread over the set. `n` is how
    many could be read, once it has measured.
    """

    def __init__(self, place: str | Path, *, most: int | None = None, templates: Sequence[str] | None = None):
        opened = open_evalset(place)
        if not isinstance(opened, LabelledSet):
            raise UsageError(f"check set {place} has captions, not classes; give it as validation pairs (--val).")
        self.labelled = opened
        self.templates = templates
        count = len(opened) if most is None else min(most, len(opened))
        self.chosen = [index * len(opened) // count for index in range(count)]
        self._pixels: torch.Tensor | None = None
        self._labels: list[int] = []

    @property
    def largest_share(self) -> float:
        """What always naming the most frequent class would get right."""
        most = Counter(self.labelled.label(index) for index in self.chosen).most_common(1)[0][1]
        return most / len(self.chosen)

    @property
    def n(self) -> int:
        return len(self._labels)

    def measure(self, model: Model) -> dict[str, float]:
        pixels, label_N = self._read(model), torch.tensor(self._labels)
        classifier = model.classifier(self.labelled.class_names, self.templates)
        # A picture's row may be a whole grid, so none outlives its block.
        blocks = [
            classifier.scores(model.encode_pixels(pixels[first : first + BLOCK])).argmax(1)
            for first in range(0, len(pixels), BLOCK)
        ]
        best_N = torch.cat(blocks)
        return {"top1": float((best_N == label_N).float().mean())}

    def _read(self, model: Model) -> torch.Tensor:
        if self._pixels is None:
            name, count = self.labelled.name, len(self.chosen)
            pixels, kept, skipped = read_pixels(model, lambda number: self.labelled.image(self.chosen[number]), count)
            if not pixels:
                raise RefusedInput(f"none of the {count} pictures of {name} can be read ({count_reasons(skipped)}).")
            if skipped:
                told = f"check {name}: {len(skipped)} of {count} pictures left out: {count_reasons(skipped)}"
                print(told, file=sys.stderr, flush=True)
            self._labels = [self.labelled.label(self.chosen[number]) for number in kept]
            self._pixels = torch.stack(pixels)
        return self._pixels


def _name_of(place: str | Path, places: Sequence[str | Path]) -> str:
    """The last part of a path, or the whole where several end alike."""
    name = Path(place).absolute().name
    return name if sum(Path(other).absolute().name == name for other in places) == 1 else str(place)


def listed(places: str | Path | Sequence[str | Path]) -> list[str | Path]:
    """One place or several, as a list."""
    return [places] if isinstance(places, str | Path) else list(places)


def _under(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Both, section by section; `high` wins."""
    merged = dict(low)
    for key, value in high.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _under(merged[key], value)
        elif value is not None:
            merged[key] = value
    return merged

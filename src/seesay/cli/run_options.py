"""The options that `seesay train` and `seesay doctor` share: one list, with one help text each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

Pairs = Annotated[list[str], typer.Argument(metavar="PAIRS...", help="Folders, CSV/TSV/Parquet tables, or tar shards.")]
Out = Annotated[Path | None, typer.Option(metavar="RUN", help="The run's folder [default: runs/NAME].")]
ModelSize = Annotated[str | None, typer.Option(metavar="SIZE", help="Model size by name [default: by the data].")]
Objective = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="What is learned [default: contrastive or, in a small model, contrastive-bow]."),
]
Teacher = Annotated[
    str | None, typer.Option(metavar="MODEL", help="A model whose answers are learned beside the pairs.")
]
ImageTower = Annotated[
    str | None, typer.Option(metavar="MODEL", help="Begin with this model's image tower [default: random weights].")
]
TextTower = Annotated[str | None, typer.Option(metavar="MODEL", help="Begin with this model's text tower.")]
Steps = Annotated[int | None, typer.Option(metavar="N", help="Length of the run in steps.")]
Epochs = Annotated[int | None, typer.Option(metavar="N", help="Length of the run in passes over all pairs.")]
Minutes = Annotated[float | None, typer.Option(metavar="M", help="Length of the run in minutes.")]
BatchSize = Annotated[int | None, typer.Option(metavar="N", help="Pairs per step.")]
MicroBatch = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Pairs in memory at once [default: all]. Without batch normalisation the gradients stay the same.",
    ),
]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Seed of weights, order and crops [default: 0].")]
Device = Annotated[
    str | None,
    typer.Option(metavar="cpu|cuda|mps", help="Where to compute [default: the best here]."),
]
Workers = Annotated[int | None, typer.Option(metavar="N", help="Processes that read images [default: by the cores].")]
Val = Annotated[
    list[str] | None,
    typer.Option(metavar="PAIRS", help="Pairs to validate on [default: 1 to 10 % held out, none of few pairs]."),
]
CheckSet = Annotated[
    list[str] | None, typer.Option(metavar="SET", help="Labelled set, classified zero-shot during the run.")
]
Recipe = Annotated[Path | None, typer.Option(metavar="FILE", help="A TOML file of settings.")]

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, above all others.")]


def settings() -> Iterator[str]:
    """The names of the settings that --set may change."""
    from seesay.base.settings import setting_names
    from seesay.training.settings import TrainSettings

    return setting_names(TrainSettings)

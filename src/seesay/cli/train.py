"""The door of `seesay train`: words to settings."""

from pathlib import Path
from typing import Annotated

import typer

from seesay.cli.interrupts import ended_at_once

Pairs = Annotated[list[str], typer.Argument(metavar="PAIRS...", help="Folders, CSV/TSV/Parquet tables, or tar shards.")]
Objective = Annotated[str | None, typer.Option(metavar="NAME", help="What is learned [contrastive, CLIP's own].")]


def command(
    pairs: Pairs,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="The run's folder [runs/NAME].")] = None,
    model: Annotated[str | None, typer.Option(metavar="SIZE", help="Model size by name [by the data].")] = None,
    objective: Objective = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="How long: steps,")] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N", help="... or visits to each pair,")] = None,
    minutes: Annotated[float | None, typer.Option(metavar="M", help="... or minutes.")] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", help="Pairs per step.")] = None,
    micro_batch: Annotated[int | None, typer.Option(metavar="N", help="Pairs at once, to save memory [all].")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of weights, order and crops [0].")] = None,
    device: Annotated[str | None, typer.Option(metavar="cpu|cuda", help="Where to compute.")] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Loader processes.")] = None,
    val: Annotated[list[str] | None, typer.Option(metavar="PAIRS", help="Validation pairs [1 % held out].")] = None,
    check: Annotated[list[str] | None, typer.Option(metavar="SET", help="Labelled set to check zero-shot.")] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings as TOML.")] = None,
    allow_change: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Setting, or 'pairs', that a resumed run may change.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting.")] = None,
) -> None:
    """Train a model on images with captions; needs nothing but the pairs.

    Example: seesay train photos/ --minutes 30 --set optimizer.learning_rate=0.0005

    What is not given is chosen from the data and printed. Ctrl-C saves; the same command goes on.
    """
    with ended_at_once():
        from seesay.evaluation.training import train

    given = {
        "model": model,
        "objective": objective,
        "steps": steps,
        "epochs": epochs,
        "minutes": minutes,
        "batch_size": batch_size,
        "micro_batch": micro_batch,
        "seed": seed,
        "device": device,
        "data": {"workers": workers} if workers is not None else None,
    }
    given |= {"val": val or (), "check": check or (), "allow_change": allow_change or ()}
    train(pairs, out=out, recipe=recipe, overrides=set_ or (), **given)

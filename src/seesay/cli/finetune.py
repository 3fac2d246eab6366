"""The door of `seesay finetune`: words to settings, the sweep as a table."""

import sys
from typing import Annotated, Literal

import typer

from seesay.cli import run_options as options
from seesay.cli.tables import refuse_data_first

How = Annotated[
    Literal["full", "image", "lora", "prompt", "lock-image", "lock-text"],
    typer.Option(
        help="What is trained: both towers, the image tower and a head, low-rank updates, a prompt, one tower."
    ),
]

# Where an option that there is not may be one.
settings = options.settings


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model folder or name to begin with.")],
    data: Annotated[
        list[str], typer.Argument(metavar="DATA...", help="A folder per class, a labelled set, or pairs as for train.")
    ],
    out: options.Out = None,
    how: How = "full",
    guard: Annotated[
        list[str] | None,
        typer.Option(metavar="SET", help="Set not to be lost [default: the model's own answers to held-out images]."),
    ] = None,
    most_loss: Annotated[
        float, typer.Option(metavar="POINTS", help="Most that may be lost on a guard, with its 95 % interval.")
    ] = 1.0,
    val: Annotated[
        str | None,
        typer.Option(metavar="SET", help="Images to choose the model by [default: a fifth of DATA, of pairs a tenth]."),
    ] = None,
    steps: options.Steps = None,
    epochs: options.Epochs = None,
    minutes: options.Minutes = None,
    batch_size: options.BatchSize = None,
    micro_batch: options.MicroBatch = None,
    seed: options.Seed = None,
    device: options.Device = None,
    workers: options.Workers = None,
    set_: options.Set = None,
) -> None:
    """Make a model better at your images, and measure what it loses elsewhere.

    Example: seesay finetune box digits/ --how lora --guard photos/ --out runs/digits

    Classes become prompts. When training is done, the weights between the old model and the new one are measured;
    RUN/model is the best on held-out images that loses at most --most-loss points on the guard, RUN/finetune.json and
    RUN/finetune.html have the curve. If none is better and allowed, the command says so and ends with 1, and MODEL is
    as it was. Ctrl-C saves; the same command goes on.
    """
    refuse_data_first("finetune", model, data[0])
    from seesay.finetuning.finetune import finetune

    result = finetune(
        model,
        data,
        out=out,
        how=how,
        guard=guard or (),
        most_loss=most_loss,
        val=val or (),
        steps=steps,
        epochs=epochs,
        minutes=minutes,
        batch_size=batch_size,
        micro_batch=micro_batch,
        seed=seed,
        device=device,
        workers=workers,
        overrides=set_ or (),
    )
    if result.points:
        sys.stdout.write(str(result))

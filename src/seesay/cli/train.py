"""The door of `seesay train`: words to settings."""

from typing import Annotated

import typer

from seesay.cli import run_options as options

# Where an option that there is not may be one.
settings = options.settings


def command(
    pairs: options.Pairs,
    out: options.Out = None,
    model: options.ModelSize = None,
    objective: options.Objective = None,
    teacher: options.Teacher = None,
    image_tower: options.ImageTower = None,
    text_tower: options.TextTower = None,
    steps: options.Steps = None,
    epochs: options.Epochs = None,
    minutes: options.Minutes = None,
    batch_size: options.BatchSize = None,
    micro_batch: options.MicroBatch = None,
    seed: options.Seed = None,
    device: options.Device = None,
    workers: options.Workers = None,
    val: options.Val = None,
    check: options.CheckSet = None,
    recipe: options.Recipe = None,
    allow_change: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Setting, or 'pairs', that a resumed run may change.")
    ] = None,
    set_: options.Set = None,
) -> None:
    """Train a model on images with captions; needs nothing but the pairs.

    Example: seesay train photos/ --minutes 30 --set optimizer.learning_rate=0.0005

    What is not given is chosen from the data and printed. Ctrl-C saves; the same command goes on, also with a finished
    run whose --steps, --epochs or --minutes is raised. RUN/best keeps the model with the lowest validation loss.

    --set 'log.to=["tensorboard"]' logs to TensorBoard, "wandb" to Weights & Biases; --set check.patience=3 ends a run
    after three checks without a lower validation loss.
    """
    from seesay.training.train import train

    train(
        pairs,
        out=out,
        model=model,
        objective=objective,
        teacher=teacher,
        image_tower=image_tower,
        text_tower=text_tower,
        steps=steps,
        epochs=epochs,
        minutes=minutes,
        batch_size=batch_size,
        micro_batch=micro_batch,
        seed=seed,
        device=device,
        workers=workers,
        val=val or (),
        check=check or (),
        recipe=recipe,
        allow_change=allow_change or (),
        overrides=set_ or (),
    )

"""`seesay probe`: the linear probe of the paper, with all images and with a few of every class."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seesay.base.errors import UsageError
from seesay.base.names import PACKAGED_MODEL
from seesay.base.printable import printable
from seesay.cli.encode_options import EncodedAtOnce, Engine, Precision, WeightsDtype
from seesay.cli.run_options import Device
from seesay.cli.tables import (
    counts_of,
    percent,
    refuse_skipped_of_probe,
    refuse_unwritable_json,
    say,
    show,
    table,
    write_json,
)

if TYPE_CHECKING:
    from seesay.tasks.probe_result import ProbeResult


Shots = Annotated[
    str | None,
    typer.Option(metavar="N,N,...", help="Also learn from N images per class, for each N, as in 1,2,4,8,16."),
]
PenaltyWord = Annotated[
    str,
    typer.Option(
        metavar="sweep|NUMBER", help="On the squared weights (scikit-learn's 1/C); sweep searches for the best."
    ),
]
Metric = Annotated[
    Literal["accuracy", "mean-per-class", "map11", "roc-auc"],
    typer.Option(help="Measured on TEST; map11: mean average precision at 11 recalls, as for PASCAL VOC 2007."),
]
FromWords = Annotated[
    bool,
    typer.Option("--from-words", help="Start from the zero-shot classifier and stay near it; --shots may then hold 0."),
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE|-", help="Write everything measured there, as fractions.")
]


def command(
    train: Annotated[
        str,
        typer.Argument(
            metavar="TRAIN", help="A folder per class, .tar with .cls and classnames.txt, or hf:OWNER/NAME:SPLIT."
        ),
    ],
    test: Annotated[
        str, typer.Argument(metavar="TEST", help="Other images in one of the same forms; its classes are in TRAIN.")
    ],
    *,
    model: Annotated[
        str | None, typer.Option(help="Model folder or name [default: box, the small one of the package].")
    ] = None,
    shots: Shots = None,
    seeds: Annotated[int, typer.Option(help="Random choices of images for each number of --shots.")] = 3,
    penalty: PenaltyWord = "sweep",
    metric: Metric = "accuracy",
    from_words: FromWords = False,
    device: Device = None,
    precision: Precision = None,
    engine: Engine = None,
    weights_dtype: WeightsDtype = None,
    batch_size: EncodedAtOnce = None,
    json_file: JsonFile = None,
) -> None:
    """Fit a linear classifier on a model's features, and measure it beside zero-shot.

    The protocol is that of Radford et al. 2021: features before the projection, logistic regression by L-BFGS, the
    penalty by a search on a held-out fifth of TRAIN, then a fit on all of it. For --shots the penalty is chosen on
    images of TRAIN that are not among the shots; with --from-words on the shots themselves. All numbers shown are
    percent. Features are cached under SEESAY_CACHE ("off": not at all).

    Example: seesay probe pets/train pets/test --shots 1,2,4,8,16
    """
    refuse_unwritable_json(json_file)
    how = {"precision": precision, "engine": engine, "weights_dtype": weights_dtype, "batch_size": batch_size}
    counts, weight = counts_of(shots, least=0 if from_words else 1), penalty_of(penalty)
    from seesay.tasks.probe import probe

    result = probe(
        train,
        test,
        model=model or PACKAGED_MODEL,
        shots=counts,
        seeds=seeds,
        penalty=weight,
        metric=metric,
        from_words=from_words,
        device=device,
        **how,
    )
    if model is None:
        say("model: box, the small one of the package; name a larger one with --model.")
    show(as_text(result), json_file)
    for note in result.notes:
        say(f"{result.set_name}: {note}")
    if json_file is not None:
        write_json(json_file, result.to_json())
    refuse_skipped_of_probe(result)


def as_text(result: "ProbeResult") -> str:
    """Zero-shot, every number of shots and the whole set, a row each; then where the curve meets zero-shot."""
    from seesay.tasks.probe_result import PROBE_COLUMNS

    started = "" if result.start_scale is None else f", from words (logits times {result.start_scale:.2g})"
    lines = [
        f"{printable(result.set_name)}: {result.metric} of {result.n} images, {result.classes} classes, "
        f"chance {percent(result.score.chance)}{started}",
        table(PROBE_COLUMNS, result.cells()).rstrip("\n"),
    ]
    if any(entry.shots for entry in result.shots):
        words = equal_shots(result.shots_equal_to_zero_shot)
        lines.append(f"equal to zero-shot: {words} (intervals of few shots are over {result.seeds} choices)")
    return "\n".join(lines) + "\n"


def equal_shots(equal: float | None) -> str:
    """Where the curve over shots meets zero-shot; below one shot it is extrapolated, and the number means little."""
    if equal is None:
        return "no number of shots up to all"
    return "1 shot or fewer" if equal <= 1 else f"{equal:.2g} shots"


def penalty_of(penalty: str) -> float | Literal["sweep"]:
    """The word "sweep" or a number; `UsageError` for anything else."""
    if penalty == "sweep":
        return "sweep"
    try:
        return float(penalty)
    except ValueError as error:
        raise UsageError(f"--penalty {penalty!r} should be sweep or a number above 0, such as 1.0.") from error

"""`seesay probe`: the linear probe of the paper, with all images and with a few of every class."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from seesay.base.errors import UsageError
from seesay.cli.tables import percent, refuse_folder, refuse_too_many, say, table, with_interval

COLUMNS = ["examples", "per class", "score [95 %]", "penalty"]


def command(
    train: Annotated[
        str,
        typer.Argument(
            metavar="TRAIN", help="A folder per class, .tar with .cls and classnames.txt, or hf:OWNER/NAME:SPLIT."
        ),
    ],
    test: Annotated[str, typer.Argument(metavar="TEST", help="The same, of other images; its classes are in TRAIN.")],
    *,
    model: Annotated[str | None, typer.Option(help="Model folder or name; default: the small one in the box.")] = None,
    shots: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Also with so many images per class, as in 1,2,4,8,16.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Random choices of images for every number of shots.")] = 3,
    penalty: Annotated[
        str, typer.Option(metavar="sweep|NUMBER", help="On the squared weights (scikit-learn's 1/C); sweep finds it.")
    ] = "sweep",
    metric: Annotated[
        Literal["accuracy", "mean-per-class", "map11", "roc-auc"], typer.Option(help="What is measured on TEST.")
    ] = "accuracy",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything measured there, as fractions.")
    ] = None,
) -> None:
    """Fit a linear classifier on a model's features, and measure it beside zero-shot.

    The protocol is the paper's: features before the projection, logistic regression by L-BFGS, the penalty by a
    search on a held-out fifth of TRAIN, then a fit on all of it. Few shots are judged by images of TRAIN that were
    not chosen. All numbers shown are percent. Features are kept under SEESAY_CACHE ("off": nowhere).

    Example: seesay probe pets/train pets/test --shots 1,2,4,8,16
    """
    refuse_folder(json_file, "--json")
    counts, weight = counts_of(shots), penalty_of(penalty)
    result = measure(model, train, test, shots=counts, seeds=seeds, penalty=weight, metric=metric)
    if json_file is not None:
        from seesay.base.publish import publish_file

        publish_file(json_file, (json.dumps(result, indent=2) + "\n").encode())
    if result["skipped"]:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in result["skipped_by_reason"].items())
        say(f"skipped {result['skipped']} images: {reasons}")
    total = result["skipped"] + result["n"] + result["n_train"]
    refuse_too_many(result["skipped"], total, f"images of {result['train']} and {result['set']}")


def measure(name: str | None, train: str, test: str, **question: Any) -> dict[str, Any]:
    """The result, shown as a table; what cannot be done is said before a model is loaded."""
    from seesay.base.journal import progress
    from seesay.cli.classify import load_model
    from seesay.model.cache import EmbeddingCache
    from seesay.tasks.few_shot import check_question, check_sets, open_labelled, probe_sets

    check_question(**question)
    learned, asked = open_labelled(train), open_labelled(test)
    check_sets(learned, asked, question["shots"])
    model = load_model(name)
    with progress(len(learned) + len(asked), "images") as advance:
        result = probe_sets(model, learned, asked, cache=EmbeddingCache.find(), progress=advance, **question)
    sys.stdout.write(as_text(result))
    return result


def as_text(result: dict[str, Any]) -> str:
    """Zero-shot, every number of shots and the whole set, a row each; then where the curve meets zero-shot."""
    rows = [["zero-shot", "0", with_interval(result["zero_shot"], result["interval95_zero_shot"]), "-"]]
    for entry in result["shots"]:
        spread = entry["interval95"]
        shown = with_interval(entry["mean"], spread) if spread else percent(entry["mean"])
        rows.append(["few-shot", str(entry["shots"]), shown, " ".join(f"{value:.2g}" for value in entry["penalties"])])
    per_class = f"{result['n_train'] / result['classes']:.1f}"
    rows.append(["all", per_class, with_interval(result["score"], result["interval95"]), f"{result['penalty']:.2g}"])
    lines = [
        f"{result['set']}: {result['metric']} of {result['n']} images, {result['classes']} classes, "
        f"chance {percent(result['chance'])}",
        table(COLUMNS, rows).rstrip("\n"),
    ]
    if result["shots"]:
        words = meeting(result["shots_equal_to_zero_shot"])
        lines.append(f"equal to zero-shot: {words} (intervals of few shots are over {result['seeds']} choices)")
    return "\n".join(lines) + "\n"


def meeting(equal: float | None) -> str:
    """Where the curve over shots meets zero-shot; below one shot it was only continued, and the number means little."""
    if equal is None:
        return "no number of shots up to all"
    return "1 shot or fewer" if equal <= 1 else f"{equal:.2g} shots"


def counts_of(shots: str | None) -> tuple[int, ...]:
    parts = [part.strip() for part in shots.split(",")] if shots is not None else []
    if not all(part.isdecimal() and int(part) for part in parts):
        raise UsageError(f"--shots {shots!r} should be numbers of 1 or more with commas between, as in 1,2,4,8,16.")
    return tuple(sorted({int(part) for part in parts}))


def penalty_of(penalty: str) -> float | str:
    if penalty == "sweep":
        return penalty
    try:
        return float(penalty)
    except ValueError as error:
        raise UsageError(f"--penalty {penalty!r} should be sweep or a number above 0, such as 1.0.") from error

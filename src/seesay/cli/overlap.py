"""`seesay overlap`: test images among the training images, and what they do to a model's score."""

from pathlib import Path
from typing import Annotated

import typer

from seesay.base.printable import printable
from seesay.base.publish import refuse_unwritable_file
from seesay.cli.run_options import Device
from seesay.cli.tables import refuse_too_many, refuse_unwritable_json, say, show, table, write_json

# What may be followed by several words.
SEVERAL = "--against"


def command(
    train: Annotated[
        list[str], typer.Argument(metavar="TRAIN...", help="Training pairs, as `seesay train` takes them.")
    ],
    *,
    against: Annotated[
        list[str], typer.Option(metavar="EVAL...", help="Sets, as `seesay evaluate` takes them, behind TRAIN.")
    ],
    model: Annotated[
        str | None, typer.Option(metavar="M", help="Folder or name; its score with and without the overlap.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE|-", help="Write pairs and scores there, as fractions.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="PAGE.html", help="Write the pairs there, side by side.")
    ] = None,
    remove: Annotated[
        Path | None, typer.Option(metavar="LIST", help="Write SHA-256 of training images that were found there.")
    ] = None,
    device: Device = None,
) -> None:
    """Find test images among the training images: the same image, also cropped, turned, recoloured or written on.

    A small tower of the package compares all with all, the nearest are laid over each other, and a perceptual hash
    stands beside it. Each set's threshold is chosen by copies made of its own images, for a precision of 99 %. Without
    --model no score is measured. What could not be read or judged is counted.

    The list is for `seesay train --set data.blocked_hashes=LIST` and `seesay curate --set filter.blocked_hashes=LIST`.

    Example: seesay overlap photos --against digits birds --model box --report overlap.html
    """
    refuse_unwritable_json(json_file)
    refuse_unwritable_file(report, "--report", ending=".html")
    refuse_unwritable_file(remove, "--remove", ending=".txt")
    from seesay.evaluation.overlap import overlap
    from seesay.evaluation.overlap_result import COLUMNS, set_lines, table_of

    result = overlap(train, against, model=model, report=report, remove=remove, device=device)
    show(table(COLUMNS, table_of(result)), json_file)
    for own in result.sets:
        for line in set_lines(own):
            say(f"{own.name}: {line}")
    for line in result.lines():
        say(line)
    if model is None:
        say("no score was measured; name a model with --model.")
    if json_file is not None:
        write_json(json_file, result.to_json())
    if report is not None:
        say(f"page: {report}")
    if remove is not None:
        show(printable(f"{len(result.remove):,} training images -> {remove}") + "\n", json_file)
    refuse_too_many(result.skipped, result.skipped + result.searched, "training images")
    for own in result.sets:
        refuse_too_many(own.skipped, own.skipped + own.n, f"images of {own.name}")

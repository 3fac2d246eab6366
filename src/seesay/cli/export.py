"""`seesay export`: a model as files for other runtimes, with the proof that they answer as it does."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from seesay.base.printable import printable
from seesay.base.streams import say
from seesay.cli.tables import percent, table

COLUMNS = ["", "largest difference", "smallest cosine", "ms per image", "MB"]
SET_COLUMNS = ["top-1", "lost", "gained", "p"]


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder or name of a model.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="The new folder.")],
    *,
    to: Annotated[
        Literal["onnx", "openvino", "transformers.js"], typer.Option(help="The runtime that reads it.")
    ] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="Products of 8-bit integers; needs --calibrate.")] = False,
    calibrate: Annotated[
        str | None, typer.Option(metavar="PHOTOS", help="Photos such as the model will see, for the ranges of --int8.")
    ] = None,
    check: Annotated[
        str | None, typer.Option(metavar="SET", help="A labelled set: also compare top-1 of the model and the files.")
    ] = None,
) -> None:
    """Write a model's two encoders as files for programs without torch, and check them.

    DST gets image.onnx and text.onnx (--to openvino: .xml and .bin), tokenizer.json, preprocessor_config.json, and
    export.json with all that is needed to answer and the table that is printed. The files are read back by the runtime
    they are for and compared with the model on images and texts. Where float32 rows differ by more than 1e-5, or an
    int8 row has a cosine below 0.995, nothing is written and the exit code is 1.

    Example: seesay export box box-onnx --check pets/test
    """
    from seesay.tasks.export import export

    done = export(model, destination, to=to, int8=int8, calibrate=calibrate, check=check)
    rows = done.rows
    columns = COLUMNS + (SET_COLUMNS if "top1" in rows[0] else [])
    print(table(columns, [_cells(row) for row in rows], left=1), end="")
    found = done.facts["check"]
    top1 = f"; top-1 is of {found['set_images']:,} images" if found["set"] else ""
    say(f"compared on {found['images']} images ({found['source']}) and {found['texts']} texts{top1}")
    if found["skipped"]:
        say(f"{found['skipped']} images could not be read")
    print(printable(f"{model} -> {destination} ({to}, {done.facts['precision']}, opset {done.facts['opset']})"))


def _cells(row: dict[str, Any]) -> list[str]:
    cells = [
        row["name"],
        f"{row['largest_difference']:.1e}",
        f"{row['smallest_cosine']:.6f}",
        f"{row['milliseconds_per_image']:.2f}",
        f"{row['bytes'] / 1e6:.1f}",
    ]
    if "top1" in row:
        cells += [percent(row["top1"]), str(row["lost"]), str(row["gained"]), f"{row['p']:.2g}"]
    return cells

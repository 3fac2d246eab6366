"""`seesay embed`: images or texts to a file or table of vectors."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from seesay.base.printable import printable
from seesay.cli.encode_options import EncodedAtOnce, Precision, WeightsDtype
from seesay.cli.run_options import Device
from seesay.cli.tables import ALLOWED_SKIPPED, refuse_too_many, say

# A guess at what fits a screen beside everything else.
SHOWN_SKIPPED = 5

Engine = Annotated[
    Literal["torch", "torch-exact", "torch-packed", "torch-int8", "torch-bf16", "openvino", "onnx", "daft", "ray"]
    | None,
    typer.Option(metavar="NAME", help="As in classify; or daft: many images, little memory; or ray: on a Ray cluster."),
]


def command(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Photos, a folder, a pattern, a table or shards.")],
    *,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Write .parquet, .npy with a list of paths, or .lance, a table.")
    ],
    text: Annotated[bool, typer.Option("--text", help="SOURCE holds texts: a .txt of lines, or pairs.")] = False,
    model: Annotated[str | None, typer.Option(metavar="M", help="Folder or name; default: box, the small one.")] = None,
    device: Device = None,
    precision: Precision = None,
    engine: Engine = None,
    weights_dtype: WeightsDtype = None,
    batch_size: EncodedAtOnce = None,
    max_bad: Annotated[
        float, typer.Option(min=0, max=1, metavar="SHARE", help="Exit with 3 if more images are broken.")
    ] = ALLOWED_SKIPPED,
) -> None:
    """Write the vectors of images or texts to a file, or a table of LanceDB.

    Vectors have unit length, so that their products are cosines; rows are in the order of the column path or text.

    Example: seesay embed photos --out photos.parquet
    """
    from seesay.tasks.embed import embed

    how = {"precision": precision, "engine": engine, "weights_dtype": weights_dtype, "batch_size": batch_size}
    done = embed(source, out=out, text=text, model=model, device=device, **how)
    print(printable(f"{done.rows:,} vectors of {done.width} numbers -> {out}"))
    for item in done.skipped[:SHOWN_SKIPPED]:
        say(printable(f"  skipped {item.key}: {item.reason}"))
    if (more := len(done.skipped) - SHOWN_SKIPPED) > 0:
        say(f"  and {more:,} more")
    refuse_too_many(len(done.skipped), done.rows + len(done.skipped), "images", allowed=max_bad)

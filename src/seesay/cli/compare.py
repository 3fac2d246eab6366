"""The command `seesay compare`: objectives side by side on the same pairs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from seesay.base.printable import printable
from seesay.base.publish import refuse_unwritable_file


def command(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="TOML file with objectives, learning rates, seeds.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the runs, result.json, page and figure.")],
    pairs: Annotated[
        list[str] | None, typer.Option(metavar="PAIRS", help="Training pairs [default: RECIPE's].")
    ] = None,
    check: Annotated[
        str | None, typer.Option(metavar="SET", help="Labelled set to measure accuracy on [default: RECIPE's].")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(metavar="N", help="Runs trained at the same time [default: one per core; GPU: 1].")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write result.json to FILE, too.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Replace one setting of RECIPE.")
    ] = None,
) -> None:
    """Train several objectives under equal conditions, and show how many images each needs for the same accuracy.

    Example: seesay compare recipes/figure2.toml --out figure2 --pairs photos/ --check birds/

    Each objective is trained with every learning rate on the first seed, and with the best rate on the other seeds.
    Ctrl-C saves; the same command goes on, and skips runs that are done, also where the recipe has more objectives,
    learning rates or seeds than before. A run that diverged is not tried again.
    """
    refuse_unwritable_file(json_file, "--json", ending=".json")
    from seesay.experiments.claims import summary_lines
    from seesay.experiments.compare import compare

    comparison = compare(
        recipe, out=out, pairs=pairs or (), check=check, jobs=jobs, overrides=set_ or (), json_file=json_file
    )
    sys.stdout.write("\n".join(map(printable, summary_lines(comparison))) + "\n")

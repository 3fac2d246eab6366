"""The door of `seesay compare`: objectives side by side on the same pairs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from seesay.cli.interrupts import ended_at_once
from seesay.cli.tables import refuse_folder


def command(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="Objectives, images, learning rates, seeds.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where runs, page and figure are kept.")],
    pairs: Annotated[list[str] | None, typer.Option(metavar="PAIRS", help="Pairs, in place of the recipe's.")] = None,
    check: Annotated[str | None, typer.Option(metavar="SET", help="Labelled set, in place of the recipe's.")] = None,
    jobs: Annotated[int | None, typer.Option(metavar="N", help="Runs at a time [one per core; GPU: 1].")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers there.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting.")] = None,
) -> None:
    """Train several objectives under equal conditions, and show how many images each needs for the same accuracy.

    Example: seesay compare recipes/figure2.toml --out figure2 --pairs photos/ --check birds/

    Each is tried with all learning rates on the first seed; the best one has the other seeds. Ctrl-C saves; the same
    command goes on, and skips what is done.
    """
    with ended_at_once():
        from seesay.experiments.claims import factor_lines
        from seesay.experiments.compare import compare
    refuse_folder(json_file, "--json")
    places = {"out": out, "pairs": pairs or (), "check": check, "json_file": json_file}
    result = compare(recipe, **places, jobs=jobs, overrides=set_ or ())
    sys.stdout.write("\n".join(factor_lines(result)) + "\n")

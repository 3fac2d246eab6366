"""The command `seesay compare`: objectives side by side on the same pairs, or two runs that are there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from seesay.base.errors import UsageError
from seesay.base.printable import printable
from seesay.base.streams import say
from seesay.cli.tables import DASH, refuse_unwritable_json, show, write_json


def command(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="RECIPE|RUN RUN", help="TOML file with objectives, learning rates, seeds; or two runs."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder for the runs, result.json, page and figure; of two runs optional."),
    ] = None,
    pairs: Annotated[
        list[str] | None, typer.Option(metavar="PAIRS", help="Training pairs [default: RECIPE's].")
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(metavar="SET", help="Labelled set to measure on [default: RECIPE's; for runs none]."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(metavar="N", help="Runs trained at the same time [default: one per core; GPU: 1].")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE|-", help="Write result.json to FILE, too.")
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

    seesay compare RUN RUN shows two folders of seesay train side by side: settings that differ, curves (with --out),
    and with --check the scores of both models on the same images, with paired tests.
    """
    refuse_unwritable_json(json_file)
    if len(sources) > 1 or sources[0].is_dir():
        _compare_runs(sources, out=out, check=check, json_file=json_file, others=(pairs, jobs, set_))
        return
    if out is None:
        raise UsageError("--out is missing; name a folder for the runs of the recipe.")
    from seesay.experiments.claims import summary_lines
    from seesay.experiments.compare import compare

    more = {
        "check": check,
        "jobs": jobs,
        "overrides": set_ or (),
        "json_file": None if json_file == DASH else json_file,
    }
    comparison = compare(sources[0], out=out, pairs=pairs or (), **more)
    show("\n".join(map(printable, summary_lines(comparison))) + "\n", json_file)
    if json_file == DASH:
        write_json(DASH, comparison.to_json())


def _compare_runs(
    runs: Sequence[Path], *, out: Path | None, check: str | None, json_file: Path | None, others: Sequence[object]
) -> None:
    if len(runs) != 2:
        raise UsageError(f"{len(runs)} is no number of runs to compare; name two, or the TOML file of one recipe.")
    if any(other is not None for other in others):
        raise UsageError("--pairs, --jobs and --set are for a recipe; leave them out to compare two runs.")
    from seesay.base.values import table
    from seesay.cli.evaluate import as_tables, comparison_table
    from seesay.experiments.compare_runs import compare_runs

    comparison = compare_runs(*runs, out=out, check=check)
    text = table(["", *comparison.names], comparison.ends)
    if comparison.settings:
        text += "\n" + table(["setting", *comparison.names], comparison.settings)
    if (evaluation := comparison.evaluation) is not None:
        results = [entry.result for entry in evaluation.entries]
        text += "\n" + as_tables(results, several=True) + comparison_table(evaluation.comparisons)
    show("\n".join([text, *map(printable, comparison.notes)]) + "\n", json_file)
    if json_file is not None:
        write_json(json_file, comparison.to_json())
    if out is not None:
        say(f"page: {out / 'page.html'}   numbers: {out / 'result.json'}")

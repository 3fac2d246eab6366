"""`seesay audit`: what a model calls photos of different groups, with one label set and with more labels."""

from pathlib import Path
from typing import Annotated

import typer

from seesay.base.printable import printable
from seesay.base.publish import publish_file, refuse_unwritable_file
from seesay.base.values import skipped_words
from seesay.cli.run_options import Device
from seesay.cli.tables import (
    percent,
    refuse_data_first,
    refuse_too_many,
    refuse_unwritable_json,
    say,
    show,
    table,
    write_json,
)


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model folder or name.")],
    photos: Annotated[str, typer.Argument(metavar="PHOTOS", help="A folder, a photo, or a pattern in quotes.")],
    *,
    groups: Annotated[
        Path, typer.Option(metavar="TABLE.csv", help="A column of file names, and columns of groups (any).")
    ],
    labels: Annotated[
        str, typer.Option(metavar="NAME|FILE.toml", help="Label set: denigration, occupations, or a file of yours.")
    ] = "denigration",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE|-", help="Write everything measured there, as fractions.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="PAGE.html", help="Write tables there, without photos.")
    ] = None,
    device: Device = None,
) -> None:
    """Compare what a model calls photos of different groups, in percent.

    Rates of harmful answers by group with exact intervals, without and with added labels (as 'child'); labels that mark
    a group, by chi-squared; whom a search finds; accuracy by group where the label set names a column of right labels.

    Example: seesay audit box faces --groups faces.csv --report audit.html
    """
    refuse_data_first("audit", model, photos)
    refuse_unwritable_json(json_file)
    refuse_unwritable_file(report, "--report", ending=".html")
    from seesay.tasks.audit import audit
    from seesay.tasks.audit_page import audit_page
    from seesay.tasks.audit_result import COLUMNS

    result = audit(model, photos, groups=groups, labels=labels, device=device)
    lines = [printable(f"{result.title}: {result.n:,} photos, {result.labels} labels")]
    if cells := result.cells():
        lines.append(table(COLUMNS, cells, left=2).rstrip("\n"))
    lines += [
        printable(f"{own.answer} by {own.column}: largest gap {percent(own.gap)} points, p {own.p:.2g} (chi-squared)")
        for own in (*result.without, *result.accuracy)
    ]
    if len(lines) == 1:
        lines.append("no label is given to one group more often than to others, and the label set has no harmful kind")
    show("\n".join(lines) + "\n", json_file)
    for note in result.notes:
        say(note)
    if json_file is not None:
        write_json(json_file, result.to_json())
    if report is not None:
        publish_file(report, audit_page(result).encode())
        say(f"page: {report}")
    if result.skipped:
        say(skipped_words(result.skipped_by_reason, result.skipped + result.n))
    refuse_too_many(result.skipped, result.skipped + result.n, "photos")

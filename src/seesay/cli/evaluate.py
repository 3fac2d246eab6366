"""`seesay evaluate`: one model, many sets, every share with its interval and what guessing would give."""

import glob
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from seesay.cli.tables import percent, refuse_folder, refuse_too_many, say, table, with_interval

ZERO_SHOT_COLUMNS = ["set", "n", "task", "top-1 [95 %]", "top-5", "mean per class", "chance"]
RETRIEVAL_COLUMNS = ["set", "n", "captions", "task", "R@1", "R@5", "R@10 [95 %]", "chance"]


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model folder or name.")],
    sets: Annotated[
        list[str],
        typer.Argument(
            metavar="SET",
            help="Folders with a folder per class, shards with classnames.txt, or pictures with captions.",
        ),
    ],
    *,
    templates: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Sentences for the names; default: the set's, or the model's."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything measured there, as fractions.")
    ] = None,
    preprocess: Annotated[
        Literal["exact", "fast"],
        typer.Option(help="fast: pictures are shrunk as they are decoded, not to the last bit."),
    ] = "exact",
) -> None:
    """Measure a model on labelled or captioned pictures.

    Labelled sets give zero-shot accuracy, captioned ones retrieval. All numbers shown are percent.

    Example: seesay evaluate RUN/model cifar10 flickr8k --json scores.json
    """
    from seesay.base.publish import publish_file
    from seesay.data.prompts import load_templates
    from seesay.data.stored import missing_place

    refuse_folder(json_file, "--json")
    if templates is not None:
        load_templates(templates)
    for place in sets:
        if not glob.has_magic(place) and not Path(place).exists():
            raise missing_place(Path(place))
    results = measure(model, sets, templates, preprocess=preprocess)
    if json_file is not None:
        publish_file(json_file, (json.dumps(results, indent=2) + "\n").encode())
    for result in results:
        refuse_too_many(result["skipped"], result["skipped"] + result["n"], f"pictures of {result['set']}")


def measure(
    model: str, sets: Sequence[str], templates: str | None, *, preprocess: str = "exact"
) -> list[dict[str, Any]]:
    """The results of all sets, shown as tables; if one set fails, those before it are shown still."""
    from seesay.base.runtime import Runtime
    from seesay.evaluation.suite import evaluate_set
    from seesay.model.hub import load

    loaded = load(model).to(Runtime.find().device).with_preprocess(preprocess)
    results: list[dict[str, Any]] = []
    try:
        for place in sets:
            results.append(evaluate_set(loaded, place, templates=templates) | {"preprocess": preprocess})
            tell_skipped(results[-1])
    finally:
        sys.stdout.write(as_tables(results))
    return results


def tell_skipped(result: dict[str, Any]) -> None:
    if result["skipped"]:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in result["skipped_by_reason"].items())
        say(f"{result['set']}: skipped {result['skipped']} of {result['skipped'] + result['n']} pictures: {reasons}")


def as_tables(results: Sequence[dict[str, Any]]) -> str:
    """One table per task, for the tasks that were measured."""
    zero_shot = [zero_shot_row(result) for result in results if result["task"] == "zero-shot"]
    retrieval = [row for result in results if result["task"] == "retrieval" for row in retrieval_rows(result)]
    tables = []
    if zero_shot:
        tables.append(table(ZERO_SHOT_COLUMNS, zero_shot))
    if retrieval:
        tables.append(table(RETRIEVAL_COLUMNS, retrieval))
    return "\n".join(tables)


def zero_shot_row(result: dict[str, Any]) -> list[str]:
    return [
        result["set"],
        str(result["n"]),
        result["task"],
        with_interval(result["top1"], result["interval95"]),
        percent(result["top5"]),
        percent(result["mean_per_class"]),
        percent(result["chance"]),
    ]


def retrieval_rows(result: dict[str, Any]) -> list[list[str]]:
    """A row for each direction; chance is that of R@10."""
    return [
        [
            result["set"],
            str(result["n"]),
            str(result["captions"]),
            direction.replace("_", " "),
            percent(result[direction]["r1"]),
            percent(result[direction]["r5"]),
            with_interval(result[direction]["r10"], result[f"interval95_{direction}"]["r10"]),
            percent(result[f"chance_{direction}"]["r10"]),
        ]
        for direction in ("text_to_image", "image_to_text")
    ]

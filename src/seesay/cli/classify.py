"""`seesay classify`: photos and labels in words, a ranking of the labels for every photo."""

import csv
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from seesay.base.errors import UsageError
from seesay.base.records import Ranking
from seesay.cli.tables import percent, refuse_folder, refuse_too_many, say, table

if TYPE_CHECKING:
    from seesay.model.bundle import Model

PACKAGED_MODEL = "box"
Results = Sequence[tuple[Path, Ranking]]


def command(
    photos: Annotated[str, typer.Argument(metavar="PHOTOS", help="A photo, a folder, or a pattern in quotes.")],
    labels: Annotated[
        list[str] | None, typer.Argument(metavar="LABEL", help="What a photo may show; two or more.")
    ] = None,
    *,
    model: Annotated[
        str | None, typer.Option(metavar="M", help="Model folder or name; default: the small one in the box.")
    ] = None,
    templates: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Sentences to put the labels in; default: the model's.")
    ] = None,
    labels_file: Annotated[Path | None, typer.Option(metavar="F", help="More labels, one per line.")] = None,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Labels to show per photo.")] = 5,
    format: Annotated[
        Literal["table", "csv", "json"] | None, typer.Option(help="Default: by the suffix of -o, else table.")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", metavar="FILE", help="Write the results there.")] = None,
    preprocess: Annotated[
        Literal["exact", "fast"], typer.Option(help="fast: photos are shrunk as they are decoded, not to the last bit.")
    ] = "exact",
) -> None:
    """Sort photos into classes that are named in words.

    Probabilities are shared out over the labels given: they say which of these fits best, not whether any does.
    SigLIP's models judge every label by itself instead, and their probabilities sum to anything.

    Example: seesay classify "pics/*.jpg" cat dog "a sunset" -o labels.csv
    """
    from seesay.base.journal import progress
    from seesay.base.publish import publish_file
    from seesay.data.prompts import load_templates
    from seesay.tasks.classify import classify_photos, find_photos

    chosen = gather_labels(labels or [], labels_file)
    if templates is not None:
        load_templates(templates)
    refuse_folder(out, "-o")
    found = find_photos([photos])
    loaded = load_model(model).with_preprocess(preprocess)
    with progress(len(found), "photos") as advance:
        results, skipped = classify_photos(loaded, found, chosen, templates=templates, top=top, progress=advance)
    text = render(results, format or format_of(out))
    if out is None:
        sys.stdout.write(text)
    else:
        publish_file(out, text.encode("utf-8", "surrogateescape"))
        print(f"{len(results)} photos, {len(chosen)} labels -> {out}")
    if skipped:
        from seesay.data.stored import count_reasons

        say(f"skipped {len(skipped)} of {len(found)} photos: {count_reasons(skipped)} (first: {skipped[0].key})")
    refuse_too_many(len(skipped), len(found), "photos")


def gather_labels(labels: Sequence[str], labels_file: Path | None) -> list[str]:
    """The labels of the command line and of the file, each once; repeated ones are remarked on."""
    from seesay.data.prompts import distinct_labels, read_labels
    from seesay.data.stored import IMAGE_SUFFIXES

    for label in labels:
        if Path(label).suffix.lower().removeprefix(".") in IMAGE_SUFFIXES and os.path.isfile(label):
            raise UsageError(
                f"label {label!r} is a photo on disk: the shell has put the matches of a pattern in its place; "
                "write the pattern in quotes."
            )
    chosen, repeated = distinct_labels([*labels, *(read_labels(labels_file) if labels_file else [])])
    if repeated:
        say(f"labels given more than once are counted once: {', '.join(repeated)}")
    return chosen


def load_model(name: str | None) -> "Model":
    """The model asked for, on the best device there is; a remark if nobody asked and it is the small one."""
    from seesay.base.runtime import Runtime
    from seesay.model.hub import load

    loaded = load(name or PACKAGED_MODEL)
    if name is None:
        say(f"model: the small one in the box{known_scores(loaded.facts)}; name a larger one with --model FOLDER.")
    return loaded.to(Runtime.find().device)


def known_scores(facts: dict[str, Any]) -> str:
    """The result on the largest set among those that the model's facts hold under "evaluation"."""
    measured = [result for result in facts.get("evaluation", []) if result.get("task") == "zero-shot"]
    if not measured:
        return ""
    largest = max(measured, key=lambda result: result["n"])
    return f" (top-1 {percent(largest['top1'])} % on {largest['set']}, {largest['classes']} classes)"


def format_of(out: Path | None) -> str:
    return {".csv": "csv", ".json": "json"}.get(out.suffix.lower() if out else "", "table")


def render(results: Results, kind: str) -> str:
    return {"table": as_table, "csv": as_csv, "json": as_json}[kind](results)


def as_table(results: Results) -> str:
    places = range(len(results[0][1].labels))
    rows = [
        [str(path), *(f"{ranking.labels[i]} {percent(ranking.probabilities[i])} %" for i in places)]
        for path, ranking in results
    ]
    return table(["photo", *(str(place + 1) for place in places)], rows)


def as_csv(results: Results) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    places = range(len(results[0][1].labels))
    writer.writerow(["path", *(f"{column}_{place + 1}" for place in places for column in ("label", "probability"))])
    for path, ranking in results:
        pairs = zip(ranking.labels, ranking.probabilities, strict=True)
        writer.writerow([path, *(cell for label, probability in pairs for cell in (label, f"{probability:.6g}"))])
    return text.getvalue()


def as_json(results: Results) -> str:
    rows = [
        {
            "path": str(path),
            "labels": [
                {"label": label, "probability": probability}
                for label, probability in zip(ranking.labels, ranking.probabilities, strict=True)
            ],
        }
        for path, ranking in results
    ]
    return json.dumps(rows, indent=2) + "\n"

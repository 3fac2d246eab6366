"""`seesay search`: a folder of photos and words, the photos that show them."""

import gc
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seesay.base.errors import UsageError
from seesay.base.printable import printable
from seesay.base.publish import refuse_unwritable_file
from seesay.cli.encode_options import Engine, WeightsDtype
from seesay.cli.run_options import Device
from seesay.cli.tables import refuse_words_first, say, table

if TYPE_CHECKING:
    from seesay.index.photo_index import Hit, PhotoIndex
    from seesay.index.refresh import Refreshed

# A guess at what fits a screen beside everything else.
SHOWN_SKIPPED = 5

Words = Annotated[str | None, typer.Argument(metavar="WORDS", help='What the photos show, such as "a dog in snow".')]
Like = Annotated[Path | None, typer.Option(metavar="PHOTO", help="A photo that they look like.")]
Plus = Annotated[list[str] | None, typer.Option(metavar="WORDS", help="Add the vector of these words.")]
Minus = Annotated[list[str] | None, typer.Option(metavar="WORDS", help="Take the vector of these words away.")]
Top = Annotated[int, typer.Option(min=1, metavar="N", help="Photos to find.")]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="DATE", help="Only photos of this day or later: 2024-05-01, by EXIF of JPEG and TIFF, else by the file."
    ),
]
Folder = Annotated[str | None, typer.Option(metavar="SUB", help="Only photos in this folder of PHOTOS.")]
Duplicates = Annotated[bool, typer.Option("--duplicates", help="Groups of photos that look the same.")]
FormatName = Annotated[
    Literal["table", "json", "paths"], typer.Option("--format", metavar="KIND", help="table, json or paths.")
]
Null = Annotated[bool, typer.Option("-0", help="Paths that end in a zero byte, for xargs -0.")]
Sheet = Annotated[Path | None, typer.Option(metavar="PNG", help="Draw the photos found on one sheet.")]
Index = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where the index is; default: your cache folder.")]
Bad = Annotated[Path | None, typer.Option(metavar="FILE", help="List files not read: .csv, .tsv, .json or .jsonl.")]
Prune = Annotated[bool, typer.Option("--prune", help="Let photos go that are gone, however many.")]


def command(
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS", help="A folder of photos, with the folders in it.")],
    words: Words = None,
    *,
    like: Like = None,
    plus: Plus = None,
    minus: Minus = None,
    top: Top = 10,
    since: Since = None,
    folder: Folder = None,
    duplicates: Duplicates = False,
    model: Annotated[str | None, typer.Option(metavar="M", help="Folder or name; default: box, the small one.")] = None,
    format: FormatName = "table",
    null: Null = False,
    sheet: Sheet = None,
    index: Index = None,
    bad: Bad = None,
    prune: Prune = False,
    device: Device = None,
    engine: Engine = None,
    weights_dtype: WeightsDtype = None,
) -> None:
    """Find photos by words, by a photo, or by sums of these.

    The first call encodes every photo into an index, later ones only what is new or changed. Photos are only read, and
    nothing leaves this machine. Scores are cosines: they order photos, and do not say whether any fits.

    Example: seesay search photos "two dogs in snow" --top 5
    """
    refuse_words_first("search", photos, words)
    refuse_queries(words is not None or like is not None or bool(plus), duplicates)
    refuse_together(duplicates and bool(minus or since or folder or sheet), null and format == "json")
    refuse_among_photos(sheet, photos)
    refuse_unwritable_file(sheet, "--sheet", ending=".png")
    refuse_unwritable_file(bad, "--bad")
    from seesay.cli.classify import load_model
    from seesay.index.photo_index import seconds_of
    from seesay.index.search import open_for, query_of, refuse_no_folder
    from seesay.tasks.answer_files import refuse_ending, write_skipped

    if bad is not None:
        refuse_ending(bad, "--bad")
    refuse_no_folder(photos)
    loaded = load_model(model, device, engine=engine, weights_dtype=weights_dtype)
    gc.freeze()  # else all that torch has made is looked at again each time that rows of photos fill memory
    opened = open_for(photos, loaded, index=index, name=model)
    if since is not None:  # as the query, before photos are encoded for hours
        seconds_of(since)
    query_D = None if duplicates else query_of(opened, words, like, plus=plus or [], minus=minus or [])
    refreshed = opened.refresh(prune=prune)
    report(refreshed, photos)
    if bad is not None:
        write_skipped(bad, refreshed.skipped)
    if query_D is None:
        show_groups(opened.duplicates(), "paths" if null else format, end="\0" if null else "\n")
        return
    hits = opened.search_vector(query_D, top=top, since=since, folder=folder)
    show(hits, "paths" if null else format, end="\0" if null else "\n")
    if sheet is not None:
        draw(sheet, opened, hits)


def draw(sheet: Path, opened: "PhotoIndex", hits: "Sequence[Hit]") -> None:
    """The photos found on one sheet."""
    from seesay.index.sheet import write_sheet

    write_sheet(sheet, opened, hits)
    say(printable(f"sheet: {sheet}"))


def refuse_queries(has_query: bool, duplicates: bool) -> None:
    """`UsageError` for nothing to look for, and for two things."""
    if has_query == duplicates:
        raise UsageError("give WORDS, --like PHOTO or --plus WORDS, or else --duplicates alone.")


def refuse_together(is_more_than_duplicates: bool, is_zero_in_json: bool) -> None:
    """`UsageError` for options of which one would be left out."""
    if is_more_than_duplicates:
        raise UsageError("--duplicates compares all photos; leave --minus, --since, --folder and --sheet out.")
    if is_zero_in_json:
        raise UsageError("-0 writes paths, and --format json does not; leave one of them out.")


def refuse_among_photos(sheet: Path | None, photos: Path) -> None:
    """`UsageError` for a sheet that would be a photo of the folder, or take the place of one."""
    if sheet is not None and Path(os.path.realpath(sheet)).is_relative_to(os.path.realpath(photos)):
        raise UsageError(f"--sheet {sheet} lies in {photos}, and would be one of the photos; name another folder.")


def report(refreshed: "Refreshed", photos: Path) -> None:
    """What was done to the index, what could not be read, and what is not there."""
    say(str(refreshed))
    for item in refreshed.skipped[:SHOWN_SKIPPED]:
        say(printable(f"  {item.key}: {item.reason}"))
    if (more := len(refreshed.skipped) - SHOWN_SKIPPED) > 0:
        say(f"  and {more:,} more; --bad FILE lists them all")
    if refreshed.missing:
        say(
            printable(
                f"{refreshed.missing:,} photos are not in {photos} any more and stay in the index, as its disk may not "
                "be mounted; --prune lets them go."
            )
        )


def show(hits: "Sequence[Hit]", format: str, *, end: str) -> None:
    """Photos with their scores, best first, on standard output."""
    if format == "json":
        print(json.dumps([hit.to_dict() for hit in hits], indent=1))
    elif format == "paths":
        write_paths([f"{hit.path}{end}" for hit in hits])
    else:
        rows = [(f"{hit.score:.3f}", hit.path) for hit in hits]
        sys.stdout.write(table(("score", "photo"), rows, left=2))


def show_groups(groups: Sequence[Sequence[str]], format: str, *, end: str) -> None:
    """Groups of paths on standard output; as paths with an empty one between groups."""
    if format == "json":
        print(json.dumps(groups, indent=1))
    elif format == "paths":
        write_paths([end.join("".join(f"{path}{end}" for path in group) for group in groups)])
    else:
        rows = [(f"{number}", path) for number, group in enumerate(groups, 1) for path in group]
        sys.stdout.write(table(("group", "photo"), rows, left=2))


def write_paths(parts: Sequence[str]) -> None:
    """The bytes of the paths, which other programs open, also where a name is no UTF-8."""
    sys.stdout.flush()
    sys.stdout.buffer.write(b"".join(map(os.fsencode, parts)))
    sys.stdout.flush()

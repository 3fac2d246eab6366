"""`seesay classify`: photos and labels in words, a ranking of the labels for every photo."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from seesay.base.errors import UsageError
from seesay.base.names import PACKAGED_MODEL
from seesay.base.printable import printable
from seesay.base.publish import refuse_unwritable_file
from seesay.base.records import IN_DOUBT
from seesay.cli.encode_options import EncodedAtOnce, Engine, Precision, WeightsDtype
from seesay.cli.run_options import Device
from seesay.cli.tables import ALLOWED_SKIPPED, percent, refuse_too_many, say
from seesay.tasks.answer_files import FORMATS, Format, format_of, of_answers, refuse_ending, write_skipped
from seesay.tasks.answers import as_table

if TYPE_CHECKING:
    from seesay.model.bundle import Model
    from seesay.tasks.classify_folder import Classified

# Guesses at what fits a screen beside everything else, and an error.
SHOWN_BROKEN = 5
SHOWN_WORDS = 4
# Labels that come more than once, by name, a guess at what fits a line.
SHOWN_REPEATED = 10
# A guess: the speed over fewer photos is mostly the time of the first one.
FEWEST_FOR_SPEED = 100

Preprocessing = Annotated[Literal["exact", "fast"], typer.Option(help="fast: shrunk while decoding.")]
Calibrate = Annotated[str | None, typer.Option(metavar="FOLDER", help="Fit probabilities on a folder per label.")]
NoneOfThese = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help='"none of these" where no label fits; at most so often where one does (see --calibrate).',
    ),
]
MultiLabel = Annotated[bool, typer.Option("--multi-label", help="A photo may get several labels, or none.")]
FalseAlarms = Annotated[
    float,
    typer.Option(
        metavar="SHARE",
        help="With --multi-label: give a label to at most this share of photos of other labels.",
    ),
]
Threshold = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[LABEL=]P",
        help="With --multi-label: least probability [of LABEL].",
    ),
]
FormatName = Annotated[
    Literal["table", "csv", "tsv", "json", "jsonl", "parquet", "html"] | None,
    typer.Option(metavar="KIND", help="table, csv, tsv, json, jsonl, parquet or html."),
]
LabelWords = Annotated[list[str] | None, typer.Argument(metavar="LABEL", help="What a photo may show; two or more.")]
LabelsGiven = Annotated[
    str | None, typer.Option("--labels", metavar="A,B", help="Labels; then every word is a place of photos.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "-o",
        metavar="FILE",
        help="Write .csv (for Excel), .tsv, .json, .jsonl, .html (thumbnails), .parquet or .txt, as named.",
    ),
]
Bad = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="List broken photos: .csv, .tsv, .json or .jsonl."),
]
Force = Annotated[bool, typer.Option("--force", help="Discard what another command has begun.")]
MaxBad = Annotated[float, typer.Option(min=0, max=1, metavar="SHARE", help="Exit with 3 if more photos are broken.")]


def command(
    photos: Annotated[str, typer.Argument(metavar="PHOTOS", help="A photo, a folder, or a pattern in quotes.")],
    labels: LabelWords = None,
    *,
    labels_given: LabelsGiven = None,
    model: Annotated[str | None, typer.Option(metavar="M", help="Folder or name; default: box, the small one.")] = None,
    templates: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Sentences for labels; default: the model's.")
    ] = None,
    labels_file: Annotated[Path | None, typer.Option(metavar="F", help="More labels, one per line.")] = None,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Labels per photo.")] = 5,
    format: FormatName = None,
    out: Out = None,
    preprocess: Preprocessing = "exact",
    device: Device = None,
    precision: Precision = None,
    engine: Engine = None,
    weights_dtype: WeightsDtype = None,
    batch_size: EncodedAtOnce = None,
    calibrate: Calibrate = None,
    none_of_these: NoneOfThese = None,
    multi_label: MultiLabel = False,
    false_alarms: FalseAlarms = 0.05,
    threshold: Threshold = None,
    bad: Bad = None,
    max_bad: MaxBad = ALLOWED_SKIPPED,
    force: Force = False,
) -> None:
    """Sort photos into classes that are named in words.

    Probabilities sum to 1 (SigLIP's do not): they say which label fits best, not whether any does. With -o the
    same command goes on after a stop.

    Example: seesay classify "pics/*.jpg" cat dog "a sunset" -o labels.csv
    """
    from seesay.tasks.classify_folder import Question, answer_all, prepare
    from seesay.tasks.decision import Rules

    of_all, thresholds = thresholds_of(threshold or [])
    several = {"multi_label": multi_label, "false_alarms": false_alarms, "threshold": of_all, "thresholds": thresholds}
    rules = Rules(none_of_these=none_of_these, **several)
    places, words = places_and_labels([photos, *(labels or [])], labels_given)
    chosen = [] if calibrate and not words and labels_file is None else gather_labels(words, labels_file)
    refuse_unwritable_file(out, "-o")
    refuse_unwritable_file(bad, "--bad")
    chosen_format = terminal_format(format) if out is None else format_of(out, format)
    if bad is not None:
        refuse_ending(bad, "--bad")
    prepared = prepare(places, Question(labels=chosen, templates=templates, top=top, calibrate=calibrate, rules=rules))
    how = {"precision": precision, "engine": engine, "weights_dtype": weights_dtype, "batch_size": batch_size}
    loaded = load_model(model, device, **how)
    loaded = loaded.with_preprocess(preprocess)
    done = answer_all(loaded, prepared, format=chosen_format, out=out, write=to_standard_output, force=force, log=say)
    if out is not None:
        print(printable(f"{done.photos - len(done.skipped):,} photos, {done.labels:,} labels -> {out}"))
    report_doubts(done)
    report_speed(done)
    report_broken(done, bad)
    refuse_too_many(len(done.skipped), done.photos, "photos", allowed=max_bad)


def thresholds_of(words: Sequence[str]) -> tuple[float | None, dict[str, float]]:
    """The probability for all labels, and those of single labels, from words such as 0.5 and cat=0.3."""
    threshold_of_all, thresholds = None, {}
    for word in words:
        label, equals, number = word.rpartition("=")
        try:
            value = float(number)
        except ValueError as error:
            raise UsageError(f"--threshold {word!r} should be a probability, such as 0.5 or cat=0.3.") from error
        if equals:
            thresholds[label.strip()] = value
        else:
            threshold_of_all = value
    return threshold_of_all, thresholds


def terminal_format(name: str | None) -> Format:
    """The format for standard output: a table is as wide as the terminal."""
    chosen = format_of(None, name)
    return replace(chosen, render=of_answers(partial(as_table, width=None))) if chosen == FORMATS["table"] else chosen


def to_standard_output(chunks: Iterator[bytes]) -> None:
    """Write bytes, file names that are no UTF-8 included."""
    for chunk in chunks:
        sys.stdout.write(chunk.decode("utf-8", "surrogateescape"))


def report_speed(done: "Classified") -> None:
    """Log photos per second, of 100 photos or more."""
    worked = done.photos - done.resumed
    if worked >= FEWEST_FOR_SPEED:
        say(
            f"{worked:,} photos in {done.seconds:.1f} s: {worked / done.seconds:,.0f} per second, "
            f"{worked / done.core_seconds:,.0f} per second and core"
        )


def report_doubts(done: "Classified") -> None:
    """Log how many photos have an answer that is in doubt."""
    if done.in_doubt:
        half, answered = f"{100 * IN_DOUBT:.0f} %", done.photos - len(done.skipped)
        say(f"in doubt: {done.in_doubt:,} of {answered:,} photos; their best label has less than {half}")


def report_broken(done: "Classified", bad: Path | None) -> None:
    """How many photos are broken and why, a few by name, and all of them in the file `bad`."""
    if bad is not None:
        write_skipped(bad, done.skipped)
    if not done.skipped:
        return
    from seesay.data.sources import count_reasons

    say(f"skipped {len(done.skipped)} of {done.photos} photos: {count_reasons(done.skipped)}")
    for item in done.skipped[:SHOWN_BROKEN]:
        say(f"  {item.key}: {item.reason}")
    if (more := len(done.skipped) - SHOWN_BROKEN) > 0:
        say(f"  and {more:,} more; --bad FILE lists them all" if bad is None else f"  and {more:,} more, in {bad}")


def places_and_labels(words: Sequence[str], labels: str | None) -> tuple[list[str], list[str]]:
    """Where the photos are, and the labels: those of the option, or all words but the first."""
    if labels is not None:
        return list(words), [label.strip() for label in labels.split(",") if label.strip()]
    refuse_places(words[0], words[1:])
    return [words[0]], list(words[1:])


def refuse_places(photos: str, labels: Sequence[str]) -> None:
    """`UsageError` where a label is a photo on disk, or a folder that is hardly meant as one.

    A folder is, where it is written as a path or where other labels are no folders: those of classes may be called as
    their labels are.
    """
    from seesay.data.sources import IMAGE_SUFFIXES

    for label in labels:
        if Path(label).suffix.lower().removeprefix(".") in IMAGE_SUFFIXES and os.path.isfile(label):
            raise UsageError(
                f"label {label!r} is a photo on disk: the shell has put the matches of a pattern in its place; "
                "write the pattern in quotes."
            )
    folders = [label for label in labels if os.path.isdir(label)]
    meant = [label for label in folders if os.sep in label or "/" in label or len(folders) < len(labels)]
    if meant:
        words = _shown([label for label in labels if label not in meant], ",") or "cat,dog"
        raise UsageError(
            f"label {meant[0]!r} is a folder; for photos in several places name the labels with an option: "
            f"seesay classify {_shown([photos, *meant], ' ')} --labels {words!r}; "
            f"if it is a label, --labels {_shown(labels, ',')!r}"
        )


def _shown(words: Sequence[str], between: str) -> str:
    """A few of the words, as a shell may have put hundreds there for a pattern."""
    return between.join(words if len(words) <= SHOWN_WORDS else [*words[: SHOWN_WORDS - 1], "..."])


def gather_labels(labels: Sequence[str], labels_file: Path | None) -> list[str]:
    """The labels of the command line and of the file, each once; repeated ones are logged."""
    from seesay.data.prompts import distinct_labels, read_labels

    chosen, repeated = distinct_labels([*labels, *(read_labels(labels_file) if labels_file else [])])
    if repeated:
        more = f" and {len(repeated) - SHOWN_REPEATED:,} more" if len(repeated) > SHOWN_REPEATED else ""
        say(f"labels that come more than once are counted once: {', '.join(repeated[:SHOWN_REPEATED])}{more}")
    return chosen


def load_model(name: str | None, device: str | None, **how: Any) -> "Model":
    """The model of that name as `on_device` loads it; without a name the small one, which is logged."""
    from seesay.model.hub import on_device

    loaded = on_device(name or PACKAGED_MODEL, device, **how)
    if name is None:
        say(f"model: the small one in the box{known_scores(loaded.facts)}; name a larger one with --model FOLDER.")
    return loaded


def known_scores(facts: dict[str, Any]) -> str:
    """The result on the largest set among those that the model's facts hold under "evaluation"."""
    measured = [result for result in facts.get("evaluation", []) if result.get("task") == "zero-shot"]
    if not measured:
        return ""
    largest = max(measured, key=lambda result: result["n"])
    return f" (top-1 {percent(largest['top1'])} % on {largest['set']}, {largest['classes']} classes)"

"""The command `seesay doctor`: it takes the options of `seesay train` and examines that run before it starts."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seesay.base.errors import SeesayError, TooManySkipped, UsageError
from seesay.base.printable import printable
from seesay.cli import run_options as options
from seesay.cli.tables import refuse_unwritable_json, show, table, write_json

if TYPE_CHECKING:
    from seesay.preflight.report import DoctorReport

Sample = Annotated[
    int | None,
    typer.Option(metavar="N", help="Decode N images, chosen at random [default: as many as 10 minutes allow]."),
]
Seconds = Annotated[float, typer.Option(metavar="S", help="Seconds of a short real run, 1 to 3600.")]
MaxBad = Annotated[
    float, typer.Option(metavar="SHARE", min=0, max=1, help="Exit with code 3 if a larger share of pairs is broken.")
]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE|-", help="Write the whole report to FILE.")]

# Those of a short run, and the share of broken pairs at which a run is advised against: guesses.
SECONDS, MAX_BAD = 60.0, 0.05
# What is not passed on as it is.
OWN = ("pairs", "model", "seconds", "max_bad", "json_file")
ENGINE_COLUMNS = ["engine", "photos/s", "captions/s", "ms per photo", "MB", "smallest cosine"]
MARKS = {"ok": "ok", "warning": "warning", "stop": "STOP"}

# Where an option that there is not may be one.
settings = options.settings


def command(
    pairs: options.Pairs = None,  # type: ignore[assignment]
    out: options.Out = None,
    model: options.ModelSize = None,
    objective: options.Objective = None,
    teacher: options.Teacher = None,
    image_tower: options.ImageTower = None,
    text_tower: options.TextTower = None,
    steps: options.Steps = None,
    epochs: options.Epochs = None,
    minutes: options.Minutes = None,
    batch_size: options.BatchSize = None,
    micro_batch: options.MicroBatch = None,
    seed: options.Seed = None,
    device: options.Device = None,
    workers: options.Workers = None,
    val: options.Val = None,
    check: options.CheckSet = None,
    recipe: options.Recipe = None,
    set_: options.Set = None,
    sample: Sample = None,
    seconds: Seconds = SECONDS,
    max_bad: MaxBad = MAX_BAD,
    json_file: JsonFile = None,
) -> None:
    """Check pairs, memory and time before a long run; takes the options of `seesay train`.

    Without PAIRS every engine that is installed is measured with the trained model of --model, in seconds.

    Example: seesay doctor photos/ --epochs 30 --json report.json

    Exit code 0: the run can work, perhaps with warnings; 1: it cannot; 3: more than --max-bad of the pairs are broken.
    """
    given = {name: value for name, value in locals().items() if value is not None and name not in OWN}
    refuse_unwritable_json(json_file)
    if not pairs:
        refuse_options(given, seconds=seconds, max_bad=max_bad)
        return show_engines(model, json_file)
    from seesay.preflight.doctor import doctor

    given |= {"model": model, "seconds": seconds, "overrides": given.pop("set_", ())}
    return finish(doctor(pairs, **given), json_file, max_bad)


def refuse_options(given: Mapping[str, object], *, seconds: float, max_bad: float) -> None:
    """`UsageError` for options of a run where there are no pairs for one."""
    usual = {"seconds": (seconds, SECONDS), "max_bad": (max_bad, MAX_BAD)}
    names = [*given, *(name for name, (value, own) in usual.items() if value != own)]
    if names:
        option = f"--{names[0].strip('_').replace('_', '-')}"
        raise UsageError(f"{option} is for a run, and PAIRS are missing: name images with captions, or leave it out.")


def finish(report: "DoctorReport", json_file: Path | None, max_bad: float) -> None:
    """Show and write what was found, and end as it asks for."""
    show(as_text(report), json_file)
    if json_file is not None:
        write_json(json_file, report.to_json())
    refuse(report, max_bad)


def show_engines(model: str | None, json_file: Path | None) -> None:
    """What each engine makes of a trained model here, and which to take."""
    if model is None:
        raise UsageError("PAIRS is missing; name images with captions, or with --model a trained model to measure.")
    from seesay.preflight.engine_report import measure_engines

    report = measure_engines(model)
    rows = [
        [
            each.engine,
            f"{each.photos_per_second:,.1f}",
            f"{each.captions_per_second:,.0f}",
            f"{1000 * each.latency_seconds:.1f}",
            f"{each.memory_bytes / 1e6:,.0f}",
            f"{each.smallest_cosine:.6f}",
        ]
        for each in report.engines
        if not each.refused
    ]
    refused = [printable(f"{each.engine}: {each.refused}") for each in report.engines if each.refused]
    show(table(ENGINE_COLUMNS, rows, left=1) + "\n".join([*refused, report.advice]) + "\n", json_file)
    if json_file is not None:
        write_json(json_file, report.to_json())


def as_text(report: "DoctorReport") -> str:
    """The plan, the findings as a table, and below it the hint of each that is not ok."""
    rows = [[finding.topic, MARKS[finding.level], finding.message] for finding in report.findings]
    hints = "".join(
        printable(f"{MARKS[finding.level]}: {finding.topic}: {finding.hint}") + "\n"
        for finding in report.findings
        if finding.level != "ok"
    )
    plan = "".join(f"{printable(line)}\n" for line in report.plan)
    text = f"{printable(report.name)}\n{plan}\n{table(['check', '', 'result'], rows, left=3)}\n"
    return text + hints + f"verdict: {MARKS[report.verdict]}\n"


def refuse(report: "DoctorReport", max_bad: float) -> None:
    """Raise where a run could not work: `TooManySkipped` above `max_bad`, else `SeesayError` with the first hint."""
    if report.broken_share > max_bad:
        raise TooManySkipped(
            f"{report.broken_share:.1%} of the pairs are broken, more than --max-bad {max_bad:g}; fix or remove them."
        )
    stops = [finding for finding in report.findings if finding.level == "stop"]
    if stops:
        topics = ", ".join(finding.topic for finding in stops)
        raise SeesayError(f"this run could not work ({topics}): {stops[0].hint}.")

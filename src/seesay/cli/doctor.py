"""`seesay doctor`: the options of `seesay train`, and what that run would meet."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seesay.base.errors import SeesayError, TooManySkipped
from seesay.cli import run_options as options
from seesay.cli.interrupts import ended_at_once
from seesay.cli.tables import printable, refuse_folder, table

if TYPE_CHECKING:
    from seesay.preflight.report import DoctorReport

Sample = Annotated[int | None, typer.Option(metavar="N", min=1, help="Decode only N images [default: all].")]
Seconds = Annotated[float, typer.Option(metavar="S", min=1, max=3600, help="Time for a short real run.")]
MaxBad = Annotated[float, typer.Option(metavar="SHARE", min=0, max=1, help="Exit with 3 if more pairs are broken.")]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write everything that is found there.")]

MARKS = {"ok": "ok", "warning": "warning", "stop": "STOP"}


def command(
    pairs: options.Pairs,
    out: options.Out = None,
    model: options.ModelSize = None,
    objective: options.Objective = None,
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
    sample: Annotated[int | None, typer.Option(metavar="N", min=1, help="Decode only N images [default: all].")] = None,
    seconds: Annotated[float, typer.Option(metavar="S", min=1, max=3600, help="Time for a short real run.")] = 60.0,
    max_bad: Annotated[
        float, typer.Option(metavar="SHARE", min=0, max=1, help="Exit with 3 if more pairs are broken.")
    ] = 0.05,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything that is found there.")
    ] = None,
) -> None:
    """Check pairs, memory and time before a long run; takes the options of `seesay train`.

    Example: seesay doctor photos/ --epochs 30 --json found.json

    Exit code 0: it can run, perhaps with warnings; 1: it could not work; 3: more than --max-bad of the pairs broken.
    """
    with ended_at_once():
        from seesay.base.publish import publish_file
        from seesay.preflight.doctor import doctor
    refuse_folder(json_file, "--json")
    report = doctor(
        pairs,
        out=out,
        model=model,
        objective=objective,
        steps=steps,
        epochs=epochs,
        minutes=minutes,
        batch_size=batch_size,
        micro_batch=micro_batch,
        seed=seed,
        device=device,
        workers=workers,
        val=val or (),
        check=check or (),
        recipe=recipe,
        overrides=set_ or (),
        sample=sample,
        seconds=seconds,
    )
    print(as_text(report), end="", flush=True)
    if json_file is not None:
        publish_file(json_file, (json.dumps(report.to_json(), indent=2) + "\n").encode())
    refuse(report, max_bad)


def as_text(report: "DoctorReport") -> str:
    """The plan, the findings as a table, and below it what to do about each that is not well."""
    rows = [[finding.topic, MARKS[finding.level], finding.found] for finding in report.findings]
    hints = "".join(
        printable(f"{MARKS[finding.level]}: {finding.topic}: {finding.hint}") + "\n"
        for finding in report.findings
        if finding.level != "ok"
    )
    plan = "".join(f"{line}\n" for line in report.plan)
    text = f"{printable(report.name)}\n{plan}\n{table(['check', '', 'found'], rows, left=3)}\n"
    return text + hints + f"verdict: {MARKS[report.verdict]}\n"


def refuse(report: "DoctorReport", max_bad: float) -> None:
    """Raise where a run could not work; to be called after everything is told."""
    if report.broken_share > max_bad:
        raise TooManySkipped(
            f"{report.broken_share:.1%} of the pairs are broken, more than --max-bad {max_bad:g}; fix or remove them."
        )
    stops = [finding for finding in report.findings if finding.level == "stop"]
    if stops:
        topics = ", ".join(finding.topic for finding in stops)
        raise SeesayError(f"this run could not work ({topics}): {stops[0].hint}.")

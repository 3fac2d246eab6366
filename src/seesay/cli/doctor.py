"""`seesay doctor`: the words of `seesay train`, and what that run would meet."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seesay.base.errors import SeesayError, TooManySkipped
from seesay.cli.interrupts import ended_at_once
from seesay.cli.tables import printable, refuse_folder, table
from seesay.cli.train import Objective, Pairs

if TYPE_CHECKING:
    from seesay.training.diagnosis import Diagnosis

MARKS = {"ok": "ok", "warning": "warning", "stop": "STOP"}


def command(
    pairs: Pairs,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="The run's folder [runs/NAME].")] = None,
    model: Annotated[str | None, typer.Option(metavar="SIZE", help="Model size by name [by the data].")] = None,
    objective: Objective = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="How long: steps,")] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N", help="... or visits to each pair,")] = None,
    minutes: Annotated[float | None, typer.Option(metavar="M", help="... or minutes.")] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", help="Pairs per step.")] = None,
    micro_batch: Annotated[int | None, typer.Option(metavar="N", help="Pairs at once, to save memory [all].")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of weights, order and crops [0].")] = None,
    device: Annotated[str | None, typer.Option(metavar="cpu|cuda", help="Where to compute.")] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Loader processes.")] = None,
    val: Annotated[list[str] | None, typer.Option(metavar="PAIRS", help="Validation pairs [1 % held out].")] = None,
    check: Annotated[list[str] | None, typer.Option(metavar="SET", help="Labelled set to check zero-shot.")] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings as TOML.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting.")] = None,
    sample: Annotated[int | None, typer.Option(metavar="N", min=1, help="Decode only N pictures [all].")] = None,
    seconds: Annotated[float, typer.Option(metavar="S", min=1, max=3600, help="Time for a short real run.")] = 60.0,
    max_bad: Annotated[float, typer.Option(metavar="SHARE", min=0, max=1, help="Broken pairs allowed.")] = 0.05,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all that is found.")] = None,
) -> None:
    """Check pairs, memory and time before a long run; takes the options of `seesay train`.

    Example: seesay doctor photos/ --epochs 30 --json found.json

    Exit code 0: it can run, perhaps with warnings; 1: it could not work; 3: more than --max-bad of the pairs broken.
    """
    with ended_at_once():
        from seesay.base.publish import publish_file
        from seesay.evaluation.doctor import doctor

    refuse_folder(json_file, "--json")
    given = {
        "model": model,
        "objective": objective,
        "steps": steps,
        "epochs": epochs,
        "minutes": minutes,
        "batch_size": batch_size,
        "micro_batch": micro_batch,
        "seed": seed,
        "device": device,
        "data": {"workers": workers} if workers is not None else None,
    }
    found = doctor(
        pairs,
        out=out,
        val=val or (),
        check=check or (),
        recipe=recipe,
        overrides=set_ or (),
        sample=sample,
        seconds=seconds,
        **given,
    )
    print(as_text(found), end="", flush=True)
    if json_file is not None:
        publish_file(json_file, (json.dumps(found.to_json(), indent=2) + "\n").encode())
    refuse(found, max_bad)


def as_text(found: "Diagnosis") -> str:
    """The plan, the findings as a table, and below it what to do about each that is not well."""
    rows = [[finding.topic, MARKS[finding.level], finding.found] for finding in found.findings]
    ways_out = "".join(
        printable(f"{MARKS[finding.level]}: {finding.topic}: {finding.way_out}") + "\n"
        for finding in found.findings
        if finding.level != "ok"
    )
    plan = "".join(f"{line}\n" for line in found.plan)
    told = f"{printable(found.name)}\n{plan}\n{table(['check', '', 'found'], rows, left=3)}\n"
    return told + ways_out + f"verdict: {MARKS[found.verdict]}\n"


def refuse(found: "Diagnosis", max_bad: float) -> None:
    """Raise where a run could not work; to be called after everything is told."""
    if found.broken_share > max_bad:
        raise TooManySkipped(
            f"{found.broken_share:.1%} of the pairs are broken, more than --max-bad {max_bad:g}; mend or remove them."
        )
    stops = [finding for finding in found.findings if finding.level == "stop"]
    if stops:
        topics = ", ".join(finding.topic for finding in stops)
        raise SeesayError(f"this run could not work ({topics}): {stops[0].way_out}.")

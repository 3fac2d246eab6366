"""A check before a long run: the public `seesay.doctor`, with the arguments of `seesay.train`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from seesay.base.errors import UsageError
from seesay.preflight.checks import Effort, examine
from seesay.preflight.report import DoctorReport
from seesay.training.train import Section, Sources, listed, run_request
from seesay.training.validation import ZeroShotCheck


def doctor(
    pairs: Sources,
    *,
    out: str | Path | None = None,
    model: str | None = None,
    objective: str | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    batch_size: int | None = None,
    micro_batch: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    workers: int | None = None,
    val: Sources = (),
    check: Sources = (),
    recipe: str | Path | None = None,
    overrides: Sequence[str] = (),
    data: Section = None,
    towers: Section = None,
    optimizer: Section = None,
    schedule: Section = None,
    checkpoint: Section = None,
    log: Section = None,
    parallel: Literal["ddp", "fsdp"] | None = None,
    parallel_timeout_seconds: float | None = None,
    stuck_minutes: float | None = None,
    sample: int | None = None,
    seconds: float = 60.0,
) -> DoctorReport:
    """What `seesay.train` with the same arguments would meet; nothing is written.

    `sample`: so many images are decoded, chosen at random (None: all that ten minutes allow). `seconds`: time for a
    short run in a process of its own, from which memory and time are estimated. What is wrong is in `findings`; raised
    is only what would end the run before its first step, as a `UsageError`.
    """
    arguments = locals()
    if sample is not None and sample < 1:
        raise UsageError(f"sample is {sample}; look at one image or more.")
    if not 1 <= seconds <= 3600:
        raise UsageError(f"seconds is {seconds:g}; give the short run between 1 and 3600.")
    request = run_request(pairs, arguments)
    for source in listed(check):
        ZeroShotCheck(source)
    effort = Effort(sample=sample, seconds=seconds)
    return examine(request.sources, out=request.out, settings=request.settings, validation=listed(val), effort=effort)

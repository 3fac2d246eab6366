"""A check before a long run: the public `seesay.doctor`, with the arguments of `seesay.train`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from seesay.base.errors import UsageError
from seesay.preflight.checks import MOST_SECONDS, SHORT_RUN_SECONDS, Effort, examine
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
    seconds: float = SHORT_RUN_SECONDS,
) -> DoctorReport:
    """Examine pairs, memory and time of `seesay.train` with the same arguments; nothing is written.

    `sample` images are decoded, chosen at random (None: as many as ten minutes allow). A short run of `seconds`, in a
    process of its own, measures memory and speed, and whether the model can overfit one batch. What is wrong is in the
    report's `findings`. Raises `UsageError` where the run would be refused before its first step.
    """
    arguments = locals()
    if sample is not None and sample < 1:
        raise UsageError(f"sample is {sample}; decode at least one image.")
    if not 1 <= seconds <= MOST_SECONDS:
        raise UsageError(f"seconds is {seconds:g}; give the short run between 1 and {MOST_SECONDS}.")
    request = run_request(pairs, arguments)
    for source in listed(check):
        ZeroShotCheck(source)
    effort = Effort(sample=sample, seconds=seconds)
    return examine(request.sources, out=request.out, settings=request.settings, validation=listed(val), effort=effort)

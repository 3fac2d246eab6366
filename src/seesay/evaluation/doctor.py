"""A check before a long run: the public `seesay.doctor`, with the arguments of `seesay.train`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seesay.base.errors import UsageError
from seesay.evaluation.training import ZeroShotCheck, listed, resolve
from seesay.training.diagnosis import Diagnosis
from seesay.training.preflight import Effort, diagnose


def doctor(
    pairs: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    val: str | Path | Sequence[str | Path] = (),
    check: str | Path | Sequence[str | Path] = (),
    recipe: str | Path | None = None,
    overrides: Sequence[str] = (),
    sample: int | None = None,
    seconds: float = 60.0,
    **settings: Any,
) -> Diagnosis:
    """What `seesay.train` with the same arguments would meet; nothing is written.

    `sample`: so many pictures are decoded, chosen at random (None: all that ten minutes allow). `seconds`: time for a
    short run in a process of its own, from which memory and time are told. What is wrong is in `findings`; raised is
    only what would end the run before its first step, as a `UsageError`.
    """
    if sample is not None and sample < 1:
        raise UsageError(f"sample is {sample}; look at one picture or more.")
    if not 1 <= seconds <= 3600:
        raise UsageError(f"seconds is {seconds:g}; give the rehearsal between 1 and 3600.")
    places, folder, chosen = resolve(pairs, out=out, recipe=recipe, overrides=overrides, settings=settings)
    for place in listed(check):
        ZeroShotCheck(place)
    effort = Effort(sample=sample, seconds=seconds)
    return diagnose(places, out=folder, settings=chosen, validation=listed(val), effort=effort)

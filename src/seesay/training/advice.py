"""A word before a run on few pairs: a model that is trained already goes further than one from nothing."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from seesay.training.settings import TrainSettings

# From half as many pairs one gets the model in the box (its card); a guess at where a run from nothing begins to pay.
FEW_PAIRS = 100_000
# A guess: handwriting and icons are smaller, and no trained model of them is there to start from.
PHOTO_SIDE = 48
SHOWN_SOURCES = 3
# Measured in benchmarks/2026-11-29-from-nothing.
REACHED = "12.7"
UNTOUCHED = "28.3"


def finetuning_advice(
    settings: TrainSettings, *, pairs: int, median_side: int, sources: Sequence[object], out: Path
) -> str:
    """What a trained model would do on so many pairs, with the command to type instead; "" where it is not due.

    That is for many pairs, for images smaller than photos (`median_side` in pixels), and for a run whose model or
    objective was chosen: who chose them knows what is to be learned from nothing. `sources` are as they were given.
    """
    is_chosen = settings.model is not None or settings.objective is not None
    if pairs >= FEW_PAIRS or median_side < PHOTO_SIDE or is_chosen:
        return ""
    return (
        f"{pairs:,} pairs teach little from nothing: 2,000 of photos came to {REACHED} % on CIFAR-10, where the model "
        f"in the box has {UNTOUCHED} % untouched; to start from that: {finetune_command(sources, out)}"
    )


def finetune_command(sources: Sequence[object], out: Path) -> str:
    """The command that fine-tunes the box on the same pairs, into a run folder of its own, in backticks."""
    named = [shlex.quote(str(source)) for source in sources if isinstance(source, str | Path)]
    pairs = " ".join(named) if 0 < len(named) <= SHOWN_SOURCES else "PAIRS"
    return f"`seesay finetune box {pairs} --out {shlex.quote(f'{out}-finetuned')}`"

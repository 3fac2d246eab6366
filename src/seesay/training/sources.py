"""What a run learns from: its pairs, those held out, and what is found out about them before anything is chosen."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from seesay.base.errors import BrokenSample, UsageError
from seesay.base.records import PairSource
from seesay.base.runtime import Runtime
from seesay.data.images import decode
from seesay.data.loader import Subset, can_fork, permutation
from seesay.data.pairs import open_pairs
from seesay.data.sampled import Sampled, sample_pictures
from seesay.data.tables import TABLE_SUFFIXES
from seesay.training.plan import DataFacts
from seesay.training.settings import TrainSettings

LOOKED_AT = 64
LEAST_VALIDATION, MOST_VALIDATION = 4, 1000
HELD_OUT_VISIT = 2**40


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """What the run learns from, and what it is validated on (None where there is too little)."""

    training: PairSource
    validation: PairSource | None

    @cached_property
    def sampled(self) -> Sampled:
        """Some pictures of the training pairs, read once."""
        return sample_pictures(self.training)


def open_sources(places: Sequence[str | Path], validation: Sequence[str | Path], settings: TrainSettings) -> Pairs:
    """The pairs of the run; without validation pairs a share of the training pairs is held out."""
    columns = {"image_column": settings.data.image_column, "caption_column": settings.data.caption_column}
    source = open_pairs(places, **columns)
    if validation:
        # The columns are those of the training table; validation pairs may lie in a folder.
        named = columns if any(_is_table(place) for place in validation) else {}
        return Pairs(training=source, validation=open_pairs(validation, **named))
    held_out = min(MOST_VALIDATION, round(settings.data.validation * len(source)))
    if held_out < LEAST_VALIDATION:
        return Pairs(training=source, validation=None)
    shuffled = permutation(settings.seed, HELD_OUT_VISIT, len(source))
    return Pairs(
        training=Subset(source, np.sort(shuffled[held_out:])), validation=Subset(source, np.sort(shuffled[:held_out]))
    )


def _is_table(place: str | Path) -> bool:
    return Path(place).suffix.lower().removeprefix(".") in TABLE_SUFFIXES


def data_facts(pairs: PairSource, runtime: Runtime) -> DataFacts:
    """Counts, and the size of pictures spread evenly over the pairs. `UsageError` where none of these can be read."""
    sides = []
    for index in np.linspace(0, len(pairs) - 1, min(LOOKED_AT, len(pairs))).astype(int):
        try:
            sides.append(min(decode(pairs[int(index)].image).shape[:2]))
        except BrokenSample:
            continue
    if not sides:
        raise UsageError(f"none of {min(LOOKED_AT, len(pairs))} pictures looked at in {pairs.name} can be read.")
    return DataFacts(
        pairs=len(pairs),
        captions=sum(len(pairs.captions(index)) for index in range(len(pairs))),
        median_side=round(statistics.median(sides)),
        device=runtime.device,
        cores=runtime.cores,
        can_fork=can_fork(),
    )

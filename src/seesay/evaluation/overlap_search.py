"""Both sides of an overlap as they are compared, and the nearest training images of every image of the sets.

N = images of a set.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from seesay.base.errors import RefusedInput
from seesay.base.journal import progress
from seesay.base.records import PairSource
from seesay.data.labelled import LabelledSet
from seesay.data.sources import count_reasons
from seesay.evaluation.suite import reasons_of
from seesay.model.cache import EmbeddingCache
from seesay.model.detector import CHUNK, CopyDetector, CopySearch, Described


@dataclass(frozen=True, kw_only=True, eq=False)
class EvalSet:
    """A set that is looked for, and its images as they are compared."""

    source: LabelledSet | PairSource
    described: Described


def image_of(source: LabelledSet | PairSource, number: int) -> bytes:
    """The encoded image of this number; raises `BrokenSample` if it cannot be read any more."""
    return source.image(number) if isinstance(source, LabelledSet) else source[number].image


def reader(source: LabelledSet | PairSource) -> Callable[[str], bytes]:
    """The encoded image by its key."""
    numbers = {source.key(number): number for number in range(len(source))}
    return lambda key: image_of(source, numbers[key])


def describe_set(detector: CopyDetector, source: LabelledSet | PairSource, cache: EmbeddingCache) -> Described:
    """The images of a set; `RefusedInput` where none can be read."""
    parts = list(chunks(detector, source, cache, source.name))
    whole = Described(
        row_ND=torch.cat([part.row_ND for part in parts]),
        look_N=np.concatenate([part.look_N for part in parts]),
        colours_N883=np.concatenate([part.colours_N883 for part in parts]),
        index=np.concatenate([part.index for part in parts]),
        skipped=tuple(item for part in parts for item in part.skipped),
    )
    if not len(whole.index):
        reasons = count_reasons(whole.skipped)
        raise RefusedInput(f"none of the {len(source)} images of {source.name} could be read ({reasons}).")
    return whole


def chunks(
    detector: CopyDetector, source: LabelledSet | PairSource, cache: EmbeddingCache, label: str
) -> Iterator[Described]:
    """All images, `CHUNK` at a time."""
    with progress(len(source), label) as advance:
        for first in range(0, len(source), CHUNK):
            numbers = range(first, min(first + CHUNK, len(source)))
            yield detector.cached(lambda number: image_of(source, number), numbers, cache)
            advance(len(numbers))


@dataclass(frozen=True, kw_only=True, eq=False)
class Searched:
    """The training images that were compared, how many, and which could not be."""

    pairs: PairSource
    count: int
    skipped_by_reason: dict[str, int]


def search_all(
    detector: CopyDetector, pairs: PairSource, sets: Sequence[EvalSet], cache: EmbeddingCache
) -> tuple[Searched, list[CopySearch]]:
    """All training images against all sets, in one pass; `RefusedInput` where none can be read."""
    searches = [CopySearch(own.described) for own in sets]
    count, skipped = 0, list(pairs.problems)
    for part in chunks(detector, pairs, cache, "training images"):
        for search in searches:
            search.add(part)
        count += len(part.index)
        skipped += part.skipped
    if not count:
        raise RefusedInput(f"none of the {len(pairs)} training images could be read ({count_reasons(skipped)}).")
    return Searched(pairs=pairs, count=count, skipped_by_reason=reasons_of(skipped)), searches

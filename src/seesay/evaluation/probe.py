"""The linear probe of a set that has a train part, as one more result of the report."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seesay.base.journal import progress
from seesay.data.evalsets import open_train_part
from seesay.data.labelled import LabelledSet
from seesay.evaluation.suite import SEED
from seesay.model.bundle import Model
from seesay.model.cache import EmbeddingCache
from seesay.tasks.few_shot import check_sets, probe_sets


def probe_set(
    model: Model, place: str | Path, test: LabelledSet, *, shots: Sequence[int], cache: EmbeddingCache
) -> dict[str, Any] | None:
    """`tasks.few_shot.probe_sets` on the train part of the set at `place`; None where it has none.

    Of many sets some have small classes: shots that a class does not have are left out, under "shots_left_out".
    """
    train = open_train_part(place)
    if train is None:
        return None
    check_sets(train, test, ())
    fewest = min(Counter(train.label(index) for index in range(len(train))).values())
    left_out, shots = [count for count in shots if count > fewest], [count for count in shots if count <= fewest]
    with progress(len(train) + len(test), f"{test.name} probe") as advance:
        return probe_sets(model, train, test, shots=shots, cache=cache, progress=advance) | {
            "seed": SEED,
            "shots_left_out": left_out,
        }

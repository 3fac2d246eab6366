"""Two models on the same images: is one better, or would other images have said the opposite?"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from seesay.evaluation.results import ComparisonResult
from seesay.evaluation.suite import SEED, Measured
from seesay.formulas.statistics import paired_difference, sign_test

# The headline of every task first.
COMPARED = {"zero-shot": ("top1",), "retrieval": ("text_to_image r10", "text_to_image r1", "image_to_text r1")}


def compare_all(measured: Sequence[Measured]) -> list[ComparisonResult]:
    """A paired test for each score in `COMPARED` and each pair of models that were measured on the same set."""
    return [
        compare_score(first, second, name)
        for first, second in combinations(measured, 2)
        if first.result.set_name == second.result.set_name
        and first.result.data_fingerprint == second.result.data_fingerprint
        and first.result.model != second.result.model
        for name in COMPARED[first.result.task]
    ]


def compare_score(first: Measured, second: Measured, name: str) -> ComparisonResult:
    """A paired test of the score `name` on the images that both could read.

    For classification the exact sign test over images that one model alone got right. For retrieval the paired
    bootstrap over images, because the captions of one image are right or wrong together.
    """
    both = sorted(set(first.read) & set(second.read))
    first_M, image_M = hits_on(first, name, both)
    second_M, _ = hits_on(second, name, both)
    difference, interval, p = paired_difference(first_M, second_M, image_M, seed=SEED)
    is_classification = first.result.task == "zero-shot"
    first_only, second_only = int((first_M & ~second_M).sum()), int((second_M & ~first_M).sum())
    return ComparisonResult(
        first=first.result.model,
        second=second.result.model,
        set_name=first.result.set_name,
        task=first.result.task,
        score=name,
        n=len(first_M),
        share_first=float(first_M.mean()),
        share_second=float(second_M.mean()),
        difference=difference,
        interval95=interval,
        p=sign_test(first_only, second_only) if is_classification else p,
        test="sign" if is_classification else "paired bootstrap",
        first_only=first_only if is_classification else None,
        second_only=second_only if is_classification else None,
    )


def hits_on(measured: Measured, name: str, images: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The hits about these images only, and which image each is about."""
    image_M = np.array(measured.read)[measured.image_of_hit[name]]
    is_wanted_M = np.isin(image_M, images)
    return measured.hits[name][is_wanted_M], image_M[is_wanted_M]

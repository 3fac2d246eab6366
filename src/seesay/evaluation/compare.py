"""Two models on the same images: is one better, or would other images have said the opposite?"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from seesay.evaluation.suite import SEED, Measured
from seesay.formulas.statistics import paired_difference, sign_test

# The headline of every task first.
COMPARED = {"zero-shot": ("top1",), "retrieval": ("text_to_image r10", "text_to_image r1", "image_to_text r1")}


def compare_all(measured: Sequence[Measured], names: Sequence[str]) -> list[dict[str, Any]]:
    """`compare` for all pairs of models on every set and task; `names` are those of the models, one for each."""
    found = []
    for (first, first_name), (second, second_name) in combinations(zip(measured, names, strict=True), 2):
        is_same = first.result["data_fingerprint"] == second.result["data_fingerprint"]
        if is_same and first.result["set"] == second.result["set"] and first_name != second_name:
            found += [{"first": first_name, "second": second_name, **test} for test in compare(first, second)]
    return found


def compare(first: Measured, second: Measured) -> list[dict[str, Any]]:
    """A paired test for each score that counts, on the images that both could read.

    Gives "set", "task", "score", "n" (questions), both shares, "difference" (second less first) with "interval95",
    "p" and "test". For classification: "sign", the exact test over images that one model alone got right
    ("first_only", "second_only"). For retrieval: "paired bootstrap" over images, because the captions of one
    image stand or fall together.
    """
    task = first.result["task"]
    return [compare_score(first, second, name) for name in COMPARED[task]]


def compare_score(first: Measured, second: Measured, name: str) -> dict[str, Any]:
    both = sorted(set(first.read) & set(second.read))
    first_M, image_M = answers_about(first, name, both)
    second_M, _ = answers_about(second, name, both)
    difference, interval, p = paired_difference(first_M, second_M, image_M, seed=SEED)
    result = {
        "set": first.result["set"],
        "task": first.result["task"],
        "score": name,
        "n": len(first_M),
        "share_first": float(first_M.mean()),
        "share_second": float(second_M.mean()),
        "difference": difference,
        "interval95": list(interval),
        "p": p,
        "test": "paired bootstrap",
    }
    if first.result["task"] == "zero-shot":
        first_only, second_only = int((first_M & ~second_M).sum()), int((second_M & ~first_M).sum())
        result |= {"first_only": first_only, "second_only": second_only}
        result |= {"p": sign_test(first_only, second_only), "test": "sign"}
    return result


def answers_about(measured: Measured, name: str, images: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The hits about these images only, and which image each was about."""
    image_M = np.array(measured.read)[measured.image_of_hit[name]]
    is_wanted_M = np.isin(image_M, images)
    return measured.hits[name][is_wanted_M], image_M[is_wanted_M]

import numpy as np
import pytest
from scipy.stats import binomtest

from seesay.base.records import Score
from seesay.evaluation.compare import compare_all
from seesay.evaluation.results import RetrievalResult, ZeroShotResult
from seesay.evaluation.suite import Measured

SCORE = Score(value=0.5, interval95=(0.0, 1.0), chance=0.5, n=2)
COMMON = {"n": 2, "skipped_by_reason": {}, "seed": 0, "templates": ("{}",), "templates_from": "the model"}


def zero_shot(model: str, hits: list[bool], read: list[int] | None = None, name: str = "set") -> Measured:
    each = np.arange(len(hits))
    result = ZeroShotResult(
        set_name=name,
        model=model,
        data_fingerprint=name,
        classes=2,
        top1=SCORE,
        top5=SCORE,
        mean_per_class=SCORE,
        calibration_error=0.0,
        same_names=(),
        class_names_from="the set",
        **COMMON,
    )
    return Measured(
        result=result,
        evalset=None,
        read=list(each) if read is None else read,
        hits={"top1": np.array(hits)},
        image_of_hit={"top1": each},
    )


def retrieval(model: str, hits: np.ndarray) -> Measured:
    recalls = dict.fromkeys(("r1", "r5", "r10"), SCORE)
    result = RetrievalResult(
        set_name="set",
        model=model,
        data_fingerprint="f",
        captions=150,
        shared_captions=0,
        text_to_image=recalls,
        image_to_text=recalls,
        **COMMON,
    )
    image_M = np.repeat(np.arange(30), 5)
    return Measured(
        result=result,
        evalset=None,
        read=list(range(30)),
        hits={"text_to_image r10": hits, "text_to_image r1": hits, "image_to_text r1": hits[::5]},
        image_of_hit={"text_to_image r10": image_M, "text_to_image r1": image_M, "image_to_text r1": np.arange(30)},
    )


def test_two_models_are_compared_by_the_exact_sign_test():
    first = zero_shot("a", [True] * 9 + [False] * 7)
    second = zero_shot("b", [True] * 7 + [False] * 2 + [True] * 7)
    (test,) = compare_all([first, second])
    assert (test.first, test.second, test.first_only, test.second_only, test.n) == ("a", "b", 2, 7, 16)
    assert test.p == pytest.approx(binomtest(2, 9).pvalue)
    assert test.difference == pytest.approx(5 / 16)
    assert test.interval95[0] < 5 / 16 < test.interval95[1]


def test_only_images_that_both_could_read_are_compared():
    first = zero_shot("a", [True, True, False], read=[0, 2, 3])
    second = zero_shot("b", [False, True, False], read=[0, 1, 3])
    (test,) = compare_all([first, second])
    assert (test.n, test.first_only, test.second_only) == (2, 1, 0)


def test_other_sets_and_the_same_model_are_not_compared():
    assert compare_all([zero_shot("a", [True]), zero_shot("b", [True], name="other")]) == []
    assert compare_all([zero_shot("a", [True]), zero_shot("a", [True])]) == []


def test_retrieval_is_compared_over_images_with_all_their_captions():
    worse = np.random.default_rng(0).uniform(size=150) < 0.3
    tests = compare_all([retrieval("a", worse), retrieval("b", np.ones(150, bool))])
    assert [test.score for test in tests] == ["text_to_image r10", "text_to_image r1", "image_to_text r1"]
    assert [test.n for test in tests] == [150, 150, 30]
    assert all(test.test == "paired bootstrap" and test.p < 0.01 for test in tests)
    assert all(test.first_only is None and "first_only" not in test.to_json() for test in tests)

import numpy as np
import pytest
from scipy.stats import binomtest

from seesay.evaluation.compare import compare_all
from seesay.evaluation.suite import Measured


def zero_shot(hits: list[bool], read: list[int] | None = None, name: str = "set") -> Measured:
    each = np.arange(len(hits))
    return Measured(
        result={"set": name, "task": "zero-shot", "data_fingerprint": name},
        found=None,
        read=list(each) if read is None else read,
        hits={"top1": np.array(hits)},
        image_of_hit={"top1": each},
    )


def test_two_models_are_compared_by_the_exact_sign_test():
    first, second = zero_shot([True] * 9 + [False] * 7), zero_shot([True] * 7 + [False] * 2 + [True] * 7)
    (test,) = compare_all([first, second], ["a", "b"])
    assert (test["first"], test["second"], test["first_only"], test["second_only"], test["n"]) == ("a", "b", 2, 7, 16)
    assert test["p"] == pytest.approx(binomtest(2, 9).pvalue)
    assert test["difference"] == pytest.approx(5 / 16)
    assert test["interval95"][0] < 5 / 16 < test["interval95"][1]


def test_only_images_that_both_could_read_are_compared():
    first, second = zero_shot([True, True, False], read=[0, 2, 3]), zero_shot([False, True, False], read=[0, 1, 3])
    (test,) = compare_all([first, second], ["a", "b"])
    assert (test["n"], test["first_only"], test["second_only"]) == (2, 1, 0)


def test_other_sets_and_the_same_model_are_not_compared():
    assert compare_all([zero_shot([True]), zero_shot([True], name="other")], ["a", "b"]) == []
    assert compare_all([zero_shot([True]), zero_shot([True])], ["a", "a"]) == []


def test_retrieval_is_compared_over_images_with_all_their_captions():
    def retrieval(hits):
        own = np.repeat(np.arange(30), 5)
        return Measured(
            result={"set": "set", "task": "retrieval", "data_fingerprint": "f"},
            found=None,
            read=list(range(30)),
            hits={"text_to_image r10": hits, "text_to_image r1": hits, "image_to_text r1": hits[::5]},
            image_of_hit={"text_to_image r10": own, "text_to_image r1": own, "image_to_text r1": np.arange(30)},
        )

    worse = np.random.default_rng(0).uniform(size=150) < 0.3
    tests = compare_all([retrieval(worse), retrieval(np.ones(150, bool))], ["a", "b"])
    assert [test["score"] for test in tests] == ["text_to_image r10", "text_to_image r1", "image_to_text r1"]
    assert [test["n"] for test in tests] == [150, 150, 30]
    assert all(test["test"] == "paired bootstrap" and test["p"] < 0.01 for test in tests)

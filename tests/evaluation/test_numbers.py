"""A captioned set on which recall differs by k, so that each number can be told from its neighbour."""

import pytest

from seesay.evaluation.evaluate import evaluate
from seesay.formulas.statistics import proportion_interval


@pytest.fixture
def twins(tmp_path, paint):
    """Two red images, a green and a blue one: ties count against the model, so each red one stands second."""
    for name, colour in (("one", "red"), ("other", "red"), ("green", "green"), ("blue", "blue")):
        paint(tmp_path / "twins" / f"{name}.png", colour)
        (tmp_path / "twins" / f"{name}.txt").write_text(f"all {colour}")
    return tmp_path / "twins"


def test_the_headline_of_retrieval_is_recall_at_ten_with_its_own_interval_and_chance(colour_model, twins):
    result = evaluate(colour_model, twins).entries[0].result.to_json()
    assert result["text_to_image"] == {"r1": 0.5, "r5": 1.0, "r10": 1.0}
    assert result["interval95"] == list(proportion_interval(4, 4)) == result["interval95_text_to_image"]["r10"]
    assert result["interval95_text_to_image"]["r1"] != result["interval95"]
    assert (result["chance"], result["chance_text_to_image"]["r1"]) == (1.0, 0.25)

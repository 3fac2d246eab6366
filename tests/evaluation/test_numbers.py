"""A captioned set on which recall differs by k, so that each number can be told from its neighbour."""

import pytest
from PIL import Image

from seesay.evaluation.entries import Request, measure_entry
from seesay.evaluation.report_details import confusion_card
from seesay.evaluation.suite import Question
from seesay.formulas.statistics import proportion_interval


@pytest.fixture
def twins(tmp_path, paint):
    """Two red images, a green and a blue one: ties count against the model, so each red one stands second."""
    for name, colour in (("one", "red"), ("other", "red"), ("green", "green"), ("blue", "blue")):
        paint(tmp_path / "twins" / f"{name}.png", colour)
        (tmp_path / "twins" / f"{name}.txt").write_text(f"all {colour}")
    return tmp_path / "twins"


def test_the_headline_of_retrieval_is_recall_at_ten_with_its_own_interval_and_chance(measured, twins):
    result = measured(twins).result.to_json()
    assert result["text_to_image"] == {"r1": 0.5, "r5": 1.0, "r10": 1.0}
    assert result["interval95"] == list(proportion_interval(4, 4)) == result["interval95_text_to_image"]["r10"]
    assert result["interval95_text_to_image"]["r1"] != result["interval95"]
    assert (result["chance"], result["chance_text_to_image"]["r1"]) == (1.0, 0.25)


def test_templates_are_listed_from_the_best_to_the_worst(colour_model, colours):
    """A yellow image of class red is as near to green as to red; beside the word green a red text is yellow."""
    source = colours("set", red=["yellow", "red"], green=["green"])
    question = Question(templates=["{}", "red {}", "green {}"])
    entry = measure_entry("colours", colour_model, str(source), Request(question=question, prompts=True))
    shares = {template: score.value for template, score in entry.spread.by_template.items()}
    assert next(iter(shares)) == "green {}" and shares["green {}"] == 1
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert (entry.spread.highest, entry.spread.lowest) == (1, pytest.approx(2 / 3))


@pytest.mark.journey
def test_shots_that_the_smallest_class_just_has_are_measured(colours, measured):
    source = colours("set/train", red=["red"] * 3, blue=["blue"] * 2).parent
    colours("set/test", red=["red"], blue=["blue"])
    entry = measured(source, probe=True, shots=(1, 2, 3))
    assert entry.shots_left_out == (3,)
    assert [rounds.shots for rounds in entry.probe.shots] == [1, 2]
    assert entry.remarks == (
        "test/ is measured, train/ is not.",
        "probe: it was trained and measured on the same images, all of 2: the score says little of others.",
        "probe: a class has too few training images for 3 shots.",
    )


def test_one_image_of_a_class_is_too_few_for_a_probe_and_the_scores_are_there(colours, measured):
    source = colours("set/train", red=["red"], blue=["blue"]).parent
    colours("set/test", red=["red"], blue=["blue"])
    entry = measured(source, probe=True)
    assert entry.probe is None and entry.result.top1.value == 1
    note = (
        "no probe: no class has two examples to choose a penalty by; give two of one, a penalty such as 1.0, or "
        "validation examples of their own."
    )
    assert entry.remarks == ("test/ is measured, train/ is not.", note)


def test_where_a_probe_is_refused_the_scores_of_the_set_stay(colours, measured):
    """A class that cannot be learned, one of whose two images nothing is read, and a train part of one class."""
    source = colours("other/train", red=["red", "red"], green=["green", "green"]).parent
    colours("other/test", red=["red"], blue=["blue"])
    broken = colours("broken/train", red=["red", "red"], blue=["blue"]).parent
    (broken / "train/red/000.png").write_bytes(b"broken")
    colours("broken/test", red=["red"], blue=["blue"])
    alone = colours("alone/train", red=["red", "red"]).parent
    colours("alone/test", red=["red"], blue=["blue"])
    for where, why in ((source, "blue"), (broken, "no class has two examples"), (alone, "one class")):
        entry = measured(where, probe=True)
        assert entry.probe is None and entry.result.top1.value == 1
        assert entry.remarks[-1].startswith("no probe: ") and why in entry.remarks[-1]


def test_the_mistake_that_is_shown_is_the_one_the_model_was_most_certain_of(colours, measured):
    """Two images of class red: one all blue, one that has some red in it and is taken for blue with less certainty."""
    source = colours("set", red=["blue", "red"], blue=["blue"])
    Image.new("RGB", (4, 4), (150, 0, 255)).save(source / "red" / "009.png")
    entry = measured(source)
    names = list(entry.measured.answers.classifier.class_names)
    (mistake,) = entry.confusions
    assert (mistake.label, mistake.other, mistake.count) == (names.index("red"), names.index("blue"), 2)
    card = confusion_card(entry, mistake)
    assert card.truth == "red" and card.ranking.labels[0] == "blue"
    assert card.ranking.probabilities[0] > 0.999

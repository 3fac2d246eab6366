"""Thresholds, halves and digits of what a model answers: each by hand."""

import numpy as np
import torch

from seesay.base.records import Ranking
from seesay.formulas.similarity import unit
from seesay.tasks.answers import Answer, as_csv
from seesay.tasks.calibrate import decision_for, open_labelled_photos, predicted_by_the_other_half
from seesay.tasks.decision import Rules


def test_what_other_images_just_reach_is_no_answer(colour_model, paint, tmp_path):
    """The cosine of a green image and red is exactly 0, for all 60 of them: a threshold of 0 would let them all in."""
    for colour in ("red", "green"):
        for number in range(60):
            paint(tmp_path / "known" / colour / f"{number}.png", colour)
    labelled = open_labelled_photos(tmp_path / "known")
    classifier = colour_model.classifier(["red", "green"], "none")
    decision = decision_for(
        colour_model, classifier, rules=Rules(multi_label=True, false_alarms=0.05), labelled=labelled
    )
    image_ND = unit(torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    answers = [sorted(labels) for _, labels in decision.answers(image_ND, top=1)]
    assert answers == [["green"], ["red"], ["green", "red"], []]


def test_a_fit_is_tried_on_the_half_it_was_not_fitted_on():
    """Here a fit is the mean of its half, added to the other one: rows 0, 2 have mean 2, and rows 1, 3 have 20."""
    logit_NC = np.array([[1.0], [10.0], [3.0], [30.0]])
    changed, target = predicted_by_the_other_half(
        lambda logits, _: lambda others: others + logits.mean(), logit_NC, np.arange(4)
    )
    assert changed.ravel().tolist() == [1.0 + 20, 3.0 + 20, 10.0 + 2, 30.0 + 2]
    assert target.tolist() == [0, 2, 1, 3]


def test_probabilities_are_written_with_six_digits():
    ranking = Ranking(labels=("red", "blue"), probabilities=(0.87654321, 0.12345679))
    head, row = "".join(as_csv([Answer(photo="a.png", ranking=ranking)])).splitlines()
    assert head == "path,label_1,probability_1,label_2,probability_2"
    assert row == "a.png,red,0.876543,blue,0.123457"

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from seesay.base.errors import RefusedInput, UsageError
from seesay.data.labelled import LabelledSet
from seesay.formulas.confidence import TemperatureLine
from seesay.formulas.similarity import unit
from seesay.model.confidence import Confidence
from seesay.model.zero_shot import ZeroShotClassifier
from seesay.tasks.calibrate import (
    UNKNOWN,
    KnownPhotos,
    decision_for,
    fit_sigmoid,
    fit_softmax,
    in_words,
    open_labelled_photos,
    thresholds,
)
from seesay.tasks.decision import KNOWN, LabelDecision, Rules, known_cosines

LABELS = ("red", "green", "blue")


@pytest.fixture
def classifier() -> ZeroShotClassifier:
    return ZeroShotClassifier(class_names=LABELS, weights=torch.eye(3), scale=30.0, encode_images=lambda images: images)


@pytest.fixture
def known() -> KnownPhotos:
    """300 photos whose classes are drawn from the softmax of 10 times their cosines, and 100 of other things."""
    generator = np.random.default_rng(0)
    cosine_NC = unit(torch.from_numpy(generator.normal(size=(400, 3))).float()).numpy()
    label_N = (10 * cosine_NC + generator.gumbel(size=cosine_NC.shape)).argmax(1)
    label_N[300:] = UNKNOWN
    return KnownPhotos(name="known", cosine_NC=cosine_NC, label_N=label_N, skipped=())


@pytest.fixture
def labelled(tmp_path: Path, paint) -> LabelledSet:
    """Ten images each of red and green, and ten of yellow, which is no label."""
    for colour in ("red", "green", "yellow"):
        for number in range(10):
            paint(tmp_path / "labelled" / colour / f"{number}.png", colour)
    return open_labelled_photos(tmp_path / "labelled")


def test_the_fitted_scale_is_the_one_the_photos_were_drawn_with(classifier: ZeroShotClassifier, known: KnownPhotos):
    fitted, facts = fit_softmax(classifier, known)
    assert fitted.scale == pytest.approx(10, rel=0.2)
    assert fitted.scale == pytest.approx(30 / facts["temperature"])
    assert facts["n"] == 300
    assert facts["log_loss_after"] < facts["log_loss_before"]


def test_the_fit_lies_on_what_the_model_says_of_its_own_confidence(classifier: ZeroShotClassifier, known: KnownPhotos):
    line = TemperatureLine(start=math.log(2), names=0.0, cosine=0.0, least=-9.0, most=9.0)
    own = replace(classifier, confidence=Confidence(familiarities=(1.0,) * 3, line=line))
    fitted, facts = fit_softmax(own, known)
    assert facts["temperature"] == pytest.approx(fit_softmax(classifier, known)[1]["temperature"] / 2)
    cosine_NC = torch.from_numpy(known.cosine_NC)
    expected_NC = fit_softmax(classifier, known)[0].probabilities_of(cosine_NC)
    assert torch.allclose(fitted.probabilities_of(cosine_NC), expected_NC, atol=1e-5)


def test_labels_judged_one_by_one_get_as_much_probability_as_photos_show_them(
    classifier: ZeroShotClassifier, known: KnownPhotos
):
    for own in (classifier, replace(classifier, bias=-10.0)):
        fitted, facts = fit_sigmoid(own, known)
        share_NC = fitted.probabilities(torch.from_numpy(known.cosine_NC))
        # At the highest likelihood the mean probability is the share of matches.
        assert share_NC.mean().item() == pytest.approx(300 / 1200, abs=1e-4)
        assert ("log_loss_before" in facts) == (own.bias is not None)


def test_one_floor_holds_the_rate_on_photos_of_the_labels(classifier: ZeroShotClassifier, known: KnownPhotos):
    threshold_C = thresholds(classifier, Rules(none_of_these=0.1), known)
    assert threshold_C is not None
    best_N = known.cosine_NC[:300].max(1)
    assert len(set(threshold_C.tolist())) == 1
    assert 0.03 < (best_N < threshold_C[0].item()).mean() <= 0.1


def test_a_floor_of_each_label_holds_the_rate_on_photos_of_others(classifier: ZeroShotClassifier, known: KnownPhotos):
    threshold_C = thresholds(classifier, Rules(multi_label=True, false_alarms=0.1), known)
    assert threshold_C is not None
    for place in range(3):
        other_N = known.cosine_NC[known.label_N != place, place]
        assert 0.03 < (other_N >= threshold_C[place].item()).mean() <= 0.1


def test_a_given_probability_becomes_the_cosine_that_has_it(classifier: ZeroShotClassifier, known: KnownPhotos):
    sigmoid = replace(classifier, scale=2.0, bias=-1.0)
    threshold_C = thresholds(sigmoid, Rules(multi_label=True, threshold=0.5, thresholds={"blue": 0.3}), known)
    # 2 x - 1 = 0, and 2 x - 1 = log(3 / 7).
    assert threshold_C is not None
    assert threshold_C.tolist() == pytest.approx([0.5, 0.5, (1 + math.log(3 / 7)) / 2])
    assert thresholds(sigmoid, Rules(multi_label=True), None).tolist() == [0.5] * 3  # pyright: ignore[reportOptionalMemberAccess]


def test_too_few_photos_for_a_rate_are_told_how_many_it_takes(classifier: ZeroShotClassifier, known: KnownPhotos):
    few = replace(known, cosine_NC=known.cosine_NC[:50], label_N=known.label_N[:50])
    with pytest.raises(UsageError, match=r"50 photos of the labels in known are too few .* takes 299"):
        thresholds(classifier, Rules(none_of_these=0.01), few)
    with pytest.raises(UsageError, match=r"photos of other labels in known are too few .* takes 59"):
        thresholds(classifier, Rules(multi_label=True), few)


def test_a_single_answer_is_the_best_label_or_none(classifier: ZeroShotClassifier):
    image_ND = unit(torch.tensor([[1.0, 0.1, 0.0], [1.0, 1.0, 1.0]]))
    judge = LabelDecision(classifier=classifier, threshold_C=torch.full((3,), 0.8))
    told = judge.answers(image_ND, top=1)
    assert [labels for _, labels in told] == [("red",), ()]
    assert told[0][0].labels == ("red",)


def test_several_answers_come_best_first_whatever_top_is(classifier: ZeroShotClassifier):
    image_ND = unit(torch.tensor([[0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    judge = LabelDecision(classifier=classifier, threshold_C=torch.tensor([0.4, 0.4, 1.1]), is_multi_label=True)
    assert [labels for _, labels in judge.answers(image_ND, top=1)] == [("green", "red"), ()]


def test_a_labelled_folder_gives_a_judge_that_turns_other_things_away(colour_model, labelled: LabelledSet):
    rules = Rules(none_of_these=0.5)
    classifier = colour_model.classifier(["red", "green", "white"], "none")
    judge = decision_for(colour_model, classifier, rules=rules, labelled=labelled)
    facts = judge.facts
    assert (facts["n"], facts["known"], facts["known_lost"]) == (20, 20, 0)
    # Yellow is as far from red, green and white as one colour can be: its best cosine is below 1.
    assert (facts["others"], facts["others_detected"]) == (10, 10)
    assert facts["rate_held"] <= 0.5
    red_and_yellow_ND = unit(torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]))
    assert [labels for _, labels in judge.answers(red_and_yellow_ND, top=1)] == [("red",), ()]
    first, second = in_words(facts, rules)
    assert first.startswith("calibrated on 20 photos of labelled: temperature 0.01 (the least: ")
    assert first.endswith("(each half of the photos by the fit on the other half)") and "-0.0" not in first
    assert facts["log_loss_after"] >= 0 and second.endswith("(95 % confidence), unless the model was trained on these")
    assert "0 of 20 photos that show a label; so are 10 of 10 others" in second


def test_labels_without_a_probability_of_their_own_need_known_photos(colour_model):
    classifier = colour_model.classifier(LABELS)
    with pytest.raises(UsageError, match=r"colours shares probabilities out .* calibrate FOLDER"):
        decision_for(colour_model, classifier, rules=Rules(multi_label=True))
    assert decision_for(colour_model, classifier, rules=Rules()).facts == {}


def test_a_set_of_other_classes_is_refused_with_their_names(colour_model, labelled: LabelledSet):
    with pytest.raises(UsageError, match="no class of labelled is one of the labels; its classes: green, red, yellow"):
        decision_for(colour_model, colour_model.classifier(["cat", "dog"]), rules=Rules(), labelled=labelled)


def test_few_or_broken_known_photos_are_refused(colour_model, tmp_path: Path, paint):
    for number in range(9):
        paint(tmp_path / "few" / "red" / f"{number}.png", "red")
    classifier = colour_model.classifier(LABELS)
    with pytest.raises(UsageError, match="few has 9 photos of the labels that can be read; give 10 or more"):
        decision_for(colour_model, classifier, rules=Rules(), labelled=open_labelled_photos(tmp_path / "few"))
    for photo in (tmp_path / "few").rglob("*.png"):
        photo.write_bytes(b"broken")
    with pytest.raises(RefusedInput, match="none of 9 photos of few could be read"):
        decision_for(colour_model, classifier, rules=Rules(), labelled=open_labelled_photos(tmp_path / "few"))


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        (Rules(none_of_these=5.0), "none_of_these 5 should be between 0 and 1"),
        (Rules(none_of_these=0.05, multi_label=True), "goes without multi_label"),
        (Rules(threshold=0.5), "threshold is for multi_label"),
        (Rules(multi_label=True, threshold=1.0), "threshold 1 should be between 0 and 1"),
        (Rules(multi_label=True, false_alarms=0.0), "false_alarms 0 should be between 0 and 1"),
        (Rules(multi_label=True, thresholds={"gren": 0.5}), "'gren', which is no label. Nearest: green"),
    ],
)
def test_rules_that_cannot_be_kept_say_the_way_out(rules: Rules, complaint: str):
    with pytest.raises(UsageError, match=complaint):
        rules.check(LABELS)


def test_labels_that_would_be_taken_for_something_else_are_refused():
    with pytest.raises(UsageError, match="'none of these' is what none_of_these answers"):
        Rules(none_of_these=0.1).check(["cat", "none of these"])
    with pytest.raises(UsageError, match="'a; b' holds '; '"):
        Rules(multi_label=True).check(["a; b", "c"])


def test_a_model_may_bring_the_cosines_that_none_of_these_rests_on(colour_model):
    classifier = colour_model.classifier(LABELS)
    with pytest.raises(UsageError, match=r"brings no cosines .* add calibrate FOLDER"):
        decision_for(colour_model, classifier, rules=Rules(none_of_these=0.05))
    colour_model.facts[KNOWN] = known_cosines(np.linspace(0.5, 0.9, 401), "held-out photos")
    decision = decision_for(colour_model, classifier, rules=Rules(none_of_these=0.05))
    assert decision.threshold_C.tolist() == pytest.approx([0.52] * len(LABELS))
    assert in_words(decision.facts, Rules(none_of_these=0.05))[0].startswith(
        "none of these: below a cosine of 0.5200, as were 5.0 % of 401 held-out photos with their own label"
    )
    for broken in (
        "x",
        {},
        {"what": "a", "photos": 3, "cosines": [0.1] * 100},
        {"what": 1, "photos": 3, "cosines": [0.1] * 101},
    ):
        colour_model.facts[KNOWN] = broken
        with pytest.raises(RefusedInput, match="are no 101 cosines of so many photos"):
            decision_for(colour_model, classifier, rules=Rules(none_of_these=0.05))

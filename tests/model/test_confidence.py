import pytest
import torch

from seesay.base.errors import RefusedInput
from seesay.model.confidence import CONFIDENCE, confidence_of

FACT = {
    "what": "a test",
    "pairs": 100_000,
    "words": ["once", "", "", "", "", "cat photo", "", "", "the"],
    "line": {"start": 1.0, "names": -1.0, "cosine": -1.0, "least": -9.0, "most": 9.0},
}


def test_rare_words_make_a_classifier_less_sure_and_change_no_order(model):
    model.facts[CONFIDENCE] = FACT
    known, unknown = (model.classifier(names) for names in (["the cat", "photo"], ["the okapi", "once"]))
    assert known.confidence.familiarities == pytest.approx([0.759, 0.759], abs=1e-3)
    assert unknown.confidence.familiarities == pytest.approx([0, 0.1505], abs=1e-3)
    score_NC = torch.tensor([[0.3, 0.1], [0.2, 0.5]])
    sure_NC, less_NC = (classifier.probabilities_of(score_NC) for classifier in (known, unknown))
    assert (less_NC.amax(1) < sure_NC.amax(1)).all()
    assert less_NC.argmax(1).tolist() == sure_NC.argmax(1).tolist() == score_NC.argmax(1).tolist()
    assert less_NC.sum(1).tolist() == pytest.approx([1, 1])


def test_without_the_fact_there_is_one_temperature(model):
    classifier = model.classifier(["cat", "okapi"])
    assert classifier.confidence is None
    score_NC = torch.tensor([[0.3, 0.1]])
    assert torch.equal(classifier.probabilities_of(score_NC), (classifier.scale * score_NC).softmax(1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"pairs": 0},
        {"pairs": 10**400},
        {"words": "cat"},
        {"words": [""] * 2000 + ["cat"]},
        {"line": {"start": "1"}},
        {"line": FACT["line"] | {"cosine": float("nan")}},
        {"line": FACT["line"] | {"least": -1e6, "most": -1e6}},
        {"line": FACT["line"] | {"least": 1.0, "most": 0.0}},
        {"more": 1},
    ],
)
def test_a_fact_that_does_not_fit_is_refused(model, wrong):
    model.facts[CONFIDENCE] = FACT | wrong
    with pytest.raises(RefusedInput, match=f"{CONFIDENCE} of {model.name}"):
        confidence_of(model, ["cat"])

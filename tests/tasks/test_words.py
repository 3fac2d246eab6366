"""Where names and templates of classes come from, for models with embeddings of texts and without."""

from pathlib import Path

import pytest

from seesay.evaluation.evaluate import evaluate
from seesay.tasks.few_shot import open_labelled, probe_sets
from seesay.tasks.words import choose_words


@pytest.fixture
def mnist(paint, tmp_path: Path) -> Path:
    for name, colour in (("seven", "red"), ("other", "blue")):
        for number in range(2):
            paint(tmp_path / "eval-mnist" / name / f"{number}.png", colour)
    return tmp_path / "eval-mnist"


@pytest.mark.parametrize(
    ("name", "own"),
    [("bag-of-words", "{}"), ("masked-caption", "{}"), ("caption", "a photo of a {}.")],
)
def test_a_model_that_predicts_captions_keeps_its_own_templates_and_takes_the_papers_names(name, own, predictor, mnist):
    model = predictor(name)
    result = evaluate(model, mnist).entries[0].result
    assert (result.templates, result.templates_from) == ((own,), "the model")
    assert result.class_names_from == "the paper, for mnist"
    labelled = open_labelled(mnist)
    assert probe_sets(model, labelled, labelled, penalty=1e-3).templates == (own,)
    result = evaluate(model, mnist, templates=["the {}"]).entries[0].result
    assert (result.templates, result.templates_from) == (("the {}",), "the call")
    assert result.class_names_from == "the set"


def test_names_and_templates_of_sets_come_from_the_first_that_has_them(colour_model, predictor, mnist, paint, tmp_path):
    known = open_labelled(mnist)
    with_templates = open_labelled(mnist)
    with_templates.templates = ("a {} thing",)
    names = known.class_names
    words = choose_words(colour_model, (known, with_templates), names)
    assert (words.templates, words.templates_from, list(words.names)) == (("a {} thing",), "the set", list(names))
    words = choose_words(colour_model, (known,), names)
    assert words.templates_from == words.names_from == "the paper, for mnist"
    assert "7" in words.names
    words = choose_words(predictor("n-grams"), (known, with_templates), names)
    assert (words.templates, words.templates_from, words.names_from) == (("{}",), "the model", "the set")


def test_names_that_are_no_words_and_what_they_are_replaced_by_are_said(colour_model, paint, tmp_path: Path):
    for name in ("1", "2", "n00000001", "10"):
        paint(tmp_path / "set" / name / "0.png", "red")
    labelled = open_labelled(tmp_path / "set")
    assert choose_words(colour_model, (labelled,), labelled.class_names).notes == (
        "4 of 4 class names are no words, as '1': a prompt with them says nothing; rename them "
        "(evaluate: --class-names FILE).",
    )
    (tmp_path / "names.txt").write_text("cat\ndog\ntree\nbird, fowl\n")
    words = choose_words(colour_model, (labelled,), labelled.class_names, called=tmp_path / "names.txt")
    assert words.notes == ("class names: '1' is 'cat', '10' is 'dog', '2' is 'tree', ... (4 classes).",)
    assert list(words.names)[3] == ["bird", "fowl"]

from pathlib import Path

import numpy as np
import pytest
import torch

import seesay
from seesay.base.errors import RefusedInput, UsageError
from seesay.data.pairs import open_pairs
from seesay.tasks.retrieve import retrieval_scores


@pytest.fixture
def captioned(tmp_path: Path, paint) -> Path:
    for name, colour, captions in [
        ("a", "red", "something red\na blue lie"),
        ("b", "green", "something green"),
        ("c", "blue", "something blue\nblue it is"),
        ("d", "white", "a white wall"),
    ]:
        paint(tmp_path / f"{name}.png", colour)
        (tmp_path / f"{name}.txt").write_text(captions)
    return tmp_path


def test_recalls_can_be_counted_by_hand(colour_model, captioned: Path):
    scores = retrieval_scores(colour_model, open_pairs([captioned]))
    by_text, by_image = scores.text_to_image, scores.image_to_text
    # Of six captions only "a blue lie" does not rank its own image first: blue, then white, are ahead, green ties.
    assert by_text["r1"].value == pytest.approx(5 / 6)
    assert by_text["r5"].value == 1
    # The blue image's own captions score 1, but so does that foreign one, and ties count against us.
    assert by_image["r1"].value == pytest.approx(3 / 4)
    assert by_image["r5"].value == 1
    assert (by_text["r1"].n, by_image["r1"].n) == (6, 4)


def test_chance_is_that_of_drawing_without_putting_back(colour_model, captioned: Path):
    scores = retrieval_scores(colour_model, open_pairs([captioned]))
    assert scores.text_to_image["r1"].chance == pytest.approx(1 / 4)
    assert scores.text_to_image["r10"].chance == 1
    # Two images have 2 of the 6 captions, two have 1. Five of six miss both with no, one with 1/6 chance.
    assert scores.image_to_text["r1"].chance == pytest.approx((2 / 6 + 2 / 6 + 1 / 6 + 1 / 6) / 4)
    assert scores.image_to_text["r5"].chance == pytest.approx((1 + 1 + 5 / 6 + 5 / 6) / 4)


def test_every_interval_holds_its_value(colour_model, captioned: Path):
    scores = retrieval_scores(colour_model, open_pairs([captioned]))
    for direction in ("text_to_image", "image_to_text"):
        for score in getattr(scores, direction).values():
            assert 0 <= score.interval95[0] <= score.value <= score.interval95[1] <= 1
            assert score.interval95[0] < score.interval95[1]


def test_captions_are_encoded_as_they_are_unless_templates_are_given(colour_model, captioned: Path):
    retrieval_scores(colour_model, open_pairs([captioned]))
    assert colour_model.texts_seen[:2] == ["something red", "a blue lie"]
    colour_model.texts_seen.clear()
    retrieval_scores(colour_model, open_pairs([captioned]), templates=["{}", "a photo of {}"])
    assert colour_model.texts_seen[:3] == ["something red", "a photo of something red", "a blue lie"]


def test_a_broken_image_takes_its_captions_with_it(colour_model, captioned: Path):
    (captioned / "a.png").write_bytes(b"no image")
    scores = retrieval_scores(colour_model, open_pairs([captioned]))
    assert scores.text_to_image["r1"].n == 4
    assert scores.text_to_image["r1"].value == 1
    assert [(item.key, item.reason) for item in scores.skipped] == [("a", "not an image")]


def test_only_broken_images_are_an_error(colour_model, captioned: Path):
    for image in captioned.glob("*.png"):
        image.write_bytes(b"no image")
    with pytest.raises(RefusedInput, match=r"none of the 4 images.*4 x not an image"):
        retrieval_scores(colour_model, open_pairs([captioned]))


@pytest.mark.journey
def test_recall_is_that_of_the_whole_matrix_with_several_captions_per_image():
    generator = np.random.default_rng(0)
    image_ND, image_of_text_M = generator.normal(size=(1500, 4)), np.sort(generator.permutation(4000) % 1500)
    text_MD = image_ND[image_of_text_M] + 0.5 * generator.normal(size=(4000, 4))
    found = seesay.recall_at_k(image_ND, text_MD, image_of_text_M, ks=(1, 3))
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (image_ND, text_MD)]
    order_NM = (units[0] @ units[1].T).argsort(1)[:, ::-1]
    order_MN = (units[1] @ units[0].T).argsort(1)[:, ::-1]
    for k in (1, 3):
        own = (image_of_text_M[order_NM[:, :k]] == np.arange(1500)[:, None]).any(1).mean()
        assert found["image_to_text"][k] == pytest.approx(own, abs=1e-12)
        own = (order_MN[:, :k] == image_of_text_M[:, None]).any(1).mean()
        assert found["text_to_image"][k] == pytest.approx(own, abs=1e-12)


def test_recall_takes_tensors_counts_ties_against_the_model_and_names_its_arguments():
    same = torch.ones(3, 2)
    found = seesay.recall_at_k(image_embeddings=same, text_embeddings=same, image_of_text=[0, 1, 2], ks=(1, 2, 3))
    assert found == {direction: {1: 0.0, 2: 0.0, 3: 1.0} for direction in ("text_to_image", "image_to_text")}
    with pytest.raises(ValueError, match="at least once"):
        seesay.recall_at_k(same, same, [0, 0, 1])


def test_a_model_that_predicts_captions_is_refused_before_any_image_is_read(predictor, captioned, monkeypatch):
    monkeypatch.setattr("seesay.tasks.retrieve.encode_images_of", lambda *_: pytest.fail("images are encoded"))
    with pytest.raises(UsageError, match="predictor predicts captions, and has no embedding of a text") as caught:
        retrieval_scores(predictor("bag-of-words"), open_pairs([captioned]))
    assert "\n" not in str(caught.value)


def test_captions_that_lose_their_end_are_counted(captioned: Path):
    (captioned / "b.txt").write_text(" ".join(["green"] * 200))
    (note,) = retrieval_scores(seesay.load("box"), open_pairs([captioned])).notes
    assert note.startswith("1 caption is cut at the ") and "'green green" in note and len(note) < 160

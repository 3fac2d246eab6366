"""Engine torch-exact: a row is the same bits whatever else is encoded with it."""

import pytest
import torch
from PIL import Image
from small_towers import TOWERS, model_of, pictures

from seesay.base.errors import UsageError
from seesay.model.encode import embeddings_of, features_of
from seesay.model.hub import load, on_device
from seesay.tasks.classify_folder import classify_folder

MOST = 33
WORDS = ["cat", "a dog", "two red cars", "", "one of four hens that sit on a fence", "sea", "sky at night"]
TEXTS = [f"{WORDS[number % 7]} {'very ' * (number % 5)}{number}" for number in range(MOST)]


def pixels_of(model, count):
    return torch.stack([model.preprocess.pixels(image) for image in pictures(count, 40)])


def assert_rows_are_those_of_each_alone(model, sizes):
    pixels = pixels_of(model, max(sizes))
    image_ND = torch.cat([model.encode_pixels(pixels[at : at + 1]) for at in range(max(sizes))])
    feature_NW = torch.cat([features_of(model, pixels[at : at + 1]) for at in range(max(sizes))])
    text_ND = torch.cat([model.encode_texts([text]) for text in TEXTS[: max(sizes)]])
    for size in sizes:
        # The last of them, so that what comes before them is another number each time.
        assert torch.equal(model.encode_pixels(pixels[-size:]), image_ND[-size:])
        assert torch.equal(features_of(model, pixels[-size:]), feature_NW[-size:])
        assert torch.equal(embeddings_of(model, feature_NW[-size:]), image_ND[-size:])
        assert torch.equal(model.encode_texts(TEXTS[: max(sizes)][-size:]), text_ND[-size:])


@pytest.mark.parametrize("family", TOWERS)
def test_rows_are_the_same_bits_and_near_those_of_torch(family):
    model = model_of(family)
    exact = model.with_engine("torch-exact")
    assert_rows_are_those_of_each_alone(exact, (2, 7))
    assert (exact.encode_texts(TEXTS) - model.encode_texts(TEXTS)).abs().max() < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("family", TOWERS)
def test_rows_are_the_same_bits_in_batches_of_1_to_33(family):
    assert_rows_are_those_of_each_alone(model_of(family).with_engine("torch-exact"), range(1, MOST + 1))


@pytest.mark.parametrize("sizes", [(5,), pytest.param(range(1, MOST + 1), marks=pytest.mark.slow)])
def test_the_box_gives_the_same_bits(sizes):
    assert_rows_are_those_of_each_alone(load("box").with_engine("torch-exact"), sizes)


@pytest.mark.journey
def test_answers_are_the_same_bytes_in_any_batch(tmp_path):
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(pictures(5, 40)):
        Image.fromarray(image).save(tmp_path / "photos" / f"{number}.png")
    for size in (1, 2, 5):
        named = {"engine": "torch-exact", "batch_size": size, "out": tmp_path / f"{size}.jsonl"}
        classify_folder("box", tmp_path / "photos", ["cat", "dog", "a sunset"], **named)
    assert len({(tmp_path / f"{size}.jsonl").read_bytes() for size in (1, 2, 5)}) == 1


def test_it_is_of_the_cpu_and_for_models_that_embed_texts(predictor):
    with pytest.raises(UsageError, match="engine torch-exact computes on the CPU"):
        on_device("box", "cuda", engine="torch-exact")
    with pytest.raises(UsageError, match="predicts captions, and engine torch-exact is for models that embed texts"):
        predictor("caption").with_engine("torch-exact")

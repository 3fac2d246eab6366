"""Encoding in bfloat16 and float16, and in batches of any size: near the exact rows, and said where it cannot be."""

import numpy as np
import pytest
import torch

import seesay
from seesay.base.errors import RefusedInput, UsageError
from seesay.model.cache import image_fingerprint, text_fingerprint
from seesay.model.encode import embeddings_of, features_of

# The last bit of a significand: of IEEE 754 binary16, and of float32 cut to 16 bits. Rounding is off by half of it.
EPSILON = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
TEXTS = ["a photo of a red dog", "blue cats", "a mat"]


@pytest.fixture
def images():
    return [np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8) for number in range(5)]


@pytest.mark.parametrize("precision", EPSILON)
@pytest.mark.parametrize("kind", ["vit", "resnet", "conv", "siglip"])
def test_rows_are_near_those_of_float32_and_exactly_those_of_rounding_at_each_product(
    with_tower, images, kind, precision
):
    exact = with_tower(kind)
    rows_ND, texts_ND = exact.encode_images(images), exact.encode_texts(TEXTS)
    other = exact.with_precision(precision)
    for found, right in ((other.encode_images(images), rows_ND), (other.encode_texts(TEXTS), texts_ND)):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.norm(dim=1), torch.ones(len(found)), rtol=0, atol=1e-6)
        assert (found - right).norm(dim=1).max() < 8 * EPSILON[precision]
    # The same without rounding the weights beforehand.
    exact.precision = precision
    assert torch.equal(exact.encode_images(images), other.encode_images(images))
    assert torch.equal(exact.encode_texts(TEXTS), other.encode_texts(TEXTS))


@pytest.mark.parametrize("objective", ["caption", "bag-of-words", "masked-caption"])
def test_likelihoods_of_captions_are_near_those_of_float32(predictor, images, objective):
    exact = predictor(objective)
    other = exact.with_precision("bfloat16")
    right_NP = exact.log_likelihoods(exact.encode_images(images), exact.prepare(TEXTS))
    found_NP = other.log_likelihoods(other.encode_images(images), other.prepare(TEXTS))
    assert found_NP.dtype == torch.float32
    torch.testing.assert_close(found_NP, right_NP, rtol=4 * EPSILON["bfloat16"], atol=0.05)
    labels = ["red dog", "blue cats"]
    assert other.classify(images, labels)[0].labels == exact.classify(images, labels)[0].labels


def test_features_are_rounded_too_and_cached_apart(with_tower, images):
    exact = with_tower("vit")
    other = exact.with_precision("bfloat16")
    pixels = torch.stack([exact.preprocess.read(image) for image in images])
    exact_NW, rounded_NW = features_of(exact, pixels), features_of(other, pixels)
    assert not torch.equal(exact_NW, rounded_NW)
    assert (exact_NW - rounded_NW).norm() < 8 * EPSILON["bfloat16"] * exact_NW.norm()
    assert (embeddings_of(other, rounded_NW) - other.encode_images(images)).norm(dim=1).max() < 4 * EPSILON["bfloat16"]
    assert len({image_fingerprint(each) for each in (exact, other, exact.with_precision("float16"))}) == 3
    assert text_fingerprint(exact) == text_fingerprint(other), "a bag of words multiplies nothing"


def test_the_model_that_was_is_as_it_was_and_what_is_not_rounded_is_shared(model, images):
    before = model.encode_images(images)
    other = model.with_precision("bfloat16")
    assert torch.equal(model.encode_images(images), before) and model.precision == "float32"
    own, rounded = dict(model.clip.named_parameters()), dict(other.clip.named_parameters())
    for name in own:
        is_shared = own[name].data_ptr() == rounded[name].data_ptr()
        assert is_shared == (rounded[name].dtype == torch.float32), name
    assert {weight.dtype for weight in rounded.values()} == {torch.float32, torch.bfloat16}
    assert model.with_precision("float32").clip is model.clip and other.with_precision("bfloat16").clip is other.clip


def test_to_move_one_of_the_models_does_not_move_the_other(model, images):
    before = model.encode_images(images)
    other = model.with_precision("bfloat16")
    # As `to` of a device does: in the place of what every parameter holds.
    other.clip.double()
    assert {weight.dtype for weight in model.clip.parameters()} == {torch.float32}
    assert torch.equal(model.encode_images(images), before)


def test_what_cannot_be_done_in_a_precision_is_said(model, tmp_path):
    with pytest.raises(UsageError, match=r"precision 'bfloat' is not known\. Nearest: bfloat16"):
        model.with_precision("bfloat")
    for name in ("bf16", torch.bfloat16):
        with pytest.raises(UsageError, match="Nearest: bfloat16"):
            model.with_precision(name)
    other = model.with_precision("bfloat16")
    assert repr(other) == repr(model).replace(">", ", in bfloat16>")
    with pytest.raises(UsageError, match="in bfloat16, and its exact weights are gone"):
        other.with_precision("float32")
    with pytest.raises(
        UsageError, match=r"only to encode with; save the one it was made of, with dtype=torch\.bfloat16"
    ):
        other.save(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_numbers_beyond_float16_name_it_and_the_way_out(with_tower, images):
    model = with_tower("vit")
    model.clip.image_tower.projection.data.mul_(1e6)
    right_ND = model.encode_images(images)
    assert (model.with_precision("bfloat16").encode_images(images) - right_ND).norm(dim=1).max() < 8 * 2.0**-8
    with pytest.raises(RefusedInput, match=r"in float16, whose numbers end at 65,504: .* use bfloat16 or float32"):
        model.with_precision("float16").encode_images(images)


@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_so_many_images_are_encoded_at_once(model, images, size, monkeypatch):
    right_ND = model.encode_images(images)
    seen = []
    chosen = model.with_batch_size(size)
    monkeypatch.setattr(
        chosen.clip,
        "embed_images",
        lambda pixels: seen.append(len(pixels)) or type(model.clip).embed_images(model.clip, pixels),
    )
    torch.testing.assert_close(chosen.encode_images(images), right_ND, rtol=0, atol=1e-6)
    assert seen == [size] * (5 // size) + ([5 % size] if 5 % size else [])
    assert chosen.with_batch_size(None).batch_size == size and model.batch_size == 64


def test_every_verb_that_encodes_takes_both(paint, colour_model, tmp_path, monkeypatch):
    asked = []
    kind = type(colour_model)
    monkeypatch.setattr(kind, "with_precision", lambda model, precision: asked.append(precision) or model)
    monkeypatch.setattr(kind, "with_batch_size", lambda model, size: asked.append(size) or model)
    for colour in ("red", "blue"):
        for number in range(3):
            paint(tmp_path / "set" / colour / f"{number}.png", colour)
    both = {"precision": "bfloat16", "batch_size": 3}
    seesay.classify_folder(colour_model, tmp_path / "set", ["red", "blue"], out=tmp_path / "x.csv", **both)
    seesay.evaluate(colour_model, tmp_path / "set", **both)
    seesay.probe(tmp_path / "set", tmp_path / "set", model=colour_model, penalty=1.0, **both)
    assert asked == ["bfloat16", 3] * 3

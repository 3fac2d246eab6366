"""Code written for open_clip and for sentence-transformers runs with our models, and gets what they would give."""

from pathlib import Path

import numpy as np
import open_clip_folders
import pytest
import torch
from PIL import Image

import seesay
from seesay.base.errors import UsageError
from seesay.model.bundle import Model
from seesay.model.hub import load

TEXTS = ["a red dog", "", "two red cats on a blue mat and a dog on it, all of them in the sun"]


def image_of(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8))


def models(name: str, vit: Model, siglip: Model, tmp_path: Path) -> Model:
    if name in ("vit", "siglip"):
        return {"vit": vit, "siglip": siglip}[name]
    getattr(open_clip_folders, name)(tmp_path / name)
    return load(tmp_path / name)


@pytest.mark.parametrize("name", ["vit", "siglip", "clipa", "worldwide"])
def test_its_rows_are_those_of_the_model(name: str, vit: Model, siglip: Model, tmp_path: Path):
    known = models(name, vit, siglip, tmp_path)
    images = [image_of(seed) for seed in range(3)]
    model, preprocess, tokenizer = seesay.open_clip_like(known)
    pixels, ids = torch.stack([preprocess(image) for image in images]), tokenizer(TEXTS)
    assert ids.shape == (3, model.context_length) and not model.training
    with torch.no_grad():
        image_BD, text_BD, scale, *bias = model(pixels, ids)
        raw_BD = model.encode_image(pixels)
    torch.testing.assert_close(image_BD, known.encode_images(images), rtol=0, atol=1e-6)
    torch.testing.assert_close(text_BD, known.encode_texts(TEXTS), rtol=0, atol=1e-6)
    torch.testing.assert_close(raw_BD / raw_BD.norm(dim=1, keepdim=True), image_BD)
    assert not torch.allclose(raw_BD.norm(dim=1), torch.ones(3))
    assert float(scale) == pytest.approx(known.logit_scale) == pytest.approx(float(model.logit_scale.detach().exp()))
    assert [value.item() for value in bias] == ([known.logit_bias] if known.logit_bias is not None else [])


def test_encode_takes_texts_and_images_as_sentence_transformers_does(vit: Model):
    model, _, _ = seesay.open_clip_like(vit)
    image = image_of(0)
    rows = model.encode(["a red dog", image, image_of(1), "blue"], batch_size=1, normalize_embeddings=True)
    assert isinstance(rows, np.ndarray) and rows.dtype == np.float32
    np.testing.assert_allclose(rows[[0, 3]], vit.encode_texts(["a red dog", "blue"]), atol=1e-6)
    np.testing.assert_allclose(rows[[1, 2]], vit.encode_images([image, image_of(1)]), atol=1e-6)
    one = model.encode("a red dog", convert_to_tensor=True, show_progress_bar=False)
    assert isinstance(one, torch.Tensor) and one.shape == (vit.architecture.embed_dim,)
    np.testing.assert_allclose(model.encode(image), model.encode([image])[0])
    assert model.encode([]).shape == (0, vit.architecture.embed_dim)


def test_arguments_of_sentence_transformers_are_done_or_refused(vit: Model):
    model, _, _ = seesay.open_clip_like(vit)
    texts = ["a red dog", "blue", ""]
    rows = model.encode(texts, None, "a photo of ", 2, normalize_embeddings=True, truncate_dim=5)
    whole = vit.encode_texts(["a photo of a red dog", "a photo of blue", "a photo of "])[:, :5]
    np.testing.assert_allclose(rows, torch.nn.functional.normalize(whole, dim=1), atol=1e-6)
    listed = model.encode(texts, convert_to_numpy=False, show_progress_bar=True, device="cpu", precision="float32")
    assert isinstance(listed, list) and torch.equal(torch.stack(listed), model.encode(texts, convert_to_tensor=True))
    np.testing.assert_array_equal(model.encode(np.array(texts)), model.encode(texts))
    np.testing.assert_array_equal(model.encode(np.asarray(image_of(0))), model.encode(image_of(0)))
    for refused in (
        {"prompt_name": "query"},
        {"output_value": "token_embeddings"},
        {"precision": "int8"},
        {"truncate_dim": 0},
        {"truncate_dim": 25},
        {"pool": {}},
        {"chunk_size": 9},
    ):
        with pytest.raises(UsageError, match=next(iter(refused))):
            model.encode(texts, **refused)
    with pytest.raises(TypeError, match="width"):
        model.encode(texts, width=5)


def test_it_is_trained_and_its_model_with_it(vit: Model):
    model, preprocess, tokenizer = seesay.open_clip_like(vit)
    before = vit.encode_texts(TEXTS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    image_BD, text_BD, scale = model(torch.stack([preprocess(image_of(seed)) for seed in range(3)]), tokenizer(TEXTS))
    (scale * image_BD @ text_BD.T).softmax(1).diagonal().log().mean().neg().backward()
    optimizer.step()
    assert not torch.allclose(vit.encode_texts(TEXTS), before)
    assert len(list(model.parameters())) == len(list(vit.clip.parameters()))


def test_a_model_that_predicts_captions_has_no_such_methods(predictor):
    with pytest.raises(UsageError, match="predicts captions, and has no embedding of a text"):
        seesay.open_clip_like(predictor("caption"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("operators")
def test_ids_and_pixels_are_those_of_open_clip(vit: Model, tmp_path: Path):
    pytest.importorskip("torchvision", reason="open_clip needs torchvision", exc_type=ImportError)
    open_clip = pytest.importorskip("open_clip")
    vit.save(tmp_path / "model", "open_clip")
    theirs, peer_preprocess = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'model'}")
    theirs.eval()
    model, preprocess, tokenizer = seesay.open_clip_like(tmp_path / "model")
    pixels = preprocess(image_of(0))
    torch.testing.assert_close(pixels, peer_preprocess(image_of(0)), rtol=0, atol=1e-6)
    ids = tokenizer(TEXTS)
    with torch.no_grad():
        for normalize in (False, True):
            torch.testing.assert_close(
                model.encode_image(pixels[None], normalize=normalize),
                theirs.encode_image(pixels[None], normalize=normalize), rtol=1e-5, atol=1e-5,
            )  # fmt: skip
            torch.testing.assert_close(
                model.encode_text(ids, normalize=normalize), theirs.encode_text(ids, normalize=normalize),
                rtol=1e-5, atol=1e-5,
            )  # fmt: skip

"""A CLIP in part or in a wrapper: one tower, weights under another name, added tokens, a SentenceTransformer."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers_folders import SIDES, halved, with_added_tokens, wrapped

from seesay.base.errors import RefusedInput, UsageError
from seesay.model.bundle import Model
from seesay.model.hub import load

TEXTS = ["a red dog", "", "two red cats on a blue mat"]
IMAGES = [np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8) for seed in range(2)]


@pytest.mark.parametrize("kind", ["vit", "siglip"])
def test_an_image_tower_alone_embeds_images_and_says_what_is_missing(kind: str, request, tmp_path: Path):
    whole = request.getfixturevalue(kind)
    whole.save(tmp_path / "half", "hf")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"):
        (tmp_path / "half" / name).unlink(missing_ok=True)
    half = load(halved(tmp_path / "half", "vision"))
    assert torch.equal(half.encode_images(IMAGES), whole.encode_images(IMAGES))
    line = r"a \w+_vision_model embeds images alone: it was saved without its text tower; load all of it"
    for use in (
        lambda: half.encode_texts(TEXTS),
        lambda: half.classify(IMAGES, ["a cat", "a dog"]),
        lambda: half.classifier(["a cat", "a dog"]),
        lambda: half.save(tmp_path / "saved"),
    ):
        with pytest.raises(UsageError, match=line):
            use()
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize("kind", ["vit", "siglip"])
def test_a_text_tower_alone_embeds_texts_and_says_what_is_missing(kind: str, request, tmp_path: Path):
    whole = request.getfixturevalue(kind)
    whole.save(tmp_path / "half", "hf")
    (tmp_path / "half" / "preprocessor_config.json").unlink()
    half = load(halved(tmp_path / "half", "text"))
    assert torch.equal(half.encode_texts(TEXTS), whole.encode_texts(TEXTS))
    with pytest.raises(UsageError, match=r"a \w+_text_model embeds texts alone: it was saved without its image tower"):
        half.encode_images(IMAGES)


@pytest.mark.parametrize("side", SIDES)
def test_a_tower_without_its_projection_is_refused_by_the_name_of_what_it_is(side: str, vit: Model, tmp_path: Path):
    vit.save(tmp_path / "half", "hf")
    with pytest.raises(RefusedInput, match=r"projection\.weight, so that its tower gives features and no embeddings"):
        load(halved(tmp_path / "half", side, projection=False))


@pytest.mark.parametrize("name", ["clipseg", "altclip", "chinese_clip", "bert", 7, ["clip"]])
def test_another_model_of_transformers_is_named_with_what_is_read(name: object, vit: Model, tmp_path: Path):
    vit.save(tmp_path / "model", "hf")
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": name}))
    with pytest.raises(
        RefusedInput,
        match=rf"model_type {re.escape(repr(name))}, which seesay does not read; .* reads clip, siglip, siglip2, cl",
    ):
        load(tmp_path / "model")


@pytest.mark.parametrize("variant", ["fp16", "bf16", "fp32"])
@pytest.mark.parametrize("layout", ["hf", "open_clip"])
def test_weights_that_lie_only_rounded_are_read(variant: str, layout: str, vit: Model, tmp_path: Path):
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": None}[variant]
    vit.save(tmp_path / "model", layout, dtype=dtype)  # pyright: ignore[reportArgumentType]
    whole = load(tmp_path / "model").encode_texts(TEXTS)
    weights = next((tmp_path / "model").glob("*.safetensors"))
    weights.rename(weights.with_name(weights.name.replace(".safetensors", f".{variant}.safetensors")))
    assert torch.equal(load(tmp_path / "model").encode_texts(TEXTS), whole)


def test_added_tokens_are_read_as_one_each_and_all_else_is_as_before(vit: Model, tmp_path: Path):
    vit.save(tmp_path / "model", "hf")
    with_added_tokens(tmp_path / "model", ["<zebra>", "<okapi>"])
    model = load(tmp_path / "model")
    assert torch.equal(model.encode_texts(TEXTS), vit.encode_texts(TEXTS))
    count = vit.tokenizer.vocab_size
    assert model.tokenizer(["a <okapi> dog"])[0][2] == count + 1
    assert not torch.allclose(model.encode_texts(["a <okapi> dog"]), vit.encode_texts(["a <okapi> dog"]), atol=1e-3)
    model.save(tmp_path / "ours")
    assert torch.equal(load(tmp_path / "ours").encode_texts(["a <zebra>"]), model.encode_texts(["a <zebra>"]))


def test_added_tokens_where_the_largest_id_is_pooled_are_refused(vit: Model, tmp_path: Path):
    """transformers would pool at the added token, since files of before name none that ends a text."""
    vit.save(tmp_path / "model", "hf")
    with_added_tokens(tmp_path / "model", ["<zebra>"])
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 2
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(RefusedInput, match="they are of two models"):
        load(tmp_path / "model")


OLD, NEW = "sentence_transformers.models.", "sentence_transformers.base.modules.transformer."


@pytest.mark.parametrize(
    ("inner", "kind"), [("0_CLIPModel", f"{OLD}CLIPModel"), ("", f"{OLD}CLIPModel"), ("", f"{NEW}Transformer")]
)
def test_the_clip_of_a_sentence_transformer_is_read_where_it_lies(inner: str, kind: str, vit: Model, tmp_path: Path):
    vit.save(tmp_path / "st" / inner, "hf")
    wrapped(tmp_path / "st", [(inner, kind), ("1_Normalize", f"{OLD}Normalize")])
    model = load(tmp_path / "st")
    assert model.name == "st" and torch.equal(model.encode_texts(TEXTS), vit.encode_texts(TEXTS))


@pytest.mark.parametrize(
    ("modules", "line"),
    [
        ([("", f"{OLD}CLIPModel"), ("1_Dense", f"{OLD}Dense")], "a SentenceTransformer of CLIPModel, Dense; .*others"),
        ([("0_BoW", f"{OLD}BoW")], "a SentenceTransformer of BoW"),
        ([("../../etc", f"{OLD}CLIPModel")], r"has its CLIP in '\.\./\.\./etc', which is no folder beside it"),
        ([], "is no list of modules"),
    ],
)
def test_more_than_a_clip_is_refused(modules: list[tuple[str, str]], line: str, vit: Model, tmp_path: Path):
    vit.save(tmp_path / "st", "hf")
    wrapped(tmp_path / "st", modules)
    with pytest.raises(RefusedInput, match=line):
        load(tmp_path / "st")


# Beside transformers itself.


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers")


@torch.inference_mode()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize("kind", ["vit", "siglip"])
def test_towers_that_transformers_saved_alone_embed_as_there(kind: str, request, transformers, tmp_path: Path):
    whole: Model = request.getfixturevalue(kind)
    whole.save(tmp_path / "whole", "hf")
    names = {
        "vit": ("CLIPVisionModelWithProjection", "CLIPTextModelWithProjection"),
        "siglip": ("SiglipVisionModel", "SiglipTextModel"),
    }
    images, texts = (getattr(transformers, name).from_pretrained(tmp_path / "whole").eval() for name in names[kind])
    for peer, side in ((images, "images"), (texts, "texts")):
        peer.save_pretrained(tmp_path / side)
        for file in ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tmp_path / "whole" / file, tmp_path / side)
    pixels = torch.stack([whole.preprocess.normalise(whole.preprocess.read(image)) for image in IMAGES])
    theirs = images(pixel_values=pixels)
    rows = F.normalize(getattr(theirs, "image_embeds", getattr(theirs, "pooler_output", None)), dim=-1)
    torch.testing.assert_close(rows, load(tmp_path / "images").encode_images(IMAGES), rtol=0, atol=1e-5)
    half = load(tmp_path / "texts")
    fill = getattr(whole.architecture.text, "pad", 0)
    ids = [row + [fill] * (half.tokenizer.context - len(row)) for row in half.tokenizer(TEXTS)]
    theirs = texts(input_ids=torch.tensor(ids))
    rows = F.normalize(getattr(theirs, "text_embeds", getattr(theirs, "pooler_output", None)), dim=-1)
    torch.testing.assert_close(rows, half.encode_texts(TEXTS), rtol=0, atol=1e-5)


@torch.inference_mode()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("operators")
def test_variants_shards_and_added_tokens_by_transformers_own_writer(vit: Model, transformers, tmp_path: Path):
    vit.save(tmp_path / "whole", "hf")
    peer = transformers.CLIPModel.from_pretrained(tmp_path / "whole").eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(tmp_path / "whole")
    tokenizer.add_tokens(["<zebra>", "okapi"])
    # Its `resize_token_embeddings` does not know this class in version 5.24.
    embeddings = peer.text_model.embeddings
    rows = torch.nn.functional.pad(embeddings.token_embedding.weight, (0, 0, 0, 2), value=0.3)
    embeddings.token_embedding = torch.nn.Embedding.from_pretrained(rows)
    peer.config.text_config.vocab_size = len(tokenizer)
    for folder, options in {
        "one": {},
        "variant": {"variant": "fp16"},
        "shards": {"variant": "fp16", "max_shard_size": "40KB"},
    }.items():
        peer.save_pretrained(tmp_path / folder, **options)
        tokenizer.save_pretrained(tmp_path / folder)
        shutil.copy(tmp_path / "whole" / "preprocessor_config.json", tmp_path / folder)
        model = load(tmp_path / folder)
        words = [*TEXTS, "a <zebra> and an okapi"]
        assert model.tokenizer(words) == tokenizer(words, truncation=True)["input_ids"]
        ids = tokenizer(words, truncation=True, padding=True, return_tensors="pt")
        rows = peer.get_text_features(**ids)
        rows = F.normalize(getattr(rows, "pooler_output", rows), dim=-1)
        torch.testing.assert_close(rows, model.encode_texts(words), rtol=0, atol=1e-5)

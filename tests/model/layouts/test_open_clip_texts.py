"""CLIPA and MetaCLIP's worldwide models in open_clip's layout: other pooling, and text towers of other vocabularies."""

import json
from pathlib import Path

import open_clip_folders
import pytest
import torch
from open_clip_folders import CONFIG

from seesay.base.errors import RefusedInput, UsageError
from seesay.data.images import Preprocess
from seesay.model.bundle import Model
from seesay.model.hub import load
from seesay.nets.clip import build_clip


@pytest.fixture
def clipa(tmp_path: Path):
    """The folder and the towers of a small CLIPA."""
    return tmp_path / "clipa", open_clip_folders.clipa(tmp_path / "clipa")


@pytest.fixture
def worldwide(tmp_path: Path):
    """The folder and the towers of a small worldwide model."""
    return tmp_path / "world", open_clip_folders.worldwide(tmp_path / "world")


@pytest.mark.parametrize("kind", ["clipa", "worldwide"])
def test_it_is_the_model_that_was_written_also_from_our_own_layout(kind: str, request, tmp_path: Path):
    folder, clip = request.getfixturevalue(kind)
    found = load(folder)
    assert all(torch.equal(tensor, found.clip.state_dict()[name]) for name, tensor in clip.state_dict().items())
    found.save(tmp_path / "ours")
    again = load(tmp_path / "ours")
    assert (again.architecture, again.tokenizer.to_json()) == (found.architecture, found.tokenizer.to_json())
    texts = ["a red dog", "a [SEP] blue </s> mat", ""]
    assert torch.equal(again.encode_texts(texts), found.encode_texts(texts))


def test_the_patches_of_a_clipa_are_averaged_before_the_norm(clipa):
    tower = load(clipa[0]).clip.image_tower.double()
    pixels = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    patches = tower.patches(pixels).flatten(2).transpose(1, 2)
    x = torch.cat([tower.class_token.expand(2, 1, -1), patches], dim=1) + tower.positions
    for block in tower.blocks:
        heads = [part.unflatten(-1, (4, 8)).transpose(1, 2) for part in block.attention.qkv(block.ln_1(x)).chunk(3, -1)]
        weights = (heads[0] @ heads[1].transpose(-1, -2) / 8**0.5).softmax(-1)
        x = x + block.attention.out((weights @ heads[2]).transpose(1, 2).flatten(2))
        x = x + block.proj(torch.nn.functional.gelu(block.fc(block.ln_2(x))))
    right = tower.ln_post(x[:, 1:].mean(1)) @ tower.projection
    torch.testing.assert_close(tower(pixels), right, rtol=0, atol=1e-12)


def test_captions_of_a_clipa_have_id_0_for_their_separator_and_behind_their_end(clipa):
    found = load(clipa[0])
    (row,) = found.tokenizer(["a red [SEP] dog"])
    assert row[0] == 2 and row.count(0) == 2 and row[-1] == 0 and 3 not in row
    assert (found.architecture.text.pad, found.architecture.text.eps) == (0, 1e-5)
    assert found.tokenizer(["A  Red dog"]) == found.tokenizer(["a red dog"])


def test_a_caption_of_a_worldwide_model_ends_at_its_first_end_token(worldwide):
    found = load(worldwide[0])
    one, other = found.tokenizer(["a red </s> dog", "a red"])
    assert one == other and one[-1] == 2 and one[0] == 0
    assert torch.equal(*found.encode_texts(["a red </s> dog", "a red"]))


@pytest.mark.parametrize(
    ("kind", "section", "values", "message"),
    [
        ("clipa", "vision_cfg", {"final_ln_after_pool": False}, "pool_type 'avg' without final_ln_after_pool"),
        ("clipa", "vision_cfg", {"pool_type": "none"}, "vision_cfg.pool_type"),
        ("clipa", "vision_cfg", {"no_ln_pre": False}, r"missing visual\.ln_pre"),
        ("clipa", "text_cfg", {"no_causal_mask": False}, "pool_type 'last' and no_causal_mask False"),
        ("clipa", "text_cfg", {"pool_type": "first"}, "text_cfg.pool_type"),
        ("worldwide", "text_cfg", {"no_causal_mask": True}, "pool_type 'eos' and no_causal_mask True"),
        ("worldwide", "text_cfg", {"vocab_size": 50}, r"token_embedding\.weight is \(80, 16\), expected \(50, 16\)"),
        ("worldwide", "text_cfg", {"tokenizer_kwargs": {"strip_sep_token": True}}, "no sep_token"),
    ],
)
def test_what_is_put_together_otherwise_is_refused(kind: str, section: str, values: dict, message: str, request):
    folder, _ = request.getfixturevalue(kind)
    config = json.loads((folder / CONFIG).read_text())
    config["model_cfg"][section].update(values)
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(RefusedInput, match=message):
        load(folder)


def test_a_class_token_behind_the_norm_or_before_it_is_the_same(worldwide):
    folder, clip = worldwide
    config = json.loads((folder / CONFIG).read_text())
    config["model_cfg"]["vision_cfg"]["final_ln_after_pool"] = True
    (folder / CONFIG).write_text(json.dumps(config))
    assert torch.equal(load(folder).clip.image_tower.ln_post.weight, clip.image_tower.ln_post.weight)


def test_a_vit_that_pools_otherwise_goes_to_open_clip_and_back_and_not_to_transformers(vit: Model, tmp_path: Path):
    image = vit.architecture.image.model_copy(update={"pool": "patches", "pre_norm": False})
    architecture = vit.architecture.model_copy(update={"image": image})
    model = Model(build_clip(architecture, seed=0), architecture, vit.tokenizer, preprocess=Preprocess(size=16))
    model.save(tmp_path / "model", "open_clip")
    found = load(tmp_path / "model")
    assert found.architecture.image == image
    with pytest.raises(UsageError, match="pools the class token of a ViT with a LayerNorm before"):
        model.save(tmp_path / "hf", "hf")


def test_a_usual_vit_is_written_without_the_new_words(vit: Model):
    assert not {"pool", "pre_norm"} & set(vit.architecture.model_dump()["image"])

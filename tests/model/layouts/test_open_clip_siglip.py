"""SigLIP in open_clip's layout, whose image tower is timm's; benchmarks/2026-11-28-families has open_clip beside it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from seesay.base.errors import RefusedInput, UsageError
from seesay.model.bundle import Model
from seesay.model.hub import load
from seesay.model.layouts import open_clip_siglip
from seesay.model.layouts.mapping import to_theirs

WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"

# The names that open_clip has SigLIPs of, and whether timm 1.0.31 gives them the approximation of the GELU.
ACTIVATIONS = {
    "vit_base_patch16_siglip_224": "gelu",
    "vit_base_patch16_siglip_512": "gelu",
    "vit_base_patch32_siglip_256": "gelu_tanh",
    "vit_large_patch16_siglip_256": "gelu",
    "vit_large_patch16_siglip_384": "gelu",
    "vit_large_patch16_siglip_512": "gelu_tanh",
    "vit_so400m_patch14_siglip_224": "gelu",
    "vit_so400m_patch14_siglip_378": "gelu",
    "vit_so400m_patch16_siglip_256": "gelu_tanh",
    "vit_so400m_patch16_siglip_512": "gelu_tanh",
    "vit_giantopt_patch16_siglip_256": "gelu_tanh",
    "vit_giantopt_patch16_siglip_384": "gelu_tanh",
}


@pytest.fixture
def folder(open_clip_siglip_folder: Path) -> Path:
    return open_clip_siglip_folder


@pytest.fixture
def siglip(small_siglip: Model) -> Model:
    return small_siglip


def change(folder: Path, section: str, **values) -> None:
    config = json.loads((folder / CONFIG).read_text())
    place = config["preprocess_cfg"] if section == "preprocess_cfg" else config["model_cfg"]
    (place if section in ("model_cfg", "preprocess_cfg") else place[section]).update(values)
    (folder / CONFIG).write_text(json.dumps(config))


def test_it_is_the_model_that_was_written(siglip: Model, folder: Path, tmp_path: Path):
    found = load(folder)
    assert all(torch.equal(tensor, found.clip.state_dict()[name]) for name, tensor in siglip.clip.state_dict().items())
    assert found.architecture == siglip.architecture
    assert (found.preprocess.resize, found.preprocess.interpolation) == ("squash", "bicubic")
    found.save(tmp_path / "ours")
    again = load(tmp_path / "ours")
    assert again.tokenizer.to_json() == found.tokenizer.to_json()
    assert torch.equal(again.encode_texts(["A Red dog!"]), found.encode_texts(["A Red dog!"]))


def test_texts_are_cleaned_as_open_clip_does(folder: Path):
    tokenizer = load(folder).tokenizer
    written = ["A Red,  dog!", "a_red_dog", "a red d&ocirc;g", "a red dÃ´g", " a\tred\ndog. "]
    plain = ["a red dog", "a red dog", "a red dôg", "a red dôg", "a red dog"]
    assert tokenizer(written) == tokenizer(plain)
    change(folder, "text_cfg", tokenizer_kwargs={"clean": "lower"})
    assert load(folder).tokenizer(["A  Red dog"]) == tokenizer(["a red dog"])
    assert load(folder).tokenizer(["a red, dog"]) != tokenizer(["a red dog"])


@pytest.mark.parametrize(("name", "activation"), ACTIVATIONS.items())
def test_the_activation_is_that_of_timms_tower_of_the_name(folder: Path, name: str, activation: str):
    patch = int(name.split("_patch")[1][:2])
    change(folder, "vision_cfg", timm_model_name=name)
    if patch != 16:
        with pytest.raises(RefusedInput, match=r"visual\.trunk\.(pos_embed|patch_embed)"):
            load(folder)
        return
    image = load(folder).architecture.image
    assert (image.activation, image.patch) == (activation, patch)


def test_the_text_tower_has_the_activation_that_is_named(folder: Path):
    change(folder, "text_cfg", act_kwargs={"approximate": "tanh"})
    assert load(folder).architecture.text.activation == "gelu_tanh"


def test_without_a_projection_a_text_is_its_last_position(make_siglip, folder: Path, siglip: Model):
    square = make_siglip(
        image_size=48,
        patch=16,
        activation="gelu",
        text_activation="gelu",
        text_vocab_size=60,
        text_width=32,
        text_heads=4,
    )
    tensors = to_theirs(open_clip_siglip.links(square.architecture, has_projection=False), square.clip.state_dict())
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)
    change(folder, "text_cfg", proj_type="none", proj_bias=False, width=32, heads=4)
    found, tokens = load(folder), square.tokenizer.tokens(["a red dog", "blue"])
    assert torch.equal(found.clip.text_tower(tokens), square.clip.text_tower.features(tokens))


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("vision_cfg", {"timm_pool": "avg"}, "timm_pool is 'avg'; seesay has no such part, and reads no such model"),
        ("vision_cfg", {"timm_proj": "mlp"}, "timm_proj"),
        ("vision_cfg", {"patch_dropout": 0.5}, "seesay has no such part"),
        ("text_cfg", {"no_causal_mask": False}, "no_causal_mask is False"),
        ("text_cfg", {"pool_type": "argmax"}, "pool_type"),
        ("text_cfg", {"norm_kwargs": {"eps": 1e-5}}, "eps"),
        ("text_cfg", {"proj_bias": False}, "proj_type 'linear' with proj_bias False is no SigLIP"),
        ("text_cfg", {"proj_type": "none"}, "proj_type 'none' with proj_bias True is no SigLIP"),
        ("text_cfg", {"tokenizer_kwargs": {"clean": "punctuation"}}, "clean"),
        ("text_cfg", {"tokenizer_kwargs": {"strip_sep_token": True}}, "strip_sep_token"),
        ("text_cfg", {"vocab_size": 61}, "token_embedding"),
        ("text_cfg", {"context_length": 9}, "positional_embedding"),
        ("model_cfg", {"init_logit_bias": "no"}, "init_logit_bias"),
        ("model_cfg", {"embed_dim": 31}, "31"),
        ("preprocess_cfg", {"resize_mode": "longest"}, "resize_mode"),
    ],
)
def test_what_is_no_siglip_of_ours_is_refused_by_its_name(folder: Path, section: str, values: dict, message: str):
    change(folder, section, **values)
    with pytest.raises(RefusedInput, match=message):
        load(folder)


def test_a_file_without_one_of_its_tensors_is_refused(folder: Path):
    tensors = load_file(folder / WEIGHTS)
    del tensors["visual.trunk.attn_pool.kv.bias"]
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(RefusedInput, match=r"missing visual\.trunk\.attn_pool\.kv\.bias \(64,\)"):
        load(folder)


def test_other_layouts_that_cannot_hold_it_say_why(folder: Path, tmp_path: Path):
    found = load(folder)
    with pytest.raises(UsageError, match=r"FileTokenizer with open_clip's rules \(canonicalize\): save"):
        found.save(tmp_path / "hf", "hf")

"""What is written in another program's layout comes back to the last bit, under the names that program uses."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seesay.base.errors import UsageError
from seesay.data.images import Preprocess
from seesay.model.bundle import Model
from seesay.model.hub import load
from seesay.model.layouts import hf_clip_tensors, open_clip_tensors
from seesay.nets.clip import build_clip

TEXTS = ["a red dog", "", "blue " * 30]
VITS = {
    "the paper's": {},
    "exact GELU": {"activation": "gelu", "text_activation": "gelu"},
    "tanh GELU": {"activation": "gelu_tanh", "text_activation": "gelu_tanh"},
    "narrow MLP": {"mlp_width": 69, "text_mlp_width": 50},
    "squashed images": {
        "preprocess": Preprocess(size=16, resize="squash", interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)
    },
}


def same(one: Model, other: Model) -> None:
    ours, theirs = one.clip.state_dict(), other.clip.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]) and tensor.dtype == theirs[name].dtype, name
    assert one.architecture == other.architecture
    assert one.tokenizer.merges == other.tokenizer.merges
    assert torch.equal(one.encode_texts(TEXTS), other.encode_texts(TEXTS))


@pytest.mark.parametrize("kind", VITS)
@pytest.mark.parametrize("layout", ["hf", "open_clip", "seesay"])
def test_a_vision_transformer_comes_back_from_every_layout_to_the_last_bit(kind, layout, make_vit, tmp_path: Path):
    model = make_vit(**VITS[kind])
    model.save(tmp_path / "model", layout)
    same(model, load(tmp_path / "model"))
    # Whoever reads transformers' file crops as transformers does.
    crop = "transformers" if layout == "hf" and model.preprocess.resize == "shortest" else "torchvision"
    assert load(tmp_path / "model").preprocess == model.preprocess.model_copy(update={"crop": crop})


@pytest.mark.parametrize("layout", ["open_clip", "seesay"])
def test_a_resnet_comes_back_to_the_last_bit(layout, resnet: Model, tmp_path: Path):
    resnet.save(tmp_path / "model", layout)
    same(resnet, load(tmp_path / "model"))


def test_half_precision_is_kept_in_the_file_of_a_foreign_layout(vit: Model, tmp_path: Path):
    vit.save(tmp_path / "half", "hf", dtype=torch.float16)
    written = load_file(tmp_path / "half" / "model.safetensors")
    assert {tensor.dtype for tensor in written.values()} == {torch.float16}
    expected = vit.clip.image_tower.projection.half().float()
    assert torch.equal(load(tmp_path / "half").clip.image_tower.projection, expected)


def test_every_tensor_has_one_link_and_every_name_is_used_once(vit: Model, resnet: Model):
    for layout, model in ((hf_clip_tensors, vit), (open_clip_tensors, vit), (open_clip_tensors, resnet)):
        links = list(layout.links(model.architecture))
        assert sorted(link.ours for link in links) == sorted(model.clip.state_dict())
        theirs = [name for link in links for name in link.theirs]
        assert len(theirs) == len(set(theirs))


def test_open_clip_files_have_openais_names_and_shapes(vit: Model, resnet: Model, tmp_path: Path):
    vit.save(tmp_path / "vit", "open_clip")
    resnet.save(tmp_path / "resnet", "open_clip")
    found = {
        name: tuple(tensor.shape)
        for name, tensor in load_file(tmp_path / "vit" / "open_clip_model.safetensors").items()
    }
    words, ids = 8, vit.tokenizer.vocab_size
    expected = {
        "logit_scale": (),
        "positional_embedding": (words, 16),
        "text_projection": (16, 24),
        "token_embedding.weight": (ids, 16),
        "ln_final.weight": (16,),
        "transformer.resblocks.1.attn.in_proj_weight": (48, 16),
        "transformer.resblocks.1.attn.in_proj_bias": (48,),
        "transformer.resblocks.1.attn.out_proj.weight": (16, 16),
        "transformer.resblocks.0.mlp.c_fc.weight": (64, 16),
        "transformer.resblocks.0.mlp.c_proj.weight": (16, 64),
        "visual.class_embedding": (32,),
        "visual.positional_embedding": (5, 32),
        "visual.proj": (32, 24),
        "visual.conv1.weight": (32, 3, 8, 8),
        "visual.ln_pre.bias": (32,),
        "visual.ln_post.weight": (32,),
        "visual.transformer.resblocks.2.ln_1.weight": (32,),
    }
    assert {name: found.get(name) for name in expected} == expected
    assert len(found) == 1 + 5 + 2 * 12 + 8 + 3 * 12
    found = {
        name: tuple(tensor.shape)
        for name, tensor in load_file(tmp_path / "resnet" / "open_clip_model.safetensors").items()
    }
    expected = {
        "visual.conv1.weight": (4, 3, 3, 3),
        "visual.bn3.running_var": (8,),
        "visual.layer1.0.downsample.0.weight": (32, 8, 1, 1),
        "visual.layer1.1.conv2.weight": (8, 8, 3, 3),
        "visual.layer4.0.downsample.1.num_batches_tracked": (),
        "visual.layer4.1.bn3.weight": (256,),
        "visual.attnpool.positional_embedding": (5, 256),
        "visual.attnpool.q_proj.weight": (256, 256),
        "visual.attnpool.c_proj.weight": (24, 256),
        "visual.attnpool.c_proj.bias": (24,),
    }
    assert {name: found.get(name) for name in expected} == expected
    assert "visual.layer1.1.downsample.0.weight" not in found and "visual.proj" not in found


def test_hugging_face_files_split_query_key_and_value_and_turn_projections_over(vit: Model, tmp_path: Path):
    vit.save(tmp_path / "model", "hf")
    found, ours = load_file(tmp_path / "model" / "model.safetensors"), vit.clip.state_dict()
    qkv = ours["image_tower.blocks.1.attention.qkv.weight"]
    for place, part in enumerate("qkv"):
        name = f"vision_model.encoder.layers.1.self_attn.{part}_proj.weight"
        assert torch.equal(found[name], qkv[32 * place : 32 * (place + 1)])
    assert torch.equal(found["visual_projection.weight"], ours["image_tower.projection"].T)
    assert torch.equal(found["text_projection.weight"], ours["text_tower.projection"].T)
    assert torch.equal(found["vision_model.pre_layrnorm.weight"], ours["image_tower.ln_pre.weight"])
    assert torch.equal(found["text_model.embeddings.position_embedding.weight"], ours["text_tower.positions"])


def test_the_vocabulary_is_written_in_every_form_and_each_alone_is_enough(vit: Model, tmp_path: Path):
    vit.save(tmp_path / "model", "hf")
    vocabulary = json.loads((tmp_path / "model" / "vocab.json").read_text())
    assert len(vocabulary) == vit.tokenizer.vocab_size
    assert vocabulary["<|endoftext|>"] == vit.tokenizer.end == vit.tokenizer.vocab_size - 1
    (tmp_path / "model" / "tokenizer.json").unlink()
    assert load(tmp_path / "model").tokenizer.merges == vit.tokenizer.merges
    (tmp_path / "model" / "merges.txt").rename(tmp_path / "elsewhere.txt")
    assert load(tmp_path / "model", tokenizer=tmp_path / "elsewhere.txt").tokenizer.merges == vit.tokenizer.merges


def test_towers_that_a_layout_does_not_have_are_refused_before_anything_is_written(
    model, make_vit, resnet: Model, tmp_path: Path
):
    for layout in ("hf", "open_clip"):
        with pytest.raises(UsageError, match=r"kinds conv and bag-of-words.*layout seesay"):
            model.save(tmp_path / "out", layout)
    with pytest.raises(UsageError, match="kinds resnet and transformer"):
        resnet.save(tmp_path / "out", "hf")
    with pytest.raises(UsageError, match="one activation for both towers"):
        make_vit(activation="gelu").save(tmp_path / "out", "open_clip")
    with pytest.raises(UsageError, match=r"'huggingface' is not known.*Known: seesay, hf, open_clip"):
        resnet.save(tmp_path / "out", "huggingface")
    assert list(tmp_path.iterdir()) == []


def test_hugging_face_keeps_two_activations_apart(make_vit, tmp_path: Path):
    model = make_vit(activation="gelu", text_activation="quick_gelu")
    model.save(tmp_path / "model", "hf")
    same(model, load(tmp_path / "model"))


def test_a_bias_goes_to_open_clip_and_comes_back(vit: Model, tmp_path: Path):
    architecture = vit.architecture.model_copy(update={"scoring": "sigmoid"})
    clip = build_clip(architecture, seed=0)
    with torch.no_grad():
        clip.logit_bias.fill_(-7.25)
    model = Model(clip, architecture, vit.tokenizer, preprocess=vit.preprocess)
    model.save(tmp_path / "out", "open_clip")
    config = json.loads((tmp_path / "out" / "open_clip_config.json").read_text())
    assert config["model_cfg"]["init_logit_bias"] == -7.25
    again = load(tmp_path / "out")
    assert again.logit_bias == -7.25 and again.architecture == model.architecture
    assert torch.equal(again.encode_texts(["a red dog"]), model.encode_texts(["a red dog"]))


def test_a_siglip_of_open_clip_goes_back_as_it_came(open_clip_siglip_folder: Path, tmp_path: Path):
    model = load(open_clip_siglip_folder)
    model.save(tmp_path / "out", "open_clip")
    again = load(tmp_path / "out")
    assert again.architecture == model.architecture and again.preprocess == model.preprocess
    for name, tensor in model.clip.state_dict().items():
        assert torch.equal(again.clip.state_dict()[name], tensor), name
    texts = ["a red dog", "A Red, dog!", ""]
    assert again.tokenizer(texts) == model.tokenizer(texts) and again.logit_bias == model.logit_bias

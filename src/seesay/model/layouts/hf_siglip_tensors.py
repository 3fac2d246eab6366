"""Every tensor of a model and its name in transformers' SiglipModel."""

from collections.abc import Iterator

from seesay.model.layouts.hf_clip_tensors import IGNORED as IGNORED
from seesay.model.layouts.hf_clip_tensors import block
from seesay.model.layouts.mapping import Link, link, weight_and_bias
from seesay.nets.architecture import Architecture, SiglipImageConfig, SiglipTextConfig


def links(architecture: Architecture) -> Iterator[Link]:
    """For SigLIP's two towers and its bias, which are all that class has."""
    image, text = architecture.image, architecture.text
    assert isinstance(image, SiglipImageConfig) and isinstance(text, SiglipTextConfig)
    yield link("logit_scale", "logit_scale")
    yield link("logit_bias", "logit_bias")
    yield from weight_and_bias("image_tower.patches", "vision_model.embeddings.patch_embedding")
    yield link("image_tower.positions", "vision_model.embeddings.position_embedding.weight")
    yield from weight_and_bias("image_tower.ln_post", "vision_model.post_layernorm")
    yield from _head("image_tower.head", "vision_model.head")
    yield link("text_tower.token_embedding.weight", "text_model.embeddings.token_embedding.weight")
    yield link("text_tower.positions", "text_model.embeddings.position_embedding.weight")
    yield from weight_and_bias("text_tower.ln_final", "text_model.final_layer_norm")
    yield from weight_and_bias("text_tower.head", "text_model.head")
    for index in range(image.layers):
        yield from block(f"image_tower.blocks.{index}", f"vision_model.encoder.layers.{index}")
    for index in range(text.layers):
        yield from block(f"text_tower.blocks.{index}", f"text_model.encoder.layers.{index}")


def _head(ours: str, theirs: str) -> Iterator[Link]:
    """The attention pool, which there is torch's own attention layer."""
    yield link(f"{ours}.probe", f"{theirs}.probe")
    yield link(f"{ours}.qkv.weight", f"{theirs}.attention.in_proj_weight")
    yield link(f"{ours}.qkv.bias", f"{theirs}.attention.in_proj_bias")
    yield from weight_and_bias(f"{ours}.out", f"{theirs}.attention.out_proj")
    yield from weight_and_bias(f"{ours}.ln", f"{theirs}.layernorm")
    yield from weight_and_bias(f"{ours}.fc", f"{theirs}.mlp.fc1")
    yield from weight_and_bias(f"{ours}.proj", f"{theirs}.mlp.fc2")

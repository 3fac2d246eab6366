"""Every tensor of a model and its name in transformers' CLIPModel."""

from collections.abc import Iterator

from seesay.model.layouts.mapping import Link, link, weight_and_bias
from seesay.nets.architecture import Architecture, TextTransformerConfig, VisionTransformerConfig

# Whole numbers 0, 1, 2, ... that older versions of transformers kept in the file.
IGNORED = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")


def links(architecture: Architecture) -> Iterator[Link]:
    """For a ViT with a text transformer, which is all that class has."""
    image, text = architecture.image, architecture.text
    assert isinstance(image, VisionTransformerConfig) and isinstance(text, TextTransformerConfig)
    yield link("logit_scale", "logit_scale")
    yield link("image_tower.class_token", "vision_model.embeddings.class_embedding")
    yield link("image_tower.positions", "vision_model.embeddings.position_embedding.weight")
    yield link("image_tower.patches.weight", "vision_model.embeddings.patch_embedding.weight")
    yield from weight_and_bias("image_tower.ln_pre", "vision_model.pre_layrnorm")  # spelt so in transformers
    yield from weight_and_bias("image_tower.ln_post", "vision_model.post_layernorm")
    yield link("image_tower.projection", "visual_projection.weight", transposed=True)
    yield link("text_tower.token_embedding.weight", "text_model.embeddings.token_embedding.weight")
    yield link("text_tower.positions", "text_model.embeddings.position_embedding.weight")
    yield from weight_and_bias("text_tower.ln_final", "text_model.final_layer_norm")
    yield link("text_tower.projection", "text_projection.weight", transposed=True)
    for index in range(image.layers):
        yield from block(f"image_tower.blocks.{index}", f"vision_model.encoder.layers.{index}")
    for index in range(text.layers):
        yield from block(f"text_tower.blocks.{index}", f"text_model.encoder.layers.{index}")


def block(ours: str, theirs: str) -> Iterator[Link]:
    """One transformer block; query, key and value are three layers there."""
    yield from weight_and_bias(f"{ours}.ln_1", f"{theirs}.layer_norm1")
    yield from weight_and_bias(f"{ours}.attention.qkv", *(f"{theirs}.self_attn.{part}_proj" for part in "qkv"))
    yield from weight_and_bias(f"{ours}.attention.out", f"{theirs}.self_attn.out_proj")
    yield from weight_and_bias(f"{ours}.ln_2", f"{theirs}.layer_norm2")
    yield from weight_and_bias(f"{ours}.fc", f"{theirs}.mlp.fc1")
    yield from weight_and_bias(f"{ours}.proj", f"{theirs}.mlp.fc2")

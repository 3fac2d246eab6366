"""Every tensor of a model and its name in OpenAI's code, which is open_clip's too."""

from collections.abc import Collection, Iterator

from seesay.model.layouts.mapping import Link, batch_norm, link, weight_and_bias, wrapper_of
from seesay.nets.architecture import (
    Architecture,
    CocaTextConfig,
    ResNetConfig,
    SiglipImageConfig,
    SiglipTextConfig,
    TextTransformerConfig,
    TimmImageConfig,
    TransformersTextConfig,
    VisionTransformerConfig,
)

# Written by OpenAI's archives, by older training code and by older transformers; none of them is a weight.
IGNORED = ("input_resolution", "context_length", "vocab_size", "attn_mask", "text.attn_mask")
IGNORED += ("text.transformer.embeddings.position_ids", "text.transformer.embed_positions.weights")
# In front of the names of a CoCa's decoder.
DECODER = "text_decoder."
# What open_clip's class with an exchangeable text tower puts in front of the text tower's names.
TEXT_PREFIX = "text."


def text_prefix(names: Collection[str]) -> str:
    """What a file with these names puts in front of its text tower's."""
    prefix = wrapper_of(names) + TEXT_PREFIX
    return TEXT_PREFIX if any(name.startswith(prefix) for name in names) else ""


def links(architecture: Architecture, *, text_prefix: str = "", names: Collection[str] = ()) -> Iterator[Link]:
    """For the paper's towers, a text tower whose positions all see one another, and towers of timm and transformers.

    `names` are those of our tensors; another library's tower has its own in both.
    """
    image, text = architecture.image, architecture.text
    yield link("logit_scale", "logit_scale")
    if architecture.scoring == "sigmoid":
        yield link("logit_bias", "logit_bias")
    if isinstance(image, TimmImageConfig):
        yield from _as_named(names, "image_tower.", "visual.")
    elif isinstance(image, SiglipImageConfig):
        yield from siglip_image(image)
    elif isinstance(image, ResNetConfig):
        yield from _resnet(image)
    else:
        assert isinstance(image, VisionTransformerConfig)
        yield from _vision_transformer(image)
    if isinstance(text, TransformersTextConfig):
        yield from _as_named(names, "text_tower.", TEXT_PREFIX)
    else:
        assert isinstance(text, TextTransformerConfig | SiglipTextConfig | CocaTextConfig)
        yield from _text_transformer(text, text_prefix)


def _as_named(names: Collection[str], ours: str, theirs: str) -> Iterator[Link]:
    for name in names:
        if name.startswith(ours):
            yield link(name, theirs + name.removeprefix(ours))


def _vision_transformer(image: VisionTransformerConfig) -> Iterator[Link]:
    yield link("image_tower.class_token", "visual.class_embedding")
    yield link("image_tower.positions", "visual.positional_embedding")
    yield link("image_tower.patches.weight", "visual.conv1.weight")
    yield link("image_tower.projection", "visual.proj")
    if image.pre_norm:
        yield from weight_and_bias("image_tower.ln_pre", "visual.ln_pre")
    yield from weight_and_bias("image_tower.ln_post", "visual.ln_post")
    if image.pool == "queries":
        yield from _query_pool()
    for index in range(image.layers):
        yield from block(f"image_tower.blocks.{index}", f"visual.transformer.resblocks.{index}")


def _query_pool() -> Iterator[Link]:
    ours, theirs = "image_tower.query_pool", "visual.attn_pool"
    yield link(f"{ours}.queries", f"{theirs}.query")
    yield from weight_and_bias(f"{ours}.ln_query", f"{theirs}.ln_q")
    yield from weight_and_bias(f"{ours}.ln_key", f"{theirs}.ln_k")
    for part, short in {"query": "q", "key": "k", "value": "v"}.items():
        yield link(f"{ours}.{part}_weight", f"{theirs}.attn.{short}_proj_weight")
    yield link(f"{ours}.qkv_bias", f"{theirs}.attn.in_proj_bias")
    yield from weight_and_bias(f"{ours}.out", f"{theirs}.attn.out_proj")


def _text_transformer(text: TextTransformerConfig | SiglipTextConfig | CocaTextConfig, prefix: str) -> Iterator[Link]:
    if isinstance(text, CocaTextConfig):
        yield link("text_tower.class_token", f"{prefix}cls_emb")
    yield link("text_tower.positions", f"{prefix}positional_embedding")
    if isinstance(text, SiglipTextConfig):
        yield link("text_tower.head.weight", f"{prefix}text_projection", transposed=True)
    else:
        yield link("text_tower.projection", f"{prefix}text_projection")
    yield link("text_tower.token_embedding.weight", f"{prefix}token_embedding.weight")
    yield from weight_and_bias("text_tower.ln_final", f"{prefix}ln_final")
    for index in range(text.layers):
        yield from block(f"text_tower.blocks.{index}", f"{prefix}transformer.resblocks.{index}")


def block(ours: str, theirs: str) -> Iterator[Link]:
    """One residual block of either tower."""
    yield from weight_and_bias(f"{ours}.ln_1", f"{theirs}.ln_1")
    yield link(f"{ours}.attention.qkv.weight", f"{theirs}.attn.in_proj_weight")
    yield link(f"{ours}.attention.qkv.bias", f"{theirs}.attn.in_proj_bias")
    yield from weight_and_bias(f"{ours}.attention.out", f"{theirs}.attn.out_proj")
    yield from weight_and_bias(f"{ours}.ln_2", f"{theirs}.ln_2")
    yield from weight_and_bias(f"{ours}.fc", f"{theirs}.mlp.c_fc")
    yield from weight_and_bias(f"{ours}.proj", f"{theirs}.mlp.c_proj")


def _resnet(config: ResNetConfig) -> Iterator[Link]:
    for index in (1, 2, 3):
        yield link(f"image_tower.stem.conv_{index}.weight", f"visual.conv{index}.weight")
        yield from batch_norm(f"image_tower.stem.norm_{index}", f"visual.bn{index}")
    for stage, depth in enumerate(config.layers):
        for index in range(depth):
            ours, theirs = f"image_tower.stages.{stage}.{index}", f"visual.layer{stage + 1}.{index}"
            for layer in (1, 2, 3):
                yield link(f"{ours}.conv_{layer}.weight", f"{theirs}.conv{layer}.weight")
                yield from batch_norm(f"{ours}.norm_{layer}", f"{theirs}.bn{layer}")
            if index == 0:
                yield link(f"{ours}.shortcut.conv.weight", f"{theirs}.downsample.0.weight")
                yield from batch_norm(f"{ours}.shortcut.norm", f"{theirs}.downsample.1")
    yield link("image_tower.pool.positions", "visual.attnpool.positional_embedding")
    for ours, theirs in {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "c_proj"}.items():
        yield from weight_and_bias(f"image_tower.pool.{ours}", f"visual.attnpool.{theirs}")


def siglip_image(image: SiglipImageConfig) -> Iterator[Link]:
    """SigLIP's image tower, under the names of timm's."""
    trunk = "visual.trunk"
    yield from weight_and_bias("image_tower.patches", f"{trunk}.patch_embed.proj")
    yield link("image_tower.positions", f"{trunk}.pos_embed", leading=True)
    yield from weight_and_bias("image_tower.ln_post", f"{trunk}.norm")
    yield link("image_tower.head.probe", f"{trunk}.attn_pool.latent")
    # One row of queries for each two of keys and values.
    yield from weight_and_bias("image_tower.head.qkv", f"{trunk}.attn_pool.q", f"{trunk}.attn_pool.kv", shares=(1, 2))
    for ours, theirs in {"out": "proj", "ln": "norm", "fc": "mlp.fc1", "proj": "mlp.fc2"}.items():
        yield from weight_and_bias(f"image_tower.head.{ours}", f"{trunk}.attn_pool.{theirs}")
    of_block = {"ln_1": "norm1", "attention.qkv": "attn.qkv", "attention.out": "attn.proj", "ln_2": "norm2"}
    for index in range(image.layers):
        for ours, theirs in (of_block | {"fc": "mlp.fc1", "proj": "mlp.fc2"}).items():
            yield from weight_and_bias(f"image_tower.blocks.{index}.{ours}", f"{trunk}.blocks.{index}.{theirs}")

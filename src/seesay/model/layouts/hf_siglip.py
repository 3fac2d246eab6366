"""The layout of Hugging Face transformers for SigLIP: `config.json` of model_type "siglip" and `model.safetensors`.

SigLIP 2's checkpoints of a fixed resolution are in it too, with another vocabulary. What a configuration leaves out has
the value that transformers' own classes give it. `links` names every tensor in their SiglipModel.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from seesay.base.errors import UsageError
from seesay.data.file_tokenizer import AnyTokenizer, FileTokenizer
from seesay.data.images import Preprocess
from seesay.model.layouts.config_file import checked_as, read_config, read_json
from seesay.model.layouts.hf_clip import CONFIG_NAME, WEIGHTS_NAME
from seesay.model.layouts.hf_clip_tensors import IGNORED as IGNORED
from seesay.model.layouts.hf_clip_tensors import block
from seesay.model.layouts.hf_images import preprocess_file, read_preprocess
from seesay.model.layouts.hf_tokenizer import file_tokenizer_files, read_file_tokenizer
from seesay.model.layouts.hf_towers import Tower, block_section, blocks
from seesay.model.layouts.mapping import Link, link, read_linked, to_theirs, weight_and_bias
from seesay.model.layouts.parts import Parts, refuse_strangers
from seesay.model.weights import write_tensors
from seesay.nets.architecture import Architecture, NaflexImageConfig, SiglipImageConfig, SiglipTextConfig
from seesay.nets.clip import empty_clip
from seesay.nets.siglip import EPS


def links(architecture: Architecture) -> Iterator[Link]:
    """For SigLIP's two towers and its bias, which are all that class has; NaFlex has the same names."""
    image, text = architecture.image, architecture.text
    assert isinstance(image, SiglipImageConfig | NaflexImageConfig) and isinstance(text, SiglipTextConfig)
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


MODEL_TYPE = "siglip"


class SiglipTower(Tower):
    """A section; what it leaves out is as in SigLIP's classes."""

    hidden_act: Literal["quick_gelu", "gelu", "gelu_pytorch_tanh"] = "gelu_pytorch_tanh"
    layer_norm_eps: Annotated[float, Field(ge=0.99 * EPS, le=1.01 * EPS)] = EPS
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12


class Text(SiglipTower):
    """What decides about texts."""

    vocab_size: int = 32_000
    max_position_embeddings: int = 64
    projection_size: int | None = None


class _Vision(SiglipTower):
    num_channels: Literal[3] = 3
    image_size: int = 224
    patch_size: int = 16
    vision_use_head: Literal[True] = True


class Config(BaseModel):
    """The two sections, each with the defaults of its class."""

    model_config = ConfigDict(strict=True, extra="ignore")

    text_config: Text = Text()
    vision_config: _Vision = _Vision()


def is_in(folder: Path) -> bool:
    """Whether a SigLIP is described there."""
    path = folder / CONFIG_NAME
    return path.is_file() and read_json(path).get("model_type") == MODEL_TYPE


def read(folder: Path, *, tokenizer: Path | None = None) -> Parts:
    """The model in a folder of transformers' SiglipModel, with the tokenizer in `tokenizer` or the folder's own."""
    path = folder / CONFIG_NAME
    config = checked_as(Config, read_config(path), path=path)
    values = architecture_of(config)
    checked_as(Architecture, values, path=path)
    return read_with(folder, tokenizer, values, read_preprocess(folder))


def read_with(folder: Path, tokenizer: Path | None, values: dict[str, Any], preprocess: Preprocess) -> Parts:
    """The model of such towers, which were checked before a tokenizer is built for their context."""
    path = folder / CONFIG_NAME
    vocabulary, values["text"]["pad"] = read_file_tokenizer(folder, tokenizer, context=values["text"]["context"])
    architecture = checked_as(Architecture, values, path=path)
    refuse_strangers(folder, architecture, tokenizer=vocabulary, preprocess=preprocess)
    clip = empty_clip(architecture)
    tensors = read_linked(folder / WEIGHTS_NAME, list(links(architecture)), clip.state_dict(), ignored=IGNORED)
    clip.fill(tensors)
    return Parts(
        clip=clip, architecture=architecture, tokenizer=vocabulary, preprocess=preprocess, name=folder.resolve().name
    )


def architecture_of(config: Config) -> dict[str, Any]:
    """The towers, as values that are still to be checked; the tokenizer then says what `pad` is."""
    text, vision = config.text_config, config.vision_config
    return {
        "embed_dim": text.projection_size or text.hidden_size,
        "scoring": "sigmoid",
        "image": {"kind": "siglip-image", "image_size": vision.image_size, "patch": vision.patch_size} | blocks(vision),
        "text": text_values(text),
    }


def text_values(text: Text) -> dict[str, Any]:
    """The text tower, as values that are still to be checked; the tokenizer then says what `pad` is."""
    return {
        "kind": "siglip-text",
        "context": text.max_position_embeddings,
        "vocab_size": text.vocab_size,
        "pad": 0,
    } | blocks(text)


def files(parts: Parts, *, dtype: torch.dtype | None = None) -> dict[str, bytes]:
    """The files of such a folder; `UsageError` for what transformers' SiglipModel does not have.

    Templates and facts have no place in this layout.
    """
    architecture, tokenizer = parts.architecture, parts.tokenizer
    image, text = architecture.image, architecture.text
    if (
        not isinstance(image, SiglipImageConfig)
        or not isinstance(text, SiglipTextConfig)
        or architecture.scoring != "sigmoid"
        or not isinstance(tokenizer, FileTokenizer)
        or tokenizer.rules
        or text.eps != EPS
    ):
        raise UsageError(
            f"transformers' SiglipModel has siglip-image and siglip-text towers, sigmoid scoring and a tokenizer.json; "
            f"this model has {image.kind}, {text.kind}, {architecture.scoring} and a {type(tokenizer).__name__}"
            f"{_with_rules(tokenizer)}: save it in the layout seesay."
        )
    config = {
        "architectures": ["SiglipModel"],
        "model_type": MODEL_TYPE,
        "text_config": _text_section(text) | {"projection_size": architecture.embed_dim},
        "vision_config": _vision_section(image),
    }
    tensors = to_theirs(links(architecture), parts.clip.state_dict())
    for name in ("logit_scale", "logit_bias"):
        tensors[name] = tensors[name].reshape(1)  # a list of one in that class
    # Its own image processor never crops.
    processor = "SiglipImageProcessor" if parts.preprocess.resize == "squash" else "CLIPImageProcessor"
    return {
        WEIGHTS_NAME: write_tensors(tensors, dtype=dtype),
        CONFIG_NAME: (json.dumps(config, indent=2) + "\n").encode(),
        **preprocess_file(parts.preprocess, processor=processor),
        **file_tokenizer_files(tokenizer, pad=text.pad),
    }


def _with_rules(tokenizer: AnyTokenizer) -> str:
    """What transformers has no place for: rules of open_clip's beside the file, such as ftfy."""
    rules = tokenizer.rules if isinstance(tokenizer, FileTokenizer) else {}
    return f" with open_clip's rules ({', '.join(map(str, rules.values()))})" if rules else ""


def _text_section(text: SiglipTextConfig) -> dict[str, Any]:
    return {
        "model_type": "siglip_text_model",
        "vocab_size": text.vocab_size,
        "max_position_embeddings": text.context,
        "pad_token_id": text.pad,
    } | block_section(text, eps=EPS)


def _vision_section(image: SiglipImageConfig) -> dict[str, Any]:
    return {
        "model_type": "siglip_vision_model",
        "image_size": image.image_size,
        "patch_size": image.patch,
        "num_channels": 3,
    } | block_section(image, eps=EPS)

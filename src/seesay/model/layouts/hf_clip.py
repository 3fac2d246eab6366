"""The layout of Hugging Face transformers for CLIP: `config.json` of model_type "clip" and `model.safetensors`.

Configurations carry dozens of keys that do nothing here, so only those that shape the towers are read; what is left
out has the value that transformers' own classes give it.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from seesay.base.errors import RefusedInput, UsageError
from seesay.data.bpe_file import read_bpe, read_text
from seesay.data.file_tokenizer import AnyTokenizer
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.layouts.config_file import checked_as, read_config, read_json
from seesay.model.layouts.hf_clip_tensors import IGNORED as IGNORED
from seesay.model.layouts.hf_clip_tensors import links as links
from seesay.model.layouts.hf_images import preprocess_file, read_preprocess
from seesay.model.layouts.hf_tokenizer import FILE_NAME, read_file_tokenizer, refuse_other_than_clips
from seesay.model.layouts.hf_towers import Tower, block_section, blocks
from seesay.model.layouts.mapping import read_linked, to_theirs
from seesay.model.layouts.parts import Parts, clips_own_way, refuse_strangers
from seesay.model.layouts.programs import sizes_hint
from seesay.model.layouts.vocabulary import read_tokenizer, tokenizer_files
from seesay.model.weights import write_tensors
from seesay.nets.architecture import Architecture, TextTransformerConfig, VisionTransformerConfig
from seesay.nets.clip import empty_clip

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
MODEL_TYPE = "clip"
# Older files have this in place of the end token; transformers then takes the largest id, which is the end token.
NO_END_TOKEN = 2


class _Tower(Tower):
    hidden_act: Literal["quick_gelu", "gelu", "gelu_pytorch_tanh"] = "quick_gelu"
    layer_norm_eps: Annotated[float, Field(ge=0.99e-5, le=1.01e-5)] = 1e-5
    num_hidden_layers: int = 12


class Text(_Tower):
    """What decides about texts."""

    vocab_size: int = 49_408
    hidden_size: int = 512
    intermediate_size: int = 2048
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    eos_token_id: int = 49_407


class _Vision(_Tower):
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_attention_heads: int = 12
    num_channels: Literal[3] = 3
    image_size: int = 224
    patch_size: int = 32


class Config(BaseModel):
    """`*_config_dict`, where an old file has it, is what transformers builds from."""

    model_config = ConfigDict(strict=True, extra="ignore")

    projection_dim: int = 512
    text_config: Text = Text()
    text_config_dict: Text | None = None
    vision_config: _Vision = _Vision()
    vision_config_dict: _Vision | None = None


def is_in(folder: Path) -> bool:
    """Whether a model of this layout is described there."""
    path = folder / CONFIG_NAME
    return path.is_file() and read_json(path).get("model_type") == MODEL_TYPE


def read(folder: Path, *, tokenizer: Path | None = None) -> Parts:
    """The model in a folder of transformers' CLIPModel, with the vocabulary in `tokenizer` or the one in the folder."""
    path = folder / CONFIG_NAME
    config = checked_as(Config, read_config(path), path=path)
    text = config.text_config_dict or config.text_config
    architecture = checked_as(Architecture, architecture_of(config), path=path)
    preprocess = read_preprocess(folder)
    vocabulary = vocabulary_of(folder, tokenizer, text)
    refuse_strangers(folder, architecture, tokenizer=vocabulary, preprocess=preprocess)
    clip = empty_clip(architecture)
    tensors = read_linked(folder / WEIGHTS_NAME, list(links(architecture)), clip.state_dict(), ignored=IGNORED)
    clip.fill(tensors)
    return Parts(
        clip=clip, architecture=architecture, tokenizer=vocabulary, preprocess=preprocess, name=folder.resolve().name
    )


def vocabulary_of(folder: Path, given: Path | None, text: Text) -> AnyTokenizer:
    """CLIP's tokenizer, or the whole tokenizer.json where its tokens are in another order or others were added.

    `RefusedInput` for one that ends captions with another token than the tower pools at.
    """
    vocabulary = _vocabulary(folder, given, text)
    if text.eos_token_id not in (NO_END_TOKEN, vocabulary.end):
        raise RefusedInput(
            f"{folder / CONFIG_NAME} pools at token {text.eos_token_id}, its vocabulary ends with {vocabulary.end}; "
            "they are of two models."
        )
    return vocabulary


def _vocabulary(folder: Path, given: Path | None, text: Text) -> AnyTokenizer:
    if given is None:
        refuse_other_than_clips(folder)
    path, context = given or folder / FILE_NAME, text.max_position_embeddings
    is_whole = path.name == FILE_NAME and path.is_file() and text.eos_token_id != NO_END_TOKEN
    try:
        vocabulary = read_tokenizer(folder, given, context=context)
        if vocabulary.vocab_size == text.vocab_size or not is_whole:
            return vocabulary
    except RefusedInput:
        if not is_whole:
            raise
        # Only the order of its ids may be another; what is no such vocabulary at all is refused as before.
        read_bpe(read_text(path), where=str(path))
    return read_file_tokenizer(folder, given, context=context, end=text.eos_token_id)[0]


def architecture_of(config: Config) -> dict[str, Any]:
    """The towers, as values that are still to be checked."""
    text = config.text_config_dict or config.text_config
    vision = config.vision_config_dict or config.vision_config
    return {
        "embed_dim": config.projection_dim,
        "image": {"kind": "vit", "image_size": vision.image_size, "patch": vision.patch_size} | blocks(vision),
        "text": {"kind": "transformer", "context": text.max_position_embeddings, "vocab_size": text.vocab_size}
        | blocks(text),
    }


def files(parts: Parts, *, dtype: torch.dtype | None = None) -> dict[str, bytes]:
    """The files of such a folder; `UsageError` for towers that transformers' CLIPModel does not have.

    Templates and facts have no place in this layout.
    """
    image, text = refuse_other_towers(parts.architecture)
    tokenizer = clips_own_way(parts, program="transformers' CLIPModel")
    embed_dim = parts.architecture.embed_dim
    config = {
        "architectures": ["CLIPModel"],
        "model_type": MODEL_TYPE,
        "projection_dim": embed_dim,
        "logit_scale_init_value": 2.6592,
        "text_config": _text_section(text, tokenizer) | {"projection_dim": embed_dim},
        "vision_config": _vision_section(image) | {"projection_dim": embed_dim},
    }
    tensors = to_theirs(links(parts.architecture), parts.clip.state_dict())
    return {
        WEIGHTS_NAME: write_tensors(tensors, dtype=dtype),
        CONFIG_NAME: (json.dumps(config, indent=2) + "\n").encode(),
        **preprocess_file(parts.preprocess, processor="CLIPImageProcessor"),
        **tokenizer_files(tokenizer),
    }


def refuse_other_towers(architecture: Architecture) -> tuple[VisionTransformerConfig, TextTransformerConfig]:
    """The two towers; `UsageError` for those that transformers' CLIPModel does not have."""
    image, text = architecture.image, architecture.text
    if not isinstance(image, VisionTransformerConfig) or not isinstance(text, TextTransformerConfig):
        raise UsageError(
            f"transformers has no CLIP with towers of the kinds {image.kind} and {text.kind}, only vit and "
            f"transformer; save the model in the layout seesay ({sizes_hint('transformers')})."
        )
    if image.pool != "token" or not image.pre_norm:
        raise UsageError(
            "transformers' CLIPModel pools the class token of a ViT with a LayerNorm before its blocks, and this is "
            "another ViT; save the model in the layout open_clip or seesay."
        )
    return image, text


def _text_section(text: TextTransformerConfig, tokenizer: CaptionTokenizer) -> dict[str, Any]:
    return {
        "model_type": "clip_text_model",
        "vocab_size": text.vocab_size,
        "max_position_embeddings": text.context,
        "bos_token_id": tokenizer.start,
        "eos_token_id": tokenizer.end,
        "pad_token_id": tokenizer.end,
    } | block_section(text, eps=1e-5)


def _vision_section(image: VisionTransformerConfig) -> dict[str, Any]:
    return {
        "model_type": "clip_vision_model",
        "image_size": image.image_size,
        "patch_size": image.patch,
        "num_channels": 3,
    } | block_section(image, eps=1e-5)

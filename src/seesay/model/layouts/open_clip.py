"""The layout of open_clip: OpenAI's tensor names, and an `open_clip_config.json` with the rest.

Read are the classes with a native text tower (`CLIP`, and `CustomTextCLIP` with its `text.` in front); a key of the
configuration that would build anything else is refused. Keys that are left out have open_clip's own defaults, except
mean and spread of the colours, which every published folder gives.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.settings import Settings
from seesay.data.images import Preprocess
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.layouts.config_file import checked_as, read_json
from seesay.model.layouts.hf_tokenizer import refuse_other_than_clips
from seesay.model.layouts.mapping import read_linked, to_theirs
from seesay.model.layouts.open_clip_tensors import IGNORED, links, text_prefix
from seesay.model.layouts.parts import Parts, clips_own_way, refuse_strangers
from seesay.model.layouts.programs import sizes_hint
from seesay.model.layouts.vocabulary import is_clips_own, read_tokenizer, tokenizer_files
from seesay.model.weights import read_header, write_tensors
from seesay.nets.architecture import (
    Activation,
    Architecture,
    ResNetConfig,
    SiglipTextConfig,
    TextTransformerConfig,
    VisionTransformerConfig,
)
from seesay.nets.clip import empty_clip

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"
# What `hf_tokenizer_name` is where the tokenizer lies in the same folder.
SELF = "."
# OpenAI's on the hub: all of them hold CLIP's own vocabulary.
CLIPS_REPOSITORIES = "openai/clip-vit-"


class _Nothing(Settings):
    """Options of a constructor that must not change anything."""


class _ActivationOptions(Settings):
    approximate: Literal["none", "tanh"] = "none"


class TowerSection(Settings):
    """What both towers know; where only one value is allowed, any other builds a tower that seesay does not have."""

    mlp_ratio: Annotated[float, Field(gt=0, le=64)] = 4.0
    ls_init_value: None = None
    final_ln_after_pool: Literal[False] = False
    output_tokens: bool = False
    act_kwargs: _ActivationOptions | None = None
    block_type: Literal["default"] | None = None
    qk_norm: Literal[False] = False
    scaled_cosine_attn: Literal[False] = False
    scale_heads: Literal[False] = False
    scale_attn_inner: Literal[False] = False
    scale_attn: Literal[False] = False
    scale_fc: Literal[False] = False


class _Vision(TowerSection):
    norm_kwargs: _Nothing | None = None
    layers: int | tuple[int, int, int, int] = 12
    width: Annotated[int, Field(gt=0, le=8192)] = 768
    head_width: Annotated[int, Field(gt=0)] = 64
    patch_size: int | None = None  # open_clip writes null beside a ResNet, and where it is left out it is 16
    image_size: int = 224
    patch_dropout: float = 0.0
    attentional_pool: Literal[False] = False
    attn_pooler_queries: int = 256
    attn_pooler_heads: int = 8
    no_ln_pre: Literal[False] = False
    pos_embed_type: Literal["learnable"] = "learnable"
    pool_type: Literal["tok"] = "tok"
    timm_model_name: None = None


class _Text(TowerSection):
    norm_kwargs: _Nothing | None = None
    context_length: int = 77
    vocab_size: int = 49_408
    width: Annotated[int, Field(gt=0, le=8192)] = 512
    heads: int = 8
    layers: int = 12
    hf_tokenizer_name: str | None = None
    tokenizer_mode: None = None
    tokenizer_kwargs: _Nothing | None = None
    embed_cls: Literal[False] = False
    pad_id: int = 0
    eos_id: int = 2
    no_causal_mask: Literal[False] = False
    pool_type: Literal["argmax"] = "argmax"
    proj_bias: Literal[False] = False
    proj_type: Literal["linear"] = "linear"
    hf_model_name: None = None


class _ModelSection(Settings):
    embed_dim: int
    vision_cfg: _Vision
    text_cfg: _Text
    quick_gelu: bool = False
    custom_text: bool = False
    init_logit_scale: float | None = None
    init_logit_bias: None = None
    nonscalar_logit_scale: bool = False


class PreprocessSection(Settings):
    """How images are prepared."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize_mode: Literal["shortest", "squash"] = "shortest"
    size: int | tuple[int, int] | None = None  # open_clip puts the image tower's in its place
    mode: Literal["RGB"] = "RGB"
    fill_color: int = 0


class _Config(Settings):
    model_cfg: _ModelSection
    preprocess_cfg: PreprocessSection


def is_in(folder: Path) -> bool:
    """Whether a model of this layout is described there, with towers of open_clip's own."""
    return (folder / CONFIG_NAME).is_file()


def read(folder: Path, *, tokenizer: Path | None = None) -> Parts:
    """The model in an open_clip folder, with the vocabulary in `tokenizer` or else the one beside the weights."""
    path, weights_path = folder / CONFIG_NAME, folder / WEIGHTS_NAME
    content = read_json(path)
    config = checked_as(_Config, content, path=path)
    architecture = checked_as(Architecture, _architecture(config.model_cfg), path=path)
    preprocess = preprocess_of(config.preprocess_cfg, size=architecture.image.image_size, path=path)
    vocabulary = read_tokenizer(folder, tokenizer, context=architecture.text.context)
    if tokenizer is None:
        _refuse_other_vocabulary(folder, config.model_cfg.text_cfg.hf_tokenizer_name, vocabulary)
    refuse_strangers(folder, architecture, tokenizer=vocabulary, preprocess=preprocess)
    clip = empty_clip(architecture)
    tensor_links = list(links(architecture, text_prefix=text_prefix(read_header(weights_path))))
    clip.load_state_dict(
        read_linked(weights_path, tensor_links, clip.state_dict(), ignored=IGNORED),
        assign=True,
    )
    return Parts(
        clip=clip, architecture=architecture, tokenizer=vocabulary, preprocess=preprocess, name=folder.resolve().name
    )


def preprocess_of(section: PreprocessSection, *, size: int, path: Path) -> Preprocess:
    """What the section says, for an image tower of that size; `RefusedInput` where it cannot be."""
    values = {
        "size": size,
        "resize": section.resize_mode,
        "interpolation": section.interpolation,
        "mean": section.mean,
        "std": section.std,
    }
    return checked_as(Preprocess, values, path=path)


def _architecture(model: _ModelSection) -> dict[str, Any]:
    """The towers, as values that are still to be checked."""
    vision, text = model.vision_cfg, model.text_cfg
    heads = vision.width // vision.head_width
    image: dict[str, Any] = {"image_size": vision.image_size, "width": vision.width, "layers": vision.layers}
    if isinstance(vision.layers, tuple):
        image |= {"kind": "resnet", "heads": vision.width * 32 // vision.head_width}
    else:
        image |= {
            "kind": "vit",
            "patch": vision.patch_size if "patch_size" in vision.model_fields_set else 16,
            "heads": heads,
            "activation": _activation(model, vision),
            "mlp_width": mlp_width(vision.width, vision.mlp_ratio),
        }
    return {
        "embed_dim": model.embed_dim,
        "image": image,
        "text": {
            "kind": "transformer",
            "context": text.context_length,
            "vocab_size": text.vocab_size,
            "width": text.width,
            "layers": text.layers,
            "heads": text.heads,
            "activation": _activation(model, text),
            "mlp_width": mlp_width(text.width, text.mlp_ratio),
        },
    }


def _activation(model: _ModelSection, tower: TowerSection) -> Activation:
    if model.quick_gelu:
        return "quick_gelu"
    return "gelu_tanh" if tower.act_kwargs and tower.act_kwargs.approximate == "tanh" else "gelu"


def _refuse_other_vocabulary(folder: Path, name: str | None, vocabulary: CaptionTokenizer) -> None:
    """`RefusedInput` if `hf_tokenizer_name` is another tokenizer than the one that was found in the folder.

    A folder may name itself: as such, or as the repository it came from, whose cache holds it under
    `models--owner--name/snapshots/COMMIT`.
    """
    if not name:
        return
    path = folder.resolve()
    is_cached = "models--" + name.replace("/", "--") == path.parent.parent.name
    if name == SELF or is_cached or name.rpartition("/")[2] == path.name:
        refuse_other_than_clips(folder)
    elif not (name.startswith(CLIPS_REPOSITORIES) and is_clips_own(vocabulary)):
        raise RefusedInput(
            f"{folder / CONFIG_NAME}: hf_tokenizer_name is {name!r:.60}, which need not be the vocabulary beside the "
            "weights; if they were trained with that one, name its file with tokenizer=."
        )


def mlp_width(width: int, ratio: float) -> int | None:
    """The width between the two layers of a block, None where it is four times that of the tower."""
    hidden = int(width * ratio)
    return None if hidden == 4 * width else hidden


def files(parts: Parts, *, dtype: torch.dtype | None = None) -> dict[str, bytes]:
    """The files of an open_clip folder; `UsageError` for towers that open_clip's own classes do not have.

    Templates and facts have no place in this layout.
    """
    if isinstance(parts.architecture.text, SiglipTextConfig):
        raise UsageError(
            "open_clip takes SigLIP's towers from timm, under names that seesay does not write; "
            "save the model in the layout hf or seesay."
        )
    tokenizer = clips_own_way(parts, program="open_clip")
    config = {
        "model_cfg": _model_section(parts.architecture, tokenizer),
        "preprocess_cfg": _preprocess_section(parts.preprocess),
    }
    tensors = to_theirs(links(parts.architecture), parts.clip.state_dict())
    return {
        WEIGHTS_NAME: write_tensors(tensors, dtype=dtype),
        CONFIG_NAME: (json.dumps(config, indent=2) + "\n").encode(),
        **tokenizer_files(tokenizer),
    }


def _model_section(architecture: Architecture, tokenizer: CaptionTokenizer) -> dict[str, Any]:
    image, text = architecture.image, architecture.text
    if not isinstance(text, TextTransformerConfig) or not isinstance(image, VisionTransformerConfig | ResNetConfig):
        raise UsageError(
            f"open_clip has no towers of the kinds {image.kind} and {text.kind}, only vit or resnet with transformer; "
            f"save the model in the layout seesay ({sizes_hint('open_clip')})."
        )
    of_image = text.activation if isinstance(image, ResNetConfig) else image.activation
    activations = {of_image, text.activation}
    if len(activations) > 1 and "quick_gelu" in activations:
        raise UsageError(
            f"open_clip has one activation for both towers, the image tower has {of_image} and "
            f"the text tower {text.activation}; save the model in the layout seesay."
        )
    return {
        "embed_dim": architecture.embed_dim,
        "quick_gelu": "quick_gelu" in activations,
        "vision_cfg": _vision_section(image),
        "text_cfg": _text_section(text, tokenizer),
    }


def _vision_section(image: VisionTransformerConfig | ResNetConfig) -> dict[str, Any]:
    section: dict[str, Any] = {"image_size": image.image_size, "layers": image.layers, "width": image.width}
    if isinstance(image, ResNetConfig):
        return section | {"head_width": image.channels // image.heads}
    return section | {"patch_size": image.patch, "head_width": image.width // image.heads} | _block_options(image)


def _text_section(text: TextTransformerConfig, tokenizer: CaptionTokenizer) -> dict[str, Any]:
    section: dict[str, Any] = {
        "context_length": text.context,
        "vocab_size": text.vocab_size,
        "width": text.width,
        "heads": text.heads,
        "layers": text.layers,
    }
    if not is_clips_own(tokenizer):
        # Without a name open_clip takes the vocabulary it carries itself; with one it looks in the model's own folder.
        section["hf_tokenizer_name"] = SELF
    return section | _block_options(text)


def _block_options(tower: VisionTransformerConfig | TextTransformerConfig) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if tower.mlp_width is not None:
        # open_clip cuts the product down to a whole number, so half a step more than the exact ratio is safe.
        options["mlp_ratio"] = (tower.mlp_width + 0.5) / tower.width
    if tower.activation == "gelu_tanh":
        options["act_kwargs"] = {"approximate": "tanh"}
    return options


def _preprocess_section(preprocess: Preprocess) -> dict[str, Any]:
    return {
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "interpolation": preprocess.interpolation,
        "resize_mode": preprocess.resize,
    }

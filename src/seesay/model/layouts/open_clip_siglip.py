"""SigLIP and SigLIP 2 in open_clip's layout: the image tower under timm's names, the text tower under open_clip's own.

The weights are those of `hf_siglip`, and what is done with them is not quite: timm's towers of some names, and
open_clip's text tower where nothing else is said, have the exact GELU where transformers takes its approximation by
tanh, and captions are cleaned before they are tokenized. Each layout is followed as its own program does.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.settings import Settings
from seesay.data.file_tokenizer import FileTokenizer
from seesay.model.layouts.config_file import checked_as, read_json
from seesay.model.layouts.hf_tokenizer import file_tokenizer_files, read_file_tokenizer
from seesay.model.layouts.mapping import Link, link, read_linked, to_theirs, weight_and_bias
from seesay.model.layouts.open_clip_config import CONFIG_NAME as CONFIG_NAME
from seesay.model.layouts.open_clip_config import (
    SELF,
    CleaningSection,
    PreprocessSection,
    SiglipSection,
    TowerSection,
    bias_section,
    block_options,
    mlp_width,
    preprocess_of,
    preprocess_section,
)
from seesay.model.layouts.open_clip_config import WEIGHTS_NAME as WEIGHTS_NAME
from seesay.model.layouts.open_clip_tensors import IGNORED, TEXT_PREFIX, block, siglip_image
from seesay.model.layouts.parts import Parts, refuse_strangers
from seesay.model.weights import write_tensors
from seesay.nets.architecture import Architecture, SiglipImageConfig, SiglipTextConfig
from seesay.nets.clip import empty_clip
from seesay.nets.siglip import EPS

# timm 1.0.31, `vision_transformer.py`: width, layers, heads and the width between the layers of a block, by size.
SIZES = {
    "base": (768, 12, 12, 3072),
    "large": (1024, 24, 16, 4096),
    "so400m": (1152, 27, 16, 4304),
    "giantopt": (1536, 40, 16, 6144),
}
# The sides in pixels that it has names for.
SIDES = {
    ("base", 32): (256,),
    ("base", 16): (224, 256, 384, 512),
    ("large", 16): (256, 384, 512),
    ("so400m", 14): (224, 378, 384),
    ("so400m", 16): (256, 384, 512),
    ("giantopt", 16): (256, 384),
}
TIMM_NAME = re.compile(r"vit_(base|large|so400m|giantopt)_patch(14|16|32)_siglip_(\d{3})")
# There, too: the names whose activation is the approximation by tanh; all others have the exact GELU.
WITH_TANH = re.compile(r"vit_(base_patch32|large_patch16_siglip_512|so400m_patch16|giantopt)")


class _Norm(Settings):
    eps: float = Field(ge=0.99e-6, le=1.01e-6)


class _Text(TowerSection):
    context_length: int
    vocab_size: int
    width: int = Field(gt=0, le=8192)
    heads: int
    layers: int
    hf_tokenizer_name: str | None = None
    tokenizer_kwargs: CleaningSection = CleaningSection()
    final_ln_after_pool: Literal[False] = False
    no_causal_mask: Literal[True]
    pool_type: Literal["last"]
    proj_type: Literal["linear", "none"] = "linear"
    proj_bias: bool = False
    norm_kwargs: _Norm


class _ModelSection(Settings):
    embed_dim: int
    vision_cfg: SiglipSection
    text_cfg: _Text
    custom_text: bool = False
    init_logit_scale: float | None = None
    init_logit_bias: float


class _Config(Settings):
    model_cfg: _ModelSection
    preprocess_cfg: PreprocessSection


def is_in(folder: Path) -> bool:
    """Whether a SigLIP is described there: an image tower of timm's by its name, and a text tower of open_clip's."""
    path = folder / CONFIG_NAME
    model = read_json(path).get("model_cfg") if path.is_file() else None
    vision, text = (model.get(name) for name in ("vision_cfg", "text_cfg")) if isinstance(model, dict) else (None, None)
    name = vision.get("timm_model_name") if isinstance(vision, dict) else None
    is_ours = isinstance(name, str) and TIMM_NAME.fullmatch(name) is not None
    return is_ours and not (isinstance(text, dict) and text.get("hf_model_name"))


def read(folder: Path, *, tokenizer: Path | None = None) -> Parts:
    """The model in an open_clip folder of a SigLIP, with the tokenizer in `tokenizer` or the folder's own."""
    path, weights_path = folder / CONFIG_NAME, folder / WEIGHTS_NAME
    config = checked_as(_Config, read_json(path), path=path)
    text = config.model_cfg.text_cfg
    has_projection = text.proj_type == "linear"
    if text.tokenizer_kwargs.strip_sep_token:
        raise RefusedInput(f"{path}: tokenizer_kwargs has strip_sep_token, which no SigLIP has.")
    if has_projection != text.proj_bias or (not has_projection and text.width != config.model_cfg.embed_dim):
        raise RefusedInput(f"{path}: proj_type {text.proj_type!r} with proj_bias {text.proj_bias} is no SigLIP.")
    values = _architecture(config.model_cfg)
    architecture = checked_as(Architecture, values, path=path)
    preprocess = preprocess_of(config.preprocess_cfg, size=architecture.image.image_size, path=path)
    vocabulary, pad = read_file_tokenizer(
        folder, tokenizer, context=text.context_length, cleaner=text.tokenizer_kwargs.clean
    )
    values["text"]["pad"] = pad
    architecture = checked_as(Architecture, values, path=path)
    refuse_strangers(folder, architecture, tokenizer=vocabulary, preprocess=preprocess)
    clip = empty_clip(architecture)
    ours = clip.state_dict()
    tensor_links = list(links(architecture, has_projection=has_projection))
    tensors = read_linked(weights_path, tensor_links, ours, ignored=IGNORED)
    if not has_projection:
        # Where a text's row is the last position itself: nothing is changed by this matrix, to the last bit.
        tensors |= {
            "text_tower.head.weight": torch.eye(text.width),
            "text_tower.head.bias": torch.zeros(text.width),
        }
    clip.fill(tensors)
    return Parts(
        clip=clip, architecture=architecture, tokenizer=vocabulary, preprocess=preprocess, name=folder.resolve().name
    )


def files(parts: Parts, *, dtype: torch.dtype | None = None) -> dict[str, bytes]:
    """The files of an open_clip folder of a SigLIP; `UsageError` for towers that timm has under no name.

    Templates and facts have no place in this layout.
    """
    architecture, tokenizer = parts.architecture, parts.tokenizer
    image, text = architecture.image, architecture.text
    if (
        not isinstance(image, SiglipImageConfig)
        or not isinstance(text, SiglipTextConfig)
        or text.eps != EPS
        or text.pool != "last"
    ):
        raise UsageError(
            f"open_clip has no {image.kind} tower beside one that reads captions as SigLIP's; save the model in the "
            "layout seesay."
        )
    if not isinstance(tokenizer, FileTokenizer) or tokenizer.cleaner is None or tokenizer.rules.keys() != {"cleaner"}:
        raise UsageError(
            "open_clip cleans captions before it tokenizes them, and this model does not or has more rules, so that "
            "its ids would be others there; save it in the layout hf or seesay."
        )
    config = {
        "model_cfg": {
            "embed_dim": architecture.embed_dim,
            "custom_text": True,
            **bias_section(parts.clip),
            "vision_cfg": {
                "image_size": image.image_size,
                "timm_model_name": _timm_name(image),
                "timm_model_pretrained": False,
                "timm_pool": "map",
                "timm_proj": "none",
            },
            "text_cfg": _text_section(text, tokenizer),
        },
        "preprocess_cfg": preprocess_section(parts.preprocess),
    }
    tensors = to_theirs(links(architecture), parts.clip.state_dict())
    return {
        WEIGHTS_NAME: write_tensors(tensors, dtype=dtype),
        CONFIG_NAME: (json.dumps(config, indent=2) + "\n").encode(),
        **file_tokenizer_files(tokenizer, pad=text.pad),
    }


def _timm_name(image: SiglipImageConfig) -> str:
    """The name of such a tower in timm, of its size where there is one; `UsageError` for a tower of no name."""
    measures = image.width, image.layers, image.heads, image.hidden
    names = [
        f"vit_{size}_patch{patch}_siglip_{side}"
        for (size, patch), sides in SIDES.items()
        for side in sorted(sides, key=lambda side: side != image.image_size)
        if SIZES[size] == measures and patch == image.patch
    ]
    alike = [name for name in names if ("gelu_tanh" if WITH_TANH.match(name) else "gelu") == image.activation]
    if not alike:
        raise UsageError(
            f"timm, from which open_clip takes SigLIP's image tower, has none of width {image.width}, {image.layers} "
            f"layers, patch {image.patch} and activation {image.activation}; save the model in the layout hf or seesay."
        )
    return alike[0]


def _text_section(text: SiglipTextConfig, tokenizer: FileTokenizer) -> dict[str, Any]:
    section: dict[str, Any] = {
        "context_length": text.context,
        "vocab_size": text.vocab_size,
        "hf_tokenizer_name": SELF,
        "tokenizer_kwargs": {"clean": tokenizer.cleaner},
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "norm_kwargs": {"eps": EPS},
    }
    return section | {"width": text.width, "heads": text.heads, "layers": text.layers} | block_options(text)


def _architecture(model: _ModelSection) -> dict[str, Any]:
    """The towers, as values that are still to be checked; the tokenizer then says what `pad` is."""
    text = model.text_cfg
    is_tanh = text.act_kwargs is not None and text.act_kwargs.approximate == "tanh"
    return {
        "embed_dim": model.embed_dim,
        "scoring": "sigmoid",
        "image": image_values(model.vision_cfg),
        "text": {
            "kind": "siglip-text",
            "context": text.context_length,
            "vocab_size": text.vocab_size,
            "pad": 0,
            "width": text.width,
            "layers": text.layers,
            "heads": text.heads,
            "mlp_width": mlp_width(text.width, text.mlp_ratio),
            "activation": "gelu_tanh" if is_tanh else "gelu",
        },
    }


def image_values(vision: SiglipSection) -> dict[str, Any]:
    """The image tower, as values that are still to be checked; its name is one of `TIMM_NAME`."""
    found = TIMM_NAME.fullmatch(vision.timm_model_name)
    assert found is not None
    width, layers, heads, hidden = SIZES[found[1]]
    return {
        "kind": "siglip-image",
        "image_size": vision.image_size,
        "patch": int(found[2]),
        "width": width,
        "layers": layers,
        "heads": heads,
        "mlp_width": None if hidden == 4 * width else hidden,
        "activation": "gelu_tanh" if WITH_TANH.match(vision.timm_model_name) else "gelu",
    }


def links(architecture: Architecture, *, has_projection: bool = True) -> Iterator[Link]:
    """Every tensor of a SigLIP and its name there; without a projection the text tower's head is none of them."""
    image, text = architecture.image, architecture.text
    assert isinstance(image, SiglipImageConfig) and isinstance(text, SiglipTextConfig)
    yield link("logit_scale", "logit_scale")
    yield link("logit_bias", "logit_bias")
    yield from siglip_image(image)
    yield link("text_tower.positions", f"{TEXT_PREFIX}positional_embedding")
    yield link("text_tower.token_embedding.weight", f"{TEXT_PREFIX}token_embedding.weight")
    yield from weight_and_bias("text_tower.ln_final", f"{TEXT_PREFIX}ln_final")
    if has_projection:
        yield from weight_and_bias("text_tower.head", f"{TEXT_PREFIX}text_projection")
    for index in range(text.layers):
        yield from block(f"text_tower.blocks.{index}", f"{TEXT_PREFIX}transformer.resblocks.{index}")

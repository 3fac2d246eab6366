"""What `open_clip_config.json` says of the towers, as values of an architecture that are still to be checked.

A tower is open_clip's own, timm's or SigLIP's of timm's names; what no model here has is refused.
"""

from pathlib import Path
from typing import Any

from seesay.base.errors import RefusedInput
from seesay.model.layouts.open_clip_config import (
    Config,
    ModelSection,
    TextSection,
    TimmSection,
    TowerSection,
    VisionSection,
    mlp_width,
)
from seesay.nets.architecture import Activation


def config_type(path: Path, content: dict[str, Any]) -> type[Config]:
    """The file as the sections of the towers that it names; `RefusedInput` for what is beside the two."""
    model = content.get("model_cfg")
    vision, text = (model.get(name) for name in ("vision_cfg", "text_cfg")) if isinstance(model, dict) else (None, None)
    if isinstance(text, dict) and (name := text.get("hf_model_name")) is not None:
        raise RefusedInput(
            f"{path}: its text tower is transformers' {name!r:.60}, and seesay has no such tower; nothing is read."
        )
    if isinstance(model, dict) and "multimodal_cfg" in model:
        raise RefusedInput(f"{path} is a CoCa, whose decoder and pooling seesay does not have; nothing is read.")
    is_timms = isinstance(vision, dict) and vision.get("timm_model_name") is not None
    return Config[TimmSection if is_timms else VisionSection, TextSection]


def architecture_values(path: Path, model: ModelSection[Any, Any]) -> dict[str, Any]:
    """Both towers and what they meet in; `RefusedInput` for a tower that is put together in a way of its own."""
    image = (
        _timm_values(path, model.vision_cfg)
        if isinstance(model.vision_cfg, TimmSection)
        else _image_values(path, model.vision_cfg, model)
    )
    values = {"embed_dim": model.embed_dim, "image": image, "text": _text_values(path, model.text_cfg, model)}
    return values if model.init_logit_bias is None else values | {"scoring": "sigmoid"}


def _timm_values(path: Path, vision: TimmSection) -> dict[str, Any]:
    projection = vision.timm_proj if "timm_proj" in vision.model_fields_set else "linear"
    if vision.timm_pool in ("abs_attn", "rot_attn"):
        raise RefusedInput(
            f"{path}: timm_pool is {vision.timm_pool!r}, which no published model has; seesay has no such part."
        )
    return {
        "kind": "timm",
        "name": vision.timm_model_name,
        "image_size": vision.image_size,
        "pool": vision.timm_pool,
        "head": projection or "classifier",
        "head_bias": vision.timm_proj_bias,
    }


def _image_values(path: Path, vision: VisionSection, model: ModelSection[Any, Any]) -> dict[str, Any]:
    if vision.pool_type == "avg" and not vision.final_ln_after_pool:
        raise RefusedInput(
            f"{path}: vision_cfg has pool_type 'avg' without final_ln_after_pool; seesay has it with it."
        )
    image: dict[str, Any] = {"image_size": vision.image_size, "width": vision.width, "layers": vision.layers}
    if isinstance(vision.layers, tuple):
        return image | {"kind": "resnet", "heads": vision.width * 32 // vision.head_width}
    return image | {
        "kind": "vit",
        "patch": vision.patch_size if "patch_size" in vision.model_fields_set else 16,
        "heads": vision.width // vision.head_width,
        "activation": _activation(model, vision),
        "mlp_width": mlp_width(vision.width, vision.mlp_ratio),
        "pool": "patches" if vision.pool_type == "avg" else "token",
        "pre_norm": not vision.no_ln_pre,
    }


def _text_values(path: Path, text: TextSection, model: ModelSection[Any, Any]) -> dict[str, Any]:
    return _kind_of_text(path, text) | {
        "context": text.context_length,
        "vocab_size": text.vocab_size,
        "width": text.width,
        "layers": text.layers,
        "heads": text.heads,
        "activation": _activation(model, text),
        "mlp_width": mlp_width(text.width, text.mlp_ratio),
    }


def _kind_of_text(path: Path, text: TextSection) -> dict[str, Any]:
    """Which positions see which, and which one is pooled."""
    kind = (text.pool_type, text.no_causal_mask)
    if kind in (("argmax", False), ("eos", False)):
        return {"kind": "transformer"}
    if kind in (("last", True), ("argmax", True)):
        # Every position sees all: SigLIP's tower, with the epsilon of CLIP's. CLIP's end token has the largest id.
        pool = {"pool": "end"} if text.pool_type == "argmax" else {}
        return {"kind": "siglip-text", "pad": 0, "eps": 1e-5, **pool}
    raise RefusedInput(
        f"{path}: text_cfg has pool_type {text.pool_type!r} and no_causal_mask {text.no_causal_mask}; seesay pools "
        "the last position or CLIP's end token of all that see one another, or the end token of those that see none "
        "behind them."
    )


def _activation(model: ModelSection[Any, Any], tower: TowerSection) -> Activation:
    if model.quick_gelu:
        return "quick_gelu"
    return "gelu_tanh" if tower.act_kwargs and tower.act_kwargs.approximate == "tanh" else "gelu"

"""What `open_clip_config.json` says of the towers, as values of an architecture that are still to be checked.

A tower is open_clip's own, timm's, SigLIP's of timm's names, or transformers'; what no model here has is refused.
"""

from pathlib import Path
from typing import Any

from seesay.base.errors import RefusedInput
from seesay.model.layouts.open_clip_config import (
    Config,
    ModelSection,
    SiglipSection,
    TextSection,
    TimmSection,
    TowerSection,
    TransformersSection,
    VisionSection,
    mlp_width,
)
from seesay.model.layouts.open_clip_siglip import TIMM_NAME, image_values
from seesay.nets.architecture import Activation

# config.json under these names on the hub: model_type, width, layers, heads, width between the layers of a block, ids,
# and rows of the table of positions. What shapes tell, the weights must have; heads and family they cannot tell.
TEXT_TOWERS = {
    "roberta-base": ("roberta", 768, 12, 12, 3072, 50_265, 514),
    "xlm-roberta-base": ("xlm-roberta", 768, 12, 12, 3072, 250_002, 514),
    "xlm-roberta-large": ("xlm-roberta", 1024, 24, 16, 4096, 250_002, 514),
    "google/mt5-base": ("mt5", 768, 12, 12, 2048, 250_112, 0),
    "google/mt5-xl": ("mt5", 2048, 24, 32, 5120, 250_112, 0),
    "facebook/nllb-200-distilled-600M": ("m2m_100", 1024, 12, 16, 4096, 256_206, 1024),
    "facebook/nllb-200-distilled-1.3B": ("m2m_100", 1024, 24, 16, 8192, 256_206, 1024),
}


def config_type(content: dict[str, Any]) -> type[Config]:
    """The file as the sections of the towers that it names."""
    model = content.get("model_cfg")
    vision, text = (model.get(name) for name in ("vision_cfg", "text_cfg")) if isinstance(model, dict) else (None, None)
    image_type, name = VisionSection, vision.get("timm_model_name") if isinstance(vision, dict) else None
    if name is not None:
        image_type = SiglipSection if isinstance(name, str) and TIMM_NAME.fullmatch(name) else TimmSection
    is_transformers = isinstance(text, dict) and text.get("hf_model_name") is not None
    return Config[image_type, TransformersSection if is_transformers else TextSection]


def architecture_values(path: Path, model: ModelSection[Any, Any]) -> dict[str, Any]:
    """Both towers and what they meet in; `RefusedInput` for a tower that is put together in a way of its own."""
    vision, text = model.vision_cfg, model.text_cfg
    if isinstance(vision, SiglipSection):
        image = image_values(vision)
    elif isinstance(vision, TimmSection):
        image = _timm_values(path, vision)
    else:
        image = _image_values(path, vision, model)
    of_text = (
        _transformers_values(path, text) if isinstance(text, TransformersSection) else _text_values(path, text, model)
    )
    values = {"embed_dim": model.embed_dim, "image": image, "text": of_text}
    return values if model.init_logit_bias is None else values | {"scoring": "sigmoid"}


def _transformers_values(path: Path, text: TransformersSection) -> dict[str, Any]:
    """The folder says the name alone, so the sizes are those that were published under it."""
    if text.hf_model_name not in TEXT_TOWERS:
        raise RefusedInput(
            f"{path}: its text tower is transformers' {text.hf_model_name!r:.60}, whose sizes are not in the folder; "
            f"seesay knows those of {', '.join(TEXT_TOWERS)}."
        )
    family, width, layers, heads, mlp_width, vocab_size, positions = TEXT_TOWERS[text.hf_model_name]
    has_layer = text.hf_pooler_type == "cls_pooler" and family in ("roberta", "xlm-roberta")
    is_first = text.hf_pooler_type in ("cls_pooler", "cls_last_hidden_state_pooler")
    head = text.hf_proj_type or "none" if "hf_proj_type" in text.model_fields_set else "mlp"
    return {
        "kind": "transformers",
        "family": family,
        "context": text.context_length,
        "vocab_size": vocab_size,
        "pad": 0 if family == "mt5" else 1,
        "width": width,
        "layers": layers,
        "heads": heads,
        "mlp_width": mlp_width,
        "positions": positions,
        "pool": "dense" if has_layer else "first" if is_first else "mean",
        "head": head,
    }


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
    if vision.attentional_pool and (vision.pool_type, vision.final_ln_after_pool) != ("tok", False):
        raise RefusedInput(f"{path}: vision_cfg has attentional_pool and another pooling behind it, which no CoCa has.")
    if vision.pool_type == "avg" and not vision.final_ln_after_pool:
        raise RefusedInput(
            f"{path}: vision_cfg has pool_type 'avg' without final_ln_after_pool; seesay has it with it."
        )
    image: dict[str, Any] = {"image_size": vision.image_size, "width": vision.width, "layers": vision.layers}
    if isinstance(vision.layers, tuple):
        return image | {"kind": "resnet", "heads": vision.width * 32 // vision.head_width}
    if vision.attentional_pool:
        of_pool = {"pool": "queries", "queries": vision.attn_pooler_queries, "query_heads": vision.attn_pooler_heads}
    else:
        of_pool = {"pool": "patches" if vision.pool_type == "avg" else "token"}
    return image | {
        "kind": "vit",
        "patch": vision.patch_size if "patch_size" in vision.model_fields_set else 16,
        "heads": vision.width // vision.head_width,
        "activation": _activation(model, vision),
        "mlp_width": mlp_width(vision.width, vision.mlp_ratio),
        "pre_norm": not vision.no_ln_pre,
        **of_pool,
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
    if text.embed_cls and kind == ("argmax", False):
        return {"kind": "coca-text"}
    if text.embed_cls:
        raise RefusedInput(f"{path}: text_cfg has embed_cls and another pooling or mask, which no CoCa has.")
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

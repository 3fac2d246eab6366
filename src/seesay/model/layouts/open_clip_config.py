"""`open_clip_config.json` as checked values. A key that would build anything that seesay does not have is refused.

Keys that are left out have the defaults of open_clip, except mean and spread of the colours, which every published
folder gives.
"""

from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field

from seesay.base.settings import Settings
from seesay.data.images import Preprocess
from seesay.model.layouts.config_file import checked_as
from seesay.nets.architecture import SiglipTextConfig, TextTransformerConfig, VisionTransformerConfig
from seesay.nets.clip import Clip

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"
# What `hf_tokenizer_name` is where the tokenizer lies in the same folder.
SELF = "."


class _Nothing(Settings):
    """Options of a constructor that must not change anything."""


class _ActivationOptions(Settings):
    approximate: Literal["none", "tanh"] = "none"


class CleaningSection(Settings):
    """What is done to captions before they are tokenized, and to their ids; for CLIP's own vocabulary nothing else."""

    clean: Literal["canonicalize", "lower", "whitespace"] = "whitespace"
    strip_sep_token: bool = False


class TowerSection(Settings):
    """What both towers know; where only one value is allowed, any other builds a tower that seesay does not have."""

    mlp_ratio: Annotated[float, Field(gt=0, le=64)] = 4.0
    ls_init_value: None = None
    output_tokens: bool = False
    act_kwargs: _ActivationOptions | None = None
    block_type: Literal["default"] | None = None
    qk_norm: Literal[False] = False
    scaled_cosine_attn: Literal[False] = False
    scale_heads: Literal[False] = False
    scale_attn_inner: Literal[False] = False
    scale_attn: Literal[False] = False
    scale_fc: Literal[False] = False


class VisionSection(TowerSection):
    """The image tower."""

    norm_kwargs: _Nothing | None = None
    layers: int | tuple[int, int, int, int] = 12
    width: Annotated[int, Field(gt=0, le=8192)] = 768
    head_width: Annotated[int, Field(gt=0)] = 64
    patch_size: int | None = None  # open_clip writes null beside a ResNet, and where it is left out it is 16
    image_size: int = 224
    patch_dropout: float = 0.0
    attentional_pool: bool = False
    attn_pooler_queries: int = 256
    attn_pooler_heads: int = 8
    no_ln_pre: bool = False
    pos_embed_type: Literal["learnable"] = "learnable"
    pool_type: Literal["tok", "avg"] = "tok"
    final_ln_after_pool: bool = False
    timm_model_name: None = None


class TimmSection(Settings):
    """An image tower of timm; what is only of training changes nothing here."""

    timm_model_name: str
    timm_model_pretrained: bool = False
    timm_pool: str = "avg"
    timm_proj: Literal["linear", "mlp", "none", ""] | None = None  # left out it is "linear"
    timm_proj_bias: bool = False
    timm_drop: float = 0.0
    timm_drop_path: float | None = None
    patch_dropout: float = 0.0
    image_size: int = 224


class SiglipSection(Settings):
    """SigLIP's image tower, which is timm's there."""

    image_size: int
    timm_model_name: str
    timm_model_pretrained: bool = False
    timm_pool: Literal["map"]
    timm_proj: Literal["none", ""] = "none"
    timm_drop: float = 0.0
    timm_drop_path: float | None = None


class TextSection(TowerSection):
    """The text tower and its tokenizer."""

    norm_kwargs: _Nothing | None = None
    context_length: int = 77
    vocab_size: int = 49_408
    width: Annotated[int, Field(gt=0, le=8192)] = 512
    heads: int = 8
    layers: int = 12
    hf_tokenizer_name: str | None = None
    tokenizer_mode: None = None
    tokenizer_kwargs: CleaningSection | None = None
    embed_cls: bool = False
    pad_id: Literal[0] = 0
    eos_id: int = 2
    no_causal_mask: bool = False
    pool_type: Literal["argmax", "eos", "last"] = "argmax"
    final_ln_after_pool: Literal[False] = False
    proj_bias: Literal[False] = False
    proj_type: Literal["linear"] = "linear"
    hf_model_name: None = None


class TransformersSection(Settings):
    """A text tower of transformers and its tokenizer."""

    hf_model_name: str
    hf_model_pretrained: bool = True
    hf_proj_type: Literal["linear", "mlp"] | None = None  # left out it is "mlp", null is none
    hf_pooler_type: Literal["mean_pooler", "cls_pooler", "cls_last_hidden_state_pooler"] = "mean_pooler"
    hf_tokenizer_name: str | None = None
    tokenizer_mode: None = None
    tokenizer_kwargs: CleaningSection | None = None
    context_length: int = 77
    output_tokens: bool = False


VisionT = TypeVar("VisionT", bound=Settings)
TextT = TypeVar("TextT", bound=Settings)


class ModelSection(Settings, Generic[VisionT, TextT]):
    """Both towers, and what they meet in."""

    embed_dim: int
    vision_cfg: VisionT
    text_cfg: TextT
    quick_gelu: bool = False
    # The decoder of a CoCa, which is left out.
    multimodal_cfg: dict[str, Any] | None = None
    custom_text: bool = False
    init_logit_scale: float | None = None
    init_logit_bias: float | None = None
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


class Config(Settings, Generic[VisionT, TextT]):
    """The whole file."""

    model_cfg: ModelSection[VisionT, TextT]
    preprocess_cfg: PreprocessSection


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


def mlp_width(width: int, ratio: float) -> int | None:
    """The width between the two layers of a block, None where it is four times that of the tower."""
    hidden = int(width * ratio)
    return None if hidden == 4 * width else hidden


def bias_section(clip: Clip) -> dict[str, Any]:
    """With `init_logit_bias` open_clip makes room for a bias, whose value is a weight."""
    return {} if clip.logit_bias is None else {"init_logit_bias": float(clip.logit_bias.detach())}


def block_options(tower: VisionTransformerConfig | TextTransformerConfig | SiglipTextConfig) -> dict[str, Any]:
    """What of a stack of blocks has a default there."""
    options: dict[str, Any] = {}
    if tower.mlp_width is not None:
        # open_clip cuts the product down to a whole number, so half a step more than the exact ratio is safe.
        options["mlp_ratio"] = (tower.mlp_width + 0.5) / tower.width
    if tower.activation == "gelu_tanh":
        options["act_kwargs"] = {"approximate": "tanh"}
    return options


def preprocess_section(preprocess: Preprocess) -> dict[str, Any]:
    """What `preprocess_of` reads."""
    return {
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "interpolation": preprocess.interpolation,
        "resize_mode": preprocess.resize,
    }

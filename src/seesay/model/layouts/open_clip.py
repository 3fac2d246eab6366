"""The layout of open_clip: OpenAI's tensor names, and an `open_clip_config.json` with the rest.

Read are the classes with a native text tower (`CLIP`, and `CustomTextCLIP` with its `text.` in front).
"""

import json
from pathlib import Path
from typing import Any

import torch

from seesay.base.errors import RefusedInput, UsageError
from seesay.data.file_tokenizer import FileTokenizer
from seesay.data.images import Preprocess
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.layouts.config_file import checked_as, read_json
from seesay.model.layouts.hf_tokenizer import read_file_tokenizer, refuse_other_than_clips
from seesay.model.layouts.mapping import read_linked, to_theirs
from seesay.model.layouts.open_clip_config import (
    CleaningSection,
    Config,
    ModelSection,
    PreprocessSection,
    TextSection,
    TowerSection,
)
from seesay.model.layouts.open_clip_tensors import IGNORED, links, text_prefix
from seesay.model.layouts.parts import Parts, clips_own_way, refuse_strangers
from seesay.model.layouts.programs import sizes_hint
from seesay.model.layouts.vocabulary import is_clips_own, read_tokenizer, tokenizer_files
from seesay.model.weights import read_names, write_tensors
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


def is_in(folder: Path) -> bool:
    """Whether a model of this layout is described there, with towers of open_clip's own."""
    return (folder / CONFIG_NAME).is_file()


def read(folder: Path, *, tokenizer: Path | None = None) -> Parts:
    """The model in an open_clip folder, with the vocabulary in `tokenizer` or else the one beside the weights."""
    path, weights_path = folder / CONFIG_NAME, folder / WEIGHTS_NAME
    content = read_json(path)
    _refuse_others_towers(path, content)
    config = checked_as(Config, content, path=path)
    text = config.model_cfg.text_cfg
    _refuse_other_pooling(path, config.model_cfg)
    values = _architecture(config.model_cfg)
    architecture = checked_as(Architecture, values, path=path)
    preprocess = preprocess_of(config.preprocess_cfg, size=architecture.image.image_size, path=path)
    if text.pool_type == "argmax":
        _refuse_other_cleaning(path, text.tokenizer_kwargs)
        vocabulary = read_tokenizer(folder, tokenizer, context=text.context_length)
        if tokenizer is None:
            _refuse_other_vocabulary(folder, text.hf_tokenizer_name, vocabulary)
    else:
        vocabulary, pad = _other_vocabulary(folder, tokenizer, text)
        values["text"] |= {"pad": pad} if text.pool_type == "last" else {}
        architecture = checked_as(Architecture, values, path=path)
    refuse_strangers(folder, architecture, tokenizer=vocabulary, preprocess=preprocess)
    clip = empty_clip(architecture)
    tensor_links = list(links(architecture, text_prefix=text_prefix(read_names(weights_path))))
    tensors = read_linked(weights_path, tensor_links, clip.state_dict(), ignored=IGNORED)
    if isinstance(architecture.text, SiglipTextConfig):
        # open_clip's projection has none.
        tensors["text_tower.head.bias"] = torch.zeros(architecture.embed_dim)
    clip.load_state_dict(tensors, assign=True)
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


def _architecture(model: ModelSection) -> dict[str, Any]:
    """The towers, as values that are still to be checked."""
    vision, text = model.vision_cfg, model.text_cfg
    heads = vision.width // vision.head_width
    of_text: dict[str, Any] = {"kind": "transformer"}
    if text.pool_type == "last":
        # Every position sees all, and the last one is pooled: SigLIP's tower, with the epsilon of CLIP's.
        of_text = {"kind": "siglip-text", "pad": 0, "eps": 1e-5}
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
            "pool": "patches" if vision.pool_type == "avg" else "token",
            "pre_norm": not vision.no_ln_pre,
        }
    return {
        "embed_dim": model.embed_dim,
        "image": image,
        "text": of_text
        | {
            "context": text.context_length,
            "vocab_size": text.vocab_size,
            "width": text.width,
            "layers": text.layers,
            "heads": text.heads,
            "activation": _activation(model, text),
            "mlp_width": mlp_width(text.width, text.mlp_ratio),
        },
    }


def _refuse_others_towers(path: Path, content: dict[str, Any]) -> None:
    """`RefusedInput` for what open_clip takes from another library, or has beside the two towers."""
    model = content.get("model_cfg")
    vision, text = (model.get(name) for name in ("vision_cfg", "text_cfg")) if isinstance(model, dict) else ({}, {})
    towers = {
        "text tower is transformers'": text.get("hf_model_name") if isinstance(text, dict) else None,
        "image tower is timm's": vision.get("timm_model_name") if isinstance(vision, dict) else None,
    }
    for whose, name in towers.items():
        if name is not None:
            raise RefusedInput(f"{path}: its {whose} {name!r:.60}, and seesay has no such tower; nothing is read.")
    if isinstance(model, dict) and "multimodal_cfg" in model:
        raise RefusedInput(f"{path} is a CoCa, whose decoder and pooling seesay does not have; nothing is read.")


def _refuse_other_cleaning(path: Path, rules: CleaningSection | None) -> None:
    """`RefusedInput` for anything else than what CLIP's own tokenizer does to captions: lower case, single spaces."""
    if rules and (rules.clean == "canonicalize" or rules.strip_sep_token):
        raise RefusedInput(
            f"{path}: tokenizer_kwargs is {rules.model_dump()}, which seesay has for other vocabularies than CLIP's."
        )


def _refuse_other_pooling(path: Path, model: ModelSection) -> None:
    """`RefusedInput` for what is pooled in a way that no published model has, and that the towers here do not know."""
    vision, text = model.vision_cfg, model.text_cfg
    if vision.pool_type == "avg" and not vision.final_ln_after_pool:
        raise RefusedInput(
            f"{path}: vision_cfg has pool_type 'avg' without final_ln_after_pool; seesay has it with it."
        )
    if text.no_causal_mask != (text.pool_type == "last"):
        raise RefusedInput(
            f"{path}: text_cfg has pool_type {text.pool_type!r} and no_causal_mask {text.no_causal_mask}; seesay pools "
            "the last position of all that see one another, or the end token of those that see none behind them."
        )


def _other_vocabulary(folder: Path, given: Path | None, text: TextSection) -> tuple[FileTokenizer, int]:
    """The tokenizer of a text tower that has not CLIP's, and the id that fills captions up."""
    rules = text.tokenizer_kwargs or CleaningSection()
    return read_file_tokenizer(
        folder,
        given,
        context=text.context_length,
        cleaner=rules.clean,
        is_blank="sep_token" if rules.strip_sep_token else None,
        end=text.eos_id if text.pool_type == "eos" else None,
    )


def _activation(model: ModelSection, tower: TowerSection) -> Activation:
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
            "open_clip takes SigLIP's towers from timm, under names that seesay does not write, and so are those that "
            "read captions as they do; save the model in the layout hf or seesay."
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
    if image.pool == "patches":
        section |= {"pool_type": "avg", "final_ln_after_pool": True}
    if not image.pre_norm:
        section["no_ln_pre"] = True
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

"""One tower alone, as transformers saves its CLIP and SigLIP classes for images or for texts.

Such a model embeds what its tower reads. Whoever asks it for the other half is told what is missing.
"""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch

from seesay.base.errors import RefusedInput
from seesay.data.absent_tokenizer import AbsentTokenizer
from seesay.data.file_tokenizer import AnyTokenizer
from seesay.data.images import Preprocess
from seesay.model.layouts import hf_clip, hf_siglip
from seesay.model.layouts.config_file import checked_as, read_config, read_json
from seesay.model.layouts.hf_clip import CONFIG_NAME, WEIGHTS_NAME
from seesay.model.layouts.hf_images import read_preprocess
from seesay.model.layouts.hf_tokenizer import read_file_tokenizer
from seesay.model.layouts.mapping import Link, read_linked
from seesay.model.layouts.parts import Parts, refuse_strangers
from seesay.model.weights import read_names
from seesay.nets.architecture import AbsentImageConfig, AbsentTextConfig, Architecture
from seesay.nets.clip import empty_clip

Side = Literal["image", "text"]
# The side that is there, and the layout of the whole model.
MODEL_TYPES: dict[str, tuple[Side, ModuleType]] = {
    "clip_vision_model": ("image", hf_clip),
    "clip_text_model": ("text", hf_clip),
    "siglip_vision_model": ("image", hf_siglip),
    "siglip_text_model": ("text", hf_siglip),
}
SECTIONS = {"image": "vision_config", "text": "text_config"}
# What makes embeddings of CLIP's features; its classes for features alone are saved without it.
PROJECTIONS = {"image": "visual_projection.weight", "text": "text_projection.weight"}


def is_in(folder: Path) -> bool:
    """Whether one tower alone is described there."""
    path = folder / CONFIG_NAME
    return path.is_file() and str(read_json(path).get("model_type")) in MODEL_TYPES


def read(folder: Path, *, tokenizer: Path | None = None) -> Parts:
    """The tower in a folder, with the vocabulary in `tokenizer` or the folder's own where it reads texts."""
    path = folder / CONFIG_NAME
    content = read_config(path)
    side, whole = MODEL_TYPES[content["model_type"]]
    values = _architecture(path, content, side, whole)
    vocabulary: AnyTokenizer = AbsentTokenizer(_hint(content["model_type"], side))
    preprocess = Preprocess(size=AbsentImageConfig.SIZE)
    if side == "image":
        preprocess = read_preprocess(folder)
    elif whole is hf_clip:
        vocabulary = hf_clip.vocabulary_of(folder, tokenizer, checked_as(hf_clip.Text, content, path=path))
    else:
        vocabulary, values["text"]["pad"] = read_file_tokenizer(folder, tokenizer, context=values["text"]["context"])
    full = checked_as(Architecture, values, path=path)
    hint = _hint(content["model_type"], side)
    absent = {"text": AbsentTextConfig(hint=hint)} if side == "image" else {"image": AbsentImageConfig(hint=hint)}
    architecture = full.model_copy(update={"scoring": "softmax", **absent})
    refuse_strangers(folder, architecture, tokenizer=vocabulary, preprocess=preprocess)
    clip = empty_clip(architecture)
    weights = folder / WEIGHTS_NAME
    if whole is hf_clip and PROJECTIONS[side] not in read_names(weights):
        raise RefusedInput(
            f"{weights} has no {PROJECTIONS[side]}, so that its tower gives features and no embeddings; take the model "
            "as CLIPModel saves it, or the class whose name ends in WithProjection."
        )
    tensors = read_linked(weights, list(_links(full, side, whole)), clip.state_dict(), ignored=whole.IGNORED)
    # One tower has no cosines that a factor could be for.
    tensors["logit_scale"] = torch.tensor(0.0)
    clip.fill(tensors)
    return Parts(
        clip=clip, architecture=architecture, tokenizer=vocabulary, preprocess=preprocess, name=folder.resolve().name
    )


def _architecture(path: Path, content: dict[str, Any], side: Side, whole: ModuleType) -> dict[str, Any]:
    """Both towers as values that are still to be checked; the one that is not there is as transformers has it."""
    config: dict[str, Any] = {SECTIONS[side]: content}
    if "projection_dim" in content:
        config["projection_dim"] = content["projection_dim"]
    values = whole.architecture_of(checked_as(whole.Config, config, path=path))
    # SigLIP's image tower gives its own width.
    if whole is hf_siglip and side == "image":
        values["embed_dim"] = values["image"]["width"]
    elif whole is hf_siglip:
        values["image"] |= {"width": values["embed_dim"], "heads": 1, "mlp_width": None}
    return values


def _links(full: Architecture, side: Side, whole: ModuleType) -> Iterator[Link]:
    return (link for link in whole.links(full) if link.ours.startswith(f"{side}_tower."))


def _hint(model_type: str, side: Side) -> str:
    missing, kind = ("text", "images") if side == "image" else ("image", "texts")
    return f"a {model_type} embeds {kind} alone: it was saved without its {missing} tower; load all of it."

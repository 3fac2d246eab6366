"""Weights without a description: a single safetensors file in OpenAI's or Hugging Face's names.

Shapes tell which of the paper's nine models it is; they cannot tell heads of another width, so any other is refused.
They do not tell the activation either, and the right weights with the wrong one answer almost as well, unnoticed:
whoever loads such a file says it. Images are prepared as OpenAI's code has it, the only one with these names and
without a description.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from seesay.base.errors import RefusedInput, UsageError
from seesay.data.images import Preprocess
from seesay.model.layouts import READERS, hf_clip_tensors, open_clip_tensors
from seesay.model.layouts.mapping import read_linked, wrapper_of
from seesay.model.layouts.parts import Parts, refuse_strangers
from seesay.model.layouts.vocabulary import read_tokenizer
from seesay.model.weights import read_header
from seesay.nets.architecture import (
    Activation,
    Architecture,
    ResNetConfig,
    TextTransformerConfig,
    VisionTransformerConfig,
)
from seesay.nets.clip import empty_clip
from seesay.nets.presets import PAPER_SIZES, PRESETS

# The image tower's position table and the text tower's projection, in each layout's names.
_OPENAI = ("visual.positional_embedding", "visual.attnpool.positional_embedding"), "text_projection"
_HF = ("vision_model.embeddings.position_embedding.weight",), "text_projection.weight"


def described_folder(path: Path) -> Path | None:
    """The folder of the file, if a description in it is about that file."""
    folder = path.parent
    is_described = any(path.name == layout.WEIGHTS_NAME and layout.is_in(folder) for layout in READERS)
    return folder if is_described else None


def read_bare(path: Path, *, activation: str | None, tokenizer: Path | None) -> Parts:
    """The model in a single file; `RefusedInput` if it is none of the paper's or its activation is not said."""
    header = read_header(path)
    wrapper = wrapper_of(header)
    shapes = {name.removeprefix(wrapper): tuple(entry["shape"]) for name, entry in header.items()}
    name, is_openai = _size_of(path, shapes)
    architecture = _with(PRESETS[name], _known(activation, path))
    vocabulary = read_tokenizer(path.parent, tokenizer, context=architecture.text.context)
    preprocess = Preprocess(size=architecture.image.image_size)
    refuse_strangers(path, architecture, tokenizer=vocabulary, preprocess=preprocess)
    if is_openai:
        prefix = open_clip_tensors.text_prefix(header)
        links, ignored = open_clip_tensors.links(architecture, text_prefix=prefix), open_clip_tensors.IGNORED
    else:
        links, ignored = hf_clip_tensors.links(architecture), hf_clip_tensors.IGNORED
    clip = empty_clip(architecture)
    clip.fill(read_linked(path, list(links), clip.state_dict(), ignored=ignored))
    return Parts(clip=clip, architecture=architecture, tokenizer=vocabulary, preprocess=preprocess, name=path.stem)


def _known(activation: str | None, path: Path) -> str:
    if activation is None:
        raise RefusedInput(
            f"{path} does not say its activation, and shapes cannot tell it: name it with activation= "
            "(quick_gelu for OpenAI's own weights, gelu for most of open_clip's), or put the model's "
            "open_clip_config.json or config.json beside it."
        )
    if activation not in get_args(Activation):
        raise UsageError(f"activation {activation!r} is not known. Known: {', '.join(get_args(Activation))}.")
    return activation


def _size_of(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, bool]:
    """Which of the paper's sizes has these shapes, and whether the names are OpenAI's."""
    for (tables, projection), is_openai in ((_OPENAI, True), (_HF, False)):
        table = next((shapes[name] for name in tables if name in shapes), None)
        matrix = shapes.get(projection) or shapes.get(open_clip_tensors.TEXT_PREFIX + projection)
        if table is None or matrix is None:
            continue
        found = (table, matrix if is_openai else matrix[::-1])
        for name in PAPER_SIZES:
            if found == _signature(PRESETS[name]):
                return name, is_openai
        raise RefusedInput(
            f"{path} has position table {table} and text projection {matrix}, as none of {', '.join(PAPER_SIZES)}; "
            "put the model's open_clip_config.json or config.json beside it."
        )
    raise RefusedInput(
        f"{path} holds no CLIP in OpenAI's, open_clip's or Hugging Face's names; a model of seesay is its whole folder."
    )


def _signature(architecture: Architecture) -> tuple[tuple[int, int], tuple[int, int]]:
    """Shapes that no two of the paper's sizes share."""
    image, text = architecture.image, architecture.text
    assert isinstance(text, TextTransformerConfig)
    if isinstance(image, ResNetConfig):
        table = (image.positions, image.channels)
    else:
        assert isinstance(image, VisionTransformerConfig)
        table = ((image.image_size // image.patch) ** 2 + 1, image.width)
    return table, (text.width, architecture.embed_dim)


def _with(architecture: Architecture, activation: str) -> Architecture:
    change: dict[str, Any] = {"activation": activation}
    image, text = architecture.image, architecture.text.model_copy(update=change)
    if not isinstance(image, ResNetConfig):
        image = image.model_copy(update=change)
    return architecture.model_copy(update={"image": image, "text": text})

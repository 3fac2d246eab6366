"""The layout of open_clip: OpenAI's tensor names, and an `open_clip_config.json` with the rest.

Read are the classes with a native text tower (`CLIP`, and `CustomTextCLIP` with its `text.` in front).
"""

import json
from pathlib import Path
from typing import Any

import torch

from seesay.base.errors import RefusedInput, UsageError
from seesay.data.file_tokenizer import AnyTokenizer
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.layouts import open_clip_siglip
from seesay.model.layouts.config_file import checked_as, read_json
from seesay.model.layouts.hf_tokenizer import clips_padding, read_file_tokenizer, refuse_other_than_clips
from seesay.model.layouts.mapping import read_linked, to_theirs
from seesay.model.layouts.open_clip_config import CONFIG_NAME as CONFIG_NAME
from seesay.model.layouts.open_clip_config import (
    SELF,
    CleaningSection,
    TextSection,
    TransformersSection,
    bias_section,
    block_options,
    preprocess_of,
    preprocess_section,
)
from seesay.model.layouts.open_clip_config import WEIGHTS_NAME as WEIGHTS_NAME
from seesay.model.layouts.open_clip_tensors import DECODER, IGNORED, links, text_prefix
from seesay.model.layouts.open_clip_towers import architecture_values, config_type
from seesay.model.layouts.parts import Parts, clips_own_way, refuse_strangers
from seesay.model.layouts.programs import sizes_hint
from seesay.model.layouts.vocabulary import is_clips_own, read_tokenizer, tokenizer_files
from seesay.model.weights import read_names, write_tensors
from seesay.nets.architecture import (
    Architecture,
    ResNetConfig,
    SiglipTextConfig,
    TextTransformerConfig,
    TimmImageConfig,
    TransformersTextConfig,
    VisionTransformerConfig,
)
from seesay.nets.clip import empty_clip

# OpenAI's on the hub: all of them hold CLIP's own vocabulary.
CLIPS_REPOSITORIES = "openai/clip-vit-"

_Image = VisionTransformerConfig | ResNetConfig | TimmImageConfig


def is_in(folder: Path) -> bool:
    """Whether a model of this layout is described there, with towers of open_clip's own."""
    return (folder / CONFIG_NAME).is_file()


def read(folder: Path, *, tokenizer: Path | None = None) -> Parts:
    """The model in an open_clip folder, with the vocabulary in `tokenizer` or else the one beside the weights."""
    path, weights_path = folder / CONFIG_NAME, folder / WEIGHTS_NAME
    content = read_json(path)
    config = checked_as(config_type(content), content, path=path)
    text = config.model_cfg.text_cfg
    values = architecture_values(path, config.model_cfg)
    architecture = checked_as(Architecture, values, path=path)
    preprocess = preprocess_of(config.preprocess_cfg, size=architecture.image.image_size, path=path)
    vocabulary, pad = _vocabulary(folder, tokenizer, text)
    if isinstance(architecture.text, SiglipTextConfig):
        values["text"]["pad"] = pad
        architecture = checked_as(Architecture, values, path=path)
    elif isinstance(architecture.text, TransformersTextConfig) and architecture.text.pad != pad:
        raise RefusedInput(
            f"{folder} has a tokenizer that fills captions up with id {pad}, and a text tower that takes "
            f"{architecture.text.pad} for that; they are of two models."
        )
    refuse_strangers(folder, architecture, tokenizer=vocabulary, preprocess=preprocess)
    clip = empty_clip(architecture)
    ours, header = clip.state_dict(), read_names(weights_path)
    tensor_links = list(links(architecture, text_prefix=text_prefix(header), names=ours))
    has_decoder = config.model_cfg.multimodal_cfg is not None
    decoder = [name for name in header if has_decoder and name.startswith(DECODER)]
    tensors = read_linked(weights_path, tensor_links, ours, ignored=[*IGNORED, *decoder])
    if isinstance(architecture.text, SiglipTextConfig):
        # open_clip's projection has none.
        tensors["text_tower.head.bias"] = torch.zeros(architecture.embed_dim)
    clip.fill(tensors)
    return Parts(
        clip=clip,
        architecture=architecture,
        tokenizer=vocabulary,
        preprocess=preprocess,
        name=folder.resolve().name,
        facts={"left out": f"the decoder, {len(decoder)} tensors"} if decoder else {},
    )


def _vocabulary(folder: Path, given: Path | None, text: TextSection | TransformersSection) -> tuple[AnyTokenizer, int]:
    """The tokenizer of the text tower, and the id that fills captions up."""
    rules = text.tokenizer_kwargs or CleaningSection()
    if isinstance(text, TextSection) and text.pool_type == "argmax":
        _refuse_other_cleaning(folder / CONFIG_NAME, rules)
        vocabulary = read_tokenizer(folder, given, context=text.context_length)
        if given is None:
            _refuse_other_vocabulary(folder, text.hf_tokenizer_name, vocabulary)
        # open_clip's own tokenizer fills up with 0, and transformers', where it is named, with what its file says.
        is_seen = text.no_causal_mask or text.embed_cls
        pad = clips_padding(folder, vocabulary) if is_seen and text.hf_tokenizer_name is not None else 0
        if text.embed_cls and pad:
            raise RefusedInput(
                f"{folder} has a CoCa and a tokenizer that fills up with id {pad}; no CoCa was trained so."
            )
        return vocabulary, pad
    return read_file_tokenizer(
        folder,
        given,
        context=text.context_length,
        cleaner=rules.clean,
        is_blank="sep_token" if rules.strip_sep_token else None,
        end=text.eos_id if isinstance(text, TextSection) and text.pool_type == "eos" else None,
    )


def _refuse_other_cleaning(path: Path, rules: CleaningSection) -> None:
    """`RefusedInput` for anything else than what CLIP's own tokenizer does to captions: lower case, single spaces."""
    if rules.clean == "canonicalize" or rules.strip_sep_token:
        raise RefusedInput(
            f"{path}: tokenizer_kwargs is {rules.model_dump()}, which seesay has for other vocabularies than CLIP's."
        )


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


def files(parts: Parts, *, dtype: torch.dtype | None = None) -> dict[str, bytes]:
    """The files of an open_clip folder; `UsageError` for towers that open_clip's own classes do not have.

    Templates and facts have no place in this layout.
    """
    if isinstance(parts.architecture.text, TransformersTextConfig):
        raise UsageError("text towers of transformers are not written in open_clip's layout; save the model in seesay.")
    if isinstance(parts.architecture.text, SiglipTextConfig):
        return open_clip_siglip.files(parts, dtype=dtype)
    tokenizer = clips_own_way(parts, program="open_clip", has_bias=True)
    config = {
        "model_cfg": _model_section(parts.architecture, tokenizer) | bias_section(parts.clip),
        "preprocess_cfg": preprocess_section(parts.preprocess),
    }
    ours = parts.clip.state_dict()
    tensors = to_theirs(links(parts.architecture, names=ours), ours)
    return {
        WEIGHTS_NAME: write_tensors(tensors, dtype=dtype),
        CONFIG_NAME: (json.dumps(config, indent=2) + "\n").encode(),
        **tokenizer_files(tokenizer),
    }


def _model_section(architecture: Architecture, tokenizer: CaptionTokenizer) -> dict[str, Any]:
    image, text = architecture.image, architecture.text
    if not isinstance(text, TextTransformerConfig) or not isinstance(image, _Image) or _is_cocas(image):
        raise UsageError(
            f"open_clip has no towers of the kinds {image.kind} and {text.kind}, only vit, resnet or timm with "
            "transformer; "
            f"save the model in the layout seesay ({sizes_hint('open_clip')})."
        )
    # A ResNet has ReLU, and timm's towers their own whatever is said here.
    of_image = image.activation if isinstance(image, VisionTransformerConfig) else text.activation
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


def _is_cocas(image: _Image) -> bool:
    return isinstance(image, VisionTransformerConfig) and image.pool == "queries"


def _vision_section(image: _Image) -> dict[str, Any]:
    if isinstance(image, TimmImageConfig):
        return {
            "timm_model_name": image.name,
            "timm_model_pretrained": False,
            "timm_pool": image.pool,
            "timm_proj": None if image.head == "classifier" else image.head,
            "timm_proj_bias": image.head_bias,
            "image_size": image.image_size,
        }
    section: dict[str, Any] = {"image_size": image.image_size, "layers": image.layers, "width": image.width}
    if isinstance(image, ResNetConfig):
        return section | {"head_width": image.channels // image.heads}
    if image.pool == "patches":
        section |= {"pool_type": "avg", "final_ln_after_pool": True}
    if not image.pre_norm:
        section["no_ln_pre"] = True
    return section | {"patch_size": image.patch, "head_width": image.width // image.heads} | block_options(image)


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
    return section | block_options(text)

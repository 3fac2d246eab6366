"""A whole model in its parts: what every layout reads and writes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seesay.base.errors import RefusedInput, UsageError
from seesay.data.file_tokenizer import AnyTokenizer, FileTokenizer
from seesay.data.images import Preprocess
from seesay.data.tokenizer import CaptionTokenizer
from seesay.nets.architecture import Architecture
from seesay.nets.clip import Clip

# What a layout without templates of its own is given: the paper's prompt (section 3.1.4).
PLAIN_TEMPLATES = ("a photo of a {}.",)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Weights, what they are made of, and what prepares words and images for them."""

    clip: Clip
    architecture: Architecture
    tokenizer: AnyTokenizer
    preprocess: Preprocess
    name: str
    templates: tuple[str, ...] = PLAIN_TEMPLATES
    facts: Mapping[str, Any] = field(default_factory=dict)


def refuse_strangers(where: object, architecture: Architecture, *, tokenizer: AnyTokenizer, preprocess: Preprocess):
    """`RefusedInput` if the tokenizer or the preprocessing belongs to another model than the towers."""
    text, image_size = architecture.text, architecture.image.image_size
    # A tokenizer from a file may know fewer ids than the tower has rows for, which some tables are rounded up to.
    has_its_ids = (
        tokenizer.vocab_size <= text.vocab_size
        if isinstance(tokenizer, FileTokenizer)
        else tokenizer.vocab_size == text.vocab_size
    )
    if not has_its_ids or tokenizer.context != text.context:
        raise RefusedInput(
            f"{where} has a tokenizer of {tokenizer.vocab_size} ids and context {tokenizer.context}, "
            f"its text tower {text.vocab_size} and {text.context}; they are of two models."
        )
    if preprocess.size != image_size:
        raise RefusedInput(
            f"{where} prepares images of {preprocess.size} px, its image tower takes {image_size}; "
            "they are of two models."
        )


def clips_own_way(parts: Parts, *, program: str, has_bias: bool = False) -> CaptionTokenizer:
    """The tokenizer, if the model scores and reads captions as CLIP does; `UsageError` for any other.

    `has_bias`: the program has a place for the bias of sigmoid scoring.
    """
    if parts.architecture.scoring != "softmax" and not has_bias:
        raise UsageError(
            f"{program} has no place for the bias of sigmoid scoring; save the model in the layout seesay or "
            "open_clip, or train it with --objective contrastive."
        )
    if parts.architecture.projection != "linear":
        raise UsageError(
            f"{program} has no place for a second layer behind the towers; save the model in the layout seesay, or "
            "train it with --objective contrastive."
        )
    if not isinstance(parts.tokenizer, CaptionTokenizer):
        raise UsageError(
            f"{program} has CLIP's vocabulary only, not a tokenizer.json; save the model in the layout seesay."
        )
    if parts.tokenizer.learned:
        raise UsageError(
            f"{program} has no place for the {parts.tokenizer.learned} learned words of a prompt; save the model in "
            "the layout seesay."
        )
    return parts.tokenizer

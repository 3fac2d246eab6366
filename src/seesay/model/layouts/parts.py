"""A whole model in its parts: what every layout reads and writes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seesay.base.errors import RefusedInput
from seesay.data.images import Preprocess
from seesay.data.tokenizer import CaptionTokenizer
from seesay.nets.architecture import Architecture
from seesay.nets.clip import Clip

# What a layout without templates of its own is given: the paper's prompt (section 3.1.4).
PLAIN_TEMPLATES = ("a photo of a {}.",)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Weights, what they are made of, and what prepares words and pictures for them."""

    clip: Clip
    architecture: Architecture
    tokenizer: CaptionTokenizer
    preprocess: Preprocess
    name: str
    templates: tuple[str, ...] = PLAIN_TEMPLATES
    facts: Mapping[str, Any] = field(default_factory=dict)


def refuse_strangers(where: object, architecture: Architecture, *, tokenizer: CaptionTokenizer, preprocess: Preprocess):
    """`RefusedInput` if the tokenizer or the preprocessing belongs to another model than the towers."""
    text, image_size = architecture.text, architecture.image.image_size
    if (tokenizer.vocab_size, tokenizer.context) != (text.vocab_size, text.context):
        raise RefusedInput(
            f"{where} has a tokenizer of {tokenizer.vocab_size} ids and context {tokenizer.context}, "
            f"its text tower {text.vocab_size} and {text.context}; they are of two models."
        )
    if preprocess.size != image_size:
        raise RefusedInput(
            f"{where} prepares pictures of {preprocess.size} px, its image tower takes {image_size}; "
            "they are of two models."
        )

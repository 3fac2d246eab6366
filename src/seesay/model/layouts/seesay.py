"""Our own layout: `model.safetensors`, and one `model.json` that says everything else."""

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.settings import Settings
from seesay.data.file_tokenizer import from_json
from seesay.data.images import Preprocess
from seesay.data.prompts import checked
from seesay.model.layouts.config_file import checked_as, read_json
from seesay.model.layouts.parts import Parts, refuse_strangers
from seesay.model.weights import LARGEST_WEIGHT, read_tensors, write_tensors
from seesay.nets.architecture import Architecture
from seesay.nets.clip import empty_clip

# The version of model.json that is written and read.
FORMAT = 1
CONFIG_NAME = "model.json"
WEIGHTS_NAME = "model.safetensors"
# Words that prompts have learned (`CaptionTokenizer.learned`), a guess.
MOST_LEARNED = 256
# Older files say the factor as it was before its logarithm was rounded to bfloat16, in which 4.6 moves by up to 1/64.
SCALE_ROUNDING = 0.02


class _Tokenizer(Settings):
    """`CaptionTokenizer.to_json`, as far as it can be checked without building it."""

    kind: Literal["clip-bpe"]
    context: int
    merges: list[str]
    learned: Annotated[int, Field(ge=0, le=MOST_LEARNED)] = 0


class _FileTokenizer(Settings):
    """`FileTokenizer.to_json`."""

    kind: Literal["tokenizer.json"]
    context: int
    text: str
    cleaner: Literal["canonicalize", "lower", "whitespace"] | None = None
    blank: int | None = None
    end: int | None = None


class _Description(Settings):
    """What `model.json` says, checked before anything is built from it."""

    format: int
    name: str
    architecture: Architecture
    preprocess: Preprocess
    templates: tuple[str, ...]
    logit_scale: float
    facts: dict[str, Any]
    weights_sha256: str
    tokenizer: Annotated[_Tokenizer | _FileTokenizer, Field(discriminator="kind")]


def is_in(folder: Path) -> bool:
    """Whether a model of this layout is described there."""
    return (folder / CONFIG_NAME).is_file()


def read(folder: Path, *, tokenizer: Path | None = None) -> Parts:
    """The model in a folder that `files` describes; `UsageError` for a tokenizer beside the one it holds."""
    path = folder / CONFIG_NAME
    if tokenizer is not None:
        raise UsageError(f"{path} holds the tokenizer of its model; leave {tokenizer} out.")
    config = read_json(path)
    if config.get("format") != FORMAT:
        found = config.get("format")
        raise RefusedInput(
            f"{path} has format {found!r:.40}, this seesay reads {FORMAT}; update seesay or save it again."
        )
    described = checked_as(_Description, config, path=path)
    architecture, preprocess = described.architecture, described.preprocess
    try:
        vocabulary = from_json(described.tokenizer.model_dump())
        templates = checked(described.templates, "the model")
    except (RefusedInput, UsageError) as error:
        raise RefusedInput(f"{path}: {error}") from error
    refuse_strangers(path, architecture, tokenizer=vocabulary, preprocess=preprocess)
    clip = empty_clip(architecture)
    weights = read_tensors(
        folder / WEIGHTS_NAME, clip.state_dict(), sha256=described.weights_sha256, largest=LARGEST_WEIGHT
    )
    found = float(weights["logit_scale"].exp())
    if not math.isclose(described.logit_scale, found, rel_tol=SCALE_ROUNDING):
        raise RefusedInput(
            f"{path} has a logit_scale of {described.logit_scale:g}, its weights one of {found:g}; the weights are "
            "what counts, so put their number back or save the model again."
        )
    clip.fill(weights)
    return Parts(
        clip=clip,
        architecture=architecture,
        tokenizer=vocabulary,
        preprocess=preprocess,
        templates=templates,
        name=described.name,
        facts=described.facts,
    )


def files(parts: Parts, *, dtype: torch.dtype | None = None) -> dict[str, bytes]:
    """The two files of such a folder; floats are rounded to `dtype` if one is given."""
    data = write_tensors(parts.clip.state_dict(), dtype=dtype)
    learned = parts.clip.logit_scale.detach()
    config = {
        "format": FORMAT,
        "name": parts.name,
        "architecture": parts.architecture.model_dump(mode="json"),
        "preprocess": parts.preprocess.model_dump(mode="json"),
        "templates": list(parts.templates),
        "logit_scale": float(learned.to(dtype or learned.dtype).float().exp()),
        "facts": dict(parts.facts),
        "weights_sha256": hashlib.sha256(data).hexdigest(),
        "tokenizer": parts.tokenizer.to_json(),
    }
    text = json.dumps(config, indent=1, ensure_ascii=False) + "\n"
    return {WEIGHTS_NAME: data, CONFIG_NAME: text.encode()}

"""A trained thing you can hold: weights, tokenizer, preprocessing, templates and what is known about them.

N = images or texts given, B = rows in a block, D = embedding width, S = side in pixels.
A model folder holds `model.safetensors` and one `model.json` that says everything else.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.base.publish import publish_folder
from seesay.base.records import Ranking
from seesay.base.settings import Settings
from seesay.data.images import Preprocess, open_image
from seesay.data.prompts import checked, fill, load_templates
from seesay.data.tokenizer import CaptionTokenizer
from seesay.formulas.zero_shot import class_head
from seesay.model.weights import read_tensors, write_tensors
from seesay.model.zero_shot import ZeroShotClassifier
from seesay.nets.architecture import Architecture
from seesay.nets.clip import Clip, empty_clip

FORMAT = 1
CONFIG_NAME = "model.json"
WEIGHTS_NAME = "model.safetensors"
CONFIG_LIMIT = 64 << 20


class Model:
    """Images and texts to unit vectors of one space."""

    def __init__(
        self,
        clip: Clip,
        architecture: Architecture,
        tokenizer: CaptionTokenizer,
        *,
        preprocess: Preprocess,
        templates: Sequence[str] = ("a photo of a {}.",),
        name: str = "unnamed",
        facts: dict[str, Any] | None = None,
    ):
        self.clip = clip.eval()
        self.architecture = architecture
        self.tokenizer = tokenizer
        self.preprocess = preprocess
        self.templates = tuple(templates)
        self.name = name
        self.facts = dict(facts or {})

    @property
    def logit_scale(self) -> float:
        """The factor on cosines, exp of the learned parameter."""
        return float(self.clip.logit_scale.detach().exp())

    @property
    def device(self) -> torch.device:
        return self.clip.logit_scale.device

    def to(self, device: str | torch.device) -> "Model":
        """Move the towers; embeddings still come back on the CPU."""
        self.clip.to(device)
        return self

    def encode_images(self, images: Sequence, *, batch_size: int = 64) -> Tensor:
        """Paths, bytes, PIL images or uint8 arrays (H, W, 3) to (N, D) float32 unit rows on the CPU.

        Raises `UsageError` for a path that is not there and `BrokenSample` for what is no picture.
        """
        # The rows of one array would pass for grey pictures, and the letters of one path for paths.
        if isinstance(images, str | bytes | Path) or (isinstance(images, np.ndarray) and images.ndim < 4):
            raise TypeError("encode_images takes a list of images; wrap the single one in a list")
        blocks = [
            self.encode_pixels(torch.stack([self.preprocess.pixels(open_image(image)) for image in block]))
            for block in _blocks(images, batch_size)
        ]
        return torch.cat(blocks) if blocks else torch.empty(0, self.architecture.embed_dim)

    @torch.inference_mode()
    def encode_pixels(self, pixels_B3SS: Tensor) -> Tensor:
        """uint8 pixels of this model's size to (B, D) float32 unit rows on the CPU."""
        pixels = self.preprocess.normalise(pixels_B3SS.to(self.device))
        return self.clip.embed_images(pixels).float().cpu()

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str], *, batch_size: int = 256) -> Tensor:
        """Strings to (N, D) float32 unit rows on the CPU; each is cut to the context with its end token kept."""
        if isinstance(texts, str):
            raise TypeError("encode_texts takes a list of strings; wrap the single one in a list")
        blocks = [
            self.clip.embed_texts(self.tokenizer.tokens(block).to(self.device)).float().cpu()
            for block in _blocks(texts, batch_size)
        ]
        return torch.cat(blocks) if blocks else torch.empty(0, self.architecture.embed_dim)

    def classifier(
        self, class_names: Sequence[str], templates: str | Path | Sequence[str] | None = None
    ) -> ZeroShotClassifier:
        """A zero-shot classifier: per class the mean over templates of the prompts' unit vectors.

        Without `templates` the model's own are used. Raises `UsageError` without a class name.
        """
        if isinstance(class_names, str):
            raise TypeError("class names are a list of strings; wrap the single one in a list")
        if not len(class_names):
            raise UsageError("no class names are given; name what a picture may show.")
        chosen = self.templates if templates is None else load_templates(templates)
        prompt_ND = self.encode_texts(fill(chosen, class_names))
        weights_CD = class_head(prompt_ND.view(len(class_names), len(chosen), -1))
        return ZeroShotClassifier(model=self, class_names=tuple(class_names), weights=weights_CD)

    def classify(
        self, images: Sequence, labels: Sequence[str], templates: str | Path | Sequence[str] | None = None
    ) -> list[Ranking]:
        """For every image all labels with probabilities, best first."""
        return self.classifier(labels, templates).rank(self.encode_images(images))

    def save(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write a model folder, whole or not at all; floats are rounded to `dtype` if one is given."""
        data = write_tensors(self.clip.state_dict(), dtype=dtype)
        config = {
            "format": FORMAT,
            "name": self.name,
            "architecture": self.architecture.model_dump(mode="json"),
            "preprocess": self.preprocess.model_dump(mode="json"),
            "templates": list(self.templates),
            "logit_scale": self.logit_scale,
            "facts": self.facts,
            "weights_sha256": hashlib.sha256(data).hexdigest(),
            "tokenizer": self.tokenizer.to_json(),
        }

        def write(place: Path) -> None:
            (place / WEIGHTS_NAME).write_bytes(data)
            (place / CONFIG_NAME).write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

        publish_folder(Path(folder), write)


class TokenizerDescription(Settings):
    """`CaptionTokenizer.to_json`, as far as it can be checked without building it."""

    kind: Literal["clip-bpe"]
    context: int
    merges: list[str]


class Description(Settings):
    """What `model.json` says, checked before anything is built from it."""

    format: int
    name: str
    architecture: Architecture
    preprocess: Preprocess
    templates: tuple[str, ...]
    logit_scale: float
    facts: dict[str, Any]
    weights_sha256: str
    tokenizer: TokenizerDescription


def load_folder(folder: Path) -> Model:
    """The model in a folder that `Model.save` wrote; `RefusedInput` if anything in it is missing or damaged."""
    path = folder / CONFIG_NAME
    described = _read_description(path)
    architecture, preprocess = described.architecture, described.preprocess
    try:
        tokenizer = CaptionTokenizer.from_json(described.tokenizer.model_dump())
        templates = checked(described.templates, "the model")
    except (RefusedInput, UsageError) as error:
        raise RefusedInput(f"{path}: {error}") from error
    if tokenizer.vocab_size != architecture.text.vocab_size or tokenizer.context != architecture.text.context:
        raise RefusedInput(
            f"{path} has a tokenizer of {tokenizer.vocab_size} ids and context {tokenizer.context}, "
            f"its text tower {architecture.text.vocab_size} and {architecture.text.context}; they are of two models."
        )
    if preprocess.size != architecture.image.image_size:
        raise RefusedInput(
            f"{path} prepares pictures of {preprocess.size} px, its image tower takes "
            f"{architecture.image.image_size}; they are of two models."
        )
    clip = empty_clip(architecture)
    weights = read_tensors(folder / WEIGHTS_NAME, clip.state_dict(), sha256=described.weights_sha256)
    clip.load_state_dict(weights, assign=True)
    return Model(
        clip,
        architecture,
        tokenizer,
        preprocess=preprocess,
        templates=templates,
        name=described.name,
        facts=described.facts,
    )


def _read_description(path: Path) -> Description:
    config = _read_config(path)
    try:
        # Through JSON, because strictness then still lets a list be a tuple.
        return Description.model_validate_json(json.dumps(config))
    except ValidationError as error:
        first = error.errors()[0]
        where, message = ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")
        fault = f" has no {where}" if first["type"] == "missing" else f": {where}: {message}"
        raise RefusedInput(f"{path}{fault}; save or fetch the model again.") from error


def _read_config(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise RefusedInput(f"{path} is missing; a model folder holds {CONFIG_NAME} and {WEIGHTS_NAME}.")
        if path.stat().st_size > CONFIG_LIMIT:
            raise RefusedInput(f"{path} is larger than {CONFIG_LIMIT >> 20} MiB; it is no model configuration.")
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}); allow it or mend the disk.") from error
    except (ValueError, RecursionError) as error:
        raise RefusedInput(f"{path} is no valid JSON ({error}); save or fetch the model again.") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        found = config.get("format") if isinstance(config, dict) else None
        raise RefusedInput(
            f"{path} has format {found!r:.40}, this seesay reads {FORMAT}; update seesay or save it again."
        )
    return config


def _blocks(rows: Sequence, size: int) -> Iterator[Sequence]:
    for first in range(0, len(rows), size):
        yield rows[first : first + size]

"""A trained thing you can hold: weights, tokenizer, preprocessing, templates and what is known about them.

N = images or texts given, B = rows in a block, D = embedding width, S = side in pixels.
A model folder holds `model.safetensors` and one `model.json` that says everything else.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from seesay.base.errors import RefusedInput
from seesay.base.publish import publish_folder
from seesay.base.records import Ranking
from seesay.data.images import Preprocess, open_image
from seesay.data.prompts import fill, load_templates
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

    def classifier(self, class_names: Sequence[str], templates: str | Path | Sequence[str] | None = None):
        """A zero-shot classifier: per class the mean over templates of the prompts' unit vectors."""
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


def load_folder(folder: Path) -> Model:
    """The model in a folder that `Model.save` wrote; `RefusedInput` if anything in it is missing or damaged."""
    config = _read_config(folder / CONFIG_NAME)
    try:
        architecture = Architecture.model_validate_json(json.dumps(config["architecture"]))
        preprocess = Preprocess.model_validate_json(json.dumps(config["preprocess"]))
        tokenizer = CaptionTokenizer.from_json(config["tokenizer"])
        templates, name, facts = config["templates"], config["name"], config["facts"]
    except KeyError as error:
        raise RefusedInput(f"{folder / CONFIG_NAME} has no {error}; save or fetch the model again.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RefusedInput(f"{folder / CONFIG_NAME}: {where} {first['msg']}; save or fetch the model again.") from error
    if tokenizer.vocab_size != architecture.text.vocab_size or tokenizer.context != architecture.text.context:
        raise RefusedInput(
            f"{folder / CONFIG_NAME} has a tokenizer of {tokenizer.vocab_size} ids and context {tokenizer.context}, "
            f"its text tower {architecture.text.vocab_size} and {architecture.text.context}; they are of two models."
        )
    clip = empty_clip(architecture)
    expected = clip.state_dict()
    clip.load_state_dict(
        read_tensors(folder / WEIGHTS_NAME, expected, sha256=config.get("weights_sha256")), assign=True
    )
    return Model(clip, architecture, tokenizer, preprocess=preprocess, templates=templates, name=name, facts=facts)


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise RefusedInput(f"{path} is missing; a model folder holds {CONFIG_NAME} and {WEIGHTS_NAME}.")
    if path.stat().st_size > CONFIG_LIMIT:
        raise RefusedInput(f"{path} is larger than {CONFIG_LIMIT >> 20} MiB; it is no model configuration.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RefusedInput(f"{path} is no valid JSON ({error}); save or fetch the model again.") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        found = config.get("format") if isinstance(config, dict) else None
        raise RefusedInput(f"{path} has format {found!r}, this seesay reads {FORMAT}; update seesay or save it again.")
    return config


def _blocks(rows: Sequence, size: int) -> Iterator[Sequence]:
    for first in range(0, len(rows), size):
        yield rows[first : first + size]

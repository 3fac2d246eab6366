"""Embeddings kept on disk: what was worked out once is read the next time, and never when anything differs.

A file is named after the SHA-256 of all that its content depends on, and carries the SHA-256 of that content: one
that is damaged, or cut off, counts as not there and is made again.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

import seesay
from seesay.base.errors import StorageError
from seesay.base.publish import publish_file
from seesay.model.bundle import Model

SETTING = "SEESAY_CACHE"
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Kept:
    """A folder of kept tensors; without a folder nothing is found and nothing is kept."""

    folder: Path | None

    @classmethod
    def find(cls) -> "Kept":
        """Where the setting `SEESAY_CACHE` says: "off", or a folder; else seesay in the user's cache folder (XDG)."""
        asked = os.environ.get(SETTING, "")
        if asked.lower() in ("off", "0", "no", "false"):
            return cls(None)
        if asked:
            return cls(Path(asked).expanduser())
        return cls(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seesay")

    def read(self, kind: str, key: str) -> dict[str, Tensor] | None:
        """The tensors kept under `key`; None if there are none, or not whole."""
        if self.folder is None:
            return None
        try:
            data = self._path(kind, key).read_bytes()
            digest, rest = data[:32], data[32:]
            return load(rest) if hashlib.sha256(rest).digest() == digest else None
        except (OSError, SafetensorError, ValueError):
            return None

    def write(self, kind: str, key: str, tensors: Tensors) -> None:
        """Keep the tensors; a disk that says no costs the time of making them again, and a warning."""
        if self.folder is None:
            return
        data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        try:
            publish_file(self._path(kind, key), hashlib.sha256(data).digest() + data)
        except (StorageError, OSError) as error:
            warnings.warn(f"embeddings are not kept: {error} {SETTING}=off, or a folder, ends this.", stacklevel=2)

    def _path(self, kind: str, key: str) -> Path:
        assert self.folder is not None
        return self.folder / kind / f"{key}.safetensors"


def key_of(*parts: object) -> str:
    """SHA-256 (hex) of plain values."""
    return hashlib.sha256(json.dumps(parts).encode("ascii")).hexdigest()


def image_side(model: Model) -> str:
    """SHA-256 of all that a picture's embedding depends on: tower, its weights, and how pictures are prepared."""
    return key_of(
        _tower(model, model.clip.image_tower, model.clip.image_projection),
        # A head may read something else of the same tower.
        model.architecture.text.kind,
        model.architecture.image.model_dump(),
        type(model.preprocess).__name__,
        model.preprocess.model_dump(),
    )


def text_side(model: Model) -> str:
    """As `image_side` for token ids; how a text becomes ids is not in it."""
    tower = _tower(model, model.clip.text_tower, model.clip.text_projection)
    return key_of(tower, model.architecture.text.model_dump(), model.tokenizer.context)


def _tower(model: Model, *parts: nn.Module) -> list[str]:
    # The device too: its products are rounded in another order.
    return [seesay.__version__, model.device.type, *(_weights(part.state_dict()) for part in parts)]


def _weights(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode("ascii"))
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def content_of(pictures: Iterable[bytes | str]) -> str:
    """SHA-256 over the bytes of pictures in order; one that cannot be read is given by its reason, as text."""
    digest = hashlib.sha256()
    for picture in pictures:
        data, mark = (picture, b"p") if isinstance(picture, bytes) else (picture.encode(), b"r")
        digest.update(mark + hashlib.sha256(data).digest())
    return digest.hexdigest()

"""Embeddings and scores cached on disk: what was worked out once is read the next time, never when anything differs.

A file is named after the SHA-256 of all that its content depends on, and carries the SHA-256 of that name and the
content: one that is damaged, cut off, or under another name counts as not there and is made again. Anybody can work
that sum out: what is not the user's own, or what others may write, counts as not there as well, with a remark.

N = images that could be read, P = things made of prompts (classes, captions), C = classes, D = embedding width.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from seesay.base.errors import BrokenSample, StorageError
from seesay.base.names import no_empty_names
from seesay.base.publish import publish_file
from seesay.base.records import Skipped
from seesay.base.version import __version__
from seesay.data.class_names import SAME_NAME, ClassName, Descriptions, repeated_names
from seesay.model.bundle import Model
from seesay.model.encode import BATCH_SIZE, cut, encode_image_set, prefetch_blocks, score_image_set
from seesay.model.int8 import rounding_sha256
from seesay.model.zero_shot import Classifier, LikelihoodClassifier, prompt_rows
from seesay.nets.compact import FloatWeights

SETTING = "SEESAY_CACHE"
Tensors = Mapping[str, Tensor]
EncodeSet = Callable[..., tuple[Tensor, list[int], list[Skipped]]]


@dataclass(frozen=True)
class EmbeddingCache:
    """A folder of tensors; without a folder nothing is read and nothing is written."""

    folder: Path | None

    @classmethod
    def find(cls) -> "EmbeddingCache":
        """The cache in the folder that the environment variable `SEESAY_CACHE` names, or none where that is "off".

        Without the variable it is seesay in the user's cache folder (XDG); without a home folder there is none.
        """
        setting = os.environ.get(SETTING, "")
        if setting.lower() in ("off", "0", "no", "false"):
            return cls(None)
        if setting:
            return cls(Path(os.path.expanduser(setting)))
        # Not Path.home(), which raises for a user that the system does not know, as in a container.
        caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        return cls(Path(caches) / "seesay") if os.path.isabs(caches) else cls(None)

    def read(self, kind: str, key: str) -> dict[str, Tensor] | None:
        """The tensors cached under `key`; None if there are none, not whole, or, a `UserWarning`, not safe."""
        if self.folder is None:
            return None
        path = self._path(kind, key)
        try:
            data = path.read_bytes()
            if reason := next(filter(None, map(_open_to_others, (self.folder, path.parent, path))), None):
                warnings.warn(
                    f"cached embeddings are not used: {reason}; make it yours alone (chmod go-w), or set {SETTING} to "
                    "another folder.",
                    stacklevel=2,
                )
                return None
            digest, rest = data[:32], data[32:]
            return load(rest) if _digest(path, rest) == digest else None
        except (OSError, SafetensorError, ValueError):
            return None

    def write(self, kind: str, key: str, tensors: Tensors) -> None:
        """Write the tensors; an error of the disk is a `UserWarning`, and they are made again the next time."""
        if self.folder is None:
            return
        path, data = self._path(kind, key), save({name: tensor.contiguous() for name, tensor in tensors.items()})
        try:
            for folder in (self.folder, path.parent):
                if not folder.exists():
                    folder.parent.mkdir(parents=True, exist_ok=True)
                    folder.mkdir(mode=0o700, exist_ok=True)
            publish_file(path, _digest(path, data) + data, mode=0o600)
        except (StorageError, OSError) as error:
            warnings.warn(
                f"embeddings are not cached: {error} Set {SETTING} to off, or to another folder.", stacklevel=2
            )

    def _path(self, kind: str, key: str) -> Path:
        assert self.folder is not None
        return self.folder / kind / f"{key}.safetensors"


def _digest(path: Path, data: bytes) -> bytes:
    """Of the file's name as well, so that one result cannot be put in the place of another."""
    return hashlib.sha256(f"{path.parent.name}/{path.name}\n".encode("ascii") + data).digest()


def _open_to_others(path: Path) -> str:
    """Why somebody else could have written what is there; "" where only this user or root could."""
    if not hasattr(os, "geteuid"):  # Windows: modes say nothing there, and a home folder is its user's alone
        return ""
    status = path.stat()
    if status.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to another user (id {status.st_uid})"
    return f"others may write {path} (mode {status.st_mode & 0o777:o})" if status.st_mode & 0o022 else ""


def key_of(*parts: object) -> str:
    """SHA-256 (hex) of plain values."""
    return hashlib.sha256(json.dumps(parts).encode("ascii")).hexdigest()


def image_fingerprint(model: Model) -> str:
    """SHA-256 of all that an image's embedding depends on: tower, its weights, and how images are prepared."""
    return key_of(
        _weights_of(model, model.clip.image_parts()),
        # A head may read something else of the same tower.
        model.architecture.text.kind,
        model.architecture.image.model_dump(),
        type(model.preprocess).__name__,
        model.preprocess.model_dump(),
    )


def space_fingerprint(model: Model) -> str:
    """As `image_fingerprint` for vectors that are stored for years: of whatever device and version of seesay."""
    weights = [weights_sha256(FloatWeights(part)) for part in model.clip.image_parts()]
    # Weights that are rounded are others; an engine in float32 gives the same rows to 1e-5, in the same space.
    if model.engine == "torch-int8":
        weights.append(model.engine)
    return key_of(
        weights, model.architecture.image.model_dump(), type(model.preprocess).__name__, model.preprocess.model_dump()
    )


def text_fingerprint(model: Model) -> str:
    """As `image_fingerprint` for token ids; how a text becomes ids is not in it."""
    cut = [] if model.width is None else [model.width]
    return key_of(
        _weights_of(model, model.clip.text_parts()), model.architecture.text.model_dump(), model.tokenizer.context, *cut
    )


def _weights_of(model: Model, parts: Sequence[nn.Module]) -> list[str]:
    # The device too, and the engine: matrix products are rounded in another order.
    where = [model.device.type] if model.engine == "torch" else [model.device.type, model.engine]
    if model.engine == "torch-int8":
        where.append(rounding_sha256())
    return [__version__, *where, *(weights_sha256(FloatWeights(part)) for part in parts)]


def weights_sha256(tensors: Tensors) -> str:
    """SHA-256 (hex) over names, shapes and numbers of tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode("ascii"))
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def content_of(images: Iterable[bytes | str]) -> str:
    """SHA-256 over the bytes of images in order; one that cannot be read is given by its reason, as text."""
    digest = hashlib.sha256()
    for image in images:
        data, mark = (image, b"p") if isinstance(image, bytes) else (image.encode(), b"r")
        digest.update(mark + hashlib.sha256(data).digest())
    return digest.hexdigest()


def cached_encode_images(
    model: Model,
    read: Callable[[int], bytes],
    count: int,
    *,
    cache: EmbeddingCache,
    progress: Callable[[int], None] = lambda done: None,
    kind: str = "images",
    encode: EncodeSet = encode_image_set,
) -> tuple[Tensor, list[int], list[Skipped]]:
    """As `encode_image_set`, (N, D); the result is cached under the weights, the preparation and the images' bytes.

    Another `encode`, such as `encode_feature_set`, needs a `kind` of its own, the folder in which it is cached.
    All bytes are read in either case: an image that was changed without changing its size is a new image.
    """
    # Whole rows, which serve every width.
    whole = model.with_width(None)
    row_NX, index, skipped = _cached(whole, read, count, cache=cache, progress=progress, kind=kind, encode=encode)
    return cut(model, row_NX) if kind == "images" else row_NX, index, skipped


def _cached(
    model: Model,
    read: Callable[[int], bytes],
    count: int,
    *,
    cache: EmbeddingCache,
    progress: Callable[[int], None],
    kind: str,
    encode: EncodeSet,
    texts: Callable[[], str] | None = None,
) -> tuple[Tensor, list[int], list[Skipped]]:
    """As `cached_encode_images`; `texts` gives the fingerprint of what rows depend on beside model and images."""
    if cache.folder is None:
        return encode(model, read, count, progress=progress)
    contents = content_of(
        item
        for block in prefetch_blocks(lambda index: _bytes_or_reason(read, index), range(count), size=BATCH_SIZE)
        for item in block
    )
    key = key_of(image_fingerprint(model), contents, *([texts()] if texts else []))
    if (cached := cache.read(kind, key)) is not None:
        # Which images are broken, and why, comes from decoding those few again.
        broken = sorted(set(range(count)) - set(cached["index"].tolist()))
        _, _, skipped = encode(model, lambda index: read(broken[index]), len(broken))
        progress(count)
        renamed = [Skipped(key=str(broken[int(s.key)]), reason=s.reason, detail=s.detail) for s in skipped]
        return cached["image_ND"], cached["index"].tolist(), renamed
    image_ND, index, skipped = encode(model, read, count, progress=progress)
    cache.write(kind, key, {"image_ND": image_ND, "index": torch.tensor(index, dtype=torch.int64)})
    return image_ND, index, skipped


def cached_score_images(
    model: Model,
    classifier: Classifier,
    read: Callable[[int], bytes],
    count: int,
    *,
    cache: EmbeddingCache,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Tensor, Tensor | None, list[int], list[Skipped]]:
    """As `cached_encode_images`, with scores (N, C) before the rows (N, D).

    Where rows are grids there are none, neither in memory nor on disk: the scores are cached in their place, under the
    weights of both sides and the token ids of the classifier's prompts as well.
    """
    if model.reads_grid:
        assert isinstance(classifier, LikelihoodClassifier)
        score_NC, index, skipped = _cached(
            model,
            read,
            count,
            cache=cache,
            progress=progress,
            kind="scores",
            encode=lambda model, *images, **options: score_image_set(model, classifier, *images, **options),
            texts=lambda: key_of(text_fingerprint(model), classifier.sizes, *classifier.prompt_ids()),
        )
        return score_NC, None, index, skipped
    image_ND, index, skipped = cached_encode_images(model, read, count, cache=cache, progress=progress)
    return classifier.scores(image_ND), image_ND, index, skipped


def cached_encode_prompts(model: Model, prompts: Sequence[Sequence[str]], *, cache: EmbeddingCache) -> Tensor:
    """As `prompt_rows`, (P, D), whose result is cached under the weights and the token ids of every prompt."""
    if cache.folder is None:
        return prompt_rows(model.encode_texts, prompts)
    # Token ids, and not the texts: they are what names, templates and tokenizer come to.
    ids = model.tokenizer([prompt for own in prompts for prompt in own])
    key = key_of(text_fingerprint(model), [len(own) for own in prompts], ids)
    if (cached := cache.read("texts", key)) is not None:
        return cached["row_PD"]
    row_PD = prompt_rows(model.encode_texts, prompts)
    cache.write("texts", key, {"row_PD": row_PD})
    return row_PD


@no_empty_names
def zero_shot_classifier(
    model: Model,
    class_names: Sequence[ClassName],
    templates: str | Path | Sequence[str] | None = None,
    *,
    descriptions: Descriptions | None = None,
) -> Classifier:
    """A zero-shot classifier, cached on disk: made once for the same weights, token ids and settings.

    A class is a name or a list of names, whose prompts are averaged together. `templates` is a name of
    `data.prompts.TEMPLATES` such as "imagenet80", a file, or a list; without it the model's own are used.
    `descriptions`, {class: [sentence, ...]} or a JSON file of that, takes the place of templates. Two classes with
    one name are a `UserWarning`: neither is ever right. `EmbeddingCache.find` names the folder, and how to do
    without.
    """
    if twice := repeated_names(class_names):
        warnings.warn(f"more than one class is called {', '.join(map(repr, twice))}; {SAME_NAME}.", stacklevel=2)
    return model.classifier(
        class_names,
        templates,
        descriptions=descriptions,
        rows=lambda prompts: cached_encode_prompts(model, prompts, cache=EmbeddingCache.find()),
    )


def _bytes_or_reason(read: Callable[[int], bytes], index: int) -> bytes | str:
    try:
        return read(index)
    except BrokenSample as error:
        return error.reason

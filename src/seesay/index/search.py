"""Photos found by words: the index of a folder is made or brought up to date, and asked."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seesay.base.errors import UsageError
from seesay.base.names import PACKAGED_MODEL, no_empty_names
from seesay.data.sources import missing_location
from seesay.index.index_folder import fingerprint_of
from seesay.index.photo_index import Hit, PhotoIndex
from seesay.index.refresh import Refreshed

if TYPE_CHECKING:
    from seesay.model.bundle import Model


@dataclass(frozen=True, kw_only=True)
class Found:
    """What `search` found: `hits`, best first, and what it did to the index before. Iterates over the hits."""

    hits: tuple[Hit, ...]
    refreshed: Refreshed
    index: PhotoIndex

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def __repr__(self) -> str:
        best = f", best {self.hits[0].path} ({self.hits[0].score:.3f})" if self.hits else ""
        return f"<Found {len(self.hits)} of {self.refreshed}{best}>"


@no_empty_names
def search(
    photos: str | Path,
    words: str | None = None,
    *,
    like: Any = None,
    plus: str | Sequence[str] = (),
    minus: str | Sequence[str] = (),
    top: int = 10,
    since: str | datetime | None = None,
    folder: str | Path | None = None,
    model: "Model | str | Path | None" = None,
    index: str | Path | None = None,
    prune: bool = False,
    device: str | None = None,
    engine: str | None = None,
    weights_dtype: str | None = None,
) -> Found:
    """The `top` photos in a folder that are nearest to words, to a photo that is `like` them, or to a sum of these.

    The first call encodes every photo and keeps the vectors in an index, in the folder `index` or else in the user's
    cache; later ones encode what is new or changed and let go what is gone. Originals are only read. Without `model`
    the small one in the package is taken. `plus`, `minus`, `since` and `folder` are as in `PhotoIndex.search`; where a
    fifth of the photos and more is gone at once, as with a disk that is not mounted, they stay unless `prune`.
    `engine` is as in `Model.with_engine`, `weights_dtype` as in `load`.

    Raises `UsageError` for a folder without photos and for nothing to search for, `RefusedInput` for an index by
    another model, `StorageError` where another process writes it or the disk fails, `Interrupted` at Ctrl-C, when what
    is done stays.

        found = seesay.search("photos", "two dogs in snow", top=5)
        print(found.hits[0].path, found.hits[0].score)
    """
    if words is None and like is None and not plus:
        raise UsageError("nothing to search for; give words, --like PHOTO or --plus WORDS.")
    from seesay.model.hub import on_device

    refuse_no_folder(Path(photos))
    loaded = on_device(
        model if model is not None else PACKAGED_MODEL, device, engine=engine, weights_dtype=weights_dtype
    )
    name = str(model) if isinstance(model, str | Path) else None if model is None else loaded.name
    opened = open_for(photos, loaded, index=index, name=name)
    vector_D = query_of(opened, words, like, plus=_words(plus), minus=_words(minus))
    refreshed = opened.refresh(prune=prune)
    hits = opened.search_vector(vector_D, top=top, since=since, folder=folder)
    return Found(hits=tuple(hits), refreshed=refreshed, index=opened)


def refuse_no_folder(photos: Path) -> None:
    """`UsageError` for what is no folder."""
    if not photos.exists():
        raise missing_location(photos)
    if not photos.is_dir():
        raise UsageError(f"PHOTOS {str(photos)!r} is a file; name the folder it is in.")


def open_for(photos: str | Path, model: "Model", *, index: str | Path | None, name: str | None) -> PhotoIndex:
    """The index of a folder of photos by a model, made where there is none yet; nothing is encoded.

    `name` is what the model is opened by later, None for the one in the package.
    """
    location = Path(index) if index is not None else default_folder(Path(photos), model)
    opened_by = os.path.abspath(name) if name is not None and os.path.exists(name) else name
    return PhotoIndex.create(location, Path(photos), model, name=opened_by or PACKAGED_MODEL)


def query_of(
    index: PhotoIndex, words: str | None, like: Any, *, plus: Sequence[str], minus: Sequence[str]
) -> np.ndarray:
    """The vector (D,) that `search` looks for: words and `like` are added where both are given."""
    if like is None:
        return index.vector(words, plus=plus, minus=minus)
    photo = Path(like) if isinstance(like, str) else like
    return index.vector(photo, plus=[*([] if words is None else [words]), *plus], minus=minus)


def default_folder(photos: Path, model: "Model") -> Path:
    """Where the index of these photos by this model is in the user's cache; `UsageError` where there is no cache."""
    from seesay.model.cache import EmbeddingCache

    cache = EmbeddingCache.find().folder
    if cache is None:
        raise UsageError("SEESAY_CACHE is off, or there is no home folder; name a folder for the index with --index.")
    root = os.path.realpath(photos)
    key = hashlib.sha256(os.fsencode(root) + fingerprint_of(model).encode("ascii")).hexdigest()[:16]
    return cache / "indexes" / f"{''.join(filter(str.isalnum, os.path.basename(root)))[:32] or 'photos'}-{key}"


def _words(words: str | Sequence[str]) -> list[str]:
    return [words] if isinstance(words, str) else list(words)

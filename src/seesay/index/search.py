"""Photos found by words: the index of a folder is made or brought up to date, and asked."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesay.base.errors import UsageError
from seesay.base.names import no_empty_names
from seesay.data.sources import missing_location
from seesay.index.index_folder import fingerprint_of
from seesay.index.photo_index import Hit, PhotoIndex
from seesay.index.refresh import Refreshed

if TYPE_CHECKING:
    from seesay.model.bundle import Model

PACKAGED_MODEL = "box"


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
) -> Found:
    """The `top` photos in a folder that are nearest to words, to a photo that is `like` them, or to a sum of these.

    The first call encodes every photo and keeps the vectors in an index, in the folder `index` or else in the user's
    cache; later ones encode what is new or changed and let go what is gone. Originals are only read. Without `model`
    the small one in the package is taken. `plus`, `minus`, `since` and `folder` are as in `PhotoIndex.search`; where a
    fifth of the photos and more is gone at once, as with a disk that is not mounted, they stay unless `prune`.

    Raises `UsageError` for a folder without photos and for nothing to search for, `RefusedInput` for an index by
    another model, `StorageError` where another process writes it or the disk fails, `Interrupted` at Ctrl-C, when what
    is done stays.

        found = seesay.search("photos", "two dogs in snow", top=5)
        print(found.hits[0].path, found.hits[0].score)
    """
    if words is None and like is None and not plus:
        raise UsageError("nothing to search for; give words, --like PHOTO or --plus WORDS.")
    opened = open_for(photos, model, index=index, device=device)
    vector_D = opened.vector(
        words if like is None else _as_photo(like), plus=_all_words(words, like, plus), minus=minus
    )
    refreshed = opened.refresh(prune=prune)
    hits = opened.search_vector(vector_D, top=top, since=since, folder=folder)
    return Found(hits=tuple(hits), refreshed=refreshed, index=opened)


def open_for(
    photos: str | Path, model: "Model | str | Path | None", *, index: str | Path | None, device: str | None
) -> PhotoIndex:
    """The index of a folder of photos by a model, made where there is none yet; nothing is encoded."""
    from seesay.model.hub import on_device

    root = Path(photos)
    if not root.exists():
        raise missing_location(root)
    if not root.is_dir():
        raise UsageError(f"PHOTOS {str(photos)!r} is a file; name the folder it is in.")
    loaded = on_device(model if model is not None else PACKAGED_MODEL, device)
    name = os.path.abspath(model) if isinstance(model, str | Path) and os.path.exists(model) else str(model or "")
    is_object = model is not None and not isinstance(model, str | Path)
    location = Path(index) if index is not None else default_folder(root, loaded)
    return PhotoIndex.create(location, root, loaded, name=loaded.name if is_object else name or PACKAGED_MODEL)


def default_folder(photos: Path, model: "Model") -> Path:
    """Where the index of these photos by this model is in the user's cache; `UsageError` where there is no cache."""
    from seesay.model.cache import EmbeddingCache

    cache = EmbeddingCache.find().folder
    if cache is None:
        raise UsageError("SEESAY_CACHE is off, or there is no home folder; name a folder for the index with --index.")
    root = os.path.realpath(photos)
    key = hashlib.sha256(os.fsencode(root) + fingerprint_of(model).encode("ascii")).hexdigest()[:16]
    return cache / "indexes" / f"{''.join(filter(str.isalnum, os.path.basename(root)))[:32] or 'photos'}-{key}"


def _all_words(words: str | None, like: Any, plus: str | Sequence[str]) -> list[str]:
    added = [plus] if isinstance(plus, str) else list(plus)
    return [words, *added] if words is not None and like is not None else added


def _as_photo(like: Any) -> Any:
    return Path(like) if isinstance(like, str) else like

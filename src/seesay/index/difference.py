"""What has changed between an index and its folder of photos: by paths, sizes and times, by hashes where in doubt."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from seesay.base.errors import BrokenSample, UsageError
from seesay.base.records import Skipped
from seesay.data.sources import (
    FOREIGN_SUFFIXES,
    IMAGE_SUFFIXES,
    LooseFile,
    missing_location,
    split_suffix,
    statuses_below,
)

UNREADABLE_FOLDER = "unreadable folder"
PHOTO_SUFFIXES = IMAGE_SUFFIXES | FOREIGN_SUFFIXES
# More than this share of the photos gone at once, and as many as that, is a disk that is not there: guesses.
MOST_GONE, FEWEST_GONE = 0.2, 10


class PhotoFile(NamedTuple):
    """A file as the system describes it, without opening it."""

    size: int
    modified_ns: int


class KnownPhoto(NamedTuple):
    """A row of the index."""

    id: int
    file: PhotoFile
    hash: bytes | None


@dataclass(kw_only=True)
class Folder:
    """What lies below a folder: photos by their path from there, as bytes with "/", and what else."""

    photos: dict[bytes, PhotoFile] = field(default_factory=dict)
    problems: list[Skipped] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


@dataclass(kw_only=True)
class Difference:
    """Paths to encode; rows whose photo is the same under another path or with another time; rows that are gone.

    `renamed` is (new path, id). `gone` are ids; `missing` counts rows that stay although their file is not there.
    """

    fresh: list[bytes] = field(default_factory=list)
    renamed: list[tuple[bytes, int]] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    unchanged: int = 0
    moved: int = 0
    missing: int = 0


def survey(root: Path) -> Folder:
    """The photos below `root`, by their suffix; `UsageError` where it is no folder."""
    if not root.exists():
        raise missing_location(root)
    if not root.is_dir():
        raise UsageError(f"PHOTOS {str(root)!r} is a file; name the folder it is in.")
    folder = Folder()
    for name, status in statuses_below(root, folder.problems):
        suffix = split_suffix(name)[1]
        if suffix in PHOTO_SUFFIXES:
            folder.photos[os.fsencode(name)] = PhotoFile(status.st_size, status.st_mtime_ns)
        else:
            folder.others[suffix or "no suffix"] += 1
    folder.problems = [each for each in folder.problems if _concerns_photos(each)]
    return folder


def _concerns_photos(problem: Skipped) -> bool:
    return problem.reason == UNREADABLE_FOLDER or split_suffix(problem.key)[1] in PHOTO_SUFFIXES


def known_photos(rows: pa.Table) -> dict[bytes, KnownPhoto]:
    """The rows of an index by path."""
    columns = (rows[name].to_pylist() for name in ("path", "id", "size", "modified_ns", "hash"))
    return {
        path: KnownPhoto(id, PhotoFile(size, time), hash) for path, id, size, time, hash in zip(*columns, strict=True)
    }


def difference(
    root: Path,
    known: dict[bytes, KnownPhoto],
    folder: Folder,
    *,
    again: Iterable[bytes] = (),
    is_pruned: bool = False,
) -> Difference:
    """Compare an index with its folder. Only files are opened that may be known ones under another name or time.

    `again` are paths to encode although nothing has changed. Where many rows are gone at once they stay, and are
    counted as missing, unless `is_pruned`; rows below a folder that cannot be listed always stay.
    """
    result = Difference()
    again = set(again)
    lost = {path: row for path, row in known.items() if path not in folder.photos}
    doubtful: list[bytes] = []
    sizes = {row.file.size for row in lost.values()}
    for path, file in folder.photos.items():
        row = known.get(path)
        if row is None:
            (doubtful if file.size in sizes else result.fresh).append(path)
        elif path in again:
            result.fresh.append(path)
        elif row.file == file:
            result.unchanged += 1
        elif row.file.size == file.size:
            doubtful.append(path)
        else:
            result.fresh.append(path)
    _settle(root, known, doubtful, lost=lost, result=result)
    _let_go(known, lost, folder, result=result, is_pruned=is_pruned)
    return result


def _settle(
    root: Path,
    known: dict[bytes, KnownPhoto],
    doubtful: Sequence[bytes],
    *,
    lost: dict[bytes, KnownPhoto],
    result: Difference,
) -> None:
    """Which of these are known by their bytes: the same file with another time, or a lost one under a new path."""
    by_hash: dict[bytes, list[bytes]] = {}
    for path, row in lost.items():
        if row.hash is not None:
            by_hash.setdefault(row.hash, []).append(path)
    for path in doubtful:
        digest = _hash(root, path)
        row = known.get(path)
        if row is not None and digest is not None and row.hash == digest:
            result.renamed.append((path, row.id))
            result.unchanged += 1
        elif row is None and digest is not None and by_hash.get(digest):
            result.renamed.append((path, lost.pop(by_hash[digest].pop()).id))
            result.moved += 1
        else:
            result.fresh.append(path)


def _let_go(
    known: dict[bytes, KnownPhoto],
    lost: dict[bytes, KnownPhoto],
    folder: Folder,
    *,
    result: Difference,
    is_pruned: bool,
) -> None:
    closed = tuple(os.fsencode(each.key) + b"/" for each in folder.problems if each.reason == UNREADABLE_FOLDER)
    reachable = {path: row for path, row in lost.items() if not path.startswith(closed)} if closed else lost
    is_suspicious = not folder.photos or len(reachable) >= max(FEWEST_GONE, MOST_GONE * len(known))
    if is_pruned or not is_suspicious:
        result.gone = [row.id for row in reachable.values()]
    result.missing = len(lost) - len(result.gone)


def _hash(root: Path, path: bytes) -> bytes | None:
    try:
        return hashlib.sha256(LooseFile(os.path.join(root, os.fsdecode(path)), size=0).read()).digest()
    except BrokenSample:
        return None

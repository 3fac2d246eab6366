"""An index of photos: opened, brought up to date, and asked in words, by a photo, or by sums of these.

Its folder holds `index.json` (which photos, which model), the table of `photo_table`, the snapshot of `scan`, and a
lock for its one writer. Searching needs no lock. N = photos, D = width of vectors.
"""

import importlib.util
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seesay.base.errors import StorageError, UsageError
from seesay.base.names import no_empty_names
from seesay.base.publish import remove_stale
from seesay.data.duplicates import alike_groups
from seesay.data.sources import IMAGE_SUFFIXES, missing_location, split_suffix
from seesay.index.checks import damaged
from seesay.index.index_folder import (
    ACKNOWLEDGED,
    FACTS,
    LOCK,
    IndexFacts,
    check_model,
    fingerprint_of,
    publish_facts,
    read_facts,
    refuse_lost_facts,
    refuse_wordless,
    writing,
)
from seesay.index.photo_table import PhotoTable, acknowledged_version, thumbnails_of
from seesay.index.refresh import PASSING, UNSUPPORTED, Refresh, Refreshed, skipped_of
from seesay.index.scan import Scan, no_rows, open_table, positions_of, write_scan
from seesay.model.encode import row_width

if TYPE_CHECKING:
    from seesay.model.bundle import Model

# What decodes more formats where it is installed.
READERS = ("pillow_heif", "rawpy")


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A photo that was found: its path, the cosine of its vector and the query's, and its number in the index."""

    path: str
    score: float
    id: int

    def to_dict(self) -> dict[str, Any]:
        """`{"path": ..., "score": ...}`."""
        return {"path": self.path, "score": self.score}


class PhotoIndex:
    """Photos of one folder as vectors of one model. Made by `seesay.search`, opened by `open_index`."""

    def __init__(self, folder: Path, facts: IndexFacts, *, model: "Model | None" = None):
        self.folder = folder
        self.facts = facts
        self._model = model
        self._scan = Scan.read(folder)

    @classmethod
    def create(cls, folder: Path, photos: Path, model: "Model", *, name: str = "") -> "PhotoIndex":
        """The index of these photos by this model in `folder`, made where there is none.

        `name` is what the model is opened by later. `UsageError` for an index of other photos, `RefusedInput` for one
        by another model.
        """
        if (folder / FACTS).exists():
            index = open_index(folder, model=model)
            if Path(index.facts.photos) != Path(os.path.realpath(photos)):
                raise UsageError(f"index {folder} is of {index.facts.photos}, not of {photos}; name another folder.")
            return index
        refuse_wordless(model)
        if folder.is_dir():
            # Of one that was killed while it made the index.
            remove_stale(folder, name=FACTS)
        refuse_lost_facts(folder)
        if folder.is_dir() and any(entry.name != LOCK for entry in folder.iterdir()):
            raise UsageError(f"{folder} holds other files and no index; name a folder that is empty or not there.")
        facts = IndexFacts(
            photos=os.path.realpath(photos),
            model=name or model.name,
            fingerprint=fingerprint_of(model),
            width=row_width(model),
        )
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with writing(folder):
            # Another one may have made it since it was looked for, by another model perhaps.
            is_new = not (folder / FACTS).exists()
            if is_new:
                publish_facts(folder, facts)
        return cls(folder, facts, model=model) if is_new else cls.create(folder, photos, model, name=name)

    def __len__(self) -> int:
        return 0 if self._scan is None else len(self._scan.vectors_ND)

    def __repr__(self) -> str:
        return f"<PhotoIndex of {len(self):,} photos in {self.facts.photos} by {self.facts.model}: {self.folder}>"

    @property
    def version(self) -> int:
        """The version of the table that is searched; 0 where there is none."""
        return 0 if self._scan is None else self._scan.version

    @property
    def model(self) -> "Model":
        """The model whose vectors these are, loaded by its name when it is first needed."""
        if self._model is None:
            from seesay.model.hub import on_device

            self._model = check_model(on_device(self.facts.model), self.facts, self.folder)
        return self._model

    def refresh(self, *, prune: bool = False) -> Refreshed:
        """Encode what is new or changed in the folder, rename what moved, and let go what is gone.

        Where nothing is left of the folder, or a fifth and more is gone at once, those rows stay unless `prune`.
        Raises `StorageError` where another process writes or the disk fails, and `Interrupted` at Ctrl-C; what was
        written by then stays.
        """
        with writing(self.folder):
            table = cache(partial(open_table, self.folder, self.facts.width))
            scan = self._current_scan()
            if scan is None and acknowledged_version(self.folder):
                scan = write_scan(self.folder, table(), width=self.facts.width)
            readers = tuple(name for name in READERS if importlib.util.find_spec(name))
            has_other_readers = readers != self.facts.readers
            again = (*PASSING, *((UNSUPPORTED,) if has_other_readers else ()))
            rows = no_rows(self.facts.width) if scan is None else scan.rows
            plan = Refresh.of(Path(self.facts.photos), self.model, rows, again=again, is_pruned=prune)
            seconds = plan.run(table) if plan.has_work else 0.0
            if plan.has_work or scan is None:
                scan = write_scan(self.folder, table(), width=self.facts.width)
            self._scan = scan
            if has_other_readers:
                self.facts = replace(self.facts, readers=readers)
                publish_facts(self.folder, self.facts)
        found = plan.found
        return Refreshed(
            photos=len(self),
            added=plan.added,
            changed=plan.changed,
            moved=found.moved,
            removed=len(found.gone),
            unchanged=found.unchanged,
            missing=found.missing,
            skipped=skipped_of(scan.rows, plan.folder.problems),
            others=plan.folder.others,
            seconds=seconds,
        )

    def search(
        self,
        query: Any = None,
        *,
        top: int = 10,
        plus: str | Sequence[str] = (),
        minus: str | Sequence[str] = (),
        since: str | datetime | None = None,
        folder: str | Path | None = None,
    ) -> list[Hit]:
        """The `top` photos nearest to words or a photo, best first; scores are cosines.

        `query` is a string of words, or a photo: a `Path`, bytes, a Pillow image or an array, as `encode_images` takes.
        `plus` and `minus` are words whose vectors are added and taken away. `since` leaves out photos taken before a
        day such as "2024-05-01", `folder` those outside of a folder in the indexed one. Raises `UsageError` for what
        is none of these, `BrokenSample` for a photo that cannot be read.
        """
        return self.search_vector(self.vector(query, plus=plus, minus=minus), top=top, since=since, folder=folder)

    def like(self, id: int, *, top: int = 10) -> list[Hit]:
        """The photos nearest to one of the index, by the `id` of a `Hit`; itself is left out."""
        scan = self._searchable()
        at_1 = positions_of(scan, [id])
        if at_1[0] < 0:
            raise UsageError(f"photo {id} is not in the index {self.folder}.")
        (query_D,) = scan.vectors(at_1)
        return [hit for hit in self.search_vector(query_D, top=top + 1) if hit.id != id][:top]

    def search_vector(
        self,
        query_D: np.ndarray,
        *,
        top: int = 10,
        since: str | datetime | None = None,
        folder: str | Path | None = None,
    ) -> list[Hit]:
        """As `search` for a vector (D,) of unit length."""
        if top < 1:
            raise UsageError(f"top is {top}; ask for 1 photo or more.")
        scan = self._searchable()
        positions, scores = scan.best(query_D, top=top, is_allowed_N=self._allowed(scan, since, folder))
        return [self._hit(scan, at, score) for at, score in zip(positions.tolist(), scores.tolist(), strict=True)]

    def vector(
        self, query: Any = None, *, plus: str | Sequence[str] = (), minus: str | Sequence[str] = ()
    ) -> np.ndarray:
        """The query of `search` as a vector (D,) of unit length: the sum of its parts, each of unit length before."""
        added, taken = _words(plus), _words(minus)
        photos = []
        if isinstance(query, str):
            _refuse_file_name(query)
            added = [query, *added]
        elif query is not None:
            photos = [query]
        if not photos and not added:
            raise UsageError("nothing to search for; give words, or a photo as a Path or an image.")
        parts_PD = np.zeros((0, self.facts.width), np.float32)
        if photos:
            parts_PD = self.model.encode_images(photos).numpy()
        if texts := [*added, *taken]:
            from seesay.model.zero_shot import cut_notes

            for note in cut_notes(self.model.tokenizer, texts):
                warnings.warn(note, stacklevel=2)
            parts_PD = np.concatenate([parts_PD, self.model.encode_texts(texts).numpy()])
        signs_P = np.array([1.0] * (len(photos) + len(added)) + [-1.0] * len(taken), np.float32)
        total_D = signs_P @ parts_PD
        length = float(np.linalg.norm(total_D))
        if length < 1e-6:
            raise UsageError("what is added and what is taken away are the same; leave one of them out.")
        return (total_D / length).astype(np.float32)

    def duplicates(self) -> list[list[str]]:
        """Groups of paths of photos that are the same or look the same (`data.duplicates`), the earliest first."""
        scan = self._searchable()
        colours = scan.rows["colours"].slice(0, len(scan.vectors_ND)).combine_chunks()
        colours_N883 = np.frombuffer(b"".join(colours.to_pylist()), np.uint8).reshape(-1, 8, 8, 3)
        groups = alike_groups(scan.numbers["look"], colours_N883)
        return [[self._path(scan, at) for at in group.tolist()] for group in groups]

    def thumbnails(self, ids: Sequence[int]) -> dict[int, bytes]:
        """Small JPEGs of photos by the `id` of a `Hit`, without GPS or anything else beside the pixels."""
        return thumbnails_of(self.folder, ids) if ids else {}

    def _searchable(self) -> Scan:
        if self._scan is None or not len(self):
            raise UsageError(
                f"index {self.folder} holds no photo; there is none in {self.facts.photos} that can be read, or it was "
                "not indexed yet: seesay search FOLDER WORDS does that."
            )
        return self._scan

    def _allowed(self, scan: Scan, since: str | datetime | None, folder: str | Path | None) -> np.ndarray | None:
        if since is None and folder is None:
            return None
        allowed_N = np.ones(len(scan.vectors_ND), bool)
        if since is not None:
            allowed_N &= scan.numbers["time_s"] >= seconds_of(since)
        if folder is not None:
            inside = _path_inside(self.facts.photos, folder)
            prefix = b"" if inside == "." else os.fsencode(inside.replace(os.sep, "/")) + b"/"
            paths = scan.rows["path"].slice(0, len(allowed_N)).to_pylist()
            allowed_N &= np.array([path.startswith(prefix) for path in paths], bool)
            if not allowed_N.any():
                raise UsageError(f"folder {str(folder)!r} has no photo in the index of {self.facts.photos}.")
        return allowed_N

    def _hit(self, scan: Scan, at: int, score: float) -> Hit:
        return Hit(path=self._path(scan, at), score=score, id=int(scan.numbers["id"][at]))

    def _path(self, scan: Scan, at: int) -> str:
        return os.path.join(self.facts.photos, os.fsdecode(scan.rows["path"][at].as_py()))

    def _catch_up(self) -> None:
        """Make the snapshot of what a writer wrote that was stopped; one that is still writing has an older one."""
        if self._current_scan() is not None or not acknowledged_version(self.folder):
            return
        try:
            with writing(self.folder):
                self._scan = self._written_scan()
        except StorageError:
            if self._scan is None:
                raise

    def _current_scan(self) -> Scan | None:
        """The snapshot of the newest version; None where there is none of it yet."""
        scan, version = Scan.read(self.folder), acknowledged_version(self.folder)
        if scan is not None and scan.version > version:
            raise damaged(self.folder / ACKNOWLEDGED, f"it says version {version}, after {scan.version}", self.folder)
        return scan if scan is not None and scan.version == version else None

    def _written_scan(self) -> Scan:
        return write_scan(self.folder, PhotoTable(self.folder, self.facts.width), width=self.facts.width)


@no_empty_names
def open_index(folder: str | Path, *, model: "Model | None" = None) -> PhotoIndex:
    """The index in a folder, ready to search.

    Words need the model that made it: the one given, or else the one of the name in the index, loaded when it is first
    needed. `UsageError` for a folder without an index, `RefusedInput` for one that is damaged, by a newer version, or
    by another model than the one given.

        index = seesay.open_index("holiday-index")
        for hit in index.search("two dogs in snow", top=5):
            print(hit.score, hit.path)
    """
    folder = Path(folder)
    if not folder.exists():
        raise missing_location(folder)
    facts = read_facts(folder)
    if model is not None:
        check_model(model, facts, folder)
    index = PhotoIndex(folder, facts, model=model)
    index._catch_up()
    return index


def _words(words: str | Sequence[str]) -> list[str]:
    return [words] if isinstance(words, str) else list(words)


def _path_inside(root: str, folder: str | Path) -> str:
    """The path from `root` of a folder in it, named from there or from where we are; `UsageError` for one outside."""
    path = os.path.join(root, folder)
    if os.path.isabs(folder) or (not os.path.isdir(path) and os.path.isdir(folder)):
        path = os.path.realpath(folder)
    inside = os.path.relpath(path, root)
    if inside == ".." or inside.startswith(f"..{os.sep}"):
        raise UsageError(f"folder {str(folder)!r} is not in {root}.")
    return inside


def _refuse_file_name(words: str) -> None:
    if split_suffix(words)[1] in IMAGE_SUFFIXES and os.path.isfile(words):
        raise UsageError(f"{words!r} is a photo on disk; search by it with --like, in Python as a Path.")


def seconds_of(since: str | datetime) -> float:
    """A day as seconds since 1970; `UsageError` for words that are none."""
    try:
        return (since if isinstance(since, datetime) else datetime.fromisoformat(since)).timestamp()
    except ValueError as error:
        raise UsageError(f"--since {since!r} is no day; write it as 2024-05-01.") from error

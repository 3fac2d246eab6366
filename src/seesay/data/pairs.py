"""Pairs on disk as one source: a folder, a table, or tar shards, or several of them one after the other."""

import glob
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from seesay.base.errors import StorageError, UsageError
from seesay.base.records import Pair, PairSource, Skipped
from seesay.data.shards import open_shards
from seesay.data.sources import (
    FOREIGN_SUFFIXES,
    IMAGE_SUFFIXES,
    MAX_CAPTION_BYTES,
    Caption,
    Entry,
    LooseFile,
    PairList,
    caption_lines,
    count_reasons,
    files_below,
    fingerprint,
    missing_location,
    pair_or_problem,
    split_suffix,
)
from seesay.data.tables import TABLE_SUFFIXES, open_table


def open_pairs(
    sources: Sequence[str | Path], *, image_column: str | None = None, caption_column: str | None = None
) -> PairSource:
    """The pairs of one or more sources, in their order. Reads every caption, and of images only the size.

    A source is a folder with x.jpg and x.txt side by side, at any depth; a .csv, .tsv or .parquet table; a .tar, a
    folder with .tar files in it, or a pattern such as `shards/*.tar`. The two columns are for tables. What a source
    holds but cannot be used is in `problems`; a source that is not there or has no pair at all is a `UsageError`.
    """
    if isinstance(sources, str | Path):
        sources = [sources]
    if not sources:
        raise UsageError("no source of pairs is given; name a folder, a table or tar shards.")
    columns = {"image_column": image_column, "caption_column": caption_column}
    if any(columns.values()) and not any(_is_table(Path(source)) for source in sources):
        raise UsageError(f"A column was named, but none of {', '.join(map(str, sources))} is a table.")
    missing = [source for source in sources if not Path(source).exists() and not glob.has_magic(str(source))]
    if len(missing) > 1:
        raise UsageError(
            f"{len(missing)} of {len(sources)} sources are not there: {', '.join(map(repr, map(str, missing)))}."
        )
    parts = [part for source in sources for part in _open_source(source, columns)]
    return parts[0] if len(parts) == 1 else Chain(parts)


class Chain:
    """Several sources as one, in order; a `PairSource`."""

    def __init__(self, parts: Sequence[PairSource]):
        self.name = " + ".join(part.name for part in parts)
        self.problems: Sequence[Skipped] = [problem for part in parts for problem in part.problems]
        self._parts = parts
        self.fingerprint = fingerprint(part.fingerprint for part in parts)
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Pair:
        part, inside = self._locate(index)
        return part[inside]

    def key(self, index: int) -> str:
        """The name of the pair: that of its source, "/", and its key there."""
        part, inside = self._locate(index)
        return f"{part.name}/{part.key(inside)}"

    def captions(self, index: int) -> tuple[str, ...]:
        """Every caption of the pair."""
        part, inside = self._locate(index)
        return part.captions(inside)

    def location(self, index: int) -> str:
        """Where its image lies."""
        part, inside = self._locate(index)
        return part.location(inside)

    def _locate(self, index: int) -> tuple[PairSource, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"pair {index} of {len(self)}")
        index %= len(self)
        which = bisect_right(self._ends, index)
        return self._parts[which], index - (self._ends[which - 1] if which else 0)


def tars_in(folder: Path) -> list[Path]:
    """The .tar files directly in a folder, sorted by name."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".tar" and path.is_file())
    except OSError as error:
        raise StorageError(f"Cannot list {str(folder)!r}: {error.strerror}.") from error


def _is_table(path: Path) -> bool:
    return path.suffix.lower().removeprefix(".") in TABLE_SUFFIXES


def _open_source(source: str | Path, columns: dict[str, str | None]) -> list[PairSource]:
    path = Path(source)
    if path.exists():
        return [_open_path(path, columns)]
    if not glob.has_magic(str(source)):
        raise missing_location(path)
    found = sorted(Path(name) for name in glob.glob(str(source), recursive=True))
    if not found:
        raise UsageError(f"Nothing matches {str(source)!r}.")
    if all(path.suffix == ".tar" and path.is_file() for path in found):
        return [open_shards(found, name=f"{path.parent.name}/{path.name}")]
    return [_open_path(path, columns) for path in found]


def _open_path(path: Path, columns: dict[str, str | None]) -> PairSource:
    if path.is_dir():
        tars = tars_in(path)
        return open_shards(tars, name=_name_of(path)) if tars else open_folder(path)
    if not path.is_file():
        raise UsageError(f"{str(path)!r} is neither a folder nor a regular file.")
    if path.suffix == ".tar":
        return open_shards([path], name=path.name)
    if _is_table(path):
        return open_table(path, **columns)
    raise UsageError(f"{str(path)!r} is not a folder, a .tar, or a table (.csv, .tsv, .parquet).")


def _name_of(folder: Path) -> str:
    return folder.absolute().name or str(folder)


def open_folder(folder: Path) -> PairList:
    """The pairs of a folder and the folders in it, sorted by path; keys are paths from there without the suffix."""
    problems: list[Skipped] = []
    groups: dict[str, dict[str, LooseFile]] = {}
    foreign: dict[str, str] = {}
    tars = 0
    for name, size in files_below(folder, problems):
        stem, suffix = split_suffix(name)
        file = LooseFile(str(folder.absolute() / name), size)
        if suffix in FOREIGN_SUFFIXES:
            foreign[stem] = suffix
        elif suffix == "txt" or suffix in IMAGE_SUFFIXES:
            kind = "caption" if suffix == "txt" else "image"
            if groups.setdefault(stem, {}).setdefault(kind, file) is not file:
                problems.append(Skipped(key=stem, reason="duplicate key", detail=f".{suffix}"))
        tars += suffix == "tar"
    entries = []
    for stem in sorted(groups.keys() | foreign.keys()):
        group = groups.get(stem, {})
        caption = _caption(group["caption"]) if "caption" in group else None
        outcome = pair_or_problem(stem, group.get("image"), caption=caption, foreign=foreign.get(stem, ""))
        if isinstance(outcome, Entry):
            entries.append(outcome)
        else:
            problems.append(outcome)
    if not entries:
        raise UsageError(_no_pairs(folder, groups, problems=problems, tars=tars))
    return PairList(_name_of(folder), entries, problems=problems)


def _caption(file: LooseFile) -> Caption:
    if file.size > MAX_CAPTION_BYTES:
        return Caption((), "caption too long")
    return caption_lines(file.read())


def _no_pairs(folder: Path, groups: dict[str, dict[str, LooseFile]], *, problems: list[Skipped], tars: int) -> str:
    """What was found instead of pairs, and what to do about it."""
    images = sum("image" in group for group in groups.values())
    captions = sum("caption" in group for group in groups.values())
    found = f"{images or 'no'} image{'s' * (images != 1)} and {captions or 'no'} caption{'s' * (captions != 1)}"
    if tars:
        pattern = str(folder / "*" / "*.tar")
        return f"No pairs in {str(folder)!r}, but {tars} .tar in folders below it; name {pattern!r}."
    if images and captions:
        return f"No pairs in {str(folder)!r}: {found}, but {count_reasons(problems)}."
    hint = "write x.txt beside x.jpg, or use a table" if images else "images are x.jpg, .png, .heic and others"
    others = [problem for problem in problems if not problem.reason.endswith((" without caption", " without image"))]
    also = f" ({count_reasons(others)})" if others else ""
    return f"No pairs in {str(folder)!r}: {found}{also}: {hint}."

"""Pairs on disk as one source: a folder, a table, or tar shards, or several of them one after the other."""

import filecmp
import glob
import re
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

from seesay.base.errors import UsageError
from seesay.base.names import described
from seesay.base.publish import publish_chunks, storage_errors
from seesay.base.records import Pair, PairSource, Skipped
from seesay.data.folders import PACKED, UNPACK, open_folder, tables_with_captions
from seesay.data.memory_pairs import is_in_memory, name_of_memory, open_memory, write_memory
from seesay.data.shards import open_shards
from seesay.data.sources import fingerprint, missing_location
from seesay.data.tables import TABLE_SUFFIXES, open_table

# Alternatives as a shell writes them: {a,b} and {000..009}; and how many sources one word may name (a guess).
BRACES = re.compile(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}")
MOST_SOURCES = 1 << 17
# A guess at what fits a message.
SHOWN_MISSING = 10
# What else is named as a table, and what makes one of it.
NO_TABLES = {
    ".json": "; write an object with an image and a caption on each line, as .jsonl",
    ".xlsx": "; save it as CSV",
    ".xls": "; save it as CSV",
    ".zip": "; unpack it, and name the folder",
    ".gz": "; unpack it with gunzip",
}


def open_pairs(sources: Any, *, image_column: str | None = None, caption_column: str | None = None) -> PairSource:
    """The pairs of one or more sources, in their order. Reads every caption, and of images only the size.

    A source is a folder (`data.folders`), a table (`data.tables`), a .tar, or a pattern such as `shards/*.tar`,
    `shards/{000..009}.tar` or `a.tar::b.tar`; or what is in memory (`data.memory_pairs`): a frame of pandas, polars or
    Arrow, or a sequence of (image, caption). The two columns are for tables and frames. What a source
    holds but cannot be used is in `problems`, and what was chosen in `notes`; a source that is not there or has no pair
    at all is a `UsageError`.
    """
    sources = listed(sources)
    if not sources:
        raise UsageError("no source of pairs is given; name a folder, a table or tar shards.")
    columns = {"image_column": image_column, "caption_column": caption_column}
    if any(map(is_in_memory, sources)):
        if len(sources) > 1:
            raise UsageError(f"{len(sources)} sources, one of them in memory: put them into one frame or sequence.")
        return open_memory(sources[0], **columns)
    groups = [(source, expanded(source)) for source in sources]
    every = [word for _, words in groups for word in words]
    if any(columns.values()) and not any(has_columns(word, columns) for word in every):
        raise UsageError(f"A column was named, but none of {', '.join(map(str, sources))} is a table with it.")
    missing = [word for word in every if not Path(word).exists() and not glob.has_magic(str(word))]
    if len(missing) > 1:
        shown = ", ".join(map(repr, map(str, missing[:SHOWN_MISSING])))
        more = f" and {len(missing) - SHOWN_MISSING:,} more" if len(missing) > SHOWN_MISSING else ""
        raise UsageError(f"{len(missing)} of {len(every)} sources are not there: {shown}{more}.")
    parts = [part for source, words in groups for part in _open_words(source, words, columns)]
    return parts[0] if len(parts) == 1 else Chain(parts)


def listed(sources: Any) -> list[Any]:
    """One source or several, as a list; `UsageError` for what is neither path nor pairs in memory."""
    if isinstance(sources, str | Path) or is_in_memory(sources) or not isinstance(sources, Iterable):
        sources = [sources]
    several = list(sources)
    for source in several:
        if not isinstance(source, str | Path) and not is_in_memory(source):
            raise UsageError(f"{described(source)} is no path; name a folder, a table or shards.")
    return several


def on_disk(sources: Any) -> list[str]:
    """The sources as paths; `UsageError` for one in memory, where only paths are taken."""
    if any(map(is_in_memory, listed(sources))):
        raise UsageError("this is in memory, where only paths are taken; write a file first (to_parquet).")
    return [str(source) for source in listed(sources)]


@contextmanager
def as_files(
    sources: Any, *, folder: Path | None = None, image_column: str | None = None, caption_column: str | None = None
) -> Iterator[list[str]]:
    """Inside, the sources as paths; what is in memory is a Parquet file in `folder`, or in a temporary one.

    A file in `folder` stays there. Raises as `open_memory`, and `UsageError` where there is one of other pairs already.
    """
    several = listed(sources)
    if not any(map(is_in_memory, several)):
        yield [str(source) for source in several]
        return
    with tempfile.TemporaryDirectory(prefix="seesay-pairs-") as temporary:
        paths: list[str] = []
        for number, source in enumerate(several, 1):
            if not is_in_memory(source):
                paths.append(str(source))
                continue
            path = Path(temporary) / f"{name_of_memory(source)}{f'-{number}' * (number > 1)}.parquet"
            with storage_errors(path):
                write_memory(source, path, image_column=image_column, caption_column=caption_column)
            paths.append(str(path if folder is None else _kept(path, folder / path.name)))
        yield paths


def _kept(path: Path, kept: Path) -> Path:
    """`kept` with the content of `path`; `UsageError` where it has another already."""
    if kept.exists() and not filecmp.cmp(path, kept, shallow=False):
        raise UsageError(f"{kept} has other pairs than those given; choose another folder, or remove that file.")
    if not kept.exists():
        with path.open("rb") as file:
            publish_chunks(kept, iter(lambda: file.read(1 << 20), b""))
    return kept


class Chain:
    """Several sources as one, in order, which are `parts`; a `PairSource`."""

    def __init__(self, parts: Sequence[PairSource]):
        self.name = " + ".join(part.name for part in parts)
        self.problems: Sequence[Skipped] = [problem for part in parts for problem in part.problems]
        self.notes = [f"{part.name}: {note}" for part in parts for note in part.notes]
        self.parts = parts
        self._names = _distinct([part.name for part in parts])
        self.fingerprint = fingerprint(part.fingerprint for part in parts)
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Pair:
        which, inside = self._locate(index)
        return self.parts[which][inside]

    def key(self, index: int) -> str:
        """The name of the pair: that of its source, "/", and its key there."""
        which, inside = self._locate(index)
        return f"{self._names[which]}/{self.parts[which].key(inside)}"

    def captions(self, index: int) -> tuple[str, ...]:
        """Every caption of the pair."""
        which, inside = self._locate(index)
        return self.parts[which].captions(inside)

    def location(self, index: int) -> str:
        """Where its image lies."""
        which, inside = self._locate(index)
        return self.parts[which].location(inside)

    def _locate(self, index: int) -> tuple[int, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"pair {index} of {len(self)}")
        index %= len(self)
        which = bisect_right(self._ends, index)
        return which, index - (self._ends[which - 1] if which else 0)


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, as a key names one pair: the second of one name is "name (2)", or the next that no other has."""
    given, before = set(names), Counter[str]()
    distinct: list[str] = []
    for name in names:
        before[name] += 1
        while before[name] > 1 and f"{name} ({before[name]})" in given:
            before[name] += 1
        distinct.append(f"{name} ({before[name]})" if before[name] > 1 else name)
    return distinct


def expanded(source: str | Path) -> list[str | Path]:
    """The sources that one word names: `a::b` and `{000..009}` as WebDataset reads them; a path that exists is one."""
    if Path(source).exists():
        return [source]
    found: list[str | Path] = []
    for word in filter(None, str(source).split("::")):
        several = [word]
        while match := BRACES.search(several[0]):
            choices = _choices(match[1])
            if len(found) + len(several) * len(choices) > MOST_SOURCES:
                raise UsageError(f"{str(source)!r} names more than {MOST_SOURCES:,} sources; use a pattern with *.")
            several = [first.replace(match[0], choice, 1) for first in several for choice in choices]
        found += several
    return found or [source]


def _choices(inside: str) -> list[str]:
    """What stands for the braces around `inside`: numbers of the same width, or what is between commas."""
    first, dots, last = inside.partition("..")
    if not dots or not (first.isdecimal() and last.isdecimal()) or max(len(first), len(last)) > 9:
        return inside.split(",")
    width = max(len(first), len(last)) if first.startswith("0") else 0
    step = 1 if int(last) >= int(first) else -1
    numbers = range(int(first), int(last) + step, step)
    return [f"{number:0{width}d}" for number in numbers[: MOST_SOURCES + 1]]


def has_columns(source: str | Path, columns: Mapping[str, str | None]) -> bool:
    """Whether a source is a table, or a folder with a table that has the columns."""
    path = Path(source)
    is_table = path.suffix.lower().removeprefix(".") in TABLE_SUFFIXES
    return is_table or (path.is_dir() and bool(tables_with_captions(path, **columns)))


def _open_words(
    source: str | Path, words: Sequence[str | Path], columns: dict[str, str | None]
) -> Sequence[PairSource]:
    """The pairs of one source, whose words are what it expands to; tars of one source are one part."""
    paths = [path for word in words for path in _matching(word)]
    is_pattern = not Path(source).exists()
    if is_pattern and all(path.suffix.lower() == ".tar" and path.is_file() for path in paths):
        return [open_shards(paths, name="/".join(Path(source).parts[-2:]))]
    return [part for path in paths for part in _open_path(path, columns)]


def _matching(word: str | Path) -> list[Path]:
    path = Path(word)
    if path.exists():
        return [path]
    if re.match(r"[a-z][a-z0-9+]+:", str(word)):
        raise UsageError(f"{str(word)!r} is an address and no file; fetch it, and name what was fetched.")
    if not glob.has_magic(str(word)):
        raise missing_location(path)
    found = sorted(Path(name) for name in glob.glob(str(word), recursive=True))
    if not found:
        raise UsageError(f"Nothing matches {str(word)!r}.")
    return found


def _open_path(path: Path, columns: dict[str, str | None]) -> Sequence[PairSource]:
    if path.is_dir():
        return open_folder(path, **columns)
    if not path.is_file():
        raise UsageError(f"{str(path)!r} is neither a folder nor a regular file.")
    name = path.name.lower()
    if name.endswith(".tar"):
        return [open_shards([path], name=path.name)]
    if name.endswith(PACKED):
        raise UsageError(f"{str(path)!r} is a compressed tar, in which nothing can be found fast; {UNPACK}.")
    if path.suffix.lower().removeprefix(".") in TABLE_SUFFIXES:
        return [open_table(path, **columns)]
    endings = ", ".join(f".{suffix}" for suffix in sorted(TABLE_SUFFIXES))
    hint = NO_TABLES.get(path.suffix.lower(), "")
    raise UsageError(f"{str(path)!r} is not a folder, a .tar, or a table ({endings}){hint}.")

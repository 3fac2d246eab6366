"""Images and captions where they lie: a file of its own or a slice of a tar, and the list of pairs made of them."""

import errno
import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from seesay.base.errors import BrokenSample, StorageError, UsageError, nearest
from seesay.base.names import PACKAGED_MODEL
from seesay.base.records import Pair, Skipped
from seesay.base.values import reasons_in_words

# Images by their suffix; what they are is seen from their bytes. Raw files and the last three need the extra `photos`.
RAW_SUFFIXES = frozenset({"cr2", "cr3", "nef", "arw", "dng", "orf", "rw2", "raf"})
IMAGE_SUFFIXES = RAW_SUFFIXES | frozenset(
    [
        *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "avif", "tif", "tiff", "bmp", "dib", "jp2", "j2k", "jpx"),
        *("heic", "heif", "hif"),
    ]
)
# Images that are not decoded: counted where they are, so that none goes missing silently.
FOREIGN_SUFFIXES = frozenset(
    [
        *("jxl", "svg", "ico", "psd", "tga", "exr", "hdr", "pcx", "ppm", "pgm", "pnm", "xcf"),
        *("nrw", "pef", "srw", "3fr", "x3f"),
    ]
)
# Guesses: no camera writes a larger file, and a caption of a million letters is none.
MAX_IMAGE_BYTES = 1 << 28
MAX_CAPTION_BYTES = 1 << 20


class StoredImage(Protocol):
    """An encoded image that is read only when it is needed."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def location(self) -> str:
        """Where it lies, for people."""
        ...

    def read(self) -> bytes:
        """The encoded image; raises `BrokenSample` if it cannot be read any more."""
        ...


class LooseFile(NamedTuple):
    """A file of its own."""

    path: str
    size: int

    @property
    def location(self) -> str:
        """Its path."""
        return self.path

    def read(self) -> bytes:
        """The file; raises `BrokenSample` if it cannot be read any more, or is larger than `MAX_IMAGE_BYTES`."""
        return _read_regular(self.path, offset=0, count=MAX_IMAGE_BYTES + 1)


class TarSlice(NamedTuple):
    """A member of a tar, by the position of its bytes.

    The tar is opened for each read, which costs microseconds: nothing is shared between threads or with a forked
    child, and thousands of shards need no open files.
    """

    path: str
    offset: int
    size: int

    @property
    def location(self) -> str:
        """The path of the tar and the byte it begins at."""
        return f"{self.path}, byte {self.offset}"

    def read(self) -> bytes:
        """The member; raises `BrokenSample` if it cannot be read any more, or the tar is shorter now."""
        data = _read_regular(self.path, offset=self.offset, count=self.size)
        if len(data) < self.size:
            raise BrokenSample("truncated shard", f"{self.path} ends before byte {self.offset + self.size}")
        return data


class BytesImage(NamedTuple):
    """An encoded image in memory."""

    data: bytes
    location: str

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    def read(self) -> bytes:
        """The encoded image."""
        return self.data


def _read_regular(path: str, *, offset: int, count: int) -> bytes:
    """At most `count` bytes from `offset` of a regular file; never waits on a pipe, never follows into a device.

    `BrokenSample` where the file is at fault, `StorageError` where no more files may be open.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb", buffering=0) as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise BrokenSample("not a regular file", path)
            count = min(count, max(0, status.st_size - offset))
            if count > MAX_IMAGE_BYTES:
                raise BrokenSample("file too large", f"{path}; at most {MAX_IMAGE_BYTES:,} bytes")
            file.seek(offset)
            return file.read(count)
    except FileNotFoundError as error:
        raise BrokenSample("missing file", path) from error
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise StorageError(f"{path} cannot be opened ({error.strerror}); raise the limit `ulimit -n`.") from error
        raise BrokenSample("unreadable file", f"{path}: {error.strerror}") from error


class Entry(NamedTuple):
    """One image and its captions, before the image is read."""

    key: str
    captions: tuple[str, ...]
    image: StoredImage


class PairList:
    """Pairs in a fixed order, readable in any order; a `PairSource`. In memory are keys, captions and locations.

    `notes` are lines for a person on how the source was read where there was more than one way.
    """

    def __init__(self, name: str, entries: Sequence[Entry], *, problems: Sequence[Skipped], notes: Sequence[str] = ()):
        self.name = name
        self.problems = problems
        self.notes = tuple(notes)
        # SHA-256 over keys, image sizes and captions in order: the same content anywhere, without reading a pixel.
        self.fingerprint = fingerprint((entry.key, entry.image.size, entry.captions) for entry in entries)
        self._entries = entries

    @property
    def entries(self) -> Sequence[Entry]:
        """Keys, captions and where the images lie, in order; no image is read."""
        return self._entries

    def also(self, *, name: str, problems: Sequence[Skipped], notes: Sequence[str]) -> "PairList":
        """The same pairs under another name, with more problems and notes."""
        return PairList(name, self._entries, problems=[*self.problems, *problems], notes=[*notes, *self.notes])

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Pair:
        """The pair at `index` with its encoded image; raises `BrokenSample` if that cannot be read any more."""
        entry = self._entries[index]
        return Pair(key=entry.key, image=entry.image.read(), captions=entry.captions)

    def key(self, index: int) -> str:
        """The name of the pair in its source."""
        return self._entries[index].key

    def captions(self, index: int) -> tuple[str, ...]:
        """Every caption of the pair."""
        return self._entries[index].captions

    def location(self, index: int) -> str:
        """Where the image lies: its file, and in a tar the byte it begins at."""
        return self._entries[index].image.location


def fingerprint(rows: Iterable[object]) -> str:
    """SHA-256 (hex) over rows of plain values, each as one line of ASCII JSON."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row).encode("ascii") + b"\n")
    return digest.hexdigest()


class Caption(NamedTuple):
    """What a caption file held: its captions, or why there are none."""

    lines: tuple[str, ...]
    fault: str = ""


def caption_lines(data: bytes) -> Caption:
    """One caption per line, blank lines skipped, UTF-8 with or without a byte-order mark."""
    if len(data) > MAX_CAPTION_BYTES:
        return Caption((), "caption too long")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Caption((), "caption is not UTF-8")
    # Not str.splitlines, which also splits at rarer characters inside a caption, such as U+2028.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    captions = tuple(line.strip() for line in lines if line.strip())
    return Caption(captions) if captions else Caption((), "empty caption")


def caption_of_json(data: bytes) -> Caption:
    """The "caption" of an img2dataset record."""
    if len(data) > MAX_CAPTION_BYTES:
        return Caption((), "caption too long")
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return Caption((), "unreadable json")
    text = record.get("caption") if isinstance(record, dict) else None
    if not isinstance(text, str):
        return Caption((), "json without caption")
    # JSON can spell half a surrogate pair, which no UTF-8 can hold.
    text = text.encode("utf-8", "replace").decode("utf-8").strip()
    return Caption((text,)) if text else Caption((), "empty caption")


def pair_or_problem(
    key: str, image: StoredImage | None, *, caption: Caption | None, foreign: str = ""
) -> Entry | Skipped:
    """What becomes of one key; `foreign` is the suffix of an image that is not decoded, met under the same key."""
    if image is None:
        if foreign:
            return Skipped(key=key, reason="unsupported format", detail=f".{foreign}")
        return Skipped(key=key, reason="caption without image")
    if caption is None:
        return Skipped(key=key, reason="image without caption", location=image.location)
    if caption.fault:
        return Skipped(key=key, reason=caption.fault, location=image.location)
    if image.size == 0:
        return Skipped(key=key, reason="empty file", location=image.location)
    return Entry(key, caption.lines, image)


def split_suffix(name: str) -> tuple[str, str]:
    """`a/b.v2.JPG` as (`a/b.v2`, `jpg`); a suffix is what follows the last dot."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, suffix.lower()) if dot and "/" not in suffix else (name, "")


def is_left_alone(name: str) -> bool:
    """Whether a file or folder is hidden, or what macOS packs beside the files of a zip."""
    return name.startswith(".") or name == "__MACOSX"


def files_below(folder: Path, problems: list[Skipped]) -> Iterator[tuple[str, int]]:
    """Every regular file below `folder` as (path from there with "/", bytes), sorted folder by folder.

    Names that begin with a dot are left alone. Links, pipes and devices are not followed or opened but become
    problems, as do folders that cannot be listed. What somebody names may be a link: `folder`, or a row of a table.
    """
    return ((name, status.st_size) for name, status in statuses_below(folder, problems))


def statuses_below(folder: Path, problems: list[Skipped]) -> Iterator[tuple[str, os.stat_result]]:
    """As `files_below`, with all that the system knows of a file without opening it; one that has just gone is none."""
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(folder / inside) as listing:
                found = sorted((item for item in listing if not is_left_alone(item.name)), key=lambda item: item.name)
        except OSError as error:
            if not inside:
                raise StorageError(f"Cannot list {str(folder)!r}: {error.strerror}.") from error
            problems.append(Skipped(key=inside, reason="unreadable folder", detail=error.strerror or ""))
            continue
        folders = []
        for item in found:
            name = f"{inside}/{item.name}" if inside else item.name
            if item.is_dir(follow_symlinks=False):
                folders.append(name)
            elif item.is_file(follow_symlinks=False):
                try:
                    status = item.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield name, status
            else:
                is_link = item.is_symlink()
                reason = "a link, which is not followed" if is_link else "not a regular file"
                problems.append(Skipped(key=name, reason=reason))
        waiting.extend(reversed(folders))


def up_to_first_dot(stem: str) -> str:
    """The key of a file as WebDataset has it: `a.b/c.d.e` as `a.b/c`."""
    folder, slash, name = stem.rpartition("/")
    return f"{folder}{slash}{name.partition('.')[0]}"


def pairs_by_first_dot(images: Iterable[str], captions: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Key -> (image, caption) of stems without a partner of the same stem, where each key has one of both.

    So are `a.input.jpg` and `a.outputs.txt` a pair.
    """
    found: dict[str, tuple[list[str], list[str]]] = {}
    for side, stems in enumerate((images, captions)):
        for stem in stems:
            found.setdefault(up_to_first_dot(stem), ([], []))[side].append(stem)
    return {key: (sides[0][0], sides[1][0]) for key, sides in found.items() if len(sides[0]) == len(sides[1]) == 1}


def missing_location(path: Path) -> UsageError:
    """The error for a path that is not there, with the names nearest to it where it should be."""
    lost = path.absolute()
    while not lost.parent.exists():
        lost = lost.parent
    names = os.listdir(lost.parent) if os.access(lost.parent, os.R_OK) and lost.parent.is_dir() else []
    where = f"{str(lost.parent)!r} has no {lost.name!r}"
    hint = nearest(lost.name, names, part=_stem)
    if str(path) == PACKAGED_MODEL:
        # Of train and doctor --model is a size.
        hint = f" {path} is a model: seesay finetune {path} trains it, and other verbs take it as --model {path}."
    return UsageError(f"There is no {str(path)!r}: {where}.{hint}")


def _stem(name: str) -> str:
    # Files of one kind would look alike by their ending.
    return Path(name).stem


def count_reasons(problems: Sequence[Skipped]) -> str:
    """Problems by reason for the end of a message, as in "3 x empty caption, 1 x duplicate key"."""
    return reasons_in_words(Counter(problem.reason for problem in problems))

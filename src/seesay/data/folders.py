"""Pairs in a folder: images with texts beside them, a table that names its images, tar shards, or some of these.

What one of them is made of is used; what is left over is counted, and which was chosen is said.
"""

from collections.abc import Sequence
from pathlib import Path

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.base.records import Skipped
from seesay.data.shards import open_shards
from seesay.data.sources import (
    FOREIGN_SUFFIXES,
    IMAGE_SUFFIXES,
    MAX_CAPTION_BYTES,
    RAW_SUFFIXES,
    Caption,
    Entry,
    LooseFile,
    PairList,
    caption_lines,
    count_reasons,
    files_below,
    pair_or_problem,
    pairs_by_first_dot,
    split_suffix,
)
from seesay.data.table_rows import Columns, names_of_columns
from seesay.data.tables import TABLE_SUFFIXES, open_table

# Tars that were compressed as a whole, and what to do about them; and how Flickr8k's table is called.
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
UNPACK = "unpack it to a .tar, as with gunzip, bunzip2, unxz or unzstd"
CAPTIONS = "captions.txt"
TRAIN, VALIDATION, TEST = "train", "val", "test"
# What the folders of a set's parts are called, without capitals.
PARTS = {
    **dict.fromkeys(("train", "training", "train_set", "training_set"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "val_set", "validation_set", "dev", "eval"), VALIDATION),
    **dict.fromkeys(("test", "testing", "test_set"), TEST),
}
# Folders that look like classes, by name in a message, a guess at what fits a line.
SHOWN_CLASSES = 3


class NoPairs(UsageError):
    """A folder that has no pair, and nothing else that is to be named or unpacked."""


def open_folder(
    folder: Path, *, image_column: str | None = None, caption_column: str | None = None
) -> Sequence[PairList]:
    """The pairs of a folder: of the .tar directly in it, and of images with texts beside them, at any depth.

    Without either, those of the one table directly in it that has a column of images and one of captions, as
    metadata.csv of Hugging Face's image folders. Keys of images with texts are their paths from there without the
    suffix, sorted. The two columns are for the table. `UsageError` where there is no pair, `NoPairs` where there are
    no other tars either.
    """
    problems: list[Skipped] = []
    files = dict(files_below(folder, problems))
    columns = {"image_column": image_column, "caption_column": caption_column}
    if any(columns.values()) and (tables := tables_with_captions(folder, **columns)):
        return [_of_table(folder, tables, files, columns=columns)]
    loose = _Loose(folder, files, problems)
    tars = tars_in(folder)
    if tars:
        # What img2dataset writes beside a shard is about what is in it.
        _count_unread(files, tars, loose.problems)
        shards = open_shards(tars, name=name_of(folder), problems=() if loose.entries else loose.problems)
        return [shards, loose.pairs()] if loose.entries else [shards]
    if loose.entries:
        return [loose.pairs(tables_with_captions(folder))]
    if tables := tables_with_captions(folder):
        return [_of_table(folder, tables, files, columns=columns)]
    raise (UsageError if loose.has_tars else NoPairs)(loose.why_none())


def open_images(folder: Path, *, why: str = "") -> PairList:
    """Every image below a folder, whatever lies beside it, without captions; an empty list where there is none.

    A note says why it is no more, which is that there are no pairs and no classes unless `why` says otherwise.
    """
    problems: list[Skipped] = []
    entries = []
    for name, size in files_below(folder, problems):
        suffix = split_suffix(name)[1]
        if suffix in FOREIGN_SUFFIXES:
            problems.append(Skipped(key=name, reason="unsupported format", detail=f".{suffix}"))
        elif suffix in IMAGE_SUFFIXES and size:
            entries.append(Entry(name, (), LooseFile(str(folder.absolute() / name), size)))
        elif suffix in IMAGE_SUFFIXES:
            problems.append(Skipped(key=name, reason="empty file", location=str(folder / name)))
    why = why or f"{name_of(folder)} has no pairs and no classes"
    note = f"{why}: all its {len(entries):,} images are taken by themselves."
    return PairList(name_of(folder), entries, problems=problems, notes=[note])


def name_of(folder: str | Path) -> str:
    """How a folder is called, the current one too; a part of a set behind the folder above it, as in food/test."""
    path = Path(folder).absolute()
    is_part = path.name.lower() in PARTS and path.parent.name
    return f"{path.parent.name}/{path.name}" if is_part else path.name or str(folder)


def tars_in(folder: Path) -> list[Path]:
    """The .tar files directly in a folder, sorted by name."""
    return [path for path in _listed(folder) if path.suffix.lower() == ".tar"]


def tables_with_captions(
    folder: Path, *, image_column: str | None = None, caption_column: str | None = None
) -> list[Path]:
    """The tables directly in a folder that have a column of images and one of captions, sorted by name."""
    found = []
    for path in _listed(folder):
        # Most other .txt are the caption of an image.
        if path.suffix.lower().removeprefix(".") in TABLE_SUFFIXES - {"txt"} or path.name.lower() == CAPTIONS:
            columns = Columns(str(path), image=image_column, caption=caption_column)
            try:
                columns.positions(names_of_columns(path))
            except (UsageError, RefusedInput):
                continue
            found.append(path)
    return found


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name[0] != "." and path.is_file())
    except OSError as error:
        raise StorageError(f"Cannot list {str(folder)!r}: {error.strerror}.") from error


def _count_unread(files: dict[str, int], tars: Sequence[Path], problems: list[Skipped]) -> None:
    """Tars that are not read beside those that are become problems."""
    names = {path.name for path in tars}
    for name in files:
        if name.lower().endswith(PACKED):
            problems.append(Skipped(key=name, reason="compressed tar", detail=UNPACK))
        elif name.lower().endswith(".tar") and name not in names:
            problems.append(Skipped(key=name, reason="tar in a folder below", detail="name it, or a pattern"))


def _of_table(
    folder: Path, tables: Sequence[Path], files: dict[str, int], *, columns: dict[str, str | None]
) -> PairList:
    """The pairs of the one table; images that it does not name are problems."""
    if len(tables) > 1:
        named = ", ".join(repr(path.name) for path in tables)
        raise UsageError(f"{str(folder)!r} has several tables of captions: {named}; name the one that is meant.")
    pairs = open_table(tables[0], **columns)
    known = {Path(pairs.location(index)) for index in range(len(pairs))}
    known |= {folder.absolute() / problem.key for problem in pairs.problems}
    left = [
        Skipped(key=name, reason="image without caption", location=str(folder / name))
        for name in files
        if split_suffix(name)[1] in IMAGE_SUFFIXES and folder.absolute() / name not in known
    ]
    note = f"the captions are those of {tables[0].name!r} in the folder."
    return pairs.also(name=name_of(folder), problems=left, notes=[note])


class _Loose:
    """Images and texts as files of their own below a folder: the pairs, and what is none."""

    def __init__(self, folder: Path, files: dict[str, int], problems: list[Skipped]):
        self.problems = problems
        self.entries: list[Entry] = []
        self._folder = folder
        self._groups: dict[str, dict[str, LooseFile]] = {}
        self._tars = sum(name.lower().endswith(".tar") for name in files)
        self._packed = sum(name.lower().endswith(PACKED) for name in files)
        self._notes: list[str] = []
        foreign: dict[str, str] = {}
        # Of a camera's raw file and its JPEG the JPEG counts.
        for name, size in sorted(files.items(), key=lambda item: split_suffix(item[0])[1] in RAW_SUFFIXES):
            stem, suffix = split_suffix(name)
            file = LooseFile(str(folder.absolute() / name), size)
            if suffix in FOREIGN_SUFFIXES:
                foreign[stem] = suffix
            elif suffix == "txt" or suffix in IMAGE_SUFFIXES:
                kind = "caption" if suffix == "txt" else "image"
                if self._groups.setdefault(stem, {}).setdefault(kind, file) is not file:
                    problems.append(Skipped(key=stem, reason="duplicate key", detail=f".{suffix}"))
        self._join_by_first_dot()
        for stem in sorted(self._groups.keys() | foreign.keys()):
            group = self._groups.get(stem, {})
            caption = _caption(group["caption"]) if "caption" in group else None
            outcome = pair_or_problem(stem, group.get("image"), caption=caption, foreign=foreign.get(stem, ""))
            if isinstance(outcome, Entry):
                self.entries.append(outcome)
            else:
                problems.append(outcome)

    @property
    def has_tars(self) -> bool:
        """Whether there are tars that are not read: packed ones, or in folders below."""
        return bool(self._tars or self._packed)

    def pairs(self, tables: Sequence[Path] = ()) -> PairList:
        """All of them; `tables` are not read, which is said."""
        unread = [f"{path.name!r} is not read: images have texts beside them." for path in tables]
        notes = [*self._notes, *unread]
        return PairList(name_of(self._folder), self.entries, problems=self.problems, notes=notes)

    def why_none(self) -> str:
        """What was found instead of pairs, and what to do about it."""
        folder, problems = self._folder, self.problems
        images = sum("image" in group for group in self._groups.values())
        captions = sum("caption" in group for group in self._groups.values())
        found = f"{images or 'no'} image{'s' * (images != 1)} and {captions or 'no'} caption{'s' * (captions != 1)}"
        if self._packed:
            return f"No pairs in {str(folder)!r}, but {self._packed} compressed tar; {UNPACK}."
        if self._tars:
            pattern = str(folder / "*" / "*.tar")
            return f"No pairs in {str(folder)!r}, but {self._tars} .tar in folders below it; name {pattern!r}."
        if images and captions:
            return f"No pairs in {str(folder)!r}: {found}, but {count_reasons(problems)}."
        named = {Path(stem).parent.name for stem, group in self._groups.items() if "image" in group and "/" in stem}
        if not captions and len(named) > 1:
            classes = sorted(named)
            shown = ", ".join(classes[:SHOWN_CLASSES]) + (", ..." if len(classes) > SHOWN_CLASSES else "")
            return (
                f"No pairs in {str(folder)!r}: {found}, in {len(classes)} folders ({shown}), which look like classes. "
                "Training needs a caption for each image: write x.txt beside x.jpg, or a table of images and captions; "
                "a folder of classes is what `seesay evaluate`, `seesay probe` and `--check` take."
            )
        hint = (
            "write x.txt beside x.jpg, or use a table; for labels a folder per class"
            if images
            else "images are x.jpg, .png, .heic and others"
        )
        others = [item for item in problems if not item.reason.endswith((" without caption", " without image"))]
        also = f" ({count_reasons(others)})" if others else ""
        return f"No pairs in {str(folder)!r}: {found}{also}: {hint}."

    def _join_by_first_dot(self) -> None:
        """`a.input.jpg` and `a.outputs.txt` become one group, where each has no other partner."""
        single = {stem: next(iter(group)) for stem, group in self._groups.items() if len(group) == 1}
        images = (stem for stem, kind in single.items() if kind == "image")
        joined = pairs_by_first_dot(images, (stem for stem, kind in single.items() if kind == "caption"))
        # A key that is a whole pair already stays that pair.
        joined = {key: pair for key, pair in joined.items() if len(self._groups.get(key, {})) < len(pair)}
        for key, (image, caption) in joined.items():
            self._groups[key] = {**self._groups.pop(image), **self._groups.pop(caption)}
        if joined:
            self._notes.append(f"{len(joined):,} images and texts are paired by their names up to the first dot.")


def _caption(file: LooseFile) -> Caption:
    if file.size > MAX_CAPTION_BYTES:
        return Caption((), "caption too long")
    return caption_lines(file.read())

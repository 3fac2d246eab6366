"""Pairs in tar shards, as WebDataset and img2dataset write them: KEY.jpg, KEY.txt and perhaps KEY.json.

A tar is scanned once; what stays in memory is where each image lies. Nothing is unpacked and nothing is written.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from seesay.base.errors import StorageError, UsageError
from seesay.base.records import Skipped
from seesay.data.sources import (
    FOREIGN_SUFFIXES,
    IMAGE_SUFFIXES,
    MAX_CAPTION_BYTES,
    Caption,
    Entry,
    PairList,
    TarSlice,
    caption_lines,
    caption_of_json,
    count_reasons,
    pair_or_problem,
    pairs_by_first_dot,
    split_suffix,
)
from seesay.data.tar_members import BLOCK, tar_members


class ShardSample(NamedTuple):
    """The members of one key: the image, the bytes beside it, and the suffix they came with."""

    key: str
    image: TarSlice | None
    beside: bytes | None
    beside_suffix: str
    foreign_suffix: str


def open_shards(paths: Sequence[Path], *, name: str, problems: Sequence[Skipped] = ()) -> PairList:
    """The pairs of these tars, in the order given and within each as written; keys are `SHARD.tar/KEY`.

    KEY.txt holds one caption per line; without it, "caption" in KEY.json is used. Damaged shards, refused members and
    incomplete pairs are added to `problems`. `UsageError` if there is not one pair, `StorageError` where a tar cannot
    be read.
    """
    entries: list[Entry] = []
    problems = list(problems)
    for path in paths:
        for sample in read_shard(path, ("txt", "json"), problems=problems):
            outcome = pair_or_problem(sample.key, sample.image, caption=_caption(sample), foreign=sample.foreign_suffix)
            if isinstance(outcome, Entry):
                entries.append(outcome)
            else:
                problems.append(outcome)
    if not entries:
        reasons = count_reasons(problems)
        raise UsageError(f"No pairs in {name!r} ({len(paths)} .tar): {reasons or 'no KEY.jpg with KEY.txt beside it'}.")
    return PairList(name, entries, problems=problems)


def _caption(sample: ShardSample) -> Caption | None:
    if sample.beside is None:
        return None
    return caption_lines(sample.beside) if sample.beside_suffix == "txt" else caption_of_json(sample.beside)


def read_shard(path: Path, beside: tuple[str, ...], *, problems: list[Skipped]) -> Iterator[ShardSample]:
    """The samples of one tar, in the order of their images, then those that have none.

    A sample is an image and the first of the suffixes in `beside` that it has. What cannot be used is added to
    `problems`; a truncated or damaged tar gives what lies before the damage. `StorageError` if it cannot be read.
    """
    path = path.absolute()
    try:
        with open(path, "rb") as file:
            found = _by_kind(_members(file, path, problems=problems), path, beside=beside, problems=problems)
            for stem in dict.fromkeys(stem for stems in found.values() for stem in stems):
                yield _sample(stem, found, beside=beside, file=file, path=path)
    except OSError as error:
        raise StorageError(f"Cannot read {str(path)!r}: {error.strerror}.") from error


# By kind ("image", a suffix of an image that is not decoded, or one of those beside it) and key: offset and size.
# Not one dict for each key: a hundred thousand of them keep the garbage collector busy for a quarter of the time.
_Places = dict[str, dict[str, tuple[int, int]]]


def _by_kind(
    members: Iterator[tuple[str, int, int]], path: Path, *, beside: tuple[str, ...], problems: list[Skipped]
) -> _Places:
    """Where each key has what; the first of each kind counts."""
    found: _Places = {kind: {} for kind in ("image", *beside, *sorted(FOREIGN_SUFFIXES))}
    repeats: dict[tuple[str, str], int] = {}
    for name, offset, size in members:
        stem, suffix = split_suffix(name)
        kind = "image" if suffix in IMAGE_SUFFIXES else suffix
        if kind not in found:
            continue
        if stem in found[kind]:
            repeats[stem, kind] = repeats.get((stem, kind), 0) + 1
        else:
            found[kind][stem] = (offset, size)
    # A whole pair that comes twice is one duplicate and not one for each of its members.
    worst: dict[str, int] = {}
    for (stem, _), count in repeats.items():
        worst[stem] = max(worst.get(stem, 0), count)
    for stem, count in worst.items():
        problems.extend([Skipped(key=f"{path.name}/{stem}", reason="duplicate key")] * count)
    _join_by_first_dot(found, beside)
    return found


def _join_by_first_dot(found: _Places, beside: tuple[str, ...]) -> None:
    """Give images and what lies beside them one key, where each has no other partner, as WebDataset's keys are."""
    for suffix in beside:
        partners = set().union(*(found[other].keys() for other in beside))
        lonely = [stem for stem in found["image"] if stem not in partners]
        joined = pairs_by_first_dot(lonely, (stem for stem in found[suffix] if stem not in found["image"]))
        for key, (image, partner) in joined.items():
            if key not in found["image"] or key == image:
                found["image"][key] = found["image"].pop(image)
                found[suffix][key] = found[suffix].pop(partner)


def _sample(stem: str, found: _Places, *, beside: tuple[str, ...], file: BinaryIO, path: Path) -> ShardSample:
    image = found["image"].get(stem)
    suffix = next((suffix for suffix in beside if stem in found[suffix]), "")
    text = None
    if suffix:
        offset, size = found[suffix][stem]
        file.seek(offset)
        # One byte more than allowed, so that a longer one is seen to be too long.
        text = file.read(min(size, MAX_CAPTION_BYTES + 1))
    return ShardSample(
        key=f"{path.name}/{stem}",
        image=TarSlice(str(path), *image) if image else None,
        beside=text,
        beside_suffix=suffix,
        foreign_suffix="" if image else next((kind for kind in sorted(FOREIGN_SUFFIXES) if stem in found[kind]), ""),
    )


def _members(file: BinaryIO, path: Path, *, problems: list[Skipped]) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of the whole, ordinary, safely named files of a tar."""
    length = file.seek(0, 2)
    end = 0
    try:
        for member in tar_members(file):
            end = member.end
            if member.refused:
                key, location = f"{path.name}/{member.name}", f"{path}, byte {member.header}"
                problems.append(Skipped(key=key, reason="refused member", detail=member.refused, location=location))
            elif member.start + member.size > length:
                break
            elif member.is_file and not member.name.rpartition("/")[2].startswith("."):
                yield member.name.removeprefix("./"), member.start, member.size
    except ValueError as error:
        if end == 0:
            problems.append(
                Skipped(key=path.name, reason="not a tar file", detail=str(error), location=f"{path}, byte 0")
            )
            return
    if length == 0:
        problems.append(
            Skipped(key=path.name, reason="not a tar file", detail="empty file", location=f"{path}, byte 0")
        )
        return
    problems.extend(_damage_at(file, path, end=end, length=length))


def _damage_at(file: BinaryIO, path: Path, *, end: int, length: int) -> list[Skipped]:
    """What is wrong behind the last member, if anything: a whole tar goes on with a block of zeros."""
    file.seek(min(end, length))
    block = file.read(BLOCK)
    if block == bytes(BLOCK):
        return []
    reason = "truncated shard" if len(block) < BLOCK else "damaged shard"
    detail = f"nothing after byte {min(end, length)} of {length} is used"
    return [Skipped(key=path.name, reason=reason, detail=detail, location=f"{path}, byte {min(end, length)}")]

"""A contact sheet: every photo with its labels on one HTML page, which needs no network and no other file.

Photos are read a second time for their thumbnails, a block at a time, so that the page is made in bounded memory.
"""

import base64
import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seesay.base.errors import BrokenSample
from seesay.base.frame import page_template
from seesay.base.journal import progress
from seesay.base.printable import printable
from seesay.base.records import IN_DOUBT, Skipped
from seesay.base.values import percent
from seesay.data.sources import LooseFile
from seesay.tasks.answers import NONE_OF_THESE, Answer, Results

# Pixels of the longer side of a thumbnail, and WebP's quality: guesses at what still shows a photo; a card has 200
# pixels of CSS. benchmarks/2026-11-28-strangers has the bytes that come of it.
SIDE = 192
QUALITY = 70
# From so many photos on thumbnails get smaller, so that all together take no more; and the smallest: guesses.
FULL_SIZE = 5_000
LEAST_SIDE = 48
# Bars below a photo, and labels that can be chosen, each with a rule of CSS: guesses.
SHOWN_BARS = 5
SHOWN_LABELS = 500


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Photos that can be looked at alone: those whose cards have the class `key`."""

    key: str
    words: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A label, its probability in percent, and whether it is the answer or part of it."""

    label: str
    percent: str
    is_answer: bool


@dataclass(frozen=True, kw_only=True)
class SheetCard:
    """One photo on the page. `sure` is its best probability in thousandths, -1 where it is broken.

    Without `image`, the address of a thumbnail, `problem` says why.
    """

    name: str
    keys: Sequence[str]
    sure: int
    note: str = ""
    bars: Sequence[Bar] = ()
    image: str = ""
    problem: str = ""


@dataclass(kw_only=True)
class Overview:
    """What the top of the page says of all photos, counted before the first card is made."""

    photos: int = 0
    keys: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    folder: str | None = None

    @classmethod
    def of(cls, results: Results) -> "Overview":
        """Reads all rows once."""
        overview = cls()
        for row in results.rows():
            overview.photos += 1
            overview.keys.update(_states(row))
            overview.labels.update(_own_labels(row))
            folder = os.path.dirname(_path(row))
            overview.folder = folder if overview.folder is None else _common(overview.folder, folder)
        return overview

    def choices(self) -> list[Choice]:
        """Broken photos, those in doubt and without a label, then the labels, most photos first; none is empty."""
        states = {"broken": "not readable", "doubt": "in doubt", "none": "none of the labels"}
        found = [Choice(key=key, words=words, count=self.keys[key]) for key, words in states.items() if self.keys[key]]
        common = self.labels.most_common()
        found += [
            Choice(key=f"l{index}", words=printable(label), count=count)
            for index, (label, count) in enumerate(common[:SHOWN_LABELS])
        ]
        if others := common[SHOWN_LABELS:]:
            count = sum(count for _, count in others)
            found.append(Choice(key="others", words=f"{len(others):,} other labels", count=count))
        return found

    def key_of(self) -> dict[str, str]:
        """Label -> the class of its cards."""
        ranked = enumerate(label for label, _ in self.labels.most_common())
        return {label: f"l{index}" if index < SHOWN_LABELS else "others" for index, label in ranked}


def as_contact_sheet(results: Results) -> Iterator[str]:
    """The page, in pieces of a few cards. All text is escaped; what cannot be seen is spelt out."""
    folder = Path(__file__).parent
    overview = Overview.of(results)
    script = (folder / "contact_sheet.js").read_text("utf-8")
    stream = page_template(folder / "contact_sheet.html").stream(
        title=f"{_counted(overview.photos, 'photo')}, {_counted(len(results.labels), 'label')}",
        lead=_lead(results, overview),
        count=overview.photos,
        choices=overview.choices(),
        cards=_cards(results, overview),
        script=script,
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )
    # Pieces of a template in one write: a guess.
    stream.enable_buffering(256)
    yield from stream


def thumbnail_side(photos: int) -> int:
    """Pixels of the longer side of each of so many thumbnails."""
    return max(LEAST_SIDE, round(SIDE * min(1.0, math.sqrt(FULL_SIZE / max(1, photos)))))


def _lead(results: Results, overview: Overview) -> str:
    words = [f"By the model {printable(results.model)}."]
    if overview.folder:
        words.append(f"In {printable(overview.folder)}.")
    if doubts := overview.keys["doubt"]:
        words.append(f"In doubt: {doubts:,}, whose best label has less than {100 * IN_DOUBT:.0f}\N{NO-BREAK SPACE}%.")
    if without := overview.keys["none"]:
        words.append(f"None of the labels: {without:,}.")
    if broken := overview.keys["broken"]:
        words.append(f"Not readable: {broken:,}.")
    return " ".join(words)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _cards(results: Results, overview: Overview) -> Iterator[SheetCard]:
    # It brings torch, which is there by now.
    from seesay.model.encode import BATCH_SIZE, prefetch_blocks

    key_of, side = overview.key_of(), thumbnail_side(overview.photos)
    start = len(overview.folder) + 1 if overview.folder else 0

    def card(row: Answer | Skipped) -> SheetCard:
        return _card(row, name=printable(_path(row)[start:]), key_of=key_of, side=side)

    with progress(overview.photos, "thumbnails") as advance:
        for block in prefetch_blocks(card, results.rows(), size=BATCH_SIZE):
            yield from block
            advance(len(block))


def _card(row: Answer | Skipped, *, name: str, key_of: dict[str, str], side: int) -> SheetCard:
    if isinstance(row, Skipped):
        return SheetCard(
            name=name, keys=["broken"], sure=-1, note=printable(row.reason), problem=printable(row.detail) or "no image"
        )
    keys = [*_states(row), *dict.fromkeys(key_of[label] for label in _own_labels(row))]
    chosen, pairs = set(_own_labels(row)), zip(row.ranking.labels, row.ranking.probabilities, strict=True)
    bars = [
        Bar(label=printable(label), percent=percent(probability), is_answer=label in chosen)
        for label, probability in list(pairs)[:SHOWN_BARS]
    ]
    without = "no label" if row.is_multi_label else NONE_OF_THESE
    note = without if "none" in keys else "in doubt" if "doubt" in keys else ""
    image, problem = _image(row.photo, side)
    sure = round(1000 * row.ranking.probabilities[0])
    return SheetCard(name=name, keys=keys, sure=sure, note=note, bars=bars, image=image, problem=problem)


def _image(path: str, side: int) -> tuple[str, str]:
    """The thumbnail as an address, and why there is none: the photo may have gone since it was classified."""
    from seesay.data.thumbnails import data_uri, thumbnail

    try:
        return data_uri(thumbnail(LooseFile(path, size=0).read(), side=side, quality=QUALITY)), ""
    except BrokenSample as error:
        return "", printable(error.reason)


def _path(row: Answer | Skipped) -> str:
    return row.key if isinstance(row, Skipped) else row.photo


def _states(row: Answer | Skipped) -> list[str]:
    """Whether it is broken, in doubt, without a label: classes of its card."""
    if isinstance(row, Skipped):
        return ["broken"]
    return [*(["doubt"] if row.is_in_doubt else []), *(["none"] if row.labels == () else [])]


def _own_labels(row: Answer | Skipped) -> tuple[str, ...]:
    """The labels it is found under: its answer, or the best one where only a ranking was wanted."""
    if isinstance(row, Skipped):
        return ()
    return row.ranking.labels[:1] if row.labels is None else row.labels


def _common(folder: str, other: str) -> str:
    try:
        return os.path.commonpath([folder, other])
    except ValueError:
        # One is absolute and the other is not, or they are on two drives.
        return ""

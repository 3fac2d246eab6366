"""What an overlap found, as values and as a page. Every share is a fraction from 0 to 1."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from seesay.base.errors import BrokenSample
from seesay.base.printable import printable
from seesay.base.values import html_table, percent, reasons_in_words, to_pandas, with_interval
from seesay.data.thumbnails import thumbnail
from seesay.evaluation.html import PairCard, PairCards, Section, Table, render_page
from seesay.formulas.statistics import Inflation

COLUMNS = ("set", "n", "not read", "overlap", "percent", "by hash", "clean", "all", "all - clean [99.5 %]", "p")
# Pairs of a set on the page: the least similar of those found, the most similar, and the nearest of those that were
# not; a guess at what an eye goes through.
SHOWN_DOUBTFUL, SHOWN_CERTAIN, SHOWN_BELOW = 48, 12, 24
# Longer names of images are cut on the page, a guess.
NAME_LETTERS = 48
SIDE = 160
CAVEATS = (
    "a pair is two images that look the same to a small tower and lie over each other; the page shows the doubtful "
    "ones first, for the eye.",
    "how many copies in the training images are missed is known for copies made here, not for those that are there.",
)


@dataclass(frozen=True, kw_only=True)
class Match:
    """An image of the set and a training image, by their keys.

    `similarity` is the cosine of their rows, less half of what is usual for the image, and `formulas.alignment`'s
    agreement of the two laid over each other.
    """

    eval: str
    train: str
    similarity: float


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How a set's threshold was chosen: copies made of its images, and the share of them that it finds.

    `precision` is what is asked of it where a tenth of the images have a copy.
    """

    threshold: float
    copies: int
    recall: float
    precision: float


@dataclass(frozen=True, kw_only=True)
class SetOverlap:
    """One set. `overlap` of its `n` images are among the training images, `by_hash` by the perceptual hash alone.

    `n` are those that could be compared; the others are in `skipped_by_reason`. `pairs` are all matches from the
    threshold on, `below` the nearest of the others. Without a model there is no
    `measure` and no `inflation`; `p_value` is that of the one-sided test, `p_corrected` after Bonferroni's correction
    for all sets that were tested.
    """

    name: str
    n: int
    overlap: int
    by_hash: int
    by_both: int
    choice: Choice
    pairs: tuple[Match, ...]
    below: tuple[Match, ...]
    measure: str = ""
    inflation: Inflation | None = None
    accuracy: float | None = None
    p_corrected: float | None = None
    skipped_by_reason: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def skipped(self) -> int:
        """Images of the set that could not be read, and so were not compared."""
        return sum(self.skipped_by_reason.values())

    def to_json(self) -> dict[str, Any]:
        """Plain values. `all` less `clean` is `difference`, with its 99.5 % `interval`; None without a model."""
        own = self.inflation
        values: dict[str, Any] = {
            "set": self.name,
            "n": self.n,
            "overlap": self.overlap,
            "share": self.overlap / self.n,
            "by_hash": self.by_hash,
            "by_both": self.by_both,
            "threshold": self.choice.threshold,
            "sample": {"copies": self.choice.copies, "recall": self.choice.recall, "precision": self.choice.precision},
            "measure": self.measure or None,
            "clean": None if own is None else own.clean,
            "all": self.accuracy,
            "overlap_accuracy": None if own is None else own.overlap,
            "difference": None if own is None else own.difference,
            "interval": None if own is None else list(own.interval),
            "p_value": None if own is None else own.p_value,
            "p_corrected": self.p_corrected,
        }
        pairs = {"pairs": [asdict(pair) for pair in self.pairs], "below": [asdict(pair) for pair in self.below]}
        return {**values, "skipped": dict(self.skipped_by_reason), "notes": list(self.notes), **pairs}

    def cells(self) -> list[str]:
        """Text below `COLUMNS`."""
        own = self.inflation
        counts = [f"{count:,}" for count in (self.n, self.skipped, self.overlap)]
        row = [self.name, *counts, percent(self.overlap / self.n), f"{self.by_hash:,}"]
        accuracy = "-" if self.accuracy is None else percent(self.accuracy)
        if own is None:
            return [*row, "-", accuracy, "-", "-"]
        shown = with_interval(own.difference, own.interval, sign=True)
        return [*row, percent(own.clean), accuracy, shown, f"{self.p_corrected:.2g}"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Overlap:
    """Which images of each set are among the training images, and what that does to a model's score.

    `searched` training images of `train` could be read. `remove` are the SHA-256 of those that are in a pair.
    """

    train: str
    searched: int
    model: str | None
    sets: tuple[SetOverlap, ...]
    remove: tuple[str, ...]
    skipped_by_reason: Mapping[str, int]
    notes: tuple[str, ...] = ()

    @property
    def skipped(self) -> int:
        """Training images that could not be read, and so were not compared."""
        return sum(self.skipped_by_reason.values())

    def lines(self) -> list[str]:
        """What was not compared, and what else is to be said of all sets."""
        skipped = [f"training images: {skipped_line(self.skipped_by_reason)}"] if self.skipped else []
        return [*skipped, *self.notes, *CAVEATS]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        facts = {"train": self.train, "searched": self.searched, "skipped": dict(self.skipped_by_reason)}
        more = {"model": self.model, "notes": [*self.notes, *CAVEATS]}
        return {**facts, **more, "sets": [own.to_json() for own in self.sets]}

    def rows(self) -> list[dict[str, Any]]:
        """A row for each set, with what `SetOverlap.to_json` has but for the pairs."""
        nested = ("pairs", "below", "sample", "skipped", "notes")
        return [{name: value for name, value in own.to_json().items() if name not in nested} for own in self.sets]

    def to_pandas(self) -> Any:
        """`rows` as a pandas table; `UsageError` where pandas is not installed."""
        return to_pandas(self.rows())

    def __repr__(self) -> str:
        found = ", ".join(f"{own.name} {own.overlap:,} of {own.n:,}" for own in self.sets)
        return printable(f"<Overlap with {self.searched:,} training images: {found}>")

    def _repr_html_(self) -> str:
        return html_table(COLUMNS, [own.cells() for own in self.sets])


Read = Callable[[str], bytes]


def overlap_page(overlap: Overlap, eval_images: Mapping[str, Read], train_image: Read) -> str:
    """The page: a table, and for each set its pairs side by side; images are read by their keys as they are shown."""
    names = ", ".join(own.name for own in overlap.sets)
    lead = f"{overlap.searched:,} training images of {overlap.train} were compared with {names}."
    table = Table(head=COLUMNS, rows=[tuple(own.cells()) for own in overlap.sets])
    explained = (
        "n: images of the set that were compared. overlap: those that are among the training images. by hash: as many "
        "by a perceptual hash of 64 bits. clean: the model's score on the others; p: one-sided binomial, Bonferroni "
        "over the sets."
    )
    sections = [Section(title="Sets", text=[explained, *overlap.lines()], parts=[table])]
    for own in overlap.sets:
        cards = _cards(own, eval_images[own.name], train_image)
        sections.append(Section(title=own.name, text=set_lines(own), parts=cards))
    return render_page("Test images among the training images", sections, lead=lead)


def set_lines(own: SetOverlap) -> list[str]:
    """What was not compared, how the threshold was chosen, what the hash found, and what else is to be said."""
    choice = own.choice
    lines = [
        f"threshold {choice.threshold:.3f}: finds {percent(choice.recall)} % of {choice.copies} copies made of its "
        f"images in ten ways, at a precision of {percent(choice.precision)} % where a tenth of the images have a copy",
        f"{own.overlap} images by the tower, {own.by_hash} by the hash, {own.by_both} by both; those by the hash alone "
        "are not counted",
    ]
    return [*([skipped_line(own.skipped_by_reason)] if own.skipped else []), *lines, *own.notes]


def skipped_line(reasons: Mapping[str, int]) -> str:
    """How many images were not compared, and why."""
    return f"{sum(reasons.values()):,} could not be read and were not compared ({reasons_in_words(reasons)})"


def _cards(own: SetOverlap, eval_image: Read, train_image: Read) -> list[PairCards]:
    found = sorted(own.pairs, key=lambda pair: pair.similarity)
    doubtful, certain = found[:SHOWN_DOUBTFUL], found[SHOWN_DOUBTFUL:][::-1][:SHOWN_CERTAIN]
    parts = []
    for title, pairs in (
        (f"Found, the least similar first ({{}} of {len(found)})", doubtful),
        (f"Found, the most similar ({{}} of {len(found)})", certain),
        ("Not counted: the nearest below the threshold ({})", own.below),
    ):
        cards = [card for pair in pairs if (card := _card(pair, eval_image, train_image)) is not None]
        gone = f"; {len(pairs) - len(cards)} are gone since" if len(cards) < len(pairs) else ""
        if pairs:
            parts.append(PairCards(title=title.format(len(cards)) + gone, cards=cards))
    return parts


def _card(pair: Match, eval_image: Read, train_image: Read) -> PairCard | None:
    try:
        images = thumbnail(eval_image(pair.eval), side=SIDE), thumbnail(train_image(pair.train), side=SIDE)
    except BrokenSample:  # gone since it was compared
        return None
    return PairCard(images=images, names=(_short(pair.eval), _short(pair.train)), words=f"{pair.similarity:.3f}")


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= NAME_LETTERS else f"...{name[3 - NAME_LETTERS :]}"


def table_of(overlap: Overlap) -> Sequence[Sequence[str]]:
    """The rows of the command's table."""
    return [own.cells() for own in overlap.sets]

"""What an audit found, as values. Every share is a fraction from 0 to 1."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from seesay.base.printable import printable
from seesay.base.values import html_table, percent, to_pandas, with_interval

# A group with fewer photos is named as small; a guess at where an interval is wider than most differences.
SMALL = 30
# Rows of `_repr_html_` and of the command's table.
COLUMNS = ("column", "group", "n", "answer", "without [95 %]", "with [95 %]", "p of the change")


@dataclass(frozen=True, kw_only=True)
class GroupRate:
    """How many of the `n` photos of a group got an answer, with the exact 95 % interval of the share."""

    group: str
    n: int
    hits: int
    rate: float
    interval95: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The share of an answer in each group of a column; `p` is that of chi-squared over the groups."""

    column: str
    answer: str
    groups: tuple[GroupRate, ...]
    gap: float
    p: float


@dataclass(frozen=True, kw_only=True)
class Change:
    """A group's answers before and after the added labels: who was freed of one, who got it, the exact sign test."""

    column: str
    answer: str
    group: str
    freed: int
    got: int
    p: float


@dataclass(frozen=True, kw_only=True)
class TopLabel:
    """A label that a group is given more often than the others; `p` after Holm's correction for all labels."""

    column: str
    threshold: float
    group: str
    label: str
    share: float
    share_of_others: float
    chi_squared: float
    p: float


@dataclass(frozen=True, kw_only=True)
class Retrieved:
    """Of the `k` photos nearest to a label how many are of a group; `p` is the chance of as many or more."""

    column: str
    label: str
    group: str
    k: int
    hits: int
    expected: float
    p: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Audit:
    """How a model treats groups of photos, by one label set.

    `without` and `with_added` are the rates without the added labels and with them (empty where none are added);
    `accuracy` is there where the label set names a column of right labels. `notes` say what was left out and what this
    cannot show.
    """

    model: str
    title: str
    source: str
    n: int
    labels: int
    without: tuple[Rates, ...]
    with_added: tuple[Rates, ...]
    changes: tuple[Change, ...]
    top_labels: tuple[TopLabel, ...]
    retrieved: tuple[Retrieved, ...]
    accuracy: tuple[Rates, ...]
    skipped_by_reason: Mapping[str, int]
    notes: tuple[str, ...]

    @property
    def skipped(self) -> int:
        """Photos left out because they could not be read."""
        return sum(self.skipped_by_reason.values())

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "skipped": self.skipped}

    def rows(self) -> list[dict[str, Any]]:
        """A row for each column, group and answer: n, hits, rate, low, high, and the same with the added labels."""
        after = {(rates.column, rates.answer, own.group): own for rates in self.with_added for own in rates.groups}
        rows = []
        for rates in (*self.without, *self.accuracy):
            for own in rates.groups:
                row = {"column": rates.column, "group": own.group, "answer": rates.answer, "n": own.n}
                row |= {"rate": own.rate, "low": own.interval95[0], "high": own.interval95[1], "p_groups": rates.p}
                other = after.get((rates.column, rates.answer, own.group))
                rows.append(row | {"rate_with_added": None if other is None else other.rate})
        return rows

    def to_pandas(self) -> Any:
        """`rows` as a pandas table; `UsageError` where pandas is not installed."""
        return to_pandas(self.rows())

    def cells(self) -> list[list[str]]:
        """Text below `COLUMNS`."""
        after = {(rates.column, rates.answer, own.group): own for rates in self.with_added for own in rates.groups}
        changes = {(own.column, own.answer, own.group): own for own in self.changes}
        cells = []
        for rates in (*self.without, *self.accuracy):
            for own in rates.groups:
                key = (rates.column, rates.answer, own.group)
                other, change = after.get(key), changes.get(key)
                later = "-" if other is None else with_interval(other.rate, other.interval95)
                row = [rates.column, own.group, str(own.n), rates.answer, with_interval(own.rate, own.interval95)]
                cells.append([*row, later, "-" if change is None else f"{change.p:.2g}"])
        return cells

    def __repr__(self) -> str:
        gaps = ", ".join(f"{own.answer} by {own.column} {percent(own.gap)}" for own in (*self.without, *self.accuracy))
        return printable(f"<Audit of {self.model}: {self.title}, {self.n:,} photos, largest gaps: {gaps or 'none'}>")

    def _repr_html_(self) -> str:
        return html_table(COLUMNS, self.cells())

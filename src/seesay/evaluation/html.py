"""A page of results: one HTML file with everything in it, that needs no network and runs no script.

A page is a title, a lead and sections; a section is paragraphs and parts: figures, tables, rows of cards.
R = rows and C = columns of a similarity matrix, H, W = sides of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from seesay.base.drawing import ON_COLOUR, Drawing, canvas, plain_figure, plain_label
from seesay.base.frame import page_template
from seesay.base.records import Ranking, Score
from seesay.base.values import percent as percent
from seesay.base.values import with_interval as with_interval
from seesay.data.thumbnails import data_uri, thumbnail
from seesay.formulas.statistics import proportion_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

    from seesay.model.bundle import Model

TEMPLATE = Path(__file__).with_name("page.html")
# Rows or columns up to which numbers are written into the cells of a matrix; a guess at what stays readable.
MOST_NUMBERED = 12


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing, the words for people who cannot see it, and a note for everybody.

    `width` is its largest width on the page, in CSS pixels. On a screen that is much narrower it scrolls, and its
    letters stay readable.
    """

    kind: ClassVar[str] = "figure"
    drawing: Drawing
    words: str
    note: str = ""
    width: int = 560


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as they are to be read; every row is as long as `head`."""

    kind: ClassVar[str] = "table"
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Card:
    """One image and the answer of a model to it; `truth` should be first, `heat` is what spoke for the first."""

    image: bytes
    truth: str
    ranking: Ranking
    heat: bytes | None = None

    @property
    def is_right(self) -> bool:
        """Whether the first label is the right one."""
        return self.ranking.labels[0] == self.truth


@dataclass(frozen=True, kw_only=True)
class Cards:
    """Cards in as many columns as there is room for; of each the first three labels are shown."""

    kind: ClassVar[str] = "cards"
    cards: Sequence[Card]


@dataclass(frozen=True, kw_only=True)
class PairCard:
    """Two images side by side, their names below, and a few words on the two."""

    images: tuple[bytes, bytes]
    names: tuple[str, str]
    words: str


@dataclass(frozen=True, kw_only=True)
class PairCards:
    """Pairs of images under a title, in as many columns as there is room for."""

    kind: ClassVar[str] = "pairs"
    title: str
    cards: Sequence[PairCard]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, paragraphs, then `parts` in their order, figures side by side where there is room."""

    title: str
    text: Sequence[str] = ()
    parts: Sequence[Figure | Table | Cards | PairCards] = ()


def render_page(title: str, sections: Sequence[Section], *, lead: str = "") -> str:
    """The whole page as HTML. All text is escaped; images are inside, as data."""
    return page_template(TEMPLATE).render(title=title, sections=sections, lead=lead, data_uri=data_uri)


def classified(
    model: "Model",
    files: Sequence[Path],
    *,
    truths: Sequence[str],
    labels: Sequence[str],
    templates: Sequence[str] | None = None,
) -> list[Card]:
    """A card for each image file, with the model's ranking of `labels`."""
    rankings = model.classify(files, labels, templates)
    return [
        Card(image=thumbnail(file), truth=truth, ranking=ranking)
        for file, truth, ranking in zip(files, truths, rankings, strict=True)
    ]


def score_of(cards: Sequence[Card]) -> Score:
    """The share of cards whose first label is right; chance is one of the labels."""
    hits, n = sum(card.is_right for card in cards), len(cards)
    chance = 1 / len(cards[0].ranking.labels)
    return Score(value=hits / n, interval95=proportion_interval(hits, n), chance=chance, n=n)


@plain_figure
def similarity_figure(
    similarity_RC: np.ndarray,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    images: Sequence[np.ndarray] = (),
    titles: tuple[str, str] = ("image", "sentence"),
) -> "Canvas":
    """Cosines, images down and sentences across.

    Neighbours with equal names are one group: one label, and lines around it. `images` (H, W, 3) of one
    size replace the names of the rows. A small matrix also has its numbers written in.
    """
    figure, (axes,) = canvas(5.6, 4.7)
    shown = axes.imshow(similarity_RC, cmap="cividis", interpolation="none")
    axes.spines[:].set_visible(False)
    axes.set(ylabel=plain_label(titles[0]), xlabel=plain_label(titles[1]))
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    _name_groups(axes, columns, across=True)
    _name_groups(axes, rows, across=False)
    if len(images):
        _put_images(axes, images)
    if max(similarity_RC.shape) <= MOST_NUMBERED:
        _write_numbers(axes, similarity_RC)
    scale = figure.colorbar(shown, label="cosine similarity", fraction=0.05)
    # One image in the file, not 256 rectangles with seams between them.
    assert scale.solids is not None
    scale.solids.set_rasterized(True)
    return figure


def _name_groups(axes: "Axes", names: Sequence[str], *, across: bool) -> None:
    """One tick per group of equal neighbours, at its middle, and a line between two groups."""
    groups = [(name, len(list(members))) for name, members in groupby(names)]
    ends = np.cumsum([size for _, size in groups])
    middles = [end - size / 2 - 0.5 for end, (_, size) in zip(ends, groups, strict=True)]
    axis, draw_line = (axes.xaxis, axes.axvline) if across else (axes.yaxis, axes.axhline)
    axis.set_ticks(middles, labels=[plain_label(name) for name, _ in groups], rotation=45 if across else 0)
    axis.set_tick_params(length=0)
    for end in ends[:-1]:
        draw_line(end - 0.5, color=ON_COLOUR, linewidth=0.8)


def _put_images(axes: "Axes", images: Sequence[np.ndarray]) -> None:
    """A strip of the images instead of the names, each as high as its row."""
    strip = axes.inset_axes((-1.05 / len(images), 0, 1 / len(images), 1))
    strip.imshow(np.concatenate(list(images)), aspect="auto")
    strip.set(xticks=[], yticks=[], ylabel=axes.get_ylabel())
    strip.spines[:].set_visible(False)
    axes.set(yticks=[], ylabel="")


def _write_numbers(axes: "Axes", similarity_RC: np.ndarray) -> None:
    middle = (similarity_RC.min() + similarity_RC.max()) / 2
    for (row, column), value in np.ndenumerate(similarity_RC):
        colour = "black" if value > middle else ON_COLOUR
        axes.text(column, row, f"{value:z.2f}", ha="center", va="center", color=colour, fontsize=7)

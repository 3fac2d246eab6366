"""What every figure has in common: plain text, colours that a page turns dark, and one that fails ends no work."""

import functools
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar
from xml.etree import ElementTree

from seesay.base.printable import printable
from seesay.base.streams import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Arguments = ParamSpec("Arguments")
Made = TypeVar("Made", bytes, str)

# What is drawn in these colours has another shade on a page that is dark (`Drawing.inline`).
PAPER, INK, FAINT, LINE = "#ffffff", "#1c1e21", "#5b6168", "#d8dce0"
# Okabe and Ito (2008, "Color Universal Design"), with ink for their black: people with any colour vision can
# distinguish them. A series after the last begins again, with the next marker, line and hatching.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
MARKERS, LINES, HATCHES = "os^v", ("-", "-.", ":"), ("", "////", "....")
# Letters on a strong colour, which is the same on every page.
ON_COLOUR = "#fafafa"
SHADES = {PAPER: "--paper", INK: "--ink", FAINT: "--faint", LINE: "--line"} | {
    colour: f"--series-{number}" for number, colour in enumerate(COLOURS[:-1], 1)
}
STYLE: dict[Any, Any] = {
    "text.parse_math": False,
    "text.usetex": False,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "figure.facecolor": PAPER,
    "legend.facecolor": PAPER,
    "legend.edgecolor": LINE,
    "legend.fontsize": 8,
    "hatch.color": PAPER,
    # Words stay words: they can be searched, read aloud and copied.
    "svg.fonttype": "none",
    # The same figure is the same file.
    "svg.hashsalt": "seesay",
}
# Sharp on a screen with two device pixels to a CSS pixel; a guess.
DOTS_PER_INCH = 144
# Letters of a name in a figure; a guess: half a line of text, and no figure grows to the width of a name.
MOST_LETTERS = 50
# Pixels of the image in place of a figure, and letters of a line in it; guesses.
SIZE = (760, 90)
LETTERS_OF_A_LINE = 110
# How ElementTree spells their namespaces.
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"


class Drawing:
    """A figure that is drawn when it is asked for, as often as it is asked for.

    Where that fails, a message says why, and so does the image in place of the figure: what a figure shows has been
    measured, and must not be lost for it.
    """

    def __init__(self, draw: Callable[[], "Figure"]):
        self._draw = draw

    def png(self) -> bytes:
        """The figure in its light colours, as a PNG."""
        return self._made("png", finish=bytes, instead=_png_instead)

    def inline(self) -> str:
        """The figure as an SVG element for a page whose CSS has the variables of `SHADES`.

        It has no background, and no width or height of its own.
        """
        return self._made("svg", finish=_themed, instead=lambda reason: _themed(_svg_instead(reason)))

    def _made(
        self, kind: Literal["png", "svg"], *, finish: Callable[[bytes], Made], instead: Callable[[str], Made]
    ) -> Made:
        file = io.BytesIO()
        try:
            with _plain_style():
                # matplotlib writes the time of day into an SVG.
                metadata = {"Date": None} if kind == "svg" else None
                # Tight: nothing that stands out is cut off.
                self._draw().savefig(file, format=kind, dpi=DOTS_PER_INCH, bbox_inches="tight", metadata=metadata)
            return finish(file.getvalue())
        except Exception as error:  # noqa: BLE001 - told twice, and a drawing is never worth what it shows
            reason = printable(f"{type(error).__name__}: {' '.join(str(error).split())}")
            say(f"warning: a figure could not be drawn ({reason}); the numbers are not touched by it.")
            return instead(reason)


def plain_figure(draw: Callable[Arguments, "Figure"]) -> Callable[Arguments, Drawing]:
    """`draw`, a function that fills a `canvas`, as one that gives a `Drawing`.

    Text in it is plain: $ begins no formula, and letters that the font lacks are drawn as boxes.
    """

    @functools.wraps(draw)
    def drawing(*arguments: Arguments.args, **named: Arguments.kwargs) -> Drawing:
        return Drawing(functools.partial(draw, *arguments, **named))

    return drawing


def canvas(width: float, height: float, *, panels: int = 1) -> "tuple[Figure, list[Axes]]":
    """A figure of that size in inches, and the axes of its panels side by side."""
    # The one way to draw without a window, and without the state of pyplot.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def colour_of(number: int) -> str:
    """The colour of the series of that number."""
    return COLOURS[number % len(COLOURS)]


def look_of(number: int) -> dict[str, Any]:
    """Colour, marker and line of the series of that number."""
    again = number // len(COLOURS)
    return {
        "color": colour_of(number),
        "marker": MARKERS[again % len(MARKERS)],
        "linestyle": LINES[again % len(LINES)],
    }


def plain_label(name: str) -> str:
    """`name` as a figure shows it: printable, not too long, and shown in a legend even if it begins with _."""
    # These two are no characters, and no SVG may hold them.
    text = printable(name).replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")
    if len(text) > MOST_LETTERS:
        half = MOST_LETTERS // 2
        text = f"{text[: half - 1]}…{text[-half:]}"
    # matplotlib leaves labels that begin with _ out of legends.
    return f" {text}" if text.startswith("_") else text


@contextmanager
def _plain_style() -> Iterator[None]:
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import matplotlib

        with warnings.catch_warnings(), matplotlib.rc_context(STYLE):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _themed(file: bytes) -> str:
    """An SVG file as an element of a page: its colours are the page's, and what is about the file alone is left out."""
    # Our own file, of the moment: nobody else's entities are in it.
    root = ElementTree.fromstring(file)  # noqa: S314
    for side in ("width", "height"):
        root.attrib.pop(side, None)
    for element in root.iter():
        # In a page there are no namespaces.
        element.tag = element.tag.removeprefix(SVG)
        if element.tag == "g":
            # Each figure numbers its own groups, and an id may come once in a page; nothing refers to these.
            element.attrib.pop("id", None)
        element.attrib = {name.removeprefix(XLINK): _in_shades(value) for name, value in element.attrib.items()}
        for child in list(element):
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):
                element.remove(child)
    return ElementTree.tostring(root, encoding="unicode")


def _in_shades(value: str) -> str:
    """An attribute with the variables of a page in place of their colours."""
    for colour, variable in SHADES.items():
        value = value.replace(colour, f"var({variable})")
    return value


def _lines_instead(reason: str) -> list[str]:
    words = f"This figure could not be drawn. {reason}".encode("ascii", "backslashreplace").decode()
    return [words[start : start + LETTERS_OF_A_LINE] for start in range(0, len(words), LETTERS_OF_A_LINE)]


def _png_instead(reason: str) -> bytes:
    from PIL import Image, ImageDraw

    image, file = Image.new("RGB", SIZE, PAPER), io.BytesIO()
    ImageDraw.Draw(image).text((10, 10), "\n".join(_lines_instead(reason)), fill=INK)
    image.save(file, "png")
    return file.getvalue()


def _svg_instead(reason: str) -> bytes:
    root = ElementTree.Element(f"{SVG}svg", viewBox=f"0 0 {SIZE[0]} {SIZE[1]}")
    for number, line in enumerate(_lines_instead(reason), 1):
        at = {"x": "10", "y": str(16 * number), "style": f"fill: {INK}; font: 12px sans-serif"}
        ElementTree.SubElement(root, f"{SVG}text", at).text = line
    return ElementTree.tostring(root)

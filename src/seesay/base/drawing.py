"""What every figure has in common: its text is plain, and one that cannot be drawn does not end the work."""

import functools
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec

from seesay.base.printable import printable
from seesay.base.streams import say

Arguments = ParamSpec("Arguments")

# Letters of a name in a figure; a guess: half a line of text, and no figure grows to the width of a name.
MOST_LETTERS = 50
# Pixels of the image in place of a figure, and letters of a line in it; guesses.
SIZE = (760, 90)
LETTERS_OF_A_LINE = 110


def plain_figure(draw: Callable[Arguments, bytes]) -> Callable[Arguments, bytes]:
    """`draw`, a function that returns a PNG of matplotlib, with plain text: $ begins no formula.

    Letters that the font lacks are drawn as boxes. Where `draw` fails, a message says why, and so does the image in
    place of the figure: what a figure shows has been measured, and must not be lost for it.
    """

    @functools.wraps(draw)
    def drawn(*arguments: Arguments.args, **named: Arguments.kwargs) -> bytes:
        try:
            with _plain_text():
                return draw(*arguments, **named)
        except Exception as error:  # noqa: BLE001 - told twice, and a drawing is never worth what it shows
            reason = printable(f"{type(error).__name__}: {' '.join(str(error).split())}")
            say(f"warning: a figure could not be drawn ({reason}); the numbers are not touched by it.")
            return _in_place_of_a_figure(reason)

    return drawn


def plain_label(name: str) -> str:
    """`name` as a figure shows it: printable, not too long, and shown in a legend even if it begins with _."""
    text = printable(name)
    if len(text) > MOST_LETTERS:
        half = MOST_LETTERS // 2
        text = f"{text[: half - 1]}…{text[-half:]}"
    # matplotlib leaves labels that begin with _ out of legends.
    return f" {text}" if text.startswith("_") else text


@contextmanager
def _plain_text() -> Iterator[None]:
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import matplotlib

        with warnings.catch_warnings(), matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _in_place_of_a_figure(reason: str) -> bytes:
    from PIL import Image, ImageDraw

    words = f"This figure could not be drawn. {reason}".encode("ascii", "backslashreplace").decode()
    lines = [words[start : start + LETTERS_OF_A_LINE] for start in range(0, len(words), LETTERS_OF_A_LINE)]
    image, file = Image.new("RGB", SIZE, "white"), io.BytesIO()
    ImageDraw.Draw(image).text((10, 10), "\n".join(lines), fill="black")
    image.save(file, "png")
    return file.getvalue()

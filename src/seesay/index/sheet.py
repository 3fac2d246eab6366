"""Photos that were found as one PNG: a grid of thumbnails, best first, each with its score and name."""

import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from seesay.base.errors import UsageError
from seesay.base.printable import printable
from seesay.base.publish import publish_file
from seesay.index.photo_index import Hit, PhotoIndex
from seesay.index.reading import SIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

# Pixels between cards and for the line below each, letters, and photos on one sheet: guesses at what can be looked at.
GAP, LINE, LETTERS, MOST = 12, 18, 11, 500
PAPER, INK = "#ffffff", "#1c1e21"


def write_sheet(path: str | Path, index: PhotoIndex, hits: "Sequence[Hit]") -> None:
    """Write the PNG; thumbnails are those of the index, so that a photo that has gone has its place too.

    `UsageError` for more than 500 photos, `StorageError` where the disk fails.
    """
    if len(hits) > MOST:
        raise UsageError(f"a sheet of {len(hits):,} photos is too large to look at; ask for --top {MOST} or fewer.")
    thumbnails = index.thumbnails([hit.id for hit in hits])
    columns = max(1, math.ceil(math.sqrt(len(hits))))
    rows = max(1, math.ceil(len(hits) / columns))
    width, height = SIDE + GAP, SIDE + LINE + GAP
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(LETTERS)
    for number, hit in enumerate(hits):
        left, top = GAP + number % columns * width, GAP + number // columns * height
        if hit.id in thumbnails:
            image = Image.open(io.BytesIO(thumbnails[hit.id]))
            sheet.paste(image, (left + (SIDE - image.width) // 2, top + (SIDE - image.height) // 2))
        draw.text((left, top + SIDE + 2), _fitting(draw, font, _caption(hit)), fill=INK, font=font)
    data = io.BytesIO()
    sheet.save(data, "PNG")
    publish_file(path, data.getvalue())


def _caption(hit: Hit) -> str:
    return f"{hit.score:.3f}  {printable(os.path.basename(hit.path))}"


def _fitting(draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, text: str) -> str:
    """The text cut to the width of a card."""
    while text and draw.textlength(text, font=font) > SIDE:
        text = text[:-1]
    return text

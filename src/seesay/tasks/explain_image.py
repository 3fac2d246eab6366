"""An explanation as one PNG: photo, heat, what removal says, words in shades. H, W = sides of a photo."""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from seesay.base.drawing import COLOURS, FAINT, INK, canvas, plain_figure, plain_label
from seesay.data.image_sources import Source
from seesay.data.jpeg import decoding
from seesay.formulas.relevance import in_image
from seesay.model.explain import Explanation, Word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Guesses: letters in a line of words, inches of a panel and of a line.
LETTERS_IN_LINE = 84
PANEL, LINE = 3.2, 0.36
# Of the height to the width of a panel, whatever the photo is; a guess.
LEAST_ASPECT = 0.4
# How far the heat covers the photo at its highest, a guess at what leaves both to be seen.
COVER = 0.75


@plain_figure
def explanation_figure(explanation: Explanation, photo_HW3: np.ndarray) -> "Figure":
    """The photo, uint8 (H, W, 3), its heat, the fall of the score by cells, and each word as dark as it is heavy."""
    lines = word_lines(explanation.words)
    below = LINE * (len(lines) + 0.5)
    height = PANEL * min(max(photo_HW3.shape[0] / photo_HW3.shape[1], LEAST_ASPECT), 1 / LEAST_ASPECT) + 0.3
    figure, (whole,) = canvas(3 * PANEL, height + below + 0.3)
    whole.remove()
    grid = figure.add_gridspec(2, 3, height_ratios=[height, below])
    panels = [figure.add_subplot(grid[0, column]) for column in range(3)]
    sides = photo_HW3.shape[:2]
    titles = ["photo", "heat, by gradient"]
    heats = [None, explanation.heat_HW]
    if explanation.removal is not None:
        fall_GG = explanation.removal.fall_GG.clip(0)
        heats.append(in_image(fall_GG / max(fall_GG.max(), 1e-12), sides, explanation.seen))
        titles.append("fall of the score, cells blanked")
    for panel in panels[len(heats) :]:
        panel.set_axis_off()
    for panel, title, heat in zip(panels, titles, heats, strict=False):
        _draw_photo(panel, photo_HW3, heat, explanation.seen)
        panel.set_title(title, fontsize=9)
    _draw_words(figure.add_subplot(grid[1, :]), lines)
    figure.suptitle(title_of(explanation), fontsize=9, color=INK)
    return figure


def title_of(explanation: Explanation) -> str:
    """The model, and the scores before and after the hottest quarter of what it sees is blanked."""
    other = "" if explanation.contrast is None else f", less {plain_label(explanation.contrast)!r}"
    after = ""
    if explanation.removal is not None:
        removal = explanation.removal
        after = f"; without the hottest quarter {removal.without_hottest:.3f}, coldest {removal.without_coldest:.3f}"
    return f"{plain_label(explanation.model)}: score {explanation.score:.3f}{other}{after}"


def word_lines(words: tuple[Word, ...]) -> list[list[Word]]:
    """The words in lines of at most `LETTERS_IN_LINE` letters."""
    lines: list[list[Word]] = [[]]
    for word in words:
        if lines[-1] and sum(len(plain_label(other.text)) + 1 for other in [*lines[-1], word]) > LETTERS_IN_LINE:
            lines.append([])
        lines[-1].append(word)
    return lines


def heat_over(photo_HW3: np.ndarray, heat_HW: np.ndarray) -> np.ndarray:
    """The photo under its heat as `explanation_figure` draws it, uint8 (H, W, 3)."""
    from matplotlib import colormaps

    heat_HW = np.clip(heat_HW, 0, 1)
    cover_HW1 = COVER * heat_HW[..., None]
    colour_HW3 = 255 * colormaps["inferno"](heat_HW)[..., :3]
    return ((1 - cover_HW1) * photo_HW3 + cover_HW1 * colour_HW3).round().astype(np.uint8)


def _draw_photo(
    axes: "Axes", photo_HW3: np.ndarray, heat_HW: np.ndarray | None, seen: tuple[float, float, float, float]
) -> None:
    axes.imshow(photo_HW3)
    axes.set_axis_off()
    if heat_HW is None:
        return
    axes.imshow(heat_HW, cmap="inferno", alpha=COVER * np.clip(heat_HW, 0, 1), vmin=0, vmax=1)
    top, left, bottom, right = seen
    across, down = [left, right, right, left, left], [top, top, bottom, bottom, top]
    axes.plot([x - 0.5 for x in across], [y - 0.5 for y in down], color=COLOURS[4], linewidth=1)
    axes.set_xlim(-0.5, photo_HW3.shape[1] - 0.5)
    axes.set_ylim(photo_HW3.shape[0] - 0.5, -0.5)


def _draw_words(axes: "Axes", lines: list[list[Word]]) -> None:
    """Each word on a ground as strong as its weight, blue for and red against, over the score without it."""
    axes.set_axis_off()
    axes.set_xlim(0, LETTERS_IN_LINE)
    axes.set_ylim(len(lines) + 0.5, -0.5)
    for row, line in enumerate(lines):
        at = 0.0
        for word in line:
            label = plain_label(word.text)
            width = max(len(label), 5) + 1
            colour = COLOURS[0] if word.weight >= 0 else COLOURS[1]
            ground = {"facecolor": colour, "alpha": min(abs(word.weight), 1) * 0.6, "edgecolor": "none", "pad": 2}
            axes.text(at, row, label, family="monospace", fontsize=9, bbox=ground, va="center")
            axes.text(at, row + 0.45, f"{word.score_without:.3f}", fontsize=6, color=FAINT, va="center")
            at += width


def explanation_png(explanation: Explanation, photo: Source) -> bytes:
    """`explanation_figure` as a PNG, of the photo that was explained."""
    with decoding(photo) as decoded:
        image = Image.fromarray(decoded.pixels_HW3)
    return explanation_figure(explanation, np.asarray(image)).png()

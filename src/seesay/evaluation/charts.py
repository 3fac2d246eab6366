"""The figures of the report. All shares are fractions from 0 to 1 and are drawn in percent. C = classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seesay.base.drawing import (
    COLOURS,
    FAINT,
    HATCHES,
    INK,
    LINE,
    ON_COLOUR,
    PAPER,
    canvas,
    colour_of,
    look_of,
    plain_figure,
    plain_label,
)
from seesay.base.records import Score
from seesay.formulas.reliability import Reliability
from seesay.formulas.robustness import Line, logit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Ticks on logit axes, as fractions: denser where a logit changes faster; a guess.
LOGIT_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99)
# Classes up to which numbers are written into the cells of a confusion matrix; a guess at what stays readable.
MOST_NUMBERED = 12
# A legend is below the axes, where nothing is drawn; a row of it is so many inches high.
LEGEND: dict[str, Any] = {"loc": "outside lower center", "frameon": False}
ROW = 0.17


@dataclass(frozen=True, kw_only=True)
class Point:
    """One model on one set, measured in two ways."""

    name: str
    x: float
    y: float
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None


@plain_figure
def bars(scores: Mapping[str, Mapping[str, Score]], *, axis: str) -> "Figure":
    """Scores by set and model as bars with their intervals and numbers; a tick of ink is chance."""
    models = list(dict.fromkeys(model for by_model in scores.values() for model in by_model))
    height = 0.8 / len(models)
    figure, (axes,) = canvas(7.5, 0.8 + len(scores) * (0.22 + 0.16 * len(models)))
    most = 0.0
    for row, by_model in enumerate(scores.values()):
        for number, model in enumerate(models):
            if (score := by_model.get(model)) is not None:
                most = max(most, _bar(axes, score, row - 0.4 + height * (number + 0.5), height, number))
    axes.set_yticks(range(len(scores)), labels=[plain_label(name) for name in scores])
    # Room for the number behind the longest bar.
    axes.set(xlabel=f"{axis}, %", xlim=(0, 1.08 * most), ylim=(len(scores) - 0.4, -0.6))
    axes.grid(axis="x")
    if len(models) > 1:
        handles = [_swatch(number, model) for number, model in enumerate(models)]
        figure.legend(handles=handles, ncols=min(3, len(models)), **LEGEND)
    return figure


def _bar(axes: "Axes", score: Score, at: float, height: float, number: int) -> float:
    """One bar, and how far to the right it reaches."""
    low, high = score.interval95
    hatch = HATCHES[number // len(COLOURS) % len(HATCHES)]
    axes.barh(at, 100 * score.value, height, color=colour_of(number), alpha=0.85, hatch=hatch)
    axes.plot([100 * low, 100 * high], [at, at], color=INK, linewidth=1.2)
    axes.plot([100 * score.chance] * 2, [at - height / 2, at + height / 2], color=INK, linewidth=2.2)
    end = 100 * max(score.value, high, score.chance)
    place = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": 7.5}
    axes.annotate(f"{100 * score.value:.1f}", (end, at), **place)
    return end


def _swatch(number: int, name: str):
    from matplotlib.patches import Patch

    hatch = HATCHES[number // len(COLOURS) % len(HATCHES)]
    return Patch(facecolor=colour_of(number), hatch=hatch, label=plain_label(name))


@plain_figure
def zero_shot_against_probe(points: Sequence[Point]) -> "Figure":
    """Zero-shot accuracy across, that of a linear probe up; above the diagonal the probe is better."""
    figure, (axes,) = canvas(4.6, 4.4 + ROW * len(points) / 2)
    ends = [share for point in points for share in (point.x, point.y)]
    ends += [end for point in points for pair in (point.x_interval, point.y_interval) if pair for end in pair]
    # A margin on either side; a guess.
    low, high = max(0.0, 100 * min(ends) - 4), min(100.0, 100 * max(ends) + 4)
    axes.plot([low, high], [low, high], color=FAINT, linewidth=1, linestyle="--")
    for number, point in enumerate(points):
        _cross(axes, point, number, scale=100)
    axes.set(xlabel="zero-shot top-1, %", ylabel="linear probe, %", xlim=(low, high), ylim=(low, high), aspect="equal")
    figure.legend(ncols=2, **LEGEND)
    return figure


def _cross(axes: "Axes", point: Point, number: int, *, scale: float) -> None:
    """A point with its intervals in both directions; its colour and shape are those of its number."""
    spread = [
        None if interval is None else [[scale * (at - interval[0])], [scale * (interval[1] - at)]]
        for at, interval in ((point.x, point.x_interval), (point.y, point.y_interval))
    ]
    look = look_of(number)
    axes.errorbar(
        scale * point.x,
        scale * point.y,
        xerr=spread[0],
        yerr=spread[1],
        fmt=look["marker"],
        markersize=5,
        linewidth=1,
        color=look["color"],
        label=plain_label(point.name),
    )


@plain_figure
def few_shot_curves(curves: Mapping[str, tuple[Score, Sequence[tuple[float, Score]]]]) -> "Figure":
    """For each set, accuracy over images per class (logarithmic); zero-shot is a dashed line, chance a dotted one."""
    figure, (axes,) = canvas(5.2, 3.8 + ROW * len(curves) / 2)
    for number, (name, (zero_shot, points)) in enumerate(curves.items()):
        look = look_of(number)
        shots = [count for count, _ in points]
        shares = [100 * score.value for _, score in points]
        axes.plot(shots, shares, markersize=4, label=plain_label(name), **look)
        low, high = zip(*(score.interval95 for _, score in points), strict=True)
        axes.fill_between(
            shots, 100 * np.array(low), 100 * np.array(high), color=look["color"], alpha=0.15, linewidth=0
        )
        axes.axhline(100 * zero_shot.value, color=look["color"], linestyle="--", linewidth=1)
        axes.axhline(100 * zero_shot.chance, color=look["color"], linestyle=":", linewidth=1)
    axes.set_xscale("log", base=2)
    ticks = sorted({round(count) for _, points in curves.values() for count, _ in points})
    axes.set_xticks(ticks, labels=[str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(axis="y")
    axes.set(xlabel="training images per class", ylabel="top-1, %")
    figure.legend(ncols=2, **LEGEND)
    return figure


@plain_figure
def reliability_diagram(bins: Reliability) -> "Figure":
    """How often the model was right, by the probability it gave; on the diagonal both are equal."""
    figure, (axes,) = canvas(3.7, 3.4)
    edges, width = 100 * bins.edge_K1[:-1], 100 * np.diff(bins.edge_K1)
    accuracy = 100 * np.nan_to_num(bins.accuracy_K)
    axes.bar(edges, accuracy, width, align="edge", color=COLOURS[0], edgecolor=PAPER, linewidth=0.6)
    axes.plot([0, 100], [0, 100], color=FAINT, linewidth=1, linestyle="--")
    for edge, wide, count, top in zip(edges, width, bins.count_K, accuracy, strict=True):
        if count:
            axes.text(edge + wide / 2, top + 1.5, str(count), ha="center", fontsize=6)
    axes.set(xlabel="probability of the predicted class, %", ylabel="right, %", xlim=(0, 100), ylim=(0, 108))
    axes.set_title(f"expected calibration error {100 * bins.expected_error:.1f} points", fontsize=9)
    return figure


@plain_figure
def confusion_matrix(share_CC: np.ndarray, names: Sequence[str]) -> "Figure":
    """Of the images of each class (down), the share that was taken for each class (across).

    A cell is as strong as the square root of its share: rare mistakes can be seen. A small matrix also has its numbers
    written in.
    """
    from matplotlib.colors import to_rgb

    side = 2.6 + 0.21 * len(names)
    figure, (axes,) = canvas(side + 0.4, side)
    strength_CC = np.sqrt(share_CC)
    colour_CC3 = np.broadcast_to(to_rgb(COLOURS[0]), (*share_CC.shape, 3))
    axes.imshow(np.concatenate([colour_CC3, strength_CC[..., None]], axis=-1), interpolation="none")
    labels = [plain_label(name) for name in names]
    axes.set_xticks(range(len(names)), labels=labels, rotation=90)
    axes.set_yticks(range(len(names)), labels=labels)
    axes.tick_params(length=0, labelsize=8)
    axes.set(xlabel="taken for", ylabel="shown")
    axes.set_xticks(np.arange(1, len(names)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(names)) - 0.5, minor=True)
    axes.tick_params(which="minor", length=0)
    axes.grid(which="minor")
    if len(names) <= MOST_NUMBERED:
        for (row, column), share in np.ndenumerate(share_CC):
            if share:
                colour = ON_COLOUR if strength_CC[row, column] > 0.75 else INK
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=7)
    return figure


@plain_figure
def prompt_strip(spreads: Mapping[str, tuple[Mapping[str, Score], float]], *, up_to: float) -> "Figure":
    """For every set a dot per single template, and a bar where all of them together are; the axis ends at `up_to`."""
    figure, (axes,) = canvas(7.5, 0.9 + 0.34 * len(spreads))
    for row, (by_template, together) in enumerate(spreads.values()):
        values = [100 * score.value for score in by_template.values()]
        axes.plot([min(values), max(values)], [row, row], color=LINE, linewidth=1.5, zorder=1)
        axes.scatter(values, [row] * len(values), s=18, color=COLOURS[0], alpha=0.55, linewidths=0, zorder=2)
        axes.plot([100 * together] * 2, [row - 0.3, row + 0.3], color=COLOURS[1], linewidth=2.5, zorder=3)
    axes.set_yticks(range(len(spreads)), labels=[plain_label(name) for name in spreads])
    axes.set(xlabel="top-1, %", ylim=(len(spreads) - 0.4, -0.6))
    axes.set_xlim(0, 100 * up_to)
    axes.grid(axis="x")
    return figure


@plain_figure
def shift_plot(
    models: Sequence[Point], baseline: Sequence[Point], line: Line | None, *, names: tuple[str, str]
) -> "Figure":
    """Natural accuracy across and shifted accuracy up, on logit axes, with the line through the baseline."""
    figure, (axes,) = canvas(4.8, 4.7 + ROW * len(models) / 2)
    shares = [share for point in [*models, *baseline] for share in (point.x, point.y)]
    # Intervals may leave the axes; points may not. The margins are guesses.
    low, high = max(0.005, min(shares) * 0.6), min(0.995, 1 - (1 - max(shares)) * 0.6)
    grid = np.linspace(low, high, 200)
    axes.plot(logit(grid), logit(grid), color=FAINT, linestyle="--", linewidth=1, label="y = x")
    if line is not None:
        axes.plot(logit(grid), logit(line.shifted(grid)), color=INK, linewidth=1.2, label="baseline")
    for number, point in enumerate(baseline):
        axes.plot(logit(point.x), logit(point.y), "s", color=FAINT, markersize=4, label=_once(number))
    for number, point in enumerate(models):
        _cross(axes, _on_logits(point), number, scale=1)
    ticks = [tick for tick in LOGIT_TICKS if low <= tick <= high]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(logit(np.array(ticks)), labels=[f"{100 * tick:g}" for tick in ticks])
    axes.set(xlabel=f"{plain_label(names[0])} top-1, %", ylabel=f"{plain_label(names[1])} top-1, %")
    axes.set(xlim=logit(np.array([low, high])), ylim=logit(np.array([low, high])))
    figure.legend(ncols=2, **LEGEND)
    return figure


def _once(number: int) -> str:
    """A label for the first of many points; a name that begins with _ is not shown."""
    return "standard models" if number == 0 else "_"


def _on_logits(point: Point) -> Point:
    def moved(share: float) -> float:
        return float(logit(min(max(share, 0.001), 0.999)))

    x_interval, y_interval = (
        None if interval is None else (moved(interval[0]), moved(interval[1]))
        for interval in (point.x_interval, point.y_interval)
    )
    return Point(name=point.name, x=moved(point.x), y=moved(point.y), x_interval=x_interval, y_interval=y_interval)

"""The figures of the report, as PNG files. All shares are fractions from 0 to 1 and are drawn in percent."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seesay.base.drawing import plain_figure, plain_label
from seesay.base.records import Score
from seesay.formulas.reliability import Reliability
from seesay.formulas.robustness import Line, logit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito (2008, "Color Universal Design"): people with any colour vision can distinguish them.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Markers of matplotlib: circle, square, two triangles, for points after the last colour.
SHAPES = "os^v"
# A report with ten figures stays below a megabyte; a guess.
DOTS_PER_INCH = 130
# Ticks on logit axes, as fractions: denser where a logit changes faster; a guess.
LOGIT_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One model on one set, measured in two ways."""

    name: str
    x: float
    y: float
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None


@contextmanager
def drawn(width: float, height: float) -> Iterator[tuple["Axes", io.BytesIO]]:
    """Axes to draw on, and the file that holds the PNG afterwards."""
    # The one way to draw without a window, and without the state of pyplot.
    from matplotlib.figure import Figure

    figure, file = Figure(figsize=(width, height), layout="constrained"), io.BytesIO()
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    yield axes, file
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH)


@plain_figure
def bars(scores: Mapping[str, Mapping[str, Score]], *, axis: str) -> bytes:
    """Scores by set and model as bars with their intervals; a black tick is chance."""
    models = list(dict.fromkeys(model for by_model in scores.values() for model in by_model))
    height = 0.8 / len(models)
    with drawn(7.5, 0.8 + len(scores) * (0.22 + 0.16 * len(models))) as (axes, file):
        for row, by_model in enumerate(scores.values()):
            for number, model in enumerate(models):
                if (score := by_model.get(model)) is None:
                    continue
                at = row - 0.4 + height * (number + 0.5)
                low, high = score.interval95
                axes.barh(at, 100 * score.value, height, color=COLOURS[number % len(COLOURS)], alpha=0.85)
                axes.plot([100 * low, 100 * high], [at, at], color="#333333", linewidth=1.2)
                axes.plot([100 * score.chance] * 2, [at - height / 2, at + height / 2], color="black", linewidth=2.2)
        axes.set_yticks(range(len(scores)), labels=[plain_label(name) for name in scores])
        axes.set(xlabel=f"{axis}, %", xlim=(0, 100), ylim=(len(scores) - 0.4, -0.6))
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        if len(models) > 1:
            handles = [_swatch(COLOURS[number % len(COLOURS)], model) for number, model in enumerate(models)]
            axes.legend(handles=handles, fontsize=8, loc="lower right")
    return file.getvalue()


def _swatch(colour: str, name: str):
    from matplotlib.patches import Patch

    return Patch(color=colour, label=plain_label(name))


@plain_figure
def zero_shot_against_probe(points: Sequence[Point]) -> bytes:
    """Zero-shot accuracy across, that of a linear probe up; above the diagonal the probe is better."""
    with drawn(4.6, 4.4) as (axes, file):
        axes.plot([0, 100], [0, 100], color="#999999", linewidth=1, linestyle="--")
        for number, point in enumerate(points):
            _cross(axes, point, number, scale=100)
        axes.set(xlabel="zero-shot top-1, %", ylabel="linear probe, %", xlim=(0, 100), ylim=(0, 100))
        axes.legend(fontsize=8, loc="lower right")
    return file.getvalue()


def _cross(axes: "Axes", point: Point, number: int, *, scale: float) -> None:
    """A point with its intervals in both directions; its colour and shape are those of its number."""
    spread = [
        None if interval is None else [[scale * (at - interval[0])], [scale * (interval[1] - at)]]
        for at, interval in ((point.x, point.x_interval), (point.y, point.y_interval))
    ]
    axes.errorbar(
        scale * point.x,
        scale * point.y,
        xerr=spread[0],
        yerr=spread[1],
        fmt=SHAPES[number // len(COLOURS) % len(SHAPES)],
        markersize=5,
        linewidth=1,
        color=COLOURS[number % len(COLOURS)],
        label=plain_label(point.name),
    )


@plain_figure
def few_shot_curves(curves: Mapping[str, tuple[Score, Sequence[tuple[float, Score]]]]) -> bytes:
    """For each set, accuracy over images per class (logarithmic), and zero-shot as a dashed line."""
    with drawn(5.2, 3.8) as (axes, file):
        for number, (name, (zero_shot, points)) in enumerate(curves.items()):
            colour = COLOURS[number % len(COLOURS)]
            shots = [count for count, _ in points]
            axes.plot(
                shots,
                [100 * score.value for _, score in points],
                "o-",
                color=colour,
                markersize=4,
                label=plain_label(name),
            )
            low, high = zip(*(score.interval95 for _, score in points), strict=True)
            axes.fill_between(shots, 100 * np.array(low), 100 * np.array(high), color=colour, alpha=0.15, linewidth=0)
            axes.axhline(100 * zero_shot.value, color=colour, linestyle="--", linewidth=1)
        axes.set_xscale("log", base=2)
        ticks = sorted({round(count) for _, points in curves.values() for count, _ in points})
        axes.set_xticks(ticks, labels=[str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel="training images per class", ylabel="top-1, %")
        axes.legend(fontsize=8)
    return file.getvalue()


@plain_figure
def reliability_diagram(bins: Reliability) -> bytes:
    """How often the model was right, by the probability it gave; on the diagonal both are equal."""
    with drawn(3.7, 3.4) as (axes, file):
        edges, width = 100 * bins.edge_K1[:-1], 100 * np.diff(bins.edge_K1)
        accuracy = 100 * np.nan_to_num(bins.accuracy_K)
        axes.bar(edges, accuracy, width, align="edge", color=COLOURS[0], edgecolor="white", linewidth=0.6)
        axes.plot([0, 100], [0, 100], color="#999999", linewidth=1, linestyle="--")
        for edge, wide, count, top in zip(edges, width, bins.count_K, accuracy, strict=True):
            if count:
                axes.text(edge + wide / 2, top + 1.5, str(count), ha="center", fontsize=6, color="#555555")
        axes.set(xlabel="probability of the predicted class, %", ylabel="right, %", xlim=(0, 100), ylim=(0, 108))
        axes.set_title(f"expected calibration error {100 * bins.expected_error:.1f} points", fontsize=9)
    return file.getvalue()


@plain_figure
def prompt_strip(spreads: Mapping[str, tuple[Mapping[str, Score], float]], *, up_to: float) -> bytes:
    """For every set a dot per single template, and a bar where all of them together are; the axis ends at `up_to`."""
    with drawn(7.5, 0.9 + 0.34 * len(spreads)) as (axes, file):
        for row, (by_template, together) in enumerate(spreads.values()):
            values = [100 * score.value for score in by_template.values()]
            axes.plot([min(values), max(values)], [row, row], color="#bbbbbb", linewidth=1.5, zorder=1)
            axes.scatter(values, [row] * len(values), s=18, color=COLOURS[0], alpha=0.55, linewidths=0, zorder=2)
            axes.plot([100 * together] * 2, [row - 0.3, row + 0.3], color=COLOURS[1], linewidth=2.5, zorder=3)
        axes.set_yticks(range(len(spreads)), labels=[plain_label(name) for name in spreads])
        axes.set(xlabel="top-1, %", ylim=(len(spreads) - 0.4, -0.6))
        axes.set_xlim(0, 100 * up_to)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    return file.getvalue()


@plain_figure
def shift_plot(
    models: Sequence[Point], baseline: Sequence[Point], line: Line | None, *, names: tuple[str, str]
) -> bytes:
    """Natural accuracy across and shifted accuracy up, on logit axes, with the line through the baseline."""
    with drawn(4.8, 4.5) as (axes, file):
        shares = [share for point in [*models, *baseline] for share in (point.x, point.y)]
        # Intervals may leave the axes; points may not. The margins are guesses.
        low, high = max(0.005, min(shares) * 0.6), min(0.995, 1 - (1 - max(shares)) * 0.6)
        grid = np.linspace(low, high, 200)
        axes.plot(logit(grid), logit(grid), color="#999999", linestyle="--", linewidth=1, label="y = x")
        if line is not None:
            axes.plot(logit(grid), logit(line.shifted(grid)), color="#555555", linewidth=1.2, label="baseline")
        for number, point in enumerate(baseline):
            axes.plot(logit(point.x), logit(point.y), "s", color="#888888", markersize=4, label=_once(number))
        for number, point in enumerate(models):
            _cross(axes, _on_logits(point), number, scale=1)
        ticks = [tick for tick in LOGIT_TICKS if low <= tick <= high]
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(logit(np.array(ticks)), labels=[f"{100 * tick:g}" for tick in ticks])
        axes.set(xlabel=f"{plain_label(names[0])} top-1, %", ylabel=f"{plain_label(names[1])} top-1, %")
        axes.set(xlim=logit(np.array([low, high])), ylim=logit(np.array([low, high])))
        axes.legend(fontsize=8, loc="upper left")
    return file.getvalue()


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

"""Curves of a comparison as a PNG: accuracy over images, FLOPs or seconds, with the factor between neighbours."""

import io
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from seesay.evaluation.charts import COLOURS, DOTS_PER_INCH
from seesay.experiments.comparison import UNITS, Comparison
from seesay.formulas.efficiency import log_n_at, mean_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXES = {"images": "images processed", "flops": "FLOPs of training", "seconds": "seconds of training"}
# Prefixes of the International System of Units.
PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def curves(comparison: Comparison, views: Sequence[tuple[str, str]]) -> bytes:
    """Panels side by side, one for each (unit, "linear" or "log").

    Lines are means of seeds, bands reach from the lowest seed to the highest; an arrow spans two neighbours, with the
    factor between them.
    """
    # The one way to draw without a window, and without the state of pyplot.
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(5.2 * len(views), 4.2), layout="constrained")
    panels = figure.subplots(1, len(views), squeeze=False)[0]
    for axes, (over, scale) in zip(panels, views, strict=True):
        _draw_curves(axes, comparison, over=over)
        _draw_arrows(axes, comparison, over=over)
        chance = 100 * comparison.check.most_by_chance
        axes.axhline(chance, color="#999999", linestyle="--", linewidth=1, label="chance, at most", zorder=1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(xscale=scale, xlabel=AXES[over], ylabel="zero-shot top-1, %")
        if scale == "log":
            axes.xaxis.set_major_locator(LogLocator(subs=_tick_multiples(axes.get_xlim())))
            axes.minorticks_off()
        axes.xaxis.set_major_formatter(lambda value, _: short(value))
        axes.set_ylim(bottom=0)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    panels[-1].legend(fontsize=8, loc="upper left")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH)
    return file.getvalue()


def _tick_multiples(limits: tuple[float, float]) -> tuple[float, ...]:
    """Which multiples of powers of ten have a tick: fewer where there are many powers."""
    return (1.0, 2.0, 5.0) if limits[1] < 1000 * limits[0] else (1.0,)


def _draw_curves(axes: "Axes", comparison: Comparison, *, over: str) -> None:
    for number, (name, objective) in enumerate(comparison.objectives.items()):
        curve = objective.curve(over)
        if curve is None:
            continue
        n_P, share_SP = np.exp(np.log(curve.n_SP).mean(0)), 100 * curve.accuracy_SP
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(n_P, share_SP.mean(0), "o-", color=colour, markersize=3.5, linewidth=1.6, label=name, zorder=3)
        axes.fill_between(n_P, share_SP.min(0), share_SP.max(0), color=colour, alpha=0.18, linewidth=0, zorder=2)


def _draw_arrows(axes: "Axes", comparison: Comparison, *, over: str) -> None:
    """From each objective to the next best, at the middle of the accuracies that both reach."""
    for fast, slow in pairwise(comparison.ranked):
        factor = comparison.factor(fast, slow, over=over)
        if factor is None or factor.factor is None or factor.common is None:
            continue
        level = sum(factor.common) / 2
        ends = [_n_at(comparison, name, over=over, level=level) for name in (fast, slow)]
        style = {"arrowstyle": "<->", "color": "#333333", "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", xy=(ends[1], 100 * level), xytext=(ends[0], 100 * level), arrowprops=style, zorder=4)
        text = {"text": f"{factor.factor:.1f}x", "fontsize": 9, "color": "#333333", "zorder": 5}
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
        end = (max(ends), 100 * level)
        axes.annotate(**text, xy=end, xytext=(5, -3), textcoords="offset points", bbox=box)


def _n_at(comparison: Comparison, name: str, *, over: str, level: float) -> float:
    curve = comparison.objectives[name].curve(over)
    assert curve is not None
    return float(np.exp(log_n_at(*mean_curve(curve), np.array([level]))[0]))


def short(value: float) -> str:
    """A large number as people write it: 150k, 2.5T."""
    for size, letter in PREFIXES:
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def describe(comparison: Comparison, over: str) -> str:
    """The text in place of the image: where each curve ends."""
    ends = []
    for name, objective in comparison.objectives.items():
        curve = objective.curve(over)
        if curve is not None:
            accuracy, n = 100 * curve.accuracy_SP[:, -1].mean(), curve.n_SP[:, -1].mean()
            ends.append(f"{name} {accuracy:.1f} % after {short(n)} {UNITS[over]}")
    listed = f"at the end: {'; '.join(ends)}" if ends else "no objective has runs"
    return f"Zero-shot accuracy over {UNITS[over]}; {listed}."

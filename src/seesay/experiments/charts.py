"""Curves of a contest as a PNG: accuracy over images, FLOPs or seconds, with the distance between neighbours."""

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from seesay.evaluation.charts import COLOURS, DOTS_PER_INCH
from seesay.experiments.claims import NAMES, between, ranked
from seesay.experiments.results import curve_of
from seesay.formulas.efficiency import log_n_at, mean_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXES = {"images": "images processed", "flops": "FLOPs of training", "seconds": "seconds of training"}
PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def curves(result: Mapping[str, Any], views: Sequence[tuple[str, str]]) -> bytes:
    """Panels side by side, one for each (over, "linear" or "log"). Lines are means of seeds, bands reach from the
    lowest seed to the highest; an arrow spans two neighbours, with the factor between them."""
    # The one way to draw without a window, and without the state of pyplot.
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(5.2 * len(views), 4.2), layout="constrained")
    panels = figure.subplots(1, len(views), squeeze=False)[0]
    for axes, (over, scale) in zip(panels, views, strict=True):
        _draw_curves(axes, result, over=over, scale=scale)
        _draw_arrows(axes, result, over=over)
        guessing = 100 * result["data"]["check"]["most_by_guessing"]
        axes.axhline(guessing, color="#999999", linestyle="--", linewidth=1, label="guessing, at most", zorder=1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(xscale=scale, xlabel=AXES[over], ylabel="zero-shot top-1, %")
        if scale == "log":
            axes.xaxis.set_major_locator(LogLocator(subs=_steps_of(axes.get_xlim())))
            axes.minorticks_off()
        axes.xaxis.set_major_formatter(lambda value, _: short(value))
        axes.set_ylim(bottom=0)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    panels[-1].legend(fontsize=8, loc="upper left")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH)
    return file.getvalue()


def _steps_of(limits: tuple[float, float]) -> tuple[float, ...]:
    """Which multiples of powers of ten have a tick: fewer where there are many powers."""
    return (1.0, 2.0, 5.0) if limits[1] < 1000 * limits[0] else (1.0,)


def _draw_curves(axes: "Axes", result: Mapping[str, Any], *, over: str, scale: str) -> None:
    for number, (name, told) in enumerate(result["objectives"].items()):
        curve = curve_of(told["seeds"], over)
        if curve is None:
            continue
        n_P, share_SP = np.exp(np.log(curve.n_SP).mean(0)), 100 * curve.accuracy_SP
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(n_P, share_SP.mean(0), "o-", color=colour, markersize=3.5, linewidth=1.6, label=name, zorder=3)
        axes.fill_between(n_P, share_SP.min(0), share_SP.max(0), color=colour, alpha=0.18, linewidth=0, zorder=2)


def _draw_arrows(axes: "Axes", result: Mapping[str, Any], *, over: str) -> None:
    """From each objective to the next best, at the middle of the accuracies that both reach."""
    for fast, slow in pairwise(ranked(result)):
        found = between(result, fast, slow, over=over)
        if found is None or found["factor"] is None:
            continue
        level = sum(found["range"]) / 2
        ends = [_n_at(result, name, over=over, level=level) for name in (fast, slow)]
        style = {"arrowstyle": "<->", "color": "#333333", "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", xy=(ends[1], 100 * level), xytext=(ends[0], 100 * level), arrowprops=style, zorder=4)
        words = {"text": f"{found['factor']:.1f}x", "fontsize": 9, "color": "#333333", "zorder": 5}
        paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
        at = (max(ends), 100 * level)
        axes.annotate(**words, xy=at, xytext=(5, -3), textcoords="offset points", bbox=paper)


def _n_at(result: Mapping[str, Any], name: str, *, over: str, level: float) -> float:
    curve = curve_of(result["objectives"][name]["seeds"], over)
    assert curve is not None
    return float(np.exp(log_n_at(*mean_curve(curve), np.array([level]))[0]))


def short(value: float) -> str:
    """A large number as people write it: 150k, 2.5T."""
    for size, letter in PREFIXES:
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def in_words(result: Mapping[str, Any], over: str) -> str:
    """The same for who cannot see it: where each curve ends."""
    ends = []
    for name, told in result["objectives"].items():
        curve = curve_of(told["seeds"], over)
        if curve is not None:
            accuracy, n = 100 * curve.accuracy_SP[:, -1].mean(), curve.n_SP[:, -1].mean()
            ends.append(f"{name} {accuracy:.1f} % after {short(n)} {NAMES[over]}")
    return f"Zero-shot accuracy over {NAMES[over]}; at the end: {'; '.join(ends)}."

"""The image of a run: loss and checks over pairs seen, from its events alone."""

import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seesay.base.journal import EVENTS_NAME, read_events
from seesay.base.publish import publish_file

CURVES_NAME = "curves.png"


def draw_curves(folder: Path) -> Path:
    """Draw `curves.png` in a run folder from its `events.jsonl`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    events = read_events(folder / EVENTS_NAME)
    steps = [event for event in events if "smooth_loss" in event and "event" not in event]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([e["pairs_seen"] for e in steps], [e["loss"] for e in steps], color="0.8", linewidth=0.6, label="batch")
    left.plot([e["pairs_seen"] for e in steps], [e["smooth_loss"] for e in steps], color="C0", label="smoothed")
    checks = _series(events)
    for index, (name, points) in enumerate(checks.items()):
        axes = left if name.endswith("/loss") else right
        pairs_seen, values = zip(*points, strict=True)
        axes.plot(pairs_seen, values, color=f"C{index + 1}", marker="o", markersize=3, label=name)
    left.set(xlabel="pairs seen", ylabel="loss", title="Contrastive loss")
    right.set(xlabel="pairs seen", ylabel="share right", title="Checks during the run")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    publish_file(folder / CURVES_NAME, image.getvalue())
    return folder / CURVES_NAME


def _series(events: Sequence[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Every measure of the checks as points (pairs seen, value)."""
    series: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for event in events:
        if event.get("event") == "check":
            for name, value in event.items():
                if "/" in name and value is not None:
                    series[name].append((event["pairs_seen"], value))
    return series

"""The page of a comparison: what was measured becomes curves and sections of an HTML page."""

from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from seesay.base.drawing import FAINT, INK, PAPER, Drawing, canvas, look_of, plain_figure, plain_label
from seesay.evaluation.html import Figure, Section, Table, percent, render_page, with_interval
from seesay.experiments.claims import claim_lines, factor_words, rate_lines
from seesay.experiments.comparison import UNITS, Comparison, ObjectiveResult, TriedRate
from seesay.formulas.efficiency import log_n_at, mean_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

AXES = {"images": "images processed", "flops": "FLOPs of training", "seconds": "seconds of training"}
# Prefixes of the International System of Units.
PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@plain_figure
def curves(comparison: Comparison, views: Sequence[tuple[str, str]]) -> "Canvas":
    """Panels side by side, one for each (unit, "linear" or "log").

    Lines are means of seeds, bands reach from the lowest seed to the highest; an arrow spans two neighbours, with the
    factor between them.
    """
    from matplotlib.ticker import LogLocator

    figure, panels = canvas(5.2 * len(views), 4.2, panels=len(views))
    for axes, (over, scale) in zip(panels, views, strict=True):
        _draw_curves(axes, comparison, over=over)
        _draw_arrows(axes, comparison, over=over)
        chance = 100 * comparison.check.most_by_chance
        axes.axhline(chance, color=FAINT, linestyle="--", linewidth=1, label="chance, at most", zorder=1)
        axes.set(xscale=scale, xlabel=AXES[over], ylabel="zero-shot top-1, %")
        if scale == "log":
            axes.xaxis.set_major_locator(LogLocator(subs=_tick_multiples(axes.get_xlim())))
            axes.minorticks_off()
        axes.xaxis.set_major_formatter(lambda value, _: short(value))
        axes.set_ylim(bottom=0)
        axes.grid()
    panels[-1].legend(loc="upper left")
    return figure


def _tick_multiples(limits: tuple[float, float]) -> tuple[float, ...]:
    """Which multiples of powers of ten have a tick: fewer where there are many powers."""
    return (1.0, 2.0, 5.0) if limits[1] < 1000 * limits[0] else (1.0,)


def _draw_curves(axes: "Axes", comparison: Comparison, *, over: str) -> None:
    for number, (name, objective) in enumerate(comparison.objectives.items()):
        curve = objective.curve(over)
        if curve is None:
            continue
        n_P, share_SP = np.exp(np.log(curve.n_SP).mean(0)), 100 * curve.accuracy_SP
        look = look_of(number)
        axes.plot(n_P, share_SP.mean(0), markersize=3.5, linewidth=1.6, label=plain_label(name), zorder=3, **look)
        axes.fill_between(n_P, share_SP.min(0), share_SP.max(0), color=look["color"], alpha=0.18, linewidth=0, zorder=2)


def _draw_arrows(axes: "Axes", comparison: Comparison, *, over: str) -> None:
    """From each objective to the next best, at the middle of the accuracies that both reach."""
    for fast, slow in pairwise(comparison.ranked):
        factor = comparison.factor(fast, slow, over=over)
        if factor is None or factor.factor is None or factor.common is None:
            continue
        level = sum(factor.common) / 2
        ends = [_n_at(comparison, name, over=over, level=level) for name in (fast, slow)]
        style = {"arrowstyle": "<->", "color": INK, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", xy=(ends[1], 100 * level), xytext=(ends[0], 100 * level), arrowprops=style, zorder=4)
        text = {"text": f"{factor.factor:.1f}x", "fontsize": 9, "color": INK, "zorder": 5}
        box = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
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


# A guess: the width of two panels side by side on the page, in pixels.
FIGURE_WIDTH = 1100
VIEWS_OF_IMAGES = (("images", "linear"), ("images", "log"))
VIEWS_OF_COMPUTE = (("flops", "log"), ("seconds", "log"))
METHOD = (
    "A factor says how many times more images (FLOPs, seconds) the second objective needs than the first for the same "
    "accuracy. Curves are means over seeds. Where one falls it is replaced by the nearest that never does (least "
    "squares), and between two points accuracy is a straight line over the logarithm of images. The factor is the "
    "median over accuracies spread evenly over the range that both reach. Accuracies that random answers may "
    "reach (97.5 of 100 tries are no better) do not count.",
    "Intervals are 95 % bootstrap intervals over seeds: every resample of the one objective's seeds beside every "
    "resample of the other's. Few seeds give rough intervals, which tend to be too narrow. They do not hold for other "
    "pairs, other classes or longer runs.",
    "The learning rate falls to 0 towards the end of each run, so earlier points are of a model that is still "
    "learning fast, not of a shorter run. Each learning rate was tried on the first seed, and the one with the best "
    "accuracy there was taken: the first seed's end is therefore a little flattered. A run whose loss or gradient is "
    "not finite three steps in a row has diverged; its learning rate is not taken.",
    "Seconds are those of training without the checks, on the machine named below and with other runs beside; FLOPs "
    "are counted over one real forward and backward pass and multiplied (products of matrices, convolutions, "
    "attention).",
)


def build_page(comparison: Comparison) -> str:
    """The whole page as HTML."""
    sections = [
        claims_section(comparison),
        compute_section(comparison),
        factors_section(comparison),
        ends_section(comparison),
        tuning_section(comparison),
        runs_section(comparison),
        settings_section(comparison),
        Section(title="How it was measured", text=(*METHOD, templates_sentence(comparison))),
        facts_section(comparison),
    ]
    pairs, check = comparison.pairs, comparison.check
    lead = (
        f"{len(comparison.objectives)} objectives learn from the same {pairs.pairs:,} pairs of {pairs.name}, "
        f"{comparison.recipe.images:,} images each with the same image tower, start, order and batches, and classify "
        f"{check.n:,} images of {check.name} into {check.classes} classes."
    )
    return render_page("Objectives side by side", [section for section in sections if section], lead=lead)


def templates_sentence(comparison: Comparison) -> str:
    """The templates of each objective's class names."""
    templates = [
        f"{name} in {', '.join(map(repr, objective.templates))}" for name, objective in comparison.objectives.items()
    ]
    return f"Class names were put into these templates: {'; '.join(templates)}."


def figure_of(comparison: Comparison) -> Drawing:
    """The figure for a README: accuracy over images, on both axes."""
    return curves(comparison, VIEWS_OF_IMAGES)


def claims_section(comparison: Comparison) -> Section:
    """The figure, the paper's claims, and what is to be doubted."""
    note = (
        "Lines are means over seeds, bands reach from the lowest seed to the highest. Left as in the paper's Figure 2, "
        "right with a logarithmic axis. The numbers at the arrows are efficiency factors."
    )
    figure = Figure(drawing=figure_of(comparison), words=describe(comparison, "images"), note=note, width=FIGURE_WIDTH)
    failed = [f"Run {name} failed: {reason}." for name, reason in comparison.failed.items()]
    text = [*claim_lines(comparison), *rate_lines(comparison), *failed, *_versions(comparison)]
    return Section(title="What it shows", text=text, parts=[figure])


def _versions(comparison: Comparison) -> list[str]:
    """A warning where not all runs were made by the same program, as when it changed before they were resumed."""
    versions = {tuple(str(run.machine[key]) for key in ("seesay", "commit", "torch")) for run in comparison.runs}
    if len(versions) < 2:
        return []
    listed = "; ".join(" ".join(version) for version in sorted(versions))
    return [f"The runs are not all of one version (seesay, commit, torch: {listed}), and should not be compared."]


def compute_section(comparison: Comparison) -> Section:
    """The same curves over FLOPs and seconds."""
    words = " ".join(describe(comparison, over) for over, _ in VIEWS_OF_COMPUTE)
    drawing = curves(comparison, VIEWS_OF_COMPUTE)
    note = "The same accuracies over what they cost."
    return Section(title="Over compute", parts=[Figure(drawing=drawing, words=words, note=note, width=FIGURE_WIDTH)])


def factors_section(comparison: Comparison) -> Section | None:
    """Each two objectives, the better one first."""
    rows = []
    for fast, slow in combinations(comparison.ranked, 2):
        factors = [factor for over in UNITS if (factor := comparison.factor(fast, slow, over=over))]
        common = factors[0].common
        span = f"{percent(common[0])} to {percent(common[1])}" if common else ""
        rows.append((fast, slow, *map(factor_words, factors), span))
    if not rows:
        return None
    head = ("objective", "over", *(f"factor in {name}" for name in UNITS.values()), "accuracies compared, %")
    return Section(title="Efficiency factors", parts=[Table(head=head, rows=rows)])


def ends_section(comparison: Comparison) -> Section:
    """Accuracy and cost at the end, means over the seeds."""
    rows = []
    for name in comparison.ranked:
        objective = comparison.objectives[name]
        accuracies = objective.final_accuracies
        last = [points[-1] for points in objective.seeds.values()]
        mean = sum(accuracies) / len(accuracies)
        spread = f"{percent(min(accuracies))} to {percent(max(accuracies))}"
        seconds = sum(point.seconds for point in last) / len(last)
        rows.append((name, str(len(accuracies)), percent(mean), spread, f"{seconds:,.0f}", short(last[0].flops)))
    head = ("objective", "seeds", "top-1, %", "lowest to highest seed", "seconds", "FLOPs")
    check = comparison.check
    text = (
        f"Chance is {percent(check.chance)} %; 97.5 of 100 tries with random answers reach "
        f"{percent(check.most_by_chance)} % or less."
    )
    return Section(title="At the end", text=[text], parts=[Table(head=head, rows=rows)])


def tuning_section(comparison: Comparison) -> Section:
    """Every learning rate on the first seed."""
    recipe = comparison.recipe
    rows = [
        (name, *(_tuning_cell(tried, objective) for tried in objective.tuning))
        for name, objective in comparison.objectives.items()
    ]
    head = ("objective", *(f"{rate:g}" for rate in recipe.learning_rates))
    text = f"Top-1 in % at the end with each learning rate, on seed {recipe.seeds[0]}; ✓ is the one taken."
    return Section(title="Learning rates", text=[text], parts=[Table(head=head, rows=rows)])


def _tuning_cell(tried: TriedRate, objective: ObjectiveResult) -> str:
    if tried.diverged_at_step is not None:
        return f"diverged at step {tried.diverged_at_step:,}"
    if tried.accuracy is None:
        return "failed"
    loss = "" if tried.loss is None else f", loss {tried.loss:.3f}"
    mark = "✓ " if tried.learning_rate == objective.learning_rate else ""
    return f"{mark}{percent(tried.accuracy)}{loss}"


def runs_section(comparison: Comparison) -> Section:
    """Every finished run."""
    rows = []
    for run in sorted(comparison.runs, key=lambda run: (run.objective, run.learning_rate, run.seed)):
        last = run.points[-1]
        loss = "" if last.loss is None else f"{last.loss:.3f}"
        score = with_interval(last.accuracy, last.interval95)
        cost = (f"{last.images:,}", f"{last.seconds:,.0f}", short(last.flops))
        rows.append((run.objective, f"{run.learning_rate:g}", str(run.seed), score, str(last.n), loss, *cost))
    head = ("objective", "learning rate", "seed", "top-1, %", "test images", "loss", "images", "seconds", "FLOPs")
    text = "In brackets the exact binomial interval over images."
    return Section(title="Every run", text=[text], parts=[Table(head=head, rows=rows)])


def settings_section(comparison: Comparison) -> Section | None:
    """Settings that all runs have in common, and those that only some have."""
    if not comparison.runs:
        return None
    by_run = {f"{run.objective} {run.learning_rate:g} {run.seed}": _flat(run.settings) for run in comparison.runs}
    keys = list(dict.fromkeys(key for flat in by_run.values() for key in flat))
    shared = [key for key in keys if len({flat.get(key) for flat in by_run.values()}) == 1]
    others = [key for key in keys if key not in shared]
    first = next(iter(by_run.values()))
    parts = [
        Table(head=("setting", "of all runs"), rows=[(key, first[key]) for key in shared]),
        Table(
            head=("run", *others),
            rows=[(name, *(flat.get(key, "") for key in others)) for name, flat in by_run.items()],
        ),
    ]
    return Section(title="Settings", parts=parts)


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{key}.")
        else:
            flat[above + key] = _cell(value)
    return flat


def _cell(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_cell(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def facts_section(comparison: Comparison) -> Section:
    """Data and machine."""
    pairs, check, machine = comparison.pairs, comparison.check, comparison.machine
    rows = [
        ("pairs", f"{pairs.name}: {pairs.pairs:,}, fingerprint {pairs.fingerprint[:16]}"),
        ("check", f"{check.name}: {check.n:,}, fingerprint {check.fingerprint[:16]}"),
        ("runs at a time", str(comparison.jobs)),
        *((key, str(machine[key])) for key in ("seesay", "commit", "python", "torch", "device", "cores", "processor")),
    ]
    return Section(title="Data and machine", parts=[Table(head=("what", "value"), rows=rows)])

"""The page of a fine-tuned model: the curve from the old model to the new one, and its numbers."""

from typing import TYPE_CHECKING

from seesay.base.drawing import FAINT, INK, canvas, look_of, plain_figure, plain_label
from seesay.evaluation.html import Figure, Section, Table, render_page
from seesay.finetuning.result import FineTuning
from seesay.training.faults import left_out_in_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

METHOD = (
    "Between the old model and the trained one every weight is (1 - a) old + a new, running statistics of batch "
    "normalisation too (Wortsman et al. 2022). For low-rank updates a is the factor on what they add.",
    "What was gained or lost is the mean difference to the old model over the same images. The interval of 95 % is a "
    "bootstrap over images (of Student where the old model is the teacher); the lower end of a guard's interval is "
    "what may have been lost. No end is nearer than what so few images may not show: with 20 a loss of 17 points, with "
    "370 one of 1, and of a teacher's answers that much of what another answer is worth less in the mean.",
    "The model was chosen on the images that the target is measured on here, so that its target score is a little "
    "flattered; measure it on others.",
)


@plain_figure
def curve(result: FineTuning) -> "Canvas":
    """Target over each guard from the old model to the new one, and the bound."""
    figure, panels = canvas(5.2 * len(result.guards), 4.0, panels=len(result.guards))
    for number, (axes, guard) in enumerate(zip(panels, result.guards, strict=True)):
        lost = [100 * point.guards[number].gain for point in result.points]
        low = [100 * (point.guards[number].gain - point.guards[number].interval95[0]) for point in result.points]
        high = [100 * (point.guards[number].interval95[1] - point.guards[number].gain) for point in result.points]
        target = [100 * point.target.value for point in result.points]
        axes.errorbar(lost, target, xerr=[low, high], fmt="none", ecolor=FAINT, elinewidth=0.8, zorder=2)
        axes.plot(lost, target, markersize=4, linewidth=1.4, zorder=3, **look_of(0))
        for point, x, y in zip(result.points, lost, target, strict=True):
            if point.a in (0, 0.5, 1) or point == result.chosen:
                axes.annotate(f"a = {point.a:.3g}", (x, y), xytext=(4, 4), textcoords="offset points", color=INK)
        if result.chosen is not None:
            chosen = result.chosen
            at = (100 * chosen.guards[number].gain, 100 * chosen.target.value)
            axes.plot(*at, marker="*", markersize=14, linestyle="none", color=look_of(1)["color"], zorder=4)
        axes.axvline(-result.most_loss, color=FAINT, linestyle="--", linewidth=1)
        axes.set(xlabel=plain_label(f"gained on {guard.name}, points"), ylabel=plain_label(f"{result.target.name}, %"))
        axes.grid()
    return figure


def build_page(result: FineTuning) -> str:
    """The whole page as HTML."""
    chosen = result.chosen
    verdict = (
        f"The model at a = {chosen.a:.3g} is recommended: {100 * chosen.target.value:.1f} % on {result.target.name}, "
        f"{100 * result.points[0].target.value:.1f} % before."
        if chosen is not None
        else f"No model is better on {result.target.name} and within the bound of {result.most_loss:g} in 100."
    )
    ends = "; ".join(
        f"a = {point.a:g}: {100 * point.target.value:.1f} %" for point in (result.points[0], result.points[-1])
    )
    figure = Figure(
        drawing=curve(result),
        words=f"Target over what was gained on the guard, from the old model to the new one. {ends}.",
        note="Lines across are 95 % intervals, the dashed line is the bound, the star the recommended model.",
        width=560 * len(result.guards),
    )
    measured = [
        f"{each.name}: {each.what}, {each.n:,} images"
        + (f"; {left_out_in_words(each.left_out, each.looked_at)}." if each.left_out else ".")
        for each in (result.target, *result.guards)
    ]
    if result.left_out:
        measured.append(f"{left_out_in_words(result.left_out, result.looked_at)}.")
    sections = [
        Section(title="From the old model to the new one", text=[verdict], parts=[figure]),
        Section(title="Numbers", parts=[Table(head=result.columns, rows=result.rows())]),
        Section(title="How it was measured", text=[*measured, *METHOD]),
    ]
    return render_page(f"{result.model_name}, fine-tuned ({result.how})", sections, lead=verdict)

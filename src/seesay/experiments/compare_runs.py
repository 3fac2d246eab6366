"""Two training runs side by side, the public `seesay.compare_runs`: settings that differ, curves, scores with tests."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesay.base.bounded import read_json
from seesay.base.drawing import COLOURS, canvas, plain_figure, plain_label
from seesay.base.errors import RefusedInput, UsageError
from seesay.base.names import no_empty_names
from seesay.base.publish import publish_file, refuse_unwritable
from seesay.base.settings import leaves
from seesay.evaluation.evaluate import Evaluation, evaluate
from seesay.evaluation.html import Figure, Section, Table, render_page
from seesay.evaluation.report import comparison_section
from seesay.experiments.compare import FIGURE_NAME, PAGE_NAME, RESULT_NAME
from seesay.model.layouts.seesay import CONFIG_NAME
from seesay.training.best import LOSS
from seesay.training.run_folder import BEST_FOLDER, MODEL_FOLDER, SETTINGS_NAME, Run, open_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# A guess: the width of two panels side by side on the page, in pixels.
FIGURE_WIDTH = 1100
ABSENT = "-"


@dataclass(frozen=True, kw_only=True)
class RunsComparison:
    """Two runs: `settings` that differ and `ends`, in rows for people: name, of the first, of the second.

    `evaluation` has the scores of both models on the same set, with paired tests; None where no set was given. `notes`
    say what must not be compared.
    """

    runs: tuple[Run, Run]
    names: tuple[str, str]
    settings: tuple[tuple[str, str, str], ...]
    ends: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]
    evaluation: Evaluation | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "runs": [str(run.folder) for run in self.runs],
            "settings": {name: list(values) for name, *values in self.settings},
            "ends": {name: list(values) for name, *values in self.ends},
            "notes": list(self.notes),
            "scores": self.evaluation.to_json() if self.evaluation else [],
        }

    def page(self) -> str:
        """One HTML page, with the curves inside."""
        head = ("", *self.names)
        curves = Figure(drawing=figure_of(self), words="Losses and checks of both runs.", width=FIGURE_WIDTH)
        differing = [Table(head=head, rows=self.settings)] if self.settings else []
        sections = [
            Section(title="Curves", parts=[curves]),
            Section(title="At the end", text=self.notes, parts=[Table(head=head, rows=self.ends)]),
            Section(title="Settings that differ", text=[] if differing else ["None."], parts=differing),
        ]
        tests = comparison_section(self.evaluation.comparisons) if self.evaluation else None
        return render_page(" and ".join(self.names), [*sections, *([tests] if tests else [])])

    def __repr__(self) -> str:
        return f"RunsComparison({' and '.join(self.names)}: {len(self.settings)} settings differ)"


@no_empty_names
def compare_runs(
    first: str | Path, second: str | Path, *, out: str | Path | None = None, check: str | Path | None = None
) -> RunsComparison:
    """Compare two folders that `seesay train` wrote, finished or not.

    `check` is a labelled set, or images with captions, that both finished models are measured on, with a paired test of
    each score (`evaluate`). The folder `out` gets page.html, figure.png and result.json. `UsageError` for what is no
    run folder, for a run that is not finished where `check` is given, and for an `out` that holds a run or an
    experiment; with `check` also what `evaluate` raises.
    """
    runs = open_run(first), open_run(second)
    if runs[0].folder.resolve() == runs[1].folder.resolve():
        raise UsageError(f"{first} and {second} are the same run; name two.")
    if out is not None:
        refuse_unwritable(Path(out))
        if (Path(out) / SETTINGS_NAME).exists():
            raise UsageError(f"{out} holds a run or an experiment; choose another --out.")
    short = runs[0].folder.resolve().name, runs[1].folder.resolve().name
    names = short if short[0] != short[1] else (str(first), str(second))
    evaluation = None
    if check is not None:
        for run in runs:
            run.load()
        evaluation = evaluate([run.folder / MODEL_FOLDER for run in runs], check)
    comparison = RunsComparison(
        runs=runs,
        names=names,
        settings=differing_settings(runs),
        ends=ends_of(runs),
        notes=notes_of(runs, is_tested=check is not None),
        evaluation=evaluation,
    )
    if out is not None:
        publish_file(Path(out) / RESULT_NAME, json.dumps(comparison.to_json(), indent=1).encode())
        publish_file(Path(out) / FIGURE_NAME, figure_of(comparison).png())
        publish_file(Path(out) / PAGE_NAME, comparison.page().encode())
    return comparison


def differing_settings(runs: tuple[Run, Run]) -> tuple[tuple[str, str, str], ...]:
    """The settings that are not the same in both, by name."""
    first, second = (dict(leaves(run.settings)) for run in runs)
    return tuple(
        (name, first.get(name, ABSENT), second.get(name, ABSENT))
        for name in dict.fromkeys([*first, *second])
        if first.get(name) != second.get(name)
    )


def ends_of(runs: tuple[Run, Run]) -> tuple[tuple[str, str, str], ...]:
    """What both runs came to, by name."""
    first, second = (_end_of(run) for run in runs)
    names = dict.fromkeys([*first, *second])
    return tuple((name, first.get(name, ABSENT), second.get(name, ABSENT)) for name in names)


def _end_of(run: Run) -> dict[str, str]:
    last, data = (run.history or [{}])[-1], run.facts["data"]
    end = {
        "state": "finished" if run.is_finished else "not finished",
        "training pairs": _shown(data.get("pairs")),
        "validation pairs": _shown(data.get("validation_pairs")),
        "steps": _shown(max((event.get("step", 0) for event in run.events), default=0)),
        "pairs seen": _shown(last.get("pairs_seen")),
        "training loss, smoothed": _shown(last.get("smooth_loss")),
    }
    checks = (run.checks or [{}])[-1]
    end |= {name: _shown(value) for name, value in checks.items() if "/" in name}
    if best := _best_facts(run):
        end["lowest validation/loss"] = f"{best['loss']:.3f} at step {best['step']:,}"
    return end


def _shown(value: float | None) -> str:
    """A count or a measure for people; a number that was not finite, or is not there, is `ABSENT`."""
    if value is None:
        return ABSENT
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _best_facts(run: Run) -> Mapping[str, Any]:
    """The check of the run's best model; empty without one."""
    try:
        return read_json(run.folder / BEST_FOLDER / CONFIG_NAME)["facts"]["training"]["best"]
    except (OSError, RefusedInput, KeyError):
        return {}


def notes_of(runs: tuple[Run, Run], *, is_tested: bool) -> tuple[str, ...]:
    """What must not be compared, and why."""
    notes = []
    data = [run.facts["data"].get("fingerprint") for run in runs]
    if data[0] != data[1]:
        counts = " and ".join(f"{_shown(run.facts['data'].get('pairs'))} pairs" for run in runs)
        notes.append(f"The runs did not learn from the same pairs ({counts}).")
    digests = [_best_facts(run).get("measured_on") for run in runs]
    if digests[0] is None or digests[0] != digests[1]:
        notes.append(
            f"The validation losses do not say which model is better: {_why_losses_differ(runs, digests=digests)}."
        )
    if not is_tested:
        notes.append("No score is tested: --check SET measures both models on the same images, with paired tests.")
    return tuple(notes)


def _why_losses_differ(runs: tuple[Run, Run], *, digests: Sequence[str | None]) -> str:
    """Why validation losses cannot be compared, as far as the run folders say."""
    if None in digests:
        missing = [str(run.folder) for run, digest in zip(runs, digests, strict=True) if digest is None]
        return f"{' and '.join(missing)} holds none, or does not say of what"
    first, second = (dict(leaves(run.settings)) for run in runs)
    reasons = [
        f"{words} is {first.get(name, ABSENT)} in one and {second.get(name, ABSENT)} in the other"
        for name, words in (("batch_size", "the batch size"), ("objective.name", "the objective"))
        if first.get(name) != second.get(name)
    ]
    return ", ".join(reasons) or "they are of different pairs"


@plain_figure
def figure_of(comparison: RunsComparison) -> "Canvas":
    """Losses and checks of both runs over the pairs seen."""
    figure, (left, right) = canvas(10.4, 4.2, panels=2)
    for run, name, colour in zip(comparison.runs, comparison.names, COLOURS, strict=False):
        _draw_run(left, right, run, label=plain_label(name), colour=colour)
    left.set(xlabel="pairs seen", ylabel="loss", title="Training loss, smoothed; validation loss dashed")
    right.set(xlabel="pairs seen", ylabel="share right", title="Checks during the runs")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.grid()
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    return figure


def _draw_run(left: "Axes", right: "Axes", run: Run, *, label: str, colour: str) -> None:
    history, checks = run.history, run.checks
    seen, losses = [row["pairs_seen"] for row in history], [row["smooth_loss"] for row in history]
    left.plot(seen, losses, color=colour, linewidth=1.6, label=label)
    left.plot(*_series(checks, LOSS), color=colour, linestyle="--", marker="o", markersize=3)
    names = dict.fromkeys(name for row in checks for name in row if "/" in name and not name.endswith("/loss"))
    for number, name in enumerate(names):
        style, named = ("-", ":", "-.")[number % 3], plain_label(f"{label} {name}")
        right.plot(*_series(checks, name), color=colour, linestyle=style, marker="o", markersize=3, label=named)


def _series(checks: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    rows = [row for row in checks if row.get(name) is not None]
    return [row["pairs_seen"] for row in rows], [row[name] for row in rows]

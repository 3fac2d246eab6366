"""Models times sets: the public `seesay.evaluate`, and its value, of which tables, JSON files and the page are made."""

import glob
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any, Literal

from seesay.base.errors import UsageError
from seesay.base.names import no_empty_names, whole_numbers
from seesay.base.publish import publish_file, refuse_unwritable, refuse_unwritable_file
from seesay.base.records import PairSource
from seesay.base.runtime import Runtime, machine_facts
from seesay.base.values import html_table, percent, score_row, to_pandas, with_interval
from seesay.data.class_names import CLASS_NAMES, Descriptions, read_descriptions
from seesay.data.drawn_sets import drawn_sources, is_drawn_set
from seesay.data.evalsets import name_of_set
from seesay.data.hub_sets import is_hub_set, read_name
from seesay.data.memory_pairs import is_in_memory
from seesay.data.pairs import has_columns, listed, open_pairs
from seesay.data.paper_sets import folder_of, is_paper_set
from seesay.data.prompts import load_templates, read_labels
from seesay.data.sources import missing_location
from seesay.evaluation.compare import Baseline, Shift, check_shift, compare_all, read_baseline, shift_results
from seesay.evaluation.entries import Entry, Request, measure_entry
from seesay.evaluation.report import build_page
from seesay.evaluation.results import ComparisonResult, ShiftResult
from seesay.evaluation.suite import NO_CACHE, Measured, Question, Templates
from seesay.model.bundle import Model
from seesay.model.cache import EmbeddingCache
from seesay.model.hub import on_device, refuse_loaded

# Entries that the repr names; a guess at what fits a few lines of a terminal.
ENTRIES_SHOWN = 4
# Facts of the machine that the page shows.
SHOWN_FACTS = ("seesay", "commit", "torch", "processor", "device")
# What a file name may not hold on Windows, where a colon would hide the file as a stream of another.
_NOT_IN_NAMES = re.compile(r'[/\\:*?"<>|]')
COLUMNS = ("model", "set", "task", "score", "value [95 %]", "chance", "n")


@no_empty_names
def evaluate(
    models: Model | str | Path | Sequence[Model | str | Path],
    sets: Any,
    *,
    templates: Templates = None,
    class_names: str | Path | None = None,
    descriptions: Descriptions | None = None,
    probe: bool = False,
    shots: Sequence[int] = (),
    prompts: bool = False,
    shift: tuple[str, str] | None = None,
    baseline: str | Path | None = None,
    report: str | Path | None = None,
    results: str | Path | None = None,
    preprocess: Literal["exact", "fast"] = "exact",
    device: str | None = None,
    precision: str | None = None,
    engine: str | None = None,
    weights_dtype: str | None = None,
    width: int | None = None,
    batch_size: int | None = None,
    image_column: str | None = None,
    caption_column: str | None = None,
    cache: bool = True,
    on_entry: Callable[[Entry], None] = lambda entry: None,
) -> "Evaluation":
    """Measure models on labelled sets (zero-shot accuracy) and on images with captions (retrieval).

    `models`: names or folders, loaded to `device` or the best there is, and `Model` values, which stay where they are
    without one. `sets`: what `data.evalsets.open_evalset` takes, or images with captions in memory, as for `train`.
    `templates` (`data.prompts.load_templates`), `class_names` (`data.class_names.edited_names`) and `descriptions`
    ({class: [sentence, ...]} or a JSON file) replace the words that `tasks.words.choose_words` takes for the classes.
    `probe`: also a linear probe where a set has a train part (train/ beside test/ or val/), and with `shots` on this
    many images per class. `prompts`: also the accuracy of every single template, and what spoke for the worst mistakes.
    `shift` names the natural and the shifted one of two sets; `baseline` is a JSON file of standard models on these.
    `preprocess` is the mode (`Model.with_preprocess`) of all models, `Model` values too; `precision` to `batch_size`
    are as in `Model.with_precision` and so on, `weights_dtype` as in `load`. The two columns are for tables that call
    theirs otherwise. Embeddings are cached under `SEESAY_CACHE`, unless `cache` is False. `on_entry` gets every entry
    once measured. `results` is a folder for a JSON file per model, set and task, written when it is measured; `report`
    is an HTML page, which implies `prompts`. What is left out is in an entry's `remarks`.
    `UsageError` for arguments that do not fit, before any model is loaded; later what `measure_set` raises.
    """
    refuse_loaded(arguments := check_models(models), weights_dtype)
    words = {"templates": templates, "class_names": class_names, "descriptions": descriptions}
    question = check_question(templates, class_names, descriptions, cache=cache)
    counts = whole_numbers(shots, "shots")
    check_outputs(report, results)
    columns = {"image_column": image_column, "caption_column": caption_column}
    sources = open_memory_sets(check_sources(sets, columns), columns)
    chosen, standard = check_shift_arguments(shift, baseline, sources)
    more = {"probe": probe or bool(counts), "shots": counts, "prompts": prompts or report is not None, "shift": chosen}
    request = Request(question=question, sources=sources, columns=columns, **more)
    how = {"precision": precision, "engine": engine, "weights_dtype": weights_dtype, "width": width}
    settings = settings_of(words, {"preprocess": preprocess, **how}, probe=probe, shots=shots, shift=chosen)
    evaluation = Evaluation(entries=(), settings=settings, environment=machine_facts(Runtime.find()), baseline=standard)
    loaded = open_models(arguments, preprocess, device=device, batch_size=batch_size, **how)
    evaluation = measure_all(evaluation, loaded, request, results, on_entry)
    if report is not None:
        evaluation.write_report(report)
    return evaluation


def measure_all(
    evaluation: "Evaluation",
    models: Iterable[tuple[str, Model]],
    request: Request,
    results: str | Path | None,
    on_entry: Callable[[Entry], None],
) -> "Evaluation":
    """The evaluation with an entry for each named model on each set, the shift of each model, and all comparisons."""
    for name, model in models:
        of_model: list[Measured] = []
        for source in request.sources:
            entry = measure_entry(name, model, source, request)
            of_model.append(entry.measured)
            evaluation = with_entry(evaluation, entry, results)
            on_entry(entry)
        shifts = [] if request.shift is None else shift_results(of_model, request.shift, evaluation.baseline)
        evaluation = replace(evaluation, shifts=(*evaluation.shifts, *shifts))
    comparisons = compare_all([entry.measured for entry in evaluation.entries])
    return replace(evaluation, comparisons=tuple(comparisons))


def with_entry(evaluation: "Evaluation", entry: Entry, results: str | Path | None) -> "Evaluation":
    """The evaluation with one more entry, whose documents are written to the folder `results`, if there is one."""
    before = evaluation.documents()
    evaluation = replace(evaluation, entries=(*evaluation.entries, entry))
    if results is not None:
        for name, document in evaluation.documents().items():
            if name not in before:
                publish_file(Path(results) / name, (json.dumps(document, indent=2) + "\n").encode())
    return evaluation


@dataclass(frozen=True, kw_only=True, repr=False)
class Evaluation:
    """What was measured: `entries`, one per model and set; `shifts`, one per model; `comparisons` of every two models.

    `settings` are the arguments it was made with, `environment` the versions and the machine.
    """

    entries: tuple[Entry, ...]
    settings: Mapping[str, Any]
    environment: Mapping[str, object]
    shifts: tuple[ShiftResult, ...] = ()
    comparisons: tuple[ComparisonResult, ...] = ()
    baseline: Baseline | None = None

    def documents(self) -> dict[str, dict[str, Any]]:
        """One JSON object per model, set and task by file name, each with the settings, the commit and the machine.

        Where two sets of a model have one name the second file name ends in --2.
        """
        facts = {"settings": dict(self.settings), "environment": dict(self.environment)}
        documents: dict[str, dict[str, Any]] = {}
        for result in (result for entry in self.entries for result in entry.to_json()):
            words = [result["model"], result["set"], result["task"]]
            stem = "--".join(_NOT_IN_NAMES.sub("-", word).lstrip(".") for word in words)
            documents[f"{_free(stem, documents, '--{}', '.json')}.json"] = {**result, **facts}
        return documents

    def to_json(self) -> list[dict[str, Any]]:
        """Everything as a list of plain values, as `seesay evaluate --json` writes it."""
        others = [*self.shifts, *self.comparisons]
        return [*self.documents().values(), *(result.to_json() for result in others)]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each score: model, set, task, score, value, low and high end of the 95 % interval, chance, n."""
        rows = []
        for entry in self.entries:
            rows += entry.result.rows()
            if (probe := entry.probe) is not None:
                names = {"model": probe.model, "set": probe.set_name, "task": "linear-probe"}
                rows.append({**names, "score": probe.metric, **score_row(probe.score)})
        return rows

    def to_pandas(self) -> Any:
        """`rows` as a pandas table; `UsageError` where pandas is not installed."""
        return to_pandas(self.rows())

    def write_report(self, path: str | Path) -> None:
        """One HTML page with all figures and tables, which needs no network and no script."""
        facts = {name: str(self.environment[name]) for name in SHOWN_FACTS}
        facts |= {name: str(value) for name, value in self.settings.items() if value is not None}
        page = build_page(
            self.entries, comparisons=self.comparisons, shifts=self.shifts, baseline=self.baseline, facts=facts
        )
        publish_file(path, page.encode())

    def __repr__(self) -> str:
        shown = [repr(entry) for entry in self.entries[:ENTRIES_SHOWN]]
        more = len(self.entries) - len(shown)
        return f"Evaluation({'; '.join([*shown, *([f'and {more} more'] if more else [])])})"

    def _repr_html_(self) -> str:
        cells = [
            [
                *(row[name] for name in COLUMNS[:4]),
                with_interval(row["value"], (row["low"], row["high"])),
                percent(row["chance"]),
                f"{row['n']:,}",
            ]
            for row in self.rows()
        ]
        remarks = [f"{entry.result.set_name}: {remark}" for entry in self.entries for remark in entry.remarks]
        return html_table(COLUMNS, cells) + "".join(f"<p>{escape(remark)}</p>" for remark in dict.fromkeys(remarks))


def open_models(
    models: Sequence[Model | str | Path],
    preprocess: str,
    **encoding: Any,
) -> Iterator[tuple[str, Model]]:
    """Each model when its turn comes, as `on_device` gives it, with a name that no other has: its own, the argument
    that named it, or a number behind its own."""
    names: dict[str, Model] = {}
    for argument in models:
        model = on_device(argument, **encoding)
        model = model.with_preprocess(preprocess)
        word = model.name if isinstance(argument, Model) else str(argument)
        name = model.name if model.name not in names else _free(word, names, " ({})")
        names[name] = model
        yield name, model


def _free(name: str, names: Mapping[str, object], form: str, suffix: str = "") -> str:
    """`name`, or where it is in use `name` with the first free number from 2 on behind it, in that form."""
    candidate, number = name, 1
    while candidate + suffix in names:
        number += 1
        candidate = name + form.format(number)
    return candidate


def check_models(models: Model | str | Path | Sequence[Model | str | Path]) -> tuple[Model | str | Path, ...]:
    """The models, each once; `UsageError` for none."""
    if not (arguments := tuple(dict.fromkeys(_listed(models)))):
        raise UsageError("there is no model to measure; name one or more.")
    return arguments


def check_sources(sets: Any, columns: Mapping[str, str | None]) -> list[Any]:
    """The sets, each path once; `UsageError` for none, one that is not there, and a wrong spelling of a hub's."""
    sources = listed(sets)
    paths = list(dict.fromkeys(drawn_sources([str(source) for source in sources if not is_in_memory(source)])))
    for path in paths:
        if is_hub_set(path):
            read_name(path)
        elif is_paper_set(path):
            folder_of(path)
        elif not is_drawn_set(path) and not glob.has_magic(path) and not Path(path).exists():
            raise missing_location(Path(path))
    in_memory = [source for source in sources if is_in_memory(source)]
    if not paths and not in_memory:
        raise UsageError("there is no set to measure on; name one or more.")
    if any(columns.values()) and not in_memory and not any(has_columns(path, columns) for path in paths):
        raise UsageError(f"a column was named, but none of {', '.join(paths)} is a table with it.")
    return [*paths, *in_memory]


def open_memory_sets(sources: Sequence[Any], columns: Mapping[str, str | None]) -> tuple[str | PairSource, ...]:
    """The sources, those in memory opened; raises as `open_pairs`."""
    return tuple(open_pairs(source, **columns) if is_in_memory(source) else source for source in sources)


def check_question(
    templates: Templates, class_names: str | Path | None, descriptions: Descriptions | None, *, cache: bool
) -> Question:
    """The words for the classes; `UsageError` for a name or file that holds none."""
    if templates is not None:
        load_templates(templates)
    if class_names is not None and str(class_names) not in CLASS_NAMES:
        read_labels(class_names)
    if isinstance(descriptions, str | Path):
        descriptions = read_descriptions(descriptions)
    where = EmbeddingCache.find() if cache else NO_CACHE
    return Question(templates=templates, class_names=class_names, descriptions=descriptions, cache=where)


def check_shift_arguments(
    shift: tuple[str, str] | None, baseline: str | Path | None, sources: Sequence[str | PairSource]
) -> tuple[Shift | None, Baseline | None]:
    """The shift between two of the sources, and the standard models of the file; `UsageError` for what is neither."""
    if shift is None and baseline is not None:
        raise UsageError(
            f"baseline {baseline} belongs to a shift; name its two sets with shift, the natural one first."
        )
    if shift is None:
        return None, None
    names = [name_of_set(source) if isinstance(source, str) else source.name for source in sources]
    chosen = check_shift(shift, names)
    return chosen, None if baseline is None else read_baseline(Path(baseline))


def check_outputs(report: str | Path | None, results: str | Path | None) -> None:
    """Before the work rather than after it: `UsageError` for a folder in place of a file or the other way round."""
    refuse_unwritable_file(report, "report", ending=".html")
    if results is not None:
        if Path(results).is_file():
            raise UsageError(f"results {results} is a file; name a folder.")
        refuse_unwritable(results)


def settings_of(
    words: Mapping[str, object],
    how: Mapping[str, object],
    *,
    probe: bool,
    shots: Sequence[int],
    shift: Shift | None,
) -> dict[str, Any]:
    """The arguments as the JSON files hold them: text or None, and a list or an object where that is what was given."""
    plain = {
        name: str(value) if isinstance(value, Path) else dict(value) if isinstance(value, Mapping) else value
        for name, value in words.items()
    }
    return {
        **plain,
        "probe": probe,
        "shots": ",".join(map(str, shots)) or None,
        **how,
        "shift": None if shift is None else f"{shift.natural}={shift.shifted}",
    }


def _listed(one_or_more: Model | str | Path | Sequence[Model | str | Path]) -> list[Model | str | Path]:
    return [one_or_more] if isinstance(one_or_more, str | Path | Model) else list(one_or_more)

"""`seesay evaluate`: models times sets, every share with its 95 % interval and chance."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from seesay.base.errors import UsageError
from seesay.base.publish import refuse_unwritable_file
from seesay.cli.encode_options import EncodedAtOnce, Engine, Precision, WeightsDtype, Width
from seesay.cli.run_options import Device
from seesay.cli.tables import (
    counts_of,
    is_model,
    percent,
    refuse_skipped_of_probe,
    refuse_too_many,
    refuse_unwritable_json,
    say,
    show,
    swapped,
    table,
    with_interval,
    write_json,
)

if TYPE_CHECKING:
    from seesay.base.records import Score
    from seesay.evaluation.entries import Entry
    from seesay.evaluation.evaluate import Evaluation
    from seesay.evaluation.results import ComparisonResult, RetrievalResult, ShiftResult, SuiteResult, ZeroShotResult

    Result = ZeroShotResult | RetrievalResult | SuiteResult

ZERO_SHOT_COLUMNS = ["set", "n", "task", "top-1 [95 %]", "top-5", "mean per class", "chance"]
RETRIEVAL_COLUMNS = ["set", "n", "captions", "task", "R@1", "R@5", "R@10 [95 %]", "chance"]
MEASURE_COLUMNS = ["set", "n", "measure", "value [95 %]", "chance"]
PROBE_COLUMNS = ["set", "zero-shot", "linear probe [95 %]", "chance"]
SHIFT_COLUMNS = ["model", "natural", "top-1", "shifted", "top-1", "gap [95 %]", "effective robustness [95 %]"]
COMPARISON_COLUMNS = ["set", "score", "first", "second", "difference [95 %]", "p", "test"]
WORDS = (
    "Models (folder or name), then sets: folders with a folder per class, shards with classnames.txt, images with "
    "captions, hf:OWNER/NAME:SPLIT of the hub, limits[:NAME[:COUNT]], drawn by code, or a set of the "
    "paper as svhn:FOLDER."
)
TemplatesOption = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE", help="Sentences around the class names [default: the set's, or the model's]."),
]
ClassNamesOption = Annotated[
    str | None, typer.Option(metavar="NAME|FILE", help="Class names: a known data set, or a file.")
]
DescriptionsOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="JSON {class: [sentence, ...]} for templates.")
]
ProbeOption = Annotated[bool, typer.Option("--probe", help="Also a linear probe of sets with a train part.")]
ShotsOption = Annotated[str | None, typer.Option(metavar="N,N,...", help="Also probes on N images per class: 1,4,16.")]
ShiftOption = Annotated[
    str | None,
    typer.Option(
        metavar="NATURAL=SHIFTED",
        help="Two of the sets: accuracy lost between them.",
    ),
]
BaselineOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="JSON: standard models' accuracies for --shift.")
]
ColumnsOption = Annotated[str | None, typer.Option(metavar="IMAGE,TEXT", help="Two columns of a table.")]
ReportOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Write figures and tables there (HTML).")]
JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE|-", help="Write all that was measured, as fractions.")
]
ResultsOption = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Write a JSON file per model, set and task.")
]
PreprocessOption = Annotated[
    Literal["exact", "fast"],
    typer.Option(help="fast: shrunk while decoding."),
]


def command(
    words: Annotated[list[str], typer.Argument(metavar="MODEL|SET", help=WORDS)],
    *,
    templates: TemplatesOption = None,
    class_names: ClassNamesOption = None,
    descriptions: DescriptionsOption = None,
    probe: ProbeOption = False,
    shots: ShotsOption = None,
    shift: ShiftOption = None,
    baseline: BaselineOption = None,
    columns: ColumnsOption = None,
    report: ReportOption = None,
    json_file: JsonOption = None,
    results: ResultsOption = None,
    preprocess: PreprocessOption = "exact",
    device: Device = None,
    precision: Precision = None,
    engine: Engine = None,
    weights_dtype: WeightsDtype = None,
    width: Width = None,
    batch_size: EncodedAtOnce = None,
) -> None:
    """Measure models on labelled images (zero-shot accuracy) or captioned ones (retrieval), in percent.

    A set named as one of Radford et al. 2021, such as eval-cifar10, is asked about with the templates and class names
    of that paper unless it has its own. Embeddings are cached under SEESAY_CACHE ("off": not at all).

    Example: seesay evaluate RUN/model cifar10 flickr8k --report scores.html
    """
    refuse_unwritable_files(json_file, report)
    (models, sources), counts = split_words(words), counts_of(shots)
    how = {"precision": precision, "engine": engine, "weights_dtype": weights_dtype, "batch_size": batch_size}
    from seesay.evaluation.evaluate import evaluate

    entries: list[Entry] = []
    try:
        evaluation = evaluate(
            models,
            sources,
            templates=templates,
            class_names=class_names,
            descriptions=descriptions,
            probe=probe,
            shots=counts,
            prompts=report is not None,
            shift=None if shift is None else pair_of(shift),
            baseline=baseline,
            results=results,
            preprocess=preprocess,
            device=device,
            width=width,
            **how,
            **columns_of(columns),
            on_entry=lambda entry: remember(entry, entries),
        )
    finally:  # where one set fails, those before it are shown all the same
        show(as_tables([entry.result for entry in entries], several=len(models) > 1), json_file)
    show(further_tables(evaluation, several=len(models) > 1), json_file)
    write_files(evaluation, json_file=json_file, report=report)
    refuse_skipped(evaluation)


def refuse_skipped(evaluation: "Evaluation") -> None:
    """`TooManySkipped` for the first set of which too many images were left out, its train part included."""
    for entry in evaluation.entries:
        result, probe = entry.result, entry.probe
        refuse_too_many(result.skipped, result.skipped + result.n, f"images of {result.set_name}")
        if probe is not None:
            refuse_skipped_of_probe(probe)


def refuse_unwritable_files(json_file: Path | None, report: Path | None) -> None:
    """`UsageError` or `StorageError` for files that could not be written, before anything is measured."""
    refuse_unwritable_json(json_file)
    refuse_unwritable_file(report, "--report", ending=".html")


def columns_of(words: str | None) -> dict[str, Any]:
    """The columns of images and captions from IMAGE,CAPTION; `UsageError` for anything but two names."""
    if words is None:
        return {}
    image, comma, caption = (part.strip() for part in words.partition(","))
    if not (image and comma and caption):
        raise UsageError(f"--columns {words!r} should be two names, as --columns file,text.")
    return {"image_column": image, "caption_column": caption}


def write_files(evaluation: "Evaluation", *, json_file: Path | None, report: Path | None) -> None:
    """The numbers and the page, where they are asked for."""
    if json_file is not None:
        write_json(json_file, evaluation.to_json())
    if report is not None:
        evaluation.write_report(report)
        say(f"page: {report}")


def remember(entry: "Entry", entries: list["Entry"]) -> None:
    """Add the entry to `entries`; its words and remarks are logged unless those of another model were the same."""
    logged = {line for before in entries for line in lines_of(before)}
    entries.append(entry)
    for line in lines_of(entry):
        if line not in logged:
            say(line)


def split_words(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The models, of which the first word is one, and the sets after them; `UsageError` where there is no set."""
    later = [word for word in words[1:] if is_model(word)]
    from seesay.data.paper_sets import is_paper_set

    is_set = Path(words[0]).exists() or words[0].partition(":")[0] == "limits" or is_paper_set(words[0])
    if is_set and not is_model(words[0]) and (later or len(words) == 1):
        sets = [word for word in words if word not in later]
        raise swapped(f"{words[0]!r} is no model, and models come first", "evaluate", *(later or ["box"]), *sets)
    count = 1
    while count < len(words) and is_model(words[count]):
        count += 1
    models, sets = tuple(dict.fromkeys(words[:count])), tuple(dict.fromkeys(words[count:]))
    if not sets:
        hub = " (a set of the hub has its split: hf:OWNER/NAME:SPLIT)" if words[-1].startswith("hf:") else ""
        raise UsageError(f"no set to measure {', '.join(models)} on; name one or more after the models{hub}.")
    for source in sets:
        if is_model(source):
            raise UsageError(f"{source!r} is a model after a set; name all models first, then the sets.")
    return models, sets


def pair_of(shift: str) -> tuple[str, str]:
    """NATURAL=SHIFTED as its two names; the second is empty where there is no =."""
    natural, _, shifted = shift.partition("=")
    return natural.strip(), shifted.strip()


def lines_of(entry: "Entry") -> list[str]:
    """The remarks of an entry, and a line where the paper's templates were used, and perhaps its class names."""
    from seesay.evaluation.results import ZeroShotResult

    lines, result = list(entry.remarks), entry.result
    if isinstance(result, ZeroShotResult) and result.templates_from.startswith("the paper"):
        names = ", and its class names" if result.class_names_from == result.templates_from else ""
        count = len(result.templates)
        words = f"{count} templates" if count > 1 else f"template {result.templates[0]!r}"
        lines.append(f"{words} of {result.templates_from}{names}; --templates takes others.")
    return [f"{result.set_name}: {line}" for line in lines]


def as_tables(results: "Sequence[Result]", *, several: bool) -> str:
    """One table per task, for the tasks that were measured, set by set; of several models each row names its own."""
    from seesay.evaluation.results import RetrievalResult, SuiteResult, ZeroShotResult

    sets = list(dict.fromkeys(result.set_name for result in results))
    results = sorted(results, key=lambda result: sets.index(result.set_name))
    zero_shot, retrieval, measures = [], [], []
    for result in results:
        before = [result.model] if several else []
        if isinstance(result, ZeroShotResult):
            zero_shot.append([*before, *zero_shot_row(result)])
        elif isinstance(result, RetrievalResult):
            retrieval += [[*before, *row] for row in retrieval_rows(result)]
        if isinstance(result, ZeroShotResult | SuiteResult):
            measures += [[*before, *row] for row in measure_rows(result)]
    before, tables = ["model"] if several else [], []
    if zero_shot:
        tables.append(table([*before, *ZERO_SHOT_COLUMNS], zero_shot, left=1 + several))
    if retrieval:
        tables.append(table([*before, *RETRIEVAL_COLUMNS], retrieval, left=1 + several))
    if measures:
        tables.append(table([*before, *MEASURE_COLUMNS], measures, left=1 + several))
    return "\n".join(tables)


def zero_shot_row(result: "ZeroShotResult") -> list[str]:
    """A row below `ZERO_SHOT_COLUMNS`."""
    return [
        result.set_name,
        str(result.n),
        result.task,
        shown(result.top1),
        percent(result.top5.value),
        percent(result.mean_per_class.value),
        percent(result.top1.chance),
    ]


def retrieval_rows(result: "RetrievalResult") -> list[list[str]]:
    """A row for each direction; chance is that of R@10."""
    from seesay.evaluation.results import DIRECTIONS

    rows = []
    for direction in DIRECTIONS:
        recalls = result.recalls(direction)
        cells = [percent(recalls["r1"].value), percent(recalls["r5"].value), shown(recalls["r10"])]
        names = [result.set_name, str(result.n), str(result.captions), direction.replace("_", " ")]
        rows.append([*names, *cells, percent(recalls["r10"].chance)])
    return rows


def measure_rows(result: "ZeroShotResult | SuiteResult") -> list[list[str]]:
    """A row for each measure of the set's own."""
    names = [result.set_name, str(result.n)]
    return [
        [*names, name.replace("_", " "), shown(score), percent(score.chance)] for name, score in result.measures.items()
    ]


def further_tables(evaluation: "Evaluation", *, several: bool) -> str:
    """Probes, shifts and comparisons, where there are any."""
    probes = probe_table(evaluation.entries, several=several)
    return probes + shift_table(evaluation.shifts) + comparison_table(evaluation.comparisons)


def probe_table(entries: "Sequence[Entry]", *, several: bool) -> str:
    """Linear probes beside zero-shot; empty where there are none."""
    from seesay.evaluation.results import ZeroShotResult

    rows = []
    for entry in entries:
        if entry.probe is not None and isinstance(entry.result, ZeroShotResult):
            score = entry.probe.score
            zero_shot = percent(entry.result.top1.value)
            before = [entry.name] if several else []
            rows.append([*before, entry.result.set_name, zero_shot, shown(score), percent(score.chance)])
    columns = [*(["model"] if several else []), *PROBE_COLUMNS]
    return "\n" + table(columns, rows, left=1 + several) if rows else ""


def shown(score: "Score") -> str:
    """The score with its interval, in percent."""
    return with_interval(score.value, score.interval95)


def shift_table(shifts: "Sequence[ShiftResult]") -> str:
    """Accuracy on both sets, and what is lost; empty without shifts."""
    if not shifts:
        return ""
    rows = [
        [
            shift.model,
            shift.natural,
            percent(shift.accuracy_natural.value),
            shift.shifted,
            percent(shift.accuracy_shifted.value),
            with_interval(shift.gap, shift.gap_interval95),
            with_interval(robustness.value, robustness.interval95) if robustness else "-",
        ]
        for shift in shifts
        for robustness in [shift.effective_robustness]
    ]
    return "\n" + table(SHIFT_COLUMNS, rows)


def comparison_table(comparisons: "Sequence[ComparisonResult]") -> str:
    """Pairs of models on the same images; the difference is the second's share less the first's."""
    if not comparisons:
        return ""
    rows = [
        [
            result.set_name,
            result.score.replace("_", " "),
            f"{result.first} {percent(result.share_first)}",
            f"{result.second} {percent(result.share_second)}",
            with_interval(result.difference, result.interval95),
            f"{result.p:.2g}",
            result.test,
        ]
        for result in comparisons
    ]
    return "\n" + table(COMPARISON_COLUMNS, rows, left=2)

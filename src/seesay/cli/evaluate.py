"""`seesay evaluate`: models times sets, every share with its interval and what guessing would give."""

import glob
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from seesay.base.errors import UsageError
from seesay.cli.scores import as_tables, comparison_table, report_remarks, report_words, shift_table
from seesay.cli.tables import refuse_folder, refuse_too_many

if TYPE_CHECKING:
    from seesay.evaluation.evaluate import Entry, Request
    from seesay.evaluation.robustness import Baseline, Shift

# What a folder holds that is a model, and the end of a file that is one.
MODEL_FILES = ("model.json", "config.json", "open_clip_config.json", "model/model.json")
MODEL_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


SETS = (
    "Folders with a folder per class, shards with classnames.txt, images with captions, "
    "or hf:OWNER/NAME:SPLIT of the Hugging Face hub."
)
TemplatesOption = Annotated[
    str | None, typer.Option(metavar="NAME|FILE", help="Sentences for the names; default: the set's, or the model's.")
]
ClassNamesOption = Annotated[
    str | None, typer.Option(metavar="NAME|FILE", help="Call the classes so: a known data set, or one per line.")
]
DescriptionsOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="JSON {class: [sentence, ...]}, in place of templates.")
]
ShotsOption = Annotated[
    str | None, typer.Option(metavar="N,N,...", help="Probes with so many images per class, as in 1,2,4,8,16.")
]
ShiftOption = Annotated[
    str | None, typer.Option(metavar="NATURAL=SHIFTED", help="Two of the sets: how robust is a model to it?")
]
BaselineOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="JSON of standard models' accuracies on these two sets.")
]
JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write everything measured there, as fractions.")
]
ResultsOption = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Write a JSON file there per model, set and task.")
]
PreprocessOption = Annotated[
    Literal["exact", "fast"],
    typer.Option(help="fast: images are shrunk as they are decoded, not to the last bit."),
]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the words ask for, checked before any model is loaded."""

    models: tuple[str, ...]
    sets: tuple[str, ...]
    request: "Request"
    preprocess: str
    shift: "Shift | None"
    baseline: "Baseline | None"


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model folder or name; several may follow.")],
    sets: Annotated[list[str], typer.Argument(metavar="[MODEL ...] SET [SET ...]", help=SETS)],
    *,
    templates: TemplatesOption = None,
    class_names: ClassNamesOption = None,
    descriptions: DescriptionsOption = None,
    probe: Annotated[bool, typer.Option("--probe", help="A linear probe too, where a set has a train part.")] = False,
    shots: ShotsOption = None,
    shift: ShiftOption = None,
    baseline: BaselineOption = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page of figures (HTML) there.")] = None,
    json_file: JsonOption = None,
    results: ResultsOption = None,
    preprocess: PreprocessOption = "exact",
) -> None:
    """Measure models on labelled or captioned images.

    Labelled sets give zero-shot accuracy, captioned ones retrieval. All numbers shown are percent. What was encoded
    once is kept under SEESAY_CACHE ("off": nowhere). A set called as one of the paper's, such as eval-cifar10, is
    asked about in the paper's templates and class names, unless it has templates of its own; a line says so.

    Example: seesay evaluate RUN/model cifar10 flickr8k --report scores.html
    """
    refuse_folder(json_file, "--json")
    refuse_folder(report, "--report")
    words = {"templates": templates, "class_names": class_names, "descriptions": descriptions}
    models, places = split_words([model, *sets])
    wanted = Wanted(
        models=models,
        sets=places,
        request=read_request(words, probe=probe, shots=shots, prompts=report is not None),
        preprocess=preprocess,
        **read_shift_options(shift, baseline, places),
    )
    settings = {**words, "probe": probe, "shots": shots, "preprocess": preprocess, "shift": shift}
    settings = {name: None if value is None else str(value) for name, value in settings.items()}
    entries, shifts, tests = measure(wanted)
    write(wanted, entries, shifts, tests, settings=settings, files=(report, json_file, results))
    for entry in entries:
        result = entry.result
        refuse_too_many(result["skipped"], result["skipped"] + result["n"], f"images of {result['set']}")


def split_words(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The models, of which the first word is one, and the sets after them; `UsageError` for a place that is neither."""
    from seesay.data.hub_sets import is_hub_set, read_name
    from seesay.data.sources import missing_location

    count = 1
    while count < len(words) and is_model(words[count]):
        count += 1
    models, sets = tuple(dict.fromkeys(words[:count])), tuple(dict.fromkeys(words[count:]))
    if not sets:
        hub = " (a set of the hub has its split: hf:OWNER/NAME:SPLIT)" if words[-1].startswith("hf:") else ""
        raise UsageError(f"no set to measure {', '.join(models)} on; name one or more after the models{hub}.")
    for place in sets:
        if is_model(place):
            raise UsageError(f"{place!r} is a model after a set; name all models first, then the sets.")
        if is_hub_set(place):
            read_name(place)
        elif not glob.has_magic(place) and not Path(place).exists():
            raise missing_location(Path(place))
    return models, sets


def is_model(word: str) -> bool:
    """Whether a word names a model rather than a set; told without loading it."""
    from seesay.data.hub_sets import is_hub_set
    from seesay.model.known_models import KNOWN, PACKAGED

    path = Path(word)
    if path.is_dir():
        return any((path / name).is_file() for name in MODEL_FILES)
    if path.is_file():
        return path.suffix in MODEL_SUFFIXES
    return (word.startswith("hf:") and not is_hub_set(word)) or word in PACKAGED or word in KNOWN


def read_request(words: dict[str, Any], *, probe: bool, shots: str | None, prompts: bool) -> "Request":
    """What is asked of every set; a name or file that is no such thing is said before anything is measured."""
    from seesay.data.class_names import CLASS_NAMES, read_descriptions
    from seesay.data.prompts import load_templates, read_labels

    counts = read_counts(shots)
    if words["templates"] is not None:
        load_templates(words["templates"])
    if words["class_names"] is not None and words["class_names"] not in CLASS_NAMES:
        read_labels(words["class_names"])
    sentences = None if words["descriptions"] is None else read_descriptions(words["descriptions"])
    from seesay.evaluation.evaluate import Request
    from seesay.evaluation.suite import Question
    from seesay.model.cache import EmbeddingCache

    question = Question(
        templates=words["templates"],
        class_names=words["class_names"],
        descriptions=sentences,
        cache=EmbeddingCache.find(),
    )
    return Request(question=question, probe=probe or bool(counts), shots=counts, prompts=prompts)


def read_counts(shots: str | None) -> tuple[int, ...]:
    parts = [part.strip() for part in shots.split(",")] if shots is not None else []
    if not all(part.isdecimal() and int(part) for part in parts):
        raise UsageError(f"--shots {shots!r} should be numbers of 1 or more with commas between, as in 1,2,4,8,16.")
    return tuple(sorted({int(part) for part in parts}))


def read_shift_options(shift: str | None, baseline: Path | None, sets: Sequence[str]) -> dict[str, Any]:
    if shift is None and baseline is not None:
        raise UsageError(f"--baseline {baseline} is of a shift; say which with --shift NATURAL=SHIFTED.")
    if shift is None:
        return {"shift": None, "baseline": None}
    from seesay.data.evalsets import name_of_set
    from seesay.evaluation.robustness import read_baseline, read_shift

    names = [name_of_set(place) for place in sets]
    return {"shift": read_shift(shift, names), "baseline": read_baseline(baseline) if baseline else None}


def measure(wanted: Wanted) -> tuple[list["Entry"], list[dict[str, Any]], list[dict[str, Any]]]:
    """All that was measured, shown as tables; if one set fails, those before it are shown still."""
    from seesay.base.runtime import Runtime
    from seesay.evaluation.evaluate import comparisons, measure_entry, shift_results
    from seesay.model.hub import load

    entries: list[Entry] = []
    device = Runtime.find().device
    try:
        for word in wanted.models:
            model = load(word).to(device).with_preprocess(wanted.preprocess)
            taken = {entry.name for entry in entries}
            name = model.name if model.name not in taken else word
            for place in wanted.sets:
                entries.append(measure_entry(name, model, place, wanted.request))
                if word == wanted.models[0]:
                    report_words(entries[-1].result)
                report_remarks(entries[-1].result)
    finally:
        sys.stdout.write(as_tables([entry.result for entry in entries], several=len(wanted.models) > 1))
    shifts = shift_results(entries, wanted.shift, wanted.baseline) if wanted.shift else []
    tests = comparisons(entries)
    sys.stdout.write(shift_table(shifts) + comparison_table(tests))
    return entries, shifts, tests


def write(
    wanted: Wanted,
    entries: Sequence["Entry"],
    shifts: Sequence[dict[str, Any]],
    tests: Sequence[dict[str, Any]],
    *,
    settings: dict[str, Any],
    files: tuple[Path | None, Path | None, Path | None],
) -> None:
    """The page, the JSON of everything, and the folder of one JSON per result; those that were asked for."""
    from seesay.base.publish import publish_file
    from seesay.evaluation.evaluate import result_files

    report, json_file, folder = files
    by_name = result_files(entries, settings) if any(files) else {}
    if json_file is not None:
        everything = [*by_name.values(), *shifts, *({"task": "comparison", **test} for test in tests)]
        publish_file(json_file, as_json(everything))
    if folder is not None:
        for name, result in by_name.items():
            publish_file(folder / name, as_json(result))
    if report is not None:
        from seesay.evaluation.report import build_page

        environment = next(iter(by_name.values()))["environment"]
        facts = {name: str(environment[name]) for name in ("seesay", "commit", "torch", "processor", "device")}
        facts |= {name: value for name, value in settings.items() if value is not None}
        page = build_page(entries, comparisons=tests, shifts=shifts, baseline=wanted.baseline, facts=facts)
        publish_file(report, page.encode())


def as_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()

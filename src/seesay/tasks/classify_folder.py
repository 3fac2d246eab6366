"""A folder of any number of photos to one file of answers, in bounded memory, and resumable where it was stopped."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from seesay.base.errors import Interrupted, UsageError
from seesay.base.journal import progress
from seesay.base.names import no_empty_names
from seesay.base.printable import printable
from seesay.base.publish import publish_chunks, refuse_unwritable_file
from seesay.base.records import Ranking, Skipped
from seesay.base.values import to_pandas
from seesay.data.labelled import LabelledSet
from seesay.data.prompts import distinct_labels, load_templates
from seesay.data.sources import count_reasons, fingerprint
from seesay.tasks.answer_files import Format, format_of, read_rows
from seesay.tasks.answers import Answer, Results
from seesay.tasks.classify import answer_photos, in_words, none_readable, photos_and_others
from seesay.tasks.decision import LabelDecision, Rules
from seesay.tasks.resume_file import ResumeFile

if TYPE_CHECKING:
    from seesay.model.bundle import Model

Write = Callable[[Iterator[bytes]], None]
NO_THRESHOLDS: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Question:
    """The arguments of `classify_folder` that decide about answers, in one value: `rules` holds the last five."""

    labels: Sequence[str] = ()
    templates: str | Path | Sequence[str] | None = None
    top: int = 5
    calibrate: str | Path | None = None
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Arguments that were checked: the photos exist, and labels, rules and labelled set go together.

    `others` are the files beside the photos that are none, counted by their suffix.
    """

    photos: list[Path]
    others: Counter[str]
    labels: list[str]
    question: Question
    labelled: LabelledSet | None


@dataclass(frozen=True, kw_only=True, repr=False)
class Classified:
    """What `classify_folder` did; the answers themselves are in the file `out`.

    `photos` and `labels` are numbers: of all photos, `resumed` were answered by an earlier run, `skipped` are those
    that could not be read, and `in_doubt` those whose answer has less than 50 %; `others`, by suffix, are the files
    beside them that are no photos. `facts` say what was fitted on what, empty without `calibrate`. `seconds` and
    `core_seconds`, those of all cores together, are of this
    run.
    """

    out: Path | None
    photos: int
    labels: int
    resumed: int
    skipped: tuple[Skipped, ...]
    in_doubt: int
    others: Mapping[str, int]
    facts: Mapping[str, Any]
    seconds: float
    core_seconds: float

    def rows(self) -> Iterator[dict[str, Any]]:
        """The answers, one by one, as `out` holds them: "path", "answer" where rules were given, "label_1",
        "probability_1", and on to the last rank.

        Raises `UsageError` where `out` is for people (.txt, .html).
        """
        assert self.out is not None
        return read_rows(self.out)

    def to_pandas(self) -> Any:
        """`rows` as a pandas table; `UsageError` where pandas is not installed."""
        return to_pandas(list(self.rows()))

    def __repr__(self) -> str:
        skipped = f", {len(self.skipped):,} skipped ({count_reasons(self.skipped)})" if self.skipped else ""
        resumed = f", {self.resumed:,} of them by an earlier run" if self.resumed else ""
        answered = self.photos - len(self.skipped)
        others = f", {sum(self.others.values()):,} other files left out" if self.others else ""
        doubts = f", {self.in_doubt:,} in doubt" if self.in_doubt else ""
        return printable(
            f"<Classified {answered:,} photos{resumed}, {self.labels:,} labels -> {self.out}{doubts}{skipped}{others}>"
        )


@no_empty_names
def classify_folder(
    model: "Model | str | Path",
    photos: str | Path | Sequence[str | Path],
    labels: Sequence[str] = (),
    *,
    out: str | Path,
    templates: str | Path | Sequence[str] | None = None,
    top: int = 5,
    calibrate: str | Path | None = None,
    none_of_these: float | None = None,
    multi_label: bool = False,
    false_alarms: float = 0.05,
    threshold: float | None = None,
    thresholds: Mapping[str, float] = NO_THRESHOLDS,
    device: str | None = None,
    precision: str | None = None,
    engine: str | None = None,
    weights_dtype: str | None = None,
    batch_size: int | None = None,
    force: bool = False,
) -> Classified:
    """Write the `top` labels with probabilities, and the answer, of every photo to `out`, as its ending says.

    It is one of `tasks.answer_files.FORMATS`: .csv, .tsv, .json, .jsonl, .parquet, .html or .txt.

    `model` is a name or folder, loaded to `device` or the best there is, or a `Model`, which stays on its own;
    `precision`, `engine` and `batch_size` are as in `Model.with_precision` and so on, `weights_dtype` as in `load`.
    `photos` are files, folders or patterns (`tasks.classify.find_photos`). `templates` are as in `Model.classifier`.
    `calibrate` is a labelled set, such as a folder of photos for every label, on which probabilities are fitted;
    without `labels` its classes are taken. What makes a label an answer is as in `tasks.decision.Rules`:
    `none_of_these`, `multi_label`, `false_alarms`, `threshold` for all labels and `thresholds` for single ones.

    While it works the answers so far are in `out`.part; called again with the same arguments it goes on from there,
    and the file comes out as if it had never been stopped. `out` itself is replaced at the end. Raises `UsageError` for
    arguments that do not go together and for a part file of other arguments, naming the difference, unless `force`
    discards it; `RefusedInput` where not one photo can be read; `Interrupted` at Ctrl-C, with what is done saved;
    `StorageError` where the disk fails.
    """
    format = format_of(out, argument="out")
    refuse_unwritable_file(out, "out")
    rules = Rules(
        none_of_these=none_of_these,
        multi_label=multi_label,
        false_alarms=false_alarms,
        threshold=threshold,
        thresholds=dict(thresholds),
    )
    question = Question(labels=labels, templates=templates, top=top, calibrate=calibrate, rules=rules)
    from seesay.model.hub import on_device

    prepared = prepare(photos, question)
    how = {"precision": precision, "engine": engine, "weights_dtype": weights_dtype, "batch_size": batch_size}
    loaded = on_device(model, device, **how)
    return answer_all(loaded, prepared, format=format, out=Path(out), force=force)


def prepare(photos: str | Path | Sequence[str | Path], question: Question) -> Prepared:
    """Everything that can be refused without a model: `UsageError` says what, and how to change it."""
    if question.top < 1:
        raise UsageError(f"top is {question.top}; ask for 1 label or more.")
    if isinstance(question.labels, str):
        raise TypeError("labels are a list of strings; wrap the single one in a list")
    paths, others = photos_and_others([photos] if isinstance(photos, str | Path) else photos)
    labelled = None
    if question.calibrate is not None:
        from seesay.tasks.calibrate import check_overlap, open_labelled_photos

        labelled = open_labelled_photos(question.calibrate)
        labels = distinct_labels(question.labels or labelled.class_names)[0]
        check_overlap(labelled, labels)
    else:
        labels = distinct_labels(question.labels)[0]
    question.rules.check(labels)
    if question.templates is not None:
        load_templates(question.templates)
    return Prepared(photos=paths, others=others, labels=labels, question=question, labelled=labelled)


def answer_all(
    model: "Model",
    prepared: Prepared,
    *,
    format: Format,
    out: Path | None,
    write: Write | None = None,
    force: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> Classified:
    """As `classify_folder`; without `out` the bytes are handed to `write`, and nothing can be resumed.

    `log` gets lines for people: what was fitted, and after which photo an earlier run is resumed. Raises as
    `classify_folder` does, and leaves no result then.
    """
    photos = prepared.photos
    if len(photos) > format.most_photos:
        log(f"{len(photos):,} photos make a {format.ending} file that is slow to open; .parquet and .csv are not.")
    if prepared.others:
        log(f"left out, as no photos: {in_words(prepared.others)}")
    inputs = inputs_of(model, prepared) if out is not None else {}
    read = model.read_labels(prepared.labels, prepared.question.templates)
    read.refuse_alike()
    for note in read.notes:
        log(note)
    with ResumeFile(out, inputs, count=len(photos), block=model.batch_size, force=force) as resume_file:
        decision = fitted_decision(model, prepared)
        for line in _fit_in_words(decision, prepared.question.rules):
            log(line)
        resumed = resume_file.done
        if resumed:
            log(f"going on after {resumed:,} of {len(photos):,} photos, from {resume_file.path}")
        elif out is not None and out.is_file():
            log(f"{out} is there already, and is replaced at the end.")
        with _interruptible(resume_file, len(photos)):
            seconds, core_seconds = fill(resume_file, model, decision, prepared)
        results = Results(
            rows=lambda: _rows(resume_file, decision), model=model.name, labels=decision.classifier.class_names
        )
        skipped = tuple(row for row in results.rows() if isinstance(row, Skipped))
        if len(skipped) == len(photos):
            resume_file.remove()
            raise none_readable(len(photos), skipped)
        with _interruptible(resume_file, len(photos)):
            in_doubt = sum(answer.is_in_doubt for answer in results.answers())
            _write_results(results, format, out=out, write=write)
        resume_file.remove()
    return Classified(
        out=out,
        photos=len(photos),
        labels=len(prepared.labels),
        resumed=resumed,
        skipped=skipped,
        in_doubt=in_doubt,
        others=prepared.others,
        facts=decision.facts,
        seconds=seconds,
        core_seconds=core_seconds,
    )


def fitted_decision(model: "Model", prepared: Prepared) -> LabelDecision:
    """The classifier of the labels with its rules, fitted on the labelled set if there is one."""
    from seesay.tasks.calibrate import decision_for

    classifier = model.classifier(prepared.labels, prepared.question.templates)
    labelled = prepared.labelled
    if labelled is None:
        return decision_for(model, classifier, rules=prepared.question.rules)
    with progress(len(labelled), labelled.name) as advance:
        return decision_for(model, classifier, rules=prepared.question.rules, labelled=labelled, progress=advance)


def fill(resume_file: ResumeFile, model: "Model", decision: LabelDecision, prepared: Prepared) -> tuple[float, float]:
    """Append a row for every photo that has none yet; the seconds it took, of the clock and of all cores together."""
    photos = prepared.photos
    index_of = {label: index for index, label in enumerate(decision.classifier.class_names)}
    began, began_cores = time.perf_counter(), time.process_time()
    with progress(len(photos) - resume_file.done, "photos") as advance:
        for answers in answer_photos(model, decision, photos, top=prepared.question.top, first=resume_file.done):
            resume_file.append([_row(item, index_of) for item in answers])
            advance(len(answers))
    return time.perf_counter() - began, time.process_time() - began_cores


@contextmanager
def _interruptible(resume_file: ResumeFile, count: int) -> Iterator[None]:
    """Ctrl-C inside as `Interrupted`, where there is a file to go on from."""
    try:
        yield
    except KeyboardInterrupt as error:
        if resume_file.path is None:
            raise
        raise Interrupted(
            f"{resume_file.done:,} of {count:,} photos are done and in {resume_file.path}; the same command goes on."
        ) from error


def _write_results(results: Results, format: Format, *, out: Path | None, write: Write | None) -> None:
    chunks = format.chunks(results)
    if out is not None:
        publish_chunks(out, chain([format.start], chunks))
    elif write is not None:
        write(chunks)


def inputs_of(model: "Model", prepared: Prepared) -> dict[str, Any]:
    """All that the answers depend on, readable where a person can change it, as fingerprints else."""
    from seesay.model.cache import image_fingerprint, text_fingerprint

    question, labelled = prepared.question, prepared.labelled
    templates = model.templates if question.templates is None else load_templates(question.templates)
    return {
        "photos": len(prepared.photos),
        "paths and sizes": fingerprint((str(path), _size(path)) for path in prepared.photos),
        "labels": prepared.labels,
        "templates": list(templates),
        "top": question.top,
        "calibrate": labelled and labelled.name,
        "photos of calibrate": labelled and labelled.fingerprint,
        "rules": asdict(question.rules),
        "model": model.name,
        "preprocess": type(model.preprocess).__name__,
        "weights": [image_fingerprint(model), text_fingerprint(model)],
    }


def _fit_in_words(decision: LabelDecision, rules: Rules) -> list[str]:
    from seesay.tasks.calibrate import in_words

    return in_words(decision.facts, rules)


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _row(item: Answer | Skipped, index_of: Mapping[str, int]) -> list[Any]:
    if isinstance(item, Skipped):
        return [item.key, item.reason, item.detail]
    chosen = None if item.labels is None else [index_of[label] for label in item.labels]
    return [item.photo, [index_of[label] for label in item.ranking.labels], item.ranking.probabilities, chosen]


def _rows(resume_file: ResumeFile, decision: LabelDecision) -> Iterator[Answer | Skipped]:
    names = decision.classifier.class_names
    for row in resume_file.rows():
        if len(row) == 3:
            yield Skipped(key=row[0], reason=row[1], detail=row[2])
        else:
            photo, indices, probabilities, chosen = row
            yield Answer(
                photo=photo,
                ranking=Ranking(labels=tuple(names[index] for index in indices), probabilities=tuple(probabilities)),
                labels=None if chosen is None else tuple(names[index] for index in chosen),
                is_multi_label=decision.is_multi_label,
            )

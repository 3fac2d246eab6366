"""A folder of any number of photos to one file of answers, in bounded memory, and resumable where it was stopped."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesay.base.errors import Interrupted, UsageError
from seesay.base.journal import progress
from seesay.base.publish import publish_chunks
from seesay.base.records import Ranking, Skipped
from seesay.data.labelled import LabelledSet
from seesay.data.prompts import distinct_labels, load_templates
from seesay.data.sources import fingerprint
from seesay.tasks.answers import Answer, as_csv, as_json
from seesay.tasks.classify import answer_photos, find_photos, none_readable
from seesay.tasks.decision import LabelDecision, Rules
from seesay.tasks.resume_file import ResumeFile

if TYPE_CHECKING:
    from seesay.model.bundle import Model

Render = Callable[[Iterable[Answer]], Iterator[str]]
Write = Callable[[Iterator[bytes]], None]
FORMATS: dict[str, Render] = {".csv": as_csv, ".json": as_json}


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of every photo.

    Without `labels` they are the classes of `calibrate`, a labelled set (`data.evalsets`) to fit probabilities and
    the thresholds of `rules` on. `templates` as in `Model.classifier`; `top` labels are told with probabilities.
    """

    labels: Sequence[str] = ()
    templates: str | Path | Sequence[str] | None = None
    top: int = 5
    calibrate: str | Path | None = None
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A question that can be asked: the photos are there, and labels, rules and labelled set go together."""

    photos: list[Path]
    labels: list[str]
    question: Question
    found: LabelledSet | None


@dataclass(frozen=True, kw_only=True)
class Classified:
    """What was done: `photos` in all, of which `resumed` were answered by an earlier run, and those left out.

    `facts` are those of the calibration. `seconds` and `core_seconds`, those of all cores together, are of this run.
    """

    photos: int
    labels: int
    resumed: int
    skipped: tuple[Skipped, ...]
    facts: Mapping[str, Any]
    seconds: float
    core_seconds: float


def classify_folder(
    model: "Model",
    places: str | Path | Sequence[str | Path],
    *,
    question: Question,
    out: str | Path,
    force: bool = False,
) -> Classified:
    """Answers for every photo at these places (`tasks.classify.find_photos`) into `out`, a .csv or .json file.

    While it works the answers so far are in `out`.part; called again with the same photos, question and model it
    goes on from there, and the file comes out as if it had never been stopped. A part file of anything else is a
    `UsageError` that names the difference, or is thrown away with `force`. `out` itself is replaced at the end.
    """
    render = FORMATS.get(Path(out).suffix.lower())
    if render is None:
        raise UsageError(f"{out} should end in {' or '.join(FORMATS)}, which says how it is written.")
    prepared = prepare(places, question)
    return answer_all(model, prepared, render=render, out=Path(out), force=force)


def prepare(places: str | Path | Sequence[str | Path], question: Question) -> Prepared:
    """Everything that can be refused without a model; `UsageError` says what and the way out."""
    photos = find_photos([places] if isinstance(places, str | Path) else places)
    found = None
    if question.calibrate is not None:
        from seesay.tasks.calibrate import check_overlap, open_labelled_photos

        found = open_labelled_photos(question.calibrate)
        labels = distinct_labels(question.labels or found.class_names)[0]
        check_overlap(found, labels)
    else:
        labels = distinct_labels(question.labels)[0]
    question.rules.check(labels, has_images=found is not None)
    if question.templates is not None:
        load_templates(question.templates)
    return Prepared(photos=photos, labels=labels, question=question, found=found)


def answer_all(
    model: "Model",
    prepared: Prepared,
    *,
    render: Render,
    out: Path | None,
    write: Write | None = None,
    force: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Classified:
    """As `classify_folder`; without `out` the rendered bytes are handed to `write`, and nothing can be resumed.

    `tell` is given lines for people: what was fitted, and where it goes on. Raises `RefusedInput`, without a result,
    when not one photo can be read.
    """
    from seesay.model.encode import BLOCK

    photos, question = prepared.photos, prepared.question
    asked = asked_of(model, prepared) if out is not None else {}
    with ResumeFile(out, asked, count=len(photos), block=BLOCK, force=force) as part:
        judge = fitted_decision(model, prepared)
        for line in _fit_in_words(judge, question.rules):
            tell(line)
        resumed = part.done
        if resumed:
            tell(f"going on after {resumed:,} of {len(photos):,} photos, from {part.path}")
        seconds, core_seconds = fill(part, model, judge, prepared)
        skipped = tuple(_skipped(part))
        if len(skipped) == len(photos):
            part.remove()
            raise none_readable(len(photos), skipped)
        answers = _answers(part, judge)
        chunks = (text.encode("utf-8", "surrogateescape") for text in render(answers))
        if out is not None:
            publish_chunks(out, chunks)
        elif write is not None:
            write(chunks)
        part.remove()
    return Classified(
        photos=len(photos),
        labels=len(prepared.labels),
        resumed=resumed,
        skipped=skipped,
        facts=judge.facts,
        seconds=seconds,
        core_seconds=core_seconds,
    )


def fitted_decision(model: "Model", prepared: Prepared) -> LabelDecision:
    from seesay.tasks.calibrate import decision_for

    classifier = model.classifier(prepared.labels, prepared.question.templates)
    found = prepared.found
    if found is None:
        return decision_for(model, classifier, rules=prepared.question.rules)
    with progress(len(found), found.name) as advance:
        return decision_for(model, classifier, rules=prepared.question.rules, found=found, progress=advance)


def fill(part: ResumeFile, model: "Model", judge: LabelDecision, prepared: Prepared) -> tuple[float, float]:
    """A row for every photo that has none yet; the seconds this took, of the clock and of all cores together."""
    photos = prepared.photos
    place_of = {label: place for place, label in enumerate(judge.classifier.class_names)}
    began, began_cores = time.perf_counter(), time.process_time()
    try:
        with progress(len(photos) - part.done, "photos") as advance:
            for told in answer_photos(model, judge, photos, top=prepared.question.top, first=part.done):
                part.append([_row(item, place_of) for item in told])
                advance(len(told))
    except KeyboardInterrupt as error:
        if part.path is None:
            raise
        raise Interrupted(
            f"{part.done:,} of {len(photos):,} photos are done and in {part.path}; the same command goes on."
        ) from error
    return time.perf_counter() - began, time.process_time() - began_cores


def asked_of(model: "Model", prepared: Prepared) -> dict[str, Any]:
    """All that the answers depend on, readable where a person can change it, as fingerprints else."""
    from seesay.model.cache import image_fingerprint, text_fingerprint

    question, found = prepared.question, prepared.found
    templates = model.templates if question.templates is None else load_templates(question.templates)
    return {
        "photos": len(prepared.photos),
        "paths and sizes": fingerprint((str(path), _size(path)) for path in prepared.photos),
        "labels": prepared.labels,
        "templates": list(templates),
        "top": question.top,
        "calibrate": found and found.name,
        "photos of calibrate": found and found.fingerprint,
        "rules": asdict(question.rules),
        "model": model.name,
        "preprocess": type(model.preprocess).__name__,
        "weights": [image_fingerprint(model), text_fingerprint(model)],
    }


def _fit_in_words(judge: LabelDecision, rules: Rules) -> list[str]:
    from seesay.tasks.calibrate import in_words

    return in_words(judge.facts, rules)


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _row(item: Answer | Skipped, place_of: Mapping[str, int]) -> list[Any]:
    if isinstance(item, Skipped):
        return [item.key, item.reason, item.detail]
    chosen = None if item.labels is None else [place_of[label] for label in item.labels]
    return [item.photo, [place_of[label] for label in item.ranking.labels], item.ranking.probabilities, chosen]


def _answers(part: ResumeFile, judge: LabelDecision) -> Iterator[Answer]:
    names = judge.classifier.class_names
    for row in part.rows():
        if len(row) == 4:
            photo, places, probabilities, chosen = row
            yield Answer(
                photo=photo,
                ranking=Ranking(labels=tuple(names[place] for place in places), probabilities=tuple(probabilities)),
                labels=None if chosen is None else tuple(names[place] for place in chosen),
                is_multi_label=judge.is_multi_label,
            )


def _skipped(part: ResumeFile) -> Iterator[Skipped]:
    for row in part.rows():
        if len(row) == 3:
            yield Skipped(key=row[0], reason=row[1], detail=row[2])

"""Were the test images in the training set? The public `seesay.overlap`."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seesay.base.errors import BrokenSample, RefusedInput, UsageError
from seesay.base.names import no_empty_names
from seesay.base.publish import publish_file, refuse_unwritable_file
from seesay.base.records import PairSource
from seesay.data.evalsets import open_evalset
from seesay.data.folders import NoPairs, open_images
from seesay.data.hub_sets import is_hub_set
from seesay.data.labelled import LabelledSet
from seesay.data.memory_pairs import is_in_memory
from seesay.data.pairs import Chain, listed, open_pairs
from seesay.data.paper_sets import folder_of, is_paper_set
from seesay.data.sources import Entry, LooseFile, PairList
from seesay.evaluation.overlap_match import match_all
from seesay.evaluation.overlap_result import Overlap, SetOverlap, overlap_page
from seesay.evaluation.overlap_search import EvalSet, describe_set, reader, search_all
from seesay.evaluation.suite import Question, measure_set
from seesay.formulas.statistics import inflation
from seesay.model.bundle import Model
from seesay.model.cache import EmbeddingCache
from seesay.model.detector import CopyDetector
from seesay.model.hub import on_device


@no_empty_names
def overlap(
    train: Any,
    against: Any,
    *,
    model: str | Path | Model | None = None,
    report: str | Path | None = None,
    remove: str | Path | None = None,
    device: str | None = None,
    cache: bool = True,
) -> Overlap:
    """Which images of evaluation sets are among the training images, and what that does to a model's score.

    `train` is what `seesay.train` takes, `against` one or more sets as `seesay.evaluate` takes them, by path; either
    may be a folder of images without captions or classes. Images are compared by a small tower of the package, the
    nearest laid over each other, and beside it by a perceptual hash. The threshold of a set is the lowest at which 99 %
    of what is found is right where a tenth of its images have a copy, judged on copies made of its images on the spot.
    What could not be read or judged is counted. With a `model` its score (top-1; of captioned sets how often the
    nearest caption is the image's own) on all images and on those that are not found, the difference with a 99.5 %
    interval, and a one-sided binomial test (Radford et al. 2021, section 5).

    `report` is an HTML page with the pairs side by side. `remove` is a text file with the SHA-256 of every training
    image in a pair: `seesay train --set data.blocked_hashes=FILE` and `seesay curate --set filter.blocked_hashes=FILE`
    leave those out. What was described of images is cached under `SEESAY_CACHE`, unless `cache` is False.
    `UsageError` for arguments that do not fit, `RefusedInput` where no image of a side can be read.

    Example: `seesay.overlap("photos/", "digits/", model="box", report="overlap.html").to_pandas()`
    """
    refuse_unwritable_file(report, "report", ending=".html")
    refuse_unwritable_file(remove, "remove", ending=".txt")
    names = [str(source) for source in listed(against)]
    refuse_same_folder(train, names)
    where = EmbeddingCache.find() if cache else EmbeddingCache(None)
    detector = CopyDetector()
    sources = [opened(name, open_evalset) for name in names]
    if twice := [name for name, count in Counter(source.name for source in sources).items() if count > 1]:
        raise UsageError(f"two sets are called {twice[0]!r}; look for one of them, then for the other.")
    pairs = open_train(train)
    loaded = None if model is None else on_device(model, device)
    sets = [EvalSet(source=source, described=describe_set(detector, source, where)) for source in sources]
    searched, found = search_all(detector, pairs, sets, where)
    results = match_all(detector, sets, found, searched)
    if loaded is not None:
        results = with_scores(loaded, sets, results, Question(cache=where))
    digests, gone = hashes_of(pairs, results)
    result = Overlap(
        train=pairs.name,
        searched=searched.count,
        model=None if loaded is None else loaded.name,
        sets=tuple(results),
        remove=digests,
        skipped_by_reason=searched.skipped_by_reason,
        notes=(*pairs.notes, *([f"{gone} training images in a pair are gone, and not on the list."] if gone else [])),
    )
    if remove is not None:
        publish_file(remove, "".join(f"{digest}\n" for digest in result.remove).encode())
    if report is not None:
        by_key = {own.source.name: reader(own.source) for own in sets}
        publish_file(report, overlap_page(result, by_key, reader(pairs)).encode())
    return result


def opened(source: Any, reader: Callable[[Any], LabelledSet | PairSource]) -> LabelledSet | PairSource:
    """What the reader makes of a source, or the images of a folder that it refuses, which is noted; else raises it."""
    try:
        return reader(source)
    except UsageError as error:
        why = "" if isinstance(error, NoPairs) else str(error).rstrip(".")
        is_folder = isinstance(source, str | Path) and Path(source).is_dir()
        found = open_images(Path(source), why=why) if is_folder else ()
        if not isinstance(found, PairList) or not len(found):
            raise
        return found


def open_train(train: Any) -> PairSource:
    """The training images: pairs, files without a caption too, and all images of a folder that has no pairs."""
    parts: list[PairSource] = []
    for source in listed(train):
        part = opened(source, open_pairs)
        assert not isinstance(part, LabelledSet)
        parts += part.parts if isinstance(part, Chain) else [part]
    parts = [with_uncaptioned(part) if isinstance(part, PairList) else part for part in parts]
    return Chain(parts) if len(parts) > 1 else parts[0] if parts else open_pairs(train)


def with_uncaptioned(pairs: PairList) -> PairList:
    """The pairs, and those images beside them that have no caption: here they count as well."""
    entries, problems = [], []
    for item in pairs.problems:
        path = Path(item.location)
        if item.reason == "image without caption" and path.is_file():
            entries.append(Entry(f"{item.key}{path.suffix}", (), LooseFile(str(path), path.stat().st_size)))
        else:
            problems.append(item)
    note = f"images without a caption are compared as well: {len(entries):,}."
    notes = [*pairs.notes, *([note] if entries else [])]
    return PairList(pairs.name, [*pairs.entries, *entries], problems=problems, notes=notes)


def refuse_same_folder(train: Any, against: Sequence[str]) -> None:
    """`UsageError` for a set that is, or lies in, a folder of the training images: each image would be its own copy."""
    folders = {Path(str(source)).resolve(): source for source in listed(train) if not is_in_memory(source)}
    for name in against:
        place = folder_of(name) if is_paper_set(name) else Path(name)
        if is_hub_set(name) or not place.exists():
            continue
        resolved = place.resolve()
        if inside := [folders[each] for each in (resolved, *resolved.parents) if each in folders]:
            where = "is given as training images too" if resolved in folders else f"lies in {inside[0]}"
            raise UsageError(f"{name} {where}, and every image would be found; name another set, or other images.")


def with_scores(
    model: Model, sets: Sequence[EvalSet], results: Sequence[SetOverlap], question: Question
) -> list[SetOverlap]:
    """The results with the model's scores, and p-values corrected for as many tests as there are.

    What cannot be measured is said in the notes of its set: what was found is not lost for it.
    """
    scored = []
    for own, result in zip(sets, results, strict=True):
        try:
            scored.append(with_score(model, own.source, result, question))
        except (UsageError, RefusedInput) as error:
            scored.append(replace(result, notes=(*result.notes, f"no score was measured: {error}")))
    tests = sum(result.inflation is not None for result in scored)
    return [
        result
        if (effect := result.inflation) is None
        else replace(result, p_corrected=min(1.0, tests * effect.p_value))
        for result in scored
    ]


def with_score(model: Model, source: LabelledSet | PairSource, result: SetOverlap, question: Question) -> SetOverlap:
    """A result with the model's score on all images and on the clean ones; raises as `measure_set`."""
    if not isinstance(source, LabelledSet) and len(source) and not any(map(source.captions, range(len(source)))):
        raise UsageError(f"{source.name} has no classes and no captions.")
    measured = measure_set(model, source, question)
    name = "top1" if isinstance(source, LabelledSet) else "image_to_text r1"
    found = {pair.eval for pair in result.pairs}
    is_overlap_N = np.array([source.key(number) in found for number in measured.read])
    hit_N = measured.hits[name]
    effect = inflation(hit_N, is_overlap_N)
    notes = [*result.notes]
    if effect is None:
        which = "all" if is_overlap_N.any() else "none"
        notes.append(f"{which} of its images overlap: there is no clean score to compare with.")
    if len(hit_N) != result.n:
        notes.append(f"the score is of {len(hit_N)} images, the overlap of {result.n}: as many could be read for each.")
    return replace(result, measure=name, accuracy=float(hit_N.mean()), inflation=effect, notes=tuple(notes))


def hashes_of(pairs: PairSource, results: Sequence[SetOverlap]) -> tuple[tuple[str, ...], int]:
    """SHA-256 of the training images that are in a pair, sorted, and how many are gone since they were compared."""
    wanted = {pair.train for result in results for pair in result.pairs}
    digests, gone = set(), 0
    for number in range(len(pairs)) if wanted else ():
        if pairs.key(number) in wanted:
            try:
                digests.add(hashlib.sha256(pairs[number].image).hexdigest())
            except BrokenSample:
                gone += 1
    return tuple(sorted(digests)), gone

"""Were the test images in the training set? The public `seesay.overlap`.

N = images of a set, M = training images, S = copies made of some, K = matches kept for an image.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from seesay.base.errors import BrokenSample, RefusedInput, UsageError
from seesay.base.journal import progress
from seesay.base.names import no_empty_names
from seesay.base.publish import publish_file, refuse_unwritable_file
from seesay.base.records import PairSource
from seesay.data.duplicates import COPIES, MOST_BITS
from seesay.data.evalsets import open_evalset
from seesay.data.hub_sets import is_hub_set
from seesay.data.jpeg import decoding
from seesay.data.labelled import LabelledSet
from seesay.data.memory_pairs import is_in_memory
from seesay.data.pairs import listed, open_pairs
from seesay.data.sources import count_reasons
from seesay.evaluation.overlap_result import Choice, Match, Overlap, SetOverlap, overlap_page
from seesay.evaluation.suite import Question, measure_set
from seesay.formulas.metrics import precise_threshold
from seesay.formulas.statistics import inflation
from seesay.model.bundle import Model
from seesay.model.cache import EmbeddingCache
from seesay.model.detector import CHUNK, CopyDetector, CopySearch, Described, squashed
from seesay.model.hub import on_device

# What a threshold has to reach, and in which case: where this share of the images has a copy. Guesses.
PRECISION, COPIED_SHARE = 0.99, 0.1
# Copies made for a threshold, of a set's images and of training images, and matches kept below it; guesses.
SAMPLE, BELOW = 1000, 24
# The longer side of an image that a copy is made of; a guess at what is more than the tower sees.
LARGEST = 256
# In place of the similarity to an image that is not there: below all others.
MISSING = -9.0
# Of what is drawn for the copies; any other number would do.
SEED = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class EvalSet:
    """A set that is looked for, and its images as they are compared."""

    source: LabelledSet | PairSource
    described: Described


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

    `train` is what `seesay.train` takes, `against` one or more sets as `seesay.evaluate` takes them, by path. Images
    are compared by a small tower of the package, and beside it by a perceptual hash. The threshold of a set is the
    lowest at which 99 % of what is found is right where a tenth of its images have a copy, judged on copies made of its
    images on the spot. With a `model` its score (top-1; of captioned sets how often the nearest caption is the image's
    own) on all images and on those that are not found, the difference with a 99.5 % interval, and a one-sided binomial
    test (Radford et al. 2021, section 5).

    `report` is an HTML page with the pairs side by side. `remove` is a text file with the SHA-256 of every training
    image in a pair: `seesay train --set data.blocked_hashes=FILE` and `seesay curate --set filter.blocked_hashes=FILE`
    leave those out. What was described of images is cached under `SEESAY_CACHE`, unless `cache` is False.
    `UsageError` for arguments that do not fit, `RefusedInput` where no image of a side can be read.

    Example: `seesay.overlap("photos/", "digits/", model="box", report="overlap.html").to_pandas()`
    """
    refuse_unwritable_file(report, "report", ending=".html")
    refuse_unwritable_file(remove, "remove")
    names = [str(source) for source in listed(against)]
    refuse_same_folder(train, names)
    where = EmbeddingCache.find() if cache else EmbeddingCache(None)
    detector = CopyDetector()
    sources = [open_evalset(name) for name in names]
    if twice := [name for name, count in Counter(source.name for source in sources).items() if count > 1]:
        raise UsageError(f"two sets are called {twice[0]!r}; look for one of them, then for the other.")
    pairs = open_pairs(train)
    loaded = None if model is None else on_device(model, device)
    sets = [EvalSet(source=source, described=describe_set(detector, source, where)) for source in sources]
    searched, found = search_all(detector, pairs, sets, where)
    results = match_all(detector, sets, found, searched)
    if loaded is not None:
        results = with_scores(loaded, sets, results, Question(cache=where))
    result = Overlap(
        train=pairs.name,
        searched=len(searched.numbers),
        model=None if loaded is None else loaded.name,
        sets=tuple(results),
        remove=hashes_of(pairs, results),
        skipped_by_reason=searched.skipped_by_reason,
        notes=tuple(pairs.notes),
    )
    if remove is not None:
        publish_file(remove, "".join(f"{digest}\n" for digest in result.remove).encode())
    if report is not None:
        by_key = {own.source.name: reader(own.source) for own in sets}
        publish_file(report, overlap_page(result, by_key, reader(pairs)).encode())
    return result


def refuse_same_folder(train: Any, against: Sequence[str]) -> None:
    """`UsageError` for a set that is, or lies in, a folder of the training images: each image would be its own copy."""
    folders = {Path(str(source)).resolve(): source for source in listed(train) if not is_in_memory(source)}
    for name in against:
        if is_hub_set(name) or not Path(name).exists():
            continue
        resolved = Path(name).resolve()
        if inside := [folders[each] for each in (resolved, *resolved.parents) if each in folders]:
            where = "is given as training images too" if resolved in folders else f"lies in {inside[0]}"
            raise UsageError(f"{name} {where}, and every image would be found; name another set, or other images.")


def image_of(source: LabelledSet | PairSource, number: int) -> bytes:
    """The encoded image of this number; raises `BrokenSample` if it cannot be read any more."""
    return source.image(number) if isinstance(source, LabelledSet) else source[number].image


def reader(source: LabelledSet | PairSource) -> Callable[[str], bytes]:
    """The encoded image by its key."""
    numbers = {source.key(number): number for number in range(len(source))}
    return lambda key: image_of(source, numbers[key])


def describe_set(detector: CopyDetector, source: LabelledSet | PairSource, cache: EmbeddingCache) -> Described:
    """The images of a set; `RefusedInput` where none can be read."""
    parts = list(chunks(detector, source, cache, source.name))
    whole = Described(
        row_ND=torch.cat([part.row_ND for part in parts]),
        look_N=np.concatenate([part.look_N for part in parts]),
        colours_N883=np.concatenate([part.colours_N883 for part in parts]),
        index=np.concatenate([part.index for part in parts]),
        skipped=tuple(item for part in parts for item in part.skipped),
    )
    if not len(whole.index):
        reasons = count_reasons(whole.skipped)
        raise RefusedInput(f"none of the {len(source)} images of {source.name} could be read ({reasons}).")
    return whole


def chunks(
    detector: CopyDetector, source: LabelledSet | PairSource, cache: EmbeddingCache, label: str
) -> Iterator[Described]:
    """All images, `CHUNK` at a time."""
    with progress(len(source), label) as advance:
        for first in range(0, len(source), CHUNK):
            numbers = range(first, min(first + CHUNK, len(source)))
            yield detector.cached(lambda number: image_of(source, number), numbers, cache)
            advance(len(numbers))


@dataclass(frozen=True, kw_only=True, eq=False)
class Searched:
    """The training images that were compared: their numbers (M,), and the hash of every image by its number."""

    pairs: PairSource
    numbers: np.ndarray
    look_of: np.ndarray
    skipped_by_reason: dict[str, int]


def search_all(
    detector: CopyDetector, pairs: PairSource, sets: Sequence[EvalSet], cache: EmbeddingCache
) -> tuple[Searched, list[CopySearch]]:
    """All training images against all sets, in one pass; `RefusedInput` where none can be read."""
    searches = [CopySearch(own.described) for own in sets]
    numbers, look_of, reasons = [], np.zeros(len(pairs), np.uint64), Counter[str]()
    for part in chunks(detector, pairs, cache, "training images"):
        for search in searches:
            search.add(part)
        numbers.append(part.index)
        look_of[part.index] = part.look_N
        reasons.update(item.reason for item in part.skipped)
    searched = Searched(
        pairs=pairs, numbers=np.concatenate(numbers), look_of=look_of, skipped_by_reason=dict(reasons.most_common())
    )
    if not len(searched.numbers):
        shown = ", ".join(f"{count} x {reason}" for reason, count in reasons.items())
        raise RefusedInput(f"none of the {len(pairs)} training images could be read ({shown}).")
    return searched, searches


def match_all(
    detector: CopyDetector, sets: Sequence[EvalSet], searches: Sequence[CopySearch], searched: Searched
) -> list[SetOverlap]:
    """The pairs of every set."""
    decoys, results = make_decoys(detector, searched), []
    with progress(len(sets), "thresholds") as advance:
        for own, search in zip(sets, searches, strict=True):
            copy_S = copies_found(detector, own, search)
            results.append(matched(own, search, copy_S, decoys=decoys, searched=searched))
            advance(1)
    return results


def matched(
    own: EvalSet, search: CopySearch, copy_S: np.ndarray, *, decoys: "Decoys", searched: Searched
) -> SetOverlap:
    """The pairs of a set, from a threshold on that is judged by the similarities of its own copies, (S,)."""
    other_N = np.maximum(expected_best(search, searched), decoys.best(search))
    threshold = precise_threshold(copy_S, other_N[other_N > MISSING], share=COPIED_SHARE, precision=PRECISION)
    similarity_NK = search.similarity(search.cosine_NK).masked_fill(search.number_NK < 0, MISSING)

    def match(at: int, rank: int) -> Match:
        return Match(
            eval=own.source.key(int(own.described.index[at])),
            train=searched.pairs.key(int(search.number_NK[at, rank])),
            similarity=float(similarity_NK[at, rank]),
        )

    is_match_NK = similarity_NK >= threshold
    found = [match(at, rank) for at, rank in is_match_NK.nonzero().tolist()]
    is_overlap_N, is_alike_N = is_match_NK[:, 0].numpy(), search.alike_N >= 0
    others = [at for at in similarity_NK[:, 0].argsort(descending=True).tolist() if not is_overlap_N[at]]
    crowded = int(is_match_NK[:, -1].sum())
    notes = [f"{crowded} images have more matches than the {similarity_NK.shape[1]} kept."] * (crowded > 0)
    return SetOverlap(
        name=own.source.name,
        n=len(own.described.index),
        overlap=int(is_overlap_N.sum()),
        by_hash=int(is_alike_N.sum()),
        by_both=int((is_overlap_N & is_alike_N).sum()),
        choice=Choice(
            threshold=threshold,
            copies=len(copy_S),
            recall=float((copy_S >= threshold).mean()),
            precision=PRECISION,
        ),
        pairs=tuple(sorted(found, key=lambda pair: -pair.similarity)),
        below=tuple(match(at, 0) for at in others[:BELOW]),
        skipped_by_reason=dict(Counter(item.reason for item in own.described.skipped).most_common()),
        notes=tuple(notes),
    )


def copies_found(detector: CopyDetector, own: EvalSet, search: CopySearch) -> np.ndarray:
    """Similarities of images of the set to copies made of them, each by one or more of the ten ways in turn, (S,)."""
    count = min(len(own.described.index), SAMPLE)
    each = min(len(COPIES), max(1, SAMPLE // count))
    at_S = np.linspace(0, len(own.described.index) - 1, count).astype(int).repeat(each)
    copies = copies_of(lambda n: image_of(own.source, int(own.described.index[at_S[n]])), len(at_S))
    cosine_S = (detector.rows(copies) * own.described.row_ND[at_S]).sum(1)
    # What is usual is that of the image, whatever it is compared with.
    offset_N = search.similarity(torch.zeros(len(own.described.index), 1))[:, 0]
    return (cosine_S + offset_N[at_S]).numpy()


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoys:
    """Rows (S, D) of copies made of some training images, and the numbers of these (S,)."""

    row_SD: torch.Tensor
    numbers: np.ndarray

    def best(self, search: CopySearch) -> np.ndarray:
        """The largest similarity of each image to a copy of a training image that is not near it, (N,)."""
        cosine_NS = search.queries.row_ND @ self.row_SD.T
        is_near_NS = (search.number_NK[:, :, None] == torch.from_numpy(self.numbers)).any(1)
        return search.similarity(cosine_NS).masked_fill(is_near_NS, MISSING).amax(1).numpy()


def make_decoys(detector: CopyDetector, searched: Searched) -> Decoys:
    """Copies of `SAMPLE` training images, evenly spread."""
    count = min(len(searched.numbers), SAMPLE)
    numbers = searched.numbers[np.linspace(0, len(searched.numbers) - 1, count).astype(int)]
    row_SD = detector.rows(copies_of(lambda n: searched.pairs[int(numbers[n])].image, count))
    return Decoys(row_SD=row_SD, numbers=numbers)


def copies_of(read: Callable[[int], bytes], count: int) -> np.ndarray:
    """A copy of each image, by the ten ways in turn, squashed for the tower, (S, side, side, 3)."""
    ways, rng = list(COPIES.values()), np.random.default_rng(SEED)
    copies = []
    for n in range(count):
        with decoding(read(n), lambda height, width: max(height, width) / LARGEST) as decoded:
            image = Image.fromarray(decoded.pixels_HW3)
        image.thumbnail((LARGEST, LARGEST))
        copies.append(squashed(ways[n % len(ways)](image, rng)))
    return np.stack(copies)


def expected_best(search: CopySearch, searched: Searched) -> np.ndarray:
    """What each image's largest similarity would be if it had no copy, (N,); `MISSING` where too few others are known.

    The nearest may be a copy; the others, but for those with the hash of the nearest, are taken for other images. Where
    a tail falls off exponentially, i (x_i - x_i+1) of sorted values has one distribution for every i (Renyi 1953), so
    that x_1 is expected to be x_2 and the mean of 2 (x_2 - x_3), here by its median over the set: some x_2 are copies.
    """
    look_NK = searched.look_of[search.number_NK.clamp(min=0).numpy()]
    is_same_NK = torch.from_numpy(np.bitwise_count(look_NK ^ look_NK[:, :1]) <= MOST_BITS)
    is_none_NK = is_same_NK | (search.number_NK < 0)
    best_N2 = search.similarity(search.cosine_NK).masked_fill(is_none_NK, MISSING).topk(2, dim=1).values.numpy()
    is_known_N = best_N2[:, 1] > MISSING
    if not is_known_N.any():
        return np.full(len(best_N2), MISSING)
    mean_gap = 2 * np.median(best_N2[is_known_N, 0] - best_N2[is_known_N, 1]) / math.log(2)
    return np.where(is_known_N, best_N2[:, 0] + mean_gap, MISSING)


def with_scores(
    model: Model, sets: Sequence[EvalSet], results: Sequence[SetOverlap], question: Question
) -> list[SetOverlap]:
    """The results with the model's scores, and p-values corrected for as many tests as there are."""
    scored = []
    for own, result in zip(sets, results, strict=True):
        measured = measure_set(model, own.source, question)
        name = "top1" if isinstance(own.source, LabelledSet) else "image_to_text r1"
        found = {pair.eval for pair in result.pairs}
        is_overlap_N = np.array([own.source.key(number) in found for number in measured.read])
        hit_N = measured.hits[name]
        effect = inflation(hit_N, is_overlap_N)
        scored.append(replace(result, measure=name, accuracy=float(hit_N.mean()), inflation=effect))
    tests = sum(result.inflation is not None for result in scored)
    return [
        result
        if (effect := result.inflation) is None
        else replace(result, p_corrected=min(1.0, tests * effect.p_value))
        for result in scored
    ]


def hashes_of(pairs: PairSource, results: Sequence[SetOverlap]) -> tuple[str, ...]:
    """SHA-256 of the training images that are in a pair, sorted."""
    wanted = {pair.train for result in results for pair in result.pairs}
    digests = set()
    for number in range(len(pairs)) if wanted else ():
        if pairs.key(number) in wanted:
            with suppress(BrokenSample):  # gone since it was compared
                digests.add(hashlib.sha256(pairs[number].image).hexdigest())
    return tuple(sorted(digests))

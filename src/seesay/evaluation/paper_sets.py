"""Sets with measures of their own: words of a lexicon, rare actions, places.

N = images or clips read, R = rows about them, C = classes, D = embedding width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.journal import progress
from seesay.base.records import Score, Skipped
from seesay.data.paper_sets.images import ActionSet, LexiconSet, LocatedSet, PaperSet
from seesay.data.prompts import fill, load_templates
from seesay.data.sources import count_reasons
from seesay.evaluation.clips import count_frames, score_images
from seesay.evaluation.results import SuiteResult
from seesay.evaluation.suite import SEED, Measured, Question, reasons_of, refuse_none, share_of_hits
from seesay.formulas.geolocation import great_circle_km
from seesay.formulas.metrics import rank_of_label
from seesay.formulas.rare_actions import (
    bootstrap,
    by_guessing,
    mean_sampled_precision,
    mean_weighted_precision,
    rows_of_classes,
)
from seesay.formulas.similarity import top_k
from seesay.formulas.statistics import FEW_DRAWS, percentiles
from seesay.model.bundle import Model
from seesay.model.cache import cached_encode_images, cached_encode_prompts

Advance = Callable[[int], None]
# A street, a city, a region, a country, a continent (Radford et al. 2021, table 17).
WITHIN_KM = (1, 25, 200, 750, 2500)
# Reference photos that chance is worked out with, at most; a guess.
GUESSED_FROM = 10_000


def measure_paper_set(model: Model, evalset: PaperSet, question: Question) -> Measured:
    """The measures of the set's own.

    Raises `RefusedInput` where no image can be read, and `UsageError` for a model that cannot answer.
    """
    measure = {LexiconSet: measure_lexicons, ActionSet: measure_actions, LocatedSet: measure_locations}[type(evalset)]
    with progress(count_frames(evalset.images), evalset.name) as advance:
        measured: Measured = measure(model, evalset, question, advance)
    if question.class_names is None and question.descriptions is None:
        return measured
    note = "the class names and descriptions of the call are of no use here."
    return replace(measured, result=replace(measured.result, notes=(*measured.result.notes, note)))


def measure_lexicons(model: Model, evalset: LexiconSet, question: Question, advance: Advance) -> Measured:
    """Whether the right word is the best of an image's lexicon; chance is one over the words of a lexicon, averaged."""
    if not model.embeds_texts:
        raise UsageError(
            f"{model.name} predicts captions, and {evalset.name} compares rows of words; take another model."
        )
    image_ND, read, skipped = encoded(model, evalset, question, advance)
    templates = templates_of(evalset, question)
    prompts = [tuple(fill(templates, [word])) for word in evalset.words]
    row_CD = cached_encode_prompts(model, prompts, cache=question.cache)
    hit_N = np.array([reads_right(row_D, row_CD, evalset, at) for row_D, at in zip(image_ND, read, strict=True)])
    chance = float(np.mean([1 / len(evalset.lexicons[at]) for at in read]))
    measures = {"top1": share_of_hits(hit_N, chance=chance)}
    result = result_of(model, evalset, question, measures, read, skipped)
    note = f"{len(evalset.words):,} words in all, {round(1 / chance):,} to choose from for an image."
    result = replace(result, notes=(note, *result.notes))
    each_N = np.arange(len(read))
    return Measured(result=result, evalset=evalset, read=read, hits={"top1": hit_N}, image_of_hit={"top1": each_N})


def reads_right(row_D: Tensor, row_CD: Tensor, evalset: LexiconSet, at: int) -> bool:
    """Whether an image's row (D,) is nearest to its word's among those (C, D) of its lexicon; a tie is a miss."""
    lexicon = evalset.lexicons[at]
    score_1K = (row_CD[torch.from_numpy(lexicon)] @ row_D)[None]
    (own,) = np.nonzero(lexicon == evalset.label[at])
    return bool(rank_of_label(score_1K, torch.from_numpy(own)) == 1)


def measure_actions(model: Model, evalset: ActionSet, question: Question, advance: Advance) -> Measured:
    """RareAct's two measures, mWAP and mWSAP (`formulas.rare_actions`), over the rows whose clip could be read."""
    names = [f"{verb} {noun}" for verb, noun in evalset.actions]
    classifier = model.classifier(
        names,
        templates_of(evalset, question),
        rows=lambda prompts: cached_encode_prompts(model, prompts, cache=question.cache),
    )
    scored = score_images(model, classifier, evalset.images, cache=question.cache, progress=advance)
    skipped = [replace(item, key=evalset.key(int(item.key))) for item in scored.skipped]
    refuse_none(evalset, scored.read, skipped)
    position = np.full(len(evalset), -1)
    position[scored.read] = np.arange(len(scored.read))
    is_read_R = position[evalset.clip_N] >= 0
    score_RC = scored.score_NC.numpy()[position[evalset.clip_N[is_read_R]]]
    video_R = evalset.video_N[is_read_R]
    classes = rows_of_classes(evalset.actions, evalset.class_N[is_read_R], video_R, evalset.annotation_N[is_read_R])
    if not classes:
        raise UsageError(f"no clip that could be read of {evalset.name} shows the action of its row; add videos.")
    drawn_T2 = np.array(list(bootstrap(score_RC, classes, video_R, draws=FEW_DRAWS, seed=SEED)))
    values = {
        "mwap": mean_weighted_precision(score_RC, classes),
        "mwsap": mean_sampled_precision(score_RC, classes, seed=SEED),
    }
    chance = by_guessing(classes)
    measures = {
        name: Score(value=value, interval95=percentiles(drawn_T, np.array([value])), chance=chance, n=len(score_RC))
        for (name, value), drawn_T in zip(values.items(), drawn_T2.T, strict=True)
    }
    result = result_of(model, evalset, question, measures, scored.read, skipped)
    note = f"{len(score_RC):,} rows about {len(scored.read):,} clips; {len(classes)} of {len(names)} actions are seen."
    alone = "of two models there is no paired test here; compare their intervals."
    notes = (note, alone, *result.notes, *scored.notes)
    return Measured(result=replace(result, notes=notes), evalset=evalset, read=scored.read, hits={}, image_of_hit={})


def measure_locations(model: Model, evalset: LocatedSet, question: Question, advance: Advance) -> Measured:
    """Which share of photos is within each of `WITHIN_KM` of the reference photo that looks most like it."""
    image_ND, read, skipped = encoded(model, evalset, question, advance)
    degrees_N2, is_test_N = evalset.degrees_N2[read], np.array(read) < evalset.tests
    if is_test_N.all() or not is_test_N.any():
        part = "reference" if is_test_N.all() else "test"
        raise RefusedInput(f"none of the {part} photos of {evalset.name} could be read ({count_reasons(skipped)}).")
    is_test = torch.from_numpy(is_test_N)
    _, best_N1 = top_k(image_ND[is_test], image_ND[~is_test], 1)
    test_N2, reference_M2 = degrees_N2[is_test_N], degrees_N2[~is_test_N]
    away_N = great_circle_km(test_N2, reference_M2[best_N1[:, 0].numpy()])
    some_M2 = reference_M2[:: -(-len(reference_M2) // GUESSED_FROM)]
    guessed = np.concatenate([great_circle_km(place_2, some_M2) for place_2 in test_N2])
    hits = {f"within_{km}_km": away_N <= km for km in WITHIN_KM}
    chances = {name: float((guessed <= km).mean()) for name, km in zip(hits, WITHIN_KM, strict=True)}
    measures = {name: share_of_hits(hit_N, chance=chances[name]) for name, hit_N in hits.items()}
    tests = [at for at in read if at < evalset.tests]
    test_keys = set(evalset.keys[: evalset.tests])
    of_tests = [item for item in skipped if item.key in test_keys]
    result = result_of(model, evalset, question, measures, tests, of_tests)
    notes = [f"half of the photos are placed {np.median(away_N):,.0f} km or less from where they were taken."]
    if lost := len(skipped) - len(of_tests):
        notes.append(f"{lost:,} reference photos could not be read.")
    result = replace(result, notes=(*notes, *result.notes))
    image_of_hit = dict.fromkeys(hits, np.arange(len(tests)))
    return Measured(result=result, evalset=evalset, read=tests, hits=hits, image_of_hit=image_of_hit)


def encoded(
    model: Model, evalset: PaperSet, question: Question, advance: Advance
) -> tuple[Tensor, list[int], list[Skipped]]:
    """Rows (N, D) of the images that could be read, which they are, and the others; `RefusedInput` where all are."""
    if model.reads_grid:
        raise UsageError(
            f"{model.name} reads a grid of an image, not its row, as {evalset.name} needs; take another model."
        )
    image_ND, read, skipped = cached_encode_images(
        model, evalset.image, len(evalset), cache=question.cache, progress=advance
    )
    skipped = [replace(item, key=evalset.key(int(item.key))) for item in skipped]
    refuse_none(evalset, read, skipped)
    return image_ND, read, skipped


def templates_of(evalset: PaperSet, question: Question) -> tuple[str, ...]:
    """Those of the call, else of the set."""
    return evalset.templates if question.templates is None else load_templates(question.templates)


def result_of(
    model: Model,
    evalset: PaperSet,
    question: Question,
    measures: Mapping[str, Score],
    read: Sequence[int],
    skipped: Sequence[Skipped],
) -> SuiteResult:
    """The measures with what every result has."""
    templates = templates_of(evalset, question)
    return SuiteResult(
        set_name=evalset.name,
        model=model.name,
        n=len(read),
        skipped_by_reason=reasons_of([*evalset.problems, *skipped]),
        data_fingerprint=evalset.fingerprint,
        seed=SEED,
        templates=templates,
        templates_from="none" if not evalset.templates else "the set" if question.templates is None else "the call",
        notes=evalset.notes,
        measures=measures,
    )

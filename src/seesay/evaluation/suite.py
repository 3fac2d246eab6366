"""One model on one set. N = images read, C = classes, R = best of them, D = embedding width.

Every share and every end of an interval is a fraction from 0 to 1; every share stands beside its 95 % interval and
chance. Ties count as misses (`formulas.metrics`); the intervals are those of `formulas.statistics`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.journal import progress
from seesay.base.records import PairSource, Score, Skipped
from seesay.data.class_names import ClassName, Descriptions, known_set
from seesay.data.labelled import LabelledSet, refuse_unseen_classes
from seesay.data.paper_sets.images import PaperSet
from seesay.data.prompts import TEMPLATES, load_templates
from seesay.data.sources import count_reasons
from seesay.evaluation.clips import count_frames, score_images
from seesay.evaluation.results import DIRECTIONS, RetrievalResult, SuiteResult, ZeroShotResult
from seesay.formulas.metrics import mean_per_class, roc_auc, top_k_hits
from seesay.formulas.reliability import reliability
from seesay.formulas.statistics import (
    bootstrap_interval,
    mean_per_class_interval,
    proportion_interval,
    recall_interval,
)
from seesay.model.bundle import Model
from seesay.model.cache import EmbeddingCache, cached_encode_prompts
from seesay.model.zero_shot import Classifier
from seesay.tasks.retrieve import retrieval_scores
from seesay.tasks.words import Words, choose_words

Templates = str | Path | Sequence[str] | None
Advance = Callable[[int], None]
NO_CACHE = EmbeddingCache(None)
# Of all bootstraps, the only random numbers of an evaluation; any other number would do.
SEED = 0
# Of one there is nothing to choose from.
FEWEST_CHOICES = 2
# The best classes that a card of the report shows for an image; a guess at what is easily read.
RANKED = 3
# The area under the ROC curve of answers that say nothing (Hanley and McNeil 1982).
CHANCE_OF_ROC_AUC = 0.5
# The paper's second measure on ImageNet (Radford et al. 2021, section 3.1.3).
TOP = 5


@dataclass(frozen=True, kw_only=True)
class Question:
    """The words for the classes of every set, and the cache for embeddings."""

    templates: Templates = None
    class_names: str | Path | None = None
    descriptions: Descriptions | None = None
    cache: EmbeddingCache = NO_CACHE


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """A result and what it was made from.

    `read` are the indices in `evalset` of the images that could be read. `hits` are by name of the score, as "top1" or
    "text_to_image r10"; `image_of_hit` is the position in `read` of the image that each hit is about. `answers` are
    those of a zero-shot classifier, None for retrieval.
    """

    result: ZeroShotResult | RetrievalResult | SuiteResult
    evalset: LabelledSet | PairSource | PaperSet
    read: list[int]
    hits: Mapping[str, np.ndarray]
    image_of_hit: Mapping[str, np.ndarray]
    answers: "Answers | None" = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """The answers of a zero-shot classifier to N images, and the words that its classes were made of.

    `best_NR` are the numbers of the best classes, and `share_NR` their probabilities. There is no `image_ND` where a
    image's row is a whole grid.
    """

    image_ND: Tensor | None
    best_NR: Tensor
    share_NR: Tensor
    label_N: np.ndarray
    predicted_N: np.ndarray
    confidence_N: np.ndarray
    classifier: Classifier
    names: tuple[ClassName, ...]
    templates: tuple[str, ...]


def measure_set(model: Model, evalset: LabelledSet | PairSource, question: Question) -> Measured:
    """Zero-shot classification on a labelled set, retrieval on a captioned one.

    Raises `RefusedInput` where not one image can be read, and `UsageError` for words that do not go with the set, a
    class without one image that can be read, a set with nothing to choose from (one class, or one image with captions),
    and retrieval with a model that has no embeddings of texts.
    """
    choices = len(evalset.class_names) if isinstance(evalset, LabelledSet) else len(evalset)
    if choices < FEWEST_CHOICES:
        what = "class" if isinstance(evalset, LabelledSet) else "image with captions"
        raise UsageError(f"{evalset.name} has {choices} {what}: every answer would be right; measure on two or more.")
    count = count_frames(evalset.images) if isinstance(evalset, LabelledSet) else len(evalset)
    with progress(count, evalset.name) as advance:
        if isinstance(evalset, LabelledSet):
            return measure_zero_shot(model, evalset, question, advance)
        return measure_retrieval(model, evalset, question, advance)


def measure_zero_shot(model: Model, evalset: LabelledSet, question: Question, advance: Advance) -> Measured:
    """As `measure_set`; `advance` is called with the number of images just encoded."""
    words = choose_words(
        model, (evalset,), evalset.class_names, templates=question.templates, called=question.class_names
    )
    classifier = model.classifier(
        words.names,
        words.templates,
        descriptions=question.descriptions,
        rows=lambda prompts: cached_encode_prompts(model, prompts, cache=question.cache),
    )
    scored = score_images(model, classifier, evalset.images, cache=question.cache, progress=advance)
    score_NC, read = scored.score_NC, scored.read
    skipped = [replace(item, key=evalset.key(int(item.key))) for item in scored.skipped]
    refuse_none(evalset, read, skipped)
    refuse_unseen_classes(evalset, read, skipped)
    label_N = np.array([evalset.label(index) for index in read])
    hits = top_k_hits(score_NC, torch.from_numpy(label_N), ks=(1, TOP))
    answers = answers_of(score_NC, scored.image_ND, label_N, classifier, words)
    each_N = np.arange(len(read))
    result = zero_shot_result(model, evalset, question, words, answers, hits, skipped)
    measures = paper_measures(evalset.name, score_NC.double().numpy(), hits, label_N)
    return Measured(
        result=replace(result, measures=measures, notes=(*result.notes, *scored.notes)),
        evalset=evalset,
        read=read,
        hits={"top1": hits[1], "top5": hits[TOP]},
        image_of_hit={"top1": each_N, "top5": each_N},
        answers=answers,
    )


def refuse_none(evalset: LabelledSet | PaperSet, read: Sequence[int], skipped: Sequence[Skipped]) -> None:
    """`RefusedInput` where not one image could be read."""
    if not read:
        reasons = count_reasons(skipped)
        raise RefusedInput(f"none of the {len(evalset)} images of {evalset.name} could be read ({reasons}).")


def answers_of(
    score_NC: Tensor, image_ND: Tensor | None, label_N: np.ndarray, classifier: Classifier, words: Words
) -> Answers:
    """The answers by scores and labels (N,): best class, its probability, and the best `RANKED` classes."""
    predicted_N = score_NC.argmax(1)
    share_NC = classifier.probabilities_of(score_NC)
    best_NR = score_NC.topk(min(RANKED, score_NC.shape[1]), dim=1).indices
    return Answers(
        image_ND=image_ND,
        best_NR=best_NR,
        share_NR=share_NC.gather(1, best_NR),
        label_N=label_N,
        predicted_N=predicted_N.numpy(),
        confidence_N=share_NC.gather(1, predicted_N[:, None])[:, 0].double().numpy(),
        classifier=classifier,
        names=tuple(words.names),
        templates=words.templates,
    )


def zero_shot_result(
    model: Model,
    evalset: LabelledSet,
    question: Question,
    words: Words,
    answers: Answers,
    hits: Mapping[int, np.ndarray],
    skipped: Sequence[Skipped],
) -> ZeroShotResult:
    """The scores of `answers`, whose `hits` (N,) are by k."""
    n, classes = len(answers.label_N), len(evalset.class_names)
    mean = mean_per_class(hits[1], answers.label_N)
    mean_interval = mean_per_class_interval(hits[1], answers.label_N, seed=SEED)
    described = question.descriptions is not None
    return ZeroShotResult(
        set_name=evalset.name,
        model=model.name,
        skipped_by_reason=reasons_of([*evalset.problems, *skipped]),
        data_fingerprint=evalset.fingerprint,
        seed=SEED,
        n=n,
        classes=classes,
        top1=share_of_hits(hits[1], chance=1 / classes),
        top5=share_of_hits(hits[TOP], chance=min(TOP / classes, 1.0)),
        mean_per_class=Score(value=mean, interval95=mean_interval, chance=1 / classes, n=n),
        calibration_error=reliability(answers.confidence_N, hits[1]).expected_error,
        same_names=words.same_names,
        templates=() if described else words.templates,
        templates_from="descriptions" if described else words.templates_from,
        class_names_from=words.names_from,
        notes=(*evalset.notes, *(words.notes if not described else ())),
    )


def paper_measures(
    set_name: str, score_NC: np.ndarray, hits: Mapping[int, np.ndarray], label_N: np.ndarray
) -> dict[str, Score]:
    """What the paper measures beside or in place of accuracy, by name; scores (N, C), labels (N,), hits (N,) by k.

    None for a set that the paper measures by accuracy, or does not know. The area under the ROC curve is that of the
    second of two classes, by how much it scores above the first.
    """
    known = known_set(set_name)
    n, classes = score_NC.shape
    if known is not None and known.metric == "roc-auc" and classes == 2:
        gain_N, is_second_N = score_NC[:, 1] - score_NC[:, 0], label_N == 1
        interval = bootstrap_interval(lambda drawn: roc_auc(gain_N[drawn], is_second_N[drawn]), n, seed=SEED)
        value = roc_auc(gain_N, is_second_N)
        return {"roc_auc": Score(value=value, interval95=interval, chance=CHANCE_OF_ROC_AUC, n=n)}
    if known is not None and known.metric == "mean-top1-top5":
        both_2N = np.stack([hits[1], hits[TOP]])
        interval = recall_interval(both_2N.ravel(), np.tile(np.arange(n), 2), seed=SEED)
        chance = (1 / classes + min(TOP / classes, 1.0)) / 2
        return {"mean_top1_top5": Score(value=float(both_2N.mean()), interval95=interval, chance=chance, n=n)}
    return {}


def share_of_hits(hit_N: np.ndarray, *, chance: float) -> Score:
    """The share of images that are right, with its exact interval."""
    n = len(hit_N)
    interval = proportion_interval(int(hit_N.sum()), n)
    return Score(value=float(hit_N.mean()), interval95=interval, chance=chance, n=n)


def measure_retrieval(model: Model, pairs: PairSource, question: Question, advance: Advance) -> Measured:
    """As `measure_set`; `advance` is called with the number of images just encoded."""
    templates = question.templates
    chosen = TEMPLATES["none"] if templates is None else load_templates(templates)
    scores = retrieval_scores(model, pairs, templates=chosen, cache=question.cache, progress=advance)
    result = RetrievalResult(
        set_name=pairs.name,
        model=model.name,
        skipped_by_reason=reasons_of([*pairs.problems, *scores.skipped]),
        notes=(*pairs.notes, *scores.notes),
        data_fingerprint=pairs.fingerprint,
        seed=SEED,
        n=len(scores.read),
        captions=len(scores.image_of_text),
        shared_captions=scores.shared_captions,
        text_to_image=scores.text_to_image,
        image_to_text=scores.image_to_text,
        templates=chosen,
        templates_from="captions as they are" if templates is None else "the call",
    )
    image_of_query = {"text_to_image": scores.image_of_text, "image_to_text": np.arange(len(scores.read))}
    hits, image_of_hit = {}, {}
    for direction in DIRECTIONS:
        for k, hit in scores.hits[direction].items():
            hits[f"{direction} r{k}"] = hit
            image_of_hit[f"{direction} r{k}"] = image_of_query[direction]
    return Measured(result=result, evalset=pairs, read=scores.read, hits=hits, image_of_hit=image_of_hit)


def reasons_of(skipped: Sequence[Skipped]) -> dict[str, int]:
    """How many were skipped by reason, the most frequent first."""
    return dict(Counter(item.reason for item in skipped).most_common())

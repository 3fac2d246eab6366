"""One model on one set to one dict of numbers, ready for JSON. N = images read, C = classes, R = best of them,
D = embedding width.

Every share and every end of an interval is a fraction from 0 to 1; every share stands beside its 95 % interval and
what guessing would give. Ties count against the model (`formulas.metrics`); the intervals are those of
`formulas.statistics`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seesay.base.errors import RefusedInput
from seesay.base.journal import progress
from seesay.base.records import PairSource, Score, Skipped
from seesay.data.class_names import ClassName, Descriptions, repeated_names
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet, refuse_unseen_classes
from seesay.data.prompts import TEMPLATES, load_templates
from seesay.data.sources import count_reasons
from seesay.formulas.metrics import mean_per_class, top_k_hits
from seesay.formulas.reliability import reliability
from seesay.formulas.statistics import mean_per_class_interval, proportion_interval
from seesay.model.bundle import Model
from seesay.model.cache import EmbeddingCache, cached_encode_prompts, cached_score_images
from seesay.model.zero_shot import Classifier
from seesay.tasks.retrieve import retrieval_scores
from seesay.tasks.words import choose_words

Templates = str | Path | Sequence[str] | None
Advance = Callable[[int], None]
NO_CACHE = EmbeddingCache(None)
# Of all bootstraps; nothing else is left to chance.
SEED = 0
# Classes that are kept of what was said to an image, as many as a card of the report shows.
RANKED = 3


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of every set: words around the classes, words for the classes, and where embeddings are kept."""

    templates: Templates = None
    class_names: str | Path | None = None
    descriptions: Descriptions | None = None
    cache: EmbeddingCache = NO_CACHE


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A result and what it was made from.

    `hits` are by name of the score, as "top1" or "text_to_image r10", and `image_of_hit` the image each question
    was about, as a place in `read`: the numbers in the set of the images that could be read.
    """

    result: dict[str, Any]
    found: LabelledSet | PairSource
    read: list[int]
    hits: dict[str, np.ndarray]
    image_of_hit: dict[str, np.ndarray]
    answers: "Answers | None" = None


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a zero-shot classifier said to N images, and which prompts its classes were made of.

    `best_NR` are the numbers of the best classes, and `share_NR` their probabilities. There is no `image_ND` where a
    image's row is a whole grid.
    """

    image_ND: Tensor | None
    best_NR: Tensor
    share_NR: Tensor
    label_N: np.ndarray
    guess_N: np.ndarray
    confidence_N: np.ndarray
    classifier: Classifier
    names: tuple[ClassName, ...]
    templates: tuple[str, ...]


def evaluate_set(model: Model, place: str | Path, *, templates: Templates = None) -> dict[str, Any]:
    """Zero-shot classification on a labelled set, retrieval on a captioned one.

    Both give "set", "task", "n" (images), "interval95" and "chance" of the headline number, "skipped" and
    "skipped_by_reason" (images left out, when the set was opened or read), "templates" with "templates_from",
    "model", "data_fingerprint" and "seed". Then for task "zero-shot": "classes", "top1", "top5", "mean_per_class",
    "interval95_top5", "interval95_mean_per_class", "chance_top5", "calibration_error", "same_names" (names of more
    than one class); the headline is "top1". For "retrieval": "captions", and "text_to_image" and "image_to_text" with
    "r1", "r5", "r10", each also as "interval95_..." and "chance_..."; the headline is "text_to_image" "r10".

    Raises `UsageError` for a place that is no such set, and `RefusedInput` where not one image can be read.
    """
    return measure_set(model, open_evalset(place), Question(templates=templates)).result


def measure_set(model: Model, found: LabelledSet | PairSource, question: Question) -> Measured:
    """As `evaluate_set`, with what the numbers were made from."""
    with progress(len(found), found.name) as advance:
        if isinstance(found, LabelledSet):
            return measure_zero_shot(model, found, question, advance)
        return measure_retrieval(model, found, question, advance)


def measure_zero_shot(model: Model, found: LabelledSet, question: Question, advance: Advance) -> Measured:
    words = choose_words(model, (found,), found.class_names, templates=question.templates, called=question.class_names)
    names, chosen = words.names, words.templates
    classifier = model.classifier(
        names,
        chosen,
        descriptions=question.descriptions,
        rows=lambda prompts: cached_encode_prompts(model, prompts, cache=question.cache),
    )
    score_NC, image_ND, read, skipped = cached_score_images(
        model, classifier, found.image, len(found), cache=question.cache, progress=advance
    )
    skipped = [replace(item, key=found.key(int(item.key))) for item in skipped]
    if not read:
        raise RefusedInput(f"none of the {len(found)} images of {found.name} could be read ({count_reasons(skipped)}).")
    refuse_unseen_classes(found, read, skipped)
    label_N = np.array([found.label(index) for index in read])
    hits = top_k_hits(score_NC, torch.from_numpy(label_N), ks=(1, 5))
    guess_N = score_NC.argmax(1)
    share_NC = classifier.probabilities_of(score_NC)
    confidence_N = share_NC.gather(1, guess_N[:, None])[:, 0].double().numpy()
    best_NR = score_NC.topk(min(RANKED, score_NC.shape[1]), dim=1).indices
    result = {
        **describe(model, found, task="zero-shot", n=len(read), skipped=skipped),
        **zero_shot_numbers(hits, label_N, classes=len(found.class_names)),
        "calibration_error": reliability(confidence_N, hits[1]).expected_error,
        "same_names": repeated_names(names),
        "templates": list(chosen) if question.descriptions is None else [],
        "templates_from": words.templates_from if question.descriptions is None else "descriptions",
        "class_names_from": words.names_from,
    }
    answers = Answers(
        image_ND=image_ND,
        best_NR=best_NR,
        share_NR=share_NC.gather(1, best_NR),
        label_N=label_N,
        guess_N=guess_N.numpy(),
        confidence_N=confidence_N,
        classifier=classifier,
        names=tuple(names),
        templates=chosen,
    )
    each_N = np.arange(len(read))
    by_name, image_of_hit = {"top1": hits[1], "top5": hits[5]}, {"top1": each_N, "top5": each_N}
    return Measured(result=result, found=found, read=read, hits=by_name, image_of_hit=image_of_hit, answers=answers)


def zero_shot_numbers(hits: dict[int, np.ndarray], label_N: np.ndarray, *, classes: int) -> dict[str, Any]:
    """The shares of a classification, with intervals and chances."""
    n = len(label_N)
    return {
        "classes": classes,
        "top1": float(hits[1].mean()),
        "top5": float(hits[5].mean()),
        "mean_per_class": mean_per_class(hits[1], label_N),
        "interval95": list(proportion_interval(int(hits[1].sum()), n)),
        "interval95_top5": list(proportion_interval(int(hits[5].sum()), n)),
        "interval95_mean_per_class": list(mean_per_class_interval(hits[1], label_N, seed=SEED)),
        "chance": 1 / classes,
        "chance_top5": min(5 / classes, 1.0),
    }


def measure_retrieval(model: Model, found: PairSource, question: Question, advance: Advance) -> Measured:
    templates = question.templates
    chosen = TEMPLATES["none"] if templates is None else load_templates(templates)
    scores = retrieval_scores(model, found, templates=chosen, cache=question.cache, progress=advance)
    by_text, by_image = scores["text_to_image"], scores["image_to_text"]
    result = {
        **describe(model, found, task="retrieval", n=by_image["r1"].n, skipped=scores["skipped"]),
        "captions": by_text["r1"].n,
        "text_to_image": values(by_text),
        "image_to_text": values(by_image),
        "interval95": list(by_text["r10"].interval95),
        "interval95_text_to_image": intervals(by_text),
        "interval95_image_to_text": intervals(by_image),
        "chance": by_text["r10"].chance,
        "chance_text_to_image": chances(by_text),
        "chance_image_to_text": chances(by_image),
        "templates": list(chosen),
        "templates_from": "captions as they are" if templates is None else "the call",
    }
    asked = {"text_to_image": scores["image_of_text"], "image_to_text": np.arange(by_image["r1"].n)}
    hits = {f"{direction} r{k}": hit for direction, by_k in scores["hits"].items() for k, hit in by_k.items()}
    return Measured(
        result=result,
        found=found,
        read=scores["read"],
        hits=hits,
        image_of_hit={name: asked[name.partition(" ")[0]] for name in hits},
    )


def describe(
    model: Model, found: LabelledSet | PairSource, *, task: str, n: int, skipped: Sequence[Skipped]
) -> dict[str, Any]:
    left_out = [*found.problems, *skipped]
    return {
        "set": found.name,
        "task": task,
        "n": n,
        "skipped": len(left_out),
        "skipped_by_reason": dict(Counter(item.reason for item in left_out).most_common()),
        "model": model.name,
        "data_fingerprint": found.fingerprint,
        "seed": SEED,
    }


def values(scores: dict[str, Score]) -> dict[str, float]:
    return {name: score.value for name, score in scores.items()}


def intervals(scores: dict[str, Score]) -> dict[str, list[float]]:
    return {name: list(score.interval95) for name, score in scores.items()}


def chances(scores: dict[str, Score]) -> dict[str, float]:
    return {name: score.chance for name, score in scores.items()}

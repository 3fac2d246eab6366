"""One model on one set to one dict of numbers, ready for JSON. N = pictures read, C = classes, D = embedding width.

Every share and every end of an interval is a fraction from 0 to 1; every share stands beside its 95 % interval and
what guessing would give. Ties count against the model (`formulas.metrics`); the intervals are those of
`formulas.statistics`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seesay.base.errors import RefusedInput
from seesay.base.journal import progress
from seesay.base.records import PairSource, Score, Skipped
from seesay.data.evalsets import LabelledSet, open_evalset
from seesay.data.prompts import TEMPLATES, load_templates
from seesay.data.stored import count_reasons
from seesay.formulas.metrics import mean_per_class, top_k_hits
from seesay.formulas.statistics import mean_per_class_interval, proportion_interval
from seesay.model.bundle import Model
from seesay.model.encode import encode_image_set
from seesay.tasks.retrieve import retrieval_scores

Templates = str | Path | Sequence[str] | None


def evaluate_set(model: Model, place: str | Path, *, templates: Templates = None) -> dict[str, Any]:
    """Zero-shot classification on a labelled set, retrieval on a captioned one.

    Both give "set", "task", "n" (pictures), "interval95" and "chance" of the headline number, "skipped" and
    "skipped_by_reason" (pictures left out, when the set was opened or read), "templates" with "templates_from",
    "model" and "data_fingerprint". Then for task "zero-shot": "classes", "top1", "top5", "mean_per_class",
    "interval95_top5", "interval95_mean_per_class", "chance_top5"; the headline is "top1". For "retrieval": "captions",
    and "text_to_image" and "image_to_text" with "r1", "r5", "r10", each also as "interval95_..." and "chance_...";
    the headline is "text_to_image" "r10".

    Raises `UsageError` for a place that is no such set, and `RefusedInput` where not one picture can be read.
    """
    found = open_evalset(place)
    with progress(len(found), found.name) as advance:
        if isinstance(found, LabelledSet):
            return zero_shot_result(model, found, templates, advance)
        return retrieval_result(model, found, templates, advance)


def zero_shot_result(model: Model, found: LabelledSet, templates: Templates, advance) -> dict[str, Any]:
    chosen, origin = choose_templates(model, found, templates)
    image_ND, kept, skipped = encode_image_set(model, found.image, len(found), progress=advance)
    skipped = [replace(item, key=found.key(int(item.key))) for item in skipped]
    if not kept:
        raise RefusedInput(
            f"none of the {len(found)} pictures of {found.name} could be read ({count_reasons(skipped)})."
        )
    label_N = np.array([found.label(index) for index in kept])
    head_CD = model.classifier(found.class_names, chosen).weights
    # Cosines and not probabilities: their order is the same, but a softmax rounds small ones to ties.
    hits = top_k_hits(image_ND @ head_CD.T, torch.from_numpy(label_N), ks=(1, 5))
    classes = len(found.class_names)
    return {
        **describe(model, found, task="zero-shot", n=len(kept), skipped=skipped),
        "classes": classes,
        "top1": float(hits[1].mean()),
        "top5": float(hits[5].mean()),
        "mean_per_class": mean_per_class(hits[1], label_N),
        "interval95": list(proportion_interval(int(hits[1].sum()), len(kept))),
        "interval95_top5": list(proportion_interval(int(hits[5].sum()), len(kept))),
        "interval95_mean_per_class": list(mean_per_class_interval(hits[1], label_N)),
        "chance": 1 / classes,
        "chance_top5": min(5 / classes, 1.0),
        "templates": list(chosen),
        "templates_from": origin,
    }


def retrieval_result(model: Model, found: PairSource, templates: Templates, advance) -> dict[str, Any]:
    chosen = TEMPLATES["none"] if templates is None else load_templates(templates)
    scores = retrieval_scores(model, found, templates=chosen, progress=advance)
    by_text, by_image = scores["text_to_image"], scores["image_to_text"]
    return {
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


def choose_templates(model: Model, found: LabelledSet, templates: Templates) -> tuple[tuple[str, ...], str]:
    """What the call asks for, else what the set brings, else the model's own; and which of these it was."""
    if templates is not None:
        return load_templates(templates), "the call"
    if found.templates is not None:
        return found.templates, "the set"
    return model.templates, "the model"


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
    }


def values(scores: dict[str, Score]) -> dict[str, float]:
    return {name: score.value for name, score in scores.items()}


def intervals(scores: dict[str, Score]) -> dict[str, list[float]]:
    return {name: list(score.interval95) for name, score in scores.items()}


def chances(scores: dict[str, Score]) -> dict[str, float]:
    return {name: score.chance for name, score in scores.items()}

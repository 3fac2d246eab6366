"""How often the right picture is found by its caption, and the other way round.

N = pictures that could be read, M = their captions, D = embedding width.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from seesay.base.errors import RefusedInput
from seesay.base.records import PairSource, Score, Skipped
from seesay.data.prompts import TEMPLATES, fill, load_templates
from seesay.data.stored import count_reasons
from seesay.formulas.metrics import Hits, recall_at_k
from seesay.formulas.statistics import recall_by_guessing, recall_interval
from seesay.formulas.zero_shot import class_head
from seesay.model.bundle import Model
from seesay.model.encode import encode_image_set

RECALLS = (1, 5, 10)
CAPTIONS_AT_ONCE = 1024


class RetrievalScores(TypedDict):
    """ "r1", "r5" and "r10" in both directions, and what was left out."""

    text_to_image: dict[str, Score]
    image_to_text: dict[str, Score]
    skipped: list[Skipped]


def retrieval_scores(
    model: Model,
    pairs: PairSource,
    *,
    templates: str | Path | Sequence[str] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> RetrievalScores:
    """Recall at 1, 5 and 10 over all pictures of `pairs` that can be read (`formulas.metrics.recall_at_k`).

    text_to_image asks once per caption, among the N pictures; image_to_text once per picture, among the M captions,
    and any of its own will do. Captions are encoded as they are; with `templates` each is put into every template
    first, and the embeddings averaged. Raises `RefusedInput` when not one picture can be read.
    """
    image_ND, kept, skipped = encode_pictures(model, pairs, progress)
    if not kept:
        raise RefusedInput(
            f"none of the {len(pairs)} pictures of {pairs.name} could be read ({count_reasons(skipped)})."
        )
    captions = [pairs.captions(index) for index in kept]
    captions_N = np.array([len(own) for own in captions])
    image_of_text_M = np.repeat(np.arange(len(kept)), captions_N)
    text_MD = encode_captions(
        model, [caption for own in captions for caption in own], TEMPLATES["none"] if templates is None else templates
    )
    recall = recall_at_k(image_ND, text_MD, torch.from_numpy(image_of_text_M), ks=RECALLS)
    one_M = np.ones(len(image_of_text_M))
    return {
        "text_to_image": scored(recall["text_to_image"], image_of_text_M, correct=one_M, candidates=len(kept)),
        "image_to_text": scored(
            recall["image_to_text"], np.arange(len(kept)), correct=captions_N, candidates=len(image_of_text_M)
        ),
        "skipped": skipped,
    }


def encode_pictures(
    model: Model, pairs: PairSource, progress: Callable[[int], None]
) -> tuple[Tensor, list[int], list[Skipped]]:
    """`encode_image_set` for pairs: what is skipped goes by its key where it got as far as having one."""
    keys: dict[str, str] = {}

    def read(index: int) -> bytes:
        pair = pairs[index]
        keys[str(index)] = pair.key
        return pair.image

    image_ND, kept, skipped = encode_image_set(model, read, len(pairs), progress=progress)
    return image_ND, kept, [replace(item, key=keys.get(item.key, item.key)) for item in skipped]


def encode_captions(model: Model, captions: Sequence[str], templates: str | Path | Sequence[str]) -> Tensor:
    """(M, D) unit rows, the mean direction over templates; never more than a few thousand prompts at a time."""
    chosen = load_templates(templates)
    blocks = []
    for first in range(0, len(captions), CAPTIONS_AT_ONCE):
        block = captions[first : first + CAPTIONS_AT_ONCE]
        blocks.append(class_head(model.encode_texts(fill(chosen, block)).view(len(block), len(chosen), -1)))
    return torch.cat(blocks)


def scored(hits: Hits, image_of_hit: np.ndarray, *, correct: np.ndarray, candidates: int) -> dict[str, Score]:
    """Hits per question to shares; `correct` says how many right answers each question has."""
    return {
        f"r{k}": Score(
            value=float(hit.mean()),
            interval95=recall_interval(hit, image_of_hit),
            chance=recall_by_guessing(correct, candidates, k),
            n=len(hit),
        )
        for k, hit in hits.items()
    }

"""How often the right image is found by its caption, and the other way round.

N = images that could be read, M = their captions, D = embedding width.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.records import PairSource, Score, Skipped
from seesay.data.prompts import TEMPLATES, fill, load_templates
from seesay.data.sources import count_reasons
from seesay.formulas import metrics
from seesay.formulas.metrics import Hits
from seesay.formulas.similarity import unit
from seesay.formulas.statistics import recall_by_guessing, recall_interval
from seesay.model.bundle import Model
from seesay.model.cache import EmbeddingCache, cached_encode_images, cached_encode_prompts
from seesay.model.zero_shot import cut_notes

# The recalls of Radford et al. 2021, table 13.
RECALLS = (1, 5, 10)

NO_CACHE = EmbeddingCache(None)


@dataclass(frozen=True, kw_only=True)
class RetrievalScores:
    """Scores by "r1", "r5" and "r10" in both directions, the hits behind them by direction and k, what was left out.

    `read` are the indices of the images that could be read, and `image_of_text` (M) is the position in it of each
    caption's image. `shared_captions` counts those (of M) of which another image has an equal one; `notes` are
    lines for a person.
    """

    text_to_image: dict[str, Score]
    image_to_text: dict[str, Score]
    hits: Mapping[str, Hits]
    image_of_text: np.ndarray
    shared_captions: int
    read: list[int]
    skipped: list[Skipped]
    notes: tuple[str, ...] = ()


def recall_at_k(
    image_embeddings: Any, text_embeddings: Any, image_of_text: Any, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, dict[int, float]]:
    """Recall in both directions for every k, as fractions: {"text_to_image": {k: share}, "image_to_text": {...}}.

    `image_embeddings` (N, D) and `text_embeddings` (M, D) are arrays or tensors, of unit length or not;
    `image_of_text` (M) gives each caption's image, and every image has at least one caption (ValueError). A caption
    ranks the N images; an image ranks the M captions, and any of its own is right. Ties count as misses: a wrong
    answer with the score of the right one is ranked before it. Works in blocks of 1,024 rows; the N x M similarities
    are never held at once.
    """
    image_ND, text_MD = (unit(torch.as_tensor(rows)) for rows in (image_embeddings, text_embeddings))
    image_of_text_M = torch.as_tensor(image_of_text, dtype=torch.int64, device=image_ND.device)
    hits = metrics.recall_at_k(image_ND, text_MD, image_of_text_M, ks=ks)
    return {direction: {k: float(hit.mean()) for k, hit in by_k.items()} for direction, by_k in hits.items()}


def retrieval_scores(
    model: Model,
    pairs: PairSource,
    *,
    templates: str | Path | Sequence[str] | None = None,
    cache: EmbeddingCache = NO_CACHE,
    progress: Callable[[int], None] = lambda done: None,
) -> RetrievalScores:
    """Recall at 1, 5 and 10 over all images of `pairs` that can be read (`formulas.metrics.recall_at_k`).

    text_to_image has one query per caption, among the N images; image_to_text one per image, among the M captions,
    and any of its own is right. Captions are encoded as they are; with `templates` each is put into every template
    first, and the embeddings averaged. Raises `RefusedInput` when not one image can be read, and `UsageError`
    for a model that has no embeddings of texts.
    """
    # Before any image is encoded: that may take hours.
    if not model.embeds_texts:
        raise UsageError(
            f"{model.name} predicts captions, and has no embedding of a text to find images of {pairs.name} by; "
            "measure it on sets with classes."
        )
    image_ND, read, skipped = encode_images_of(model, pairs, cache, progress)
    if not read:
        raise RefusedInput(f"none of the {len(pairs)} images of {pairs.name} could be read ({count_reasons(skipped)}).")
    captions = [pairs.captions(index) for index in read]
    captions_N = np.array([len(of_image) for of_image in captions])
    image_of_text_M = np.repeat(np.arange(len(read)), captions_N)
    chosen = TEMPLATES["none"] if templates is None else load_templates(templates)
    prompts = [tuple(fill(chosen, [caption])) for of_image in captions for caption in of_image]
    text_MD = cached_encode_prompts(model, prompts, cache=cache)
    hits = metrics.recall_at_k(image_ND, text_MD, torch.from_numpy(image_of_text_M), ks=RECALLS)
    one_M = np.ones(len(image_of_text_M))
    return RetrievalScores(
        text_to_image=scored(hits["text_to_image"], image_of_text_M, correct=one_M, candidates=len(read)),
        image_to_text=scored(
            hits["image_to_text"], np.arange(len(read)), correct=captions_N, candidates=len(image_of_text_M)
        ),
        hits=hits,
        image_of_text=image_of_text_M,
        shared_captions=count_shared(captions),
        read=read,
        skipped=skipped,
        notes=cut_notes(model.tokenizer, [own[0] for own in prompts], "caption"),
    )


def count_shared(captions: Sequence[Sequence[str]]) -> int:
    """How many of the captions of all images are also one of another image, letter for letter."""
    images_of = Counter(caption for of_image in captions for caption in set(of_image))
    return sum(images_of[caption] > 1 for of_image in captions for caption in of_image)


def encode_images_of(
    model: Model, pairs: PairSource, cache: EmbeddingCache, progress: Callable[[int], None]
) -> tuple[Tensor, list[int], list[Skipped]]:
    """`cached_encode_images` for pairs, (N, D): a skipped one has its key, or its index where no key could be read."""
    keys: dict[str, str] = {}

    def read(index: int) -> bytes:
        pair = pairs[index]
        keys[str(index)] = pair.key
        return pair.image

    image_ND, index, skipped = cached_encode_images(model, read, len(pairs), cache=cache, progress=progress)
    return image_ND, index, [replace(item, key=keys.get(item.key, item.key)) for item in skipped]


def scored(hits: Hits, image_of_hit: np.ndarray, *, correct: np.ndarray, candidates: int) -> dict[str, Score]:
    """Hits (Q,) of Q queries by k to scores by "r1", ...; `correct` (Q,) counts the right answers of each query."""
    return {
        f"r{k}": Score(
            value=float(hit.mean()),
            interval95=recall_interval(hit, image_of_hit),
            chance=recall_by_guessing(correct, candidates, k),
            n=len(hit),
        )
        for k, hit in hits.items()
    }

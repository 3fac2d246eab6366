"""Why a model finds a photo and a text alike: heat and words, checked by removal; the public `seesay.explain`.

B = images, S = side in pixels, D = embedding width, G = side of a grid, K = concepts.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor

from seesay.base.errors import UsageError
from seesay.base.names import no_empty_names
from seesay.data.class_names import ClassName, class_prompts
from seesay.data.image_sources import Source
from seesay.data.prompts import read_labels
from seesay.formulas.concepts import sparse_sum
from seesay.formulas.relevance import rank_of
from seesay.model.bundle import Model
from seesay.model.explain import Explanation, Removal, check_texts
from seesay.model.hub import on_device
from seesay.model.zero_shot import cut_notes, prompt_rows

# Cells on a side of the grid that is blanked cell by cell, and the least pixels of the model on a side of one: guesses.
MOST_CELLS = 7
LEAST_PIXELS = 8
# A guess: cosines in float32 differ by less for the same pixels.
ROUNDING = 1e-6
# The l1 penalty as a share of the one at which no concept is left: benchmarks/2026-11-29-explain.
CONCEPT_PENALTY = 0.5


@no_empty_names
def explain(
    photo: Source,
    text: str,
    *,
    contrast: str | None = None,
    concepts: str | Path | Sequence[str] = (),
    model: str | Path | Model = "box",
    device: str | None = None,
) -> Explanation:
    """Which parts of a photo and which words make their similarity to a model, checked by taking them away.

    As `Model.explain`, which takes one pass of each tower, with `Explanation.removal`: cells of the photo are blanked,
    some 50 passes more. `contrast`: why the text and not that one. `concepts`, names or a file of one per line: the
    photo's row as a sparse sum of theirs, each less the mean of all (`formulas.concepts`). `model` is a name, a folder
    or a `Model`. Raises as `Model.explain`; `UsageError` for one concept.

    Example: `seesay.explain("cat.jpg", "a photo of a cat", contrast="a photo of a dog").words`
    """
    names = read_labels(concepts) if isinstance(concepts, str | Path) else list(concepts)
    if isinstance(concepts, str | Path) and not names:
        raise UsageError(f"{concepts} has no concepts; write one on each line.")
    if len(set(names)) == 1:
        raise UsageError(f"concepts are 1 name ({names[0]!r}), and a sum needs several; give two or more.")
    loaded = on_device(model, device)
    check_texts(loaded, text, contrast)
    for note in cut_notes(loaded.tokenizer, [text, *([] if contrast is None else [contrast])]):
        warnings.warn(note, stacklevel=2)
    pixels_3SS = loaded.preprocess.read(photo)
    explanation = loaded.explain(photo, text, contrast=contrast)
    rows = loaded.encode_texts([text, *([] if contrast is None else [contrast])])
    text_D = rows[0] if contrast is None else rows[0] - rows[1]
    return replace(
        explanation,
        removal=removal_of(loaded, pixels_3SS, text_D, explanation.grid_GG),
        concepts=concepts_of(loaded, pixels_3SS, list(dict.fromkeys(names))) if names else (),
    )


def removal_of(model: Model, pixels_3SS: Tensor, text_D: Tensor, heat_GG: np.ndarray) -> Removal:
    """What becomes of the product with a text's row where parts of the image, uint8 (3, S, S), are blanked."""
    side = pixels_3SS.shape[-1]
    cells = max(2, min(MOST_CELLS, side // LEAST_PIXELS))
    heat_1GG = F.adaptive_avg_pool2d(torch.from_numpy(heat_GG)[None], cells)
    rank_P = rank_of(heat_1GG.flatten(1))[0]
    quarter = max(1, cells * cells // 4)
    hottest_P, coldest_P = rank_P < quarter, rank_P >= len(rank_P) - quarter
    each_PP = torch.eye(cells * cells, dtype=torch.bool)
    nothing_1P = torch.zeros(1, cells * cells, dtype=torch.bool)
    blanked = torch.cat([nothing_1P, hottest_P[None], coldest_P[None], each_PP])
    scores = (model.encode_pixels(blank(pixels_3SS, blanked.unflatten(1, (cells, cells)))) @ text_D).double().numpy()
    fall_P, heat_P = scores[0] - scores[3:], heat_1GG.flatten().double().numpy()
    # Below that it is the rounding of a row's numbers, as where a photo is of one colour.
    is_flat = bool(np.ptp(fall_P) < ROUNDING or np.ptp(heat_P) == 0)
    return Removal(
        fall_GG=fall_P.reshape(cells, cells),
        agreement=float("nan") if is_flat else float(spearmanr(heat_P, fall_P)[0]),  # type: ignore[arg-type]
        without_hottest=float(scores[1]),
        without_coldest=float(scores[2]),
    )


def blank(pixels_3SS: Tensor, is_blank_BGG: Tensor) -> Tensor:
    """The image with the cells of each grid in its mean colour, uint8 (B, 3, S, S)."""
    mean_311 = pixels_3SS.float().mean((1, 2), keepdim=True).round().to(torch.uint8)
    is_blank_B1SS = F.interpolate(is_blank_BGG[:, None].float(), size=pixels_3SS.shape[1:], mode="nearest") > 0
    return torch.where(is_blank_B1SS, mean_311, pixels_3SS)


def concepts_of(model: Model, pixels_3SS: Tensor, names: list[str]) -> tuple[tuple[str, float], ...]:
    """The concepts with a weight in the row of an image, uint8 (3, S, S), the heaviest first.

    Rows of texts lie in a cone, so what all concepts have in common is taken off them. SpLiCE takes the mean of many
    images off the image as well, which one photo has not; grey images in their place made it worse
    (benchmarks/2026-11-29-explain).
    """
    row_KD = prompt_rows(model.encode_texts, class_prompts(list[ClassName](names), model.templates)).double()
    concept_KD = F.normalize(row_KD - row_KD.mean(0), dim=1).numpy()
    image_D = model.encode_pixels(pixels_3SS[None])[0].double().numpy()
    weight_K = sparse_sum(image_D, concept_KD, penalty=CONCEPT_PENALTY * max(float((concept_KD @ image_D).max()), 0.0))
    order = np.argsort(-weight_K, kind="stable")
    return tuple((names[index], float(weight_K[index])) for index in order if weight_K[index] > 0)

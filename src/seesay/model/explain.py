"""Which parts of an image and which words make their similarity: one forward pass of each tower, and one back.

B = images, S = side in pixels, D = embedding width, G = side of the heat's grid, L = tokens, H, W = sides of an image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from seesay.base.errors import UsageError
from seesay.base.printable import printable
from seesay.data.image_sources import Source
from seesay.data.jpeg import decoding
from seesay.formulas.relevance import attention_relevance, in_image, joined, map_relevance
from seesay.model.encode import check_unit_length, cut, rounding
from seesay.nets.clip import DualEncoder
from seesay.nets.recorded import RecordedAttention, all_stored, recorded_leaf, recorded_outputs

if TYPE_CHECKING:
    from seesay.model.bundle import Model

# The coarsest maps of a convolutional tower that are joined, of different sides: benchmarks/2026-11-29-explain.
JOINED_MAPS = 2
# Words that a repr shows; a guess at what fits a line.
SHOWN_WORDS = 5


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word of the text, its share in the score by gradient, and the score of the text without it.

    The largest share of a text is 1 or -1; one below 0 speaks against the image.
    """

    text: str
    weight: float
    score_without: float


@dataclass(frozen=True, kw_only=True)
class Removal:
    """Scores after parts of the image were blanked, each part with the image's mean colour.

    `fall_GG` is by how much the score falls where a cell of the grid is blanked alone, `agreement` the rank correlation
    of that with the heat (NaN where one of them is alike everywhere). The hottest and the coldest quarter of the cells
    are blanked together.
    """

    fall_GG: np.ndarray
    agreement: float
    without_hottest: float
    without_coldest: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "without_hottest_quarter": self.without_hottest,
            "without_coldest_quarter": self.without_coldest,
            "agreement": self.agreement if math.isfinite(self.agreement) else None,
            "fall": np.round(self.fall_GG, 6).tolist(),
        }


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Explanation:
    """Why an image and a text are as similar as they are, to one model.

    `score` is the cosine of image and `text`, and with a `contrast` that cosine less the `contrast_score`: then heat
    and words are about the difference. `heat_HW`, from 0 to 1, has the sides of the image; it is 0 outside of `seen`:
    top, left, bottom and right of what the model sees of it. `grid_GG` is the same heat as it was computed. `removal`
    and `concepts`, the image as a sum of named ones, are there where they were asked for (`seesay.explain`).
    """

    model: str
    text: str
    score: float
    words: tuple[Word, ...]
    heat_HW: np.ndarray
    grid_GG: np.ndarray
    seen: tuple[float, float, float, float]
    contrast: str | None = None
    contrast_score: float | None = None
    removal: Removal | None = None
    concepts: tuple[tuple[str, float], ...] = ()

    def __repr__(self) -> str:
        heaviest = sorted(self.words, key=lambda word: -word.weight)[:SHOWN_WORDS]
        words = ", ".join(f"{word.text} {word.weight:.2f}" for word in heaviest)
        height, width = self.heat_HW.shape
        return printable(
            f"<Explanation of {self.text!r} by {self.model}: score {self.score:.4f}, heat {height} x {width}, {words}>"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; the heat as its grid, row by row."""
        return {
            "model": self.model,
            "text": self.text,
            "score": self.score,
            "contrast": self.contrast,
            "contrast_score": self.contrast_score,
            "words": [
                {"word": word.text, "weight": word.weight, "score_without": word.score_without} for word in self.words
            ],
            "seen": dict(zip(("top", "left", "bottom", "right"), self.seen, strict=True)),
            "heat": np.round(self.grid_GG.astype(float), 6).tolist(),
            "removal": self.removal and self.removal.to_json(),
            "concepts": [{"concept": name, "weight": weight} for name, weight in self.concepts],
        }


def explain_image(model: "Model", image: Source, text: str, *, contrast: str | None = None) -> Explanation:
    """As `Model.explain`."""
    if model.preprocess.resize == "patches":
        raise UsageError(
            f"{model.name} sees an image as patches in its own shape, over which no heat is drawn; explain with a "
            "model for square images."
        )
    words = check_texts(model, text, contrast)
    with decoding(image) as decoded:
        pixels_3SS = model.preprocess.pixels(decoded.pixels_HW3)
        sides: tuple[int, int] = decoded.pixels_HW3.shape[:2]
    without = [" ".join(words[:index] + words[index + 1 :]) for index in range(len(words))]
    rows = model.encode_texts([text, *([] if contrast is None else [contrast]), *without])
    own_D, other_D = rows[0], torch.zeros_like(rows[0]) if contrast is None else rows[1]
    image_BD, grid_BGG = relevance(model, pixels_3SS[None], (own_D - other_D)[None])
    image_D = image_BD[0]
    other = float(image_D @ other_D)
    score_without = (rows[len(rows) - len(words) :] @ image_D - other).tolist()
    weights = word_weights(model, text, words, image_D)
    seen = model.preprocess.seen(*sides)
    return Explanation(
        model=model.name,
        text=text,
        score=float(image_D @ own_D) - other,
        contrast=contrast,
        contrast_score=None if contrast is None else other,
        words=tuple(
            Word(text=word, weight=weight, score_without=score)
            for word, weight, score in zip(words, weights, score_without, strict=True)
        ),
        heat_HW=in_image(grid_BGG[0].numpy(), sides, seen),
        grid_GG=grid_BGG[0].numpy(),
        seen=seen,
    )


def check_texts(model: "Model", text: str, contrast: str | None) -> list[str]:
    """The words of the text; `UsageError` where there are none, and for a model without rows of texts."""
    if not isinstance(model.clip, DualEncoder):
        raise UsageError(f"{model.name} predicts captions and compares no rows; explain a model that embeds texts.")
    for name, value in (("text", text), ("contrast", contrast)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} is {type(value).__name__}, not a string")
        if value is not None and not value.split():
            raise UsageError(f"{name} is empty; write what the image may show, such as 'a photo of a cat'.")
    return text.split()


@torch.inference_mode(False)
@torch.enable_grad()
def relevance(model: "Model", pixels_B3SS: Tensor, text_BD: Tensor) -> tuple[Tensor, Tensor]:
    """uint8 pixels of the model's size to their unit rows (B, D), and to the heat of each image's product with its row
    of `text_BD`, (B, G, G), from 0 to 1; both on the CPU.

    In a transformer from the attention of all layers, else from the last `JOINED_MAPS` maps of different sides.
    `UsageError` for a tower that has neither over the whole image.
    """
    pixels = model.preprocess.normalise(pixels_B3SS.clone().to(model.device)).requires_grad_()
    modules = model.clip.image_tower.map_modules()
    towers = model.clip
    with rounding(model), all_stored(towers), RecordedAttention() as attention, recorded_outputs(modules) as outputs:
        image_BD = cut(model, towers.embed_images(pixels))
        score = (image_BD.float() * text_BD.clone().to(image_BD.device)).sum()
    by_side = {output.shape[-1]: output for output in outputs if _is_map(output)}
    if by_side:
        layers = [by_side[side] for side in sorted(by_side)[:JOINED_MAPS]]
        gradients = torch.autograd.grad(score, layers)
        heats = [map_relevance(*both) for both in zip(layers, gradients, strict=True)]
    elif attention.weights and all(weight.ndim == 4 and len(weight) == len(pixels) for weight in attention.weights):
        gradients = torch.autograd.grad(score, attention.weights)
        heats = [_of_patches(*both) for both in zip(attention.weights, gradients, strict=True)]
    else:
        raise UsageError(
            f"the image tower of {model.name} has neither maps nor attention over the whole image; "
            "explain another model."
        )
    grid_BGG = joined([heat.detach().float().cpu() for heat in heats])
    return check_unit_length(image_BD.detach().cpu()), grid_BGG


def _is_map(output: Tensor) -> bool:
    """Whether it is (B, C, h, w) of a square image, and no row of positions or a map with its channels last."""
    return output.ndim == 4 and output.shape[-1] == output.shape[-2]


def _of_patches(weight_BHQP: Tensor, gradient_BHQP: Tensor) -> Tensor:
    """The relevance of the patches, (B, G, G). They are the last positions, and what stands before makes no square."""
    heat_BP = attention_relevance(weight_BHQP, gradient_BHQP)
    side = math.isqrt(heat_BP.shape[1])
    return heat_BP[:, -side * side :].unflatten(1, (side, side))


@torch.inference_mode(False)
@torch.enable_grad()
def word_weights(model: "Model", text: str, words: Sequence[str], image_D: Tensor) -> list[float]:
    """The share of each word in the product of the text with the row `image_D`, the largest 1 or -1.

    Gradient times token vector, summed over the tokens of the word; 0 for a word beyond the model's context.
    """
    tokens = model.tokenizer.tokens([text]).to(model.device)
    towers = model.clip
    embedding: nn.Module = towers.text_tower.token_embedding  # type: ignore[assignment]
    with rounding(model), all_stored(towers), recorded_leaf(embedding) as outputs:
        row_1D = cut(model, towers.embed_texts(tokens))  # type: ignore[operator]
        score = (row_1D.float() * image_D.clone().to(row_1D.device)).sum()
    (vectors,) = outputs
    (gradient,) = torch.autograd.grad(score, [vectors])
    share_L = (vectors * gradient).detach().float().sum(-1).flatten().cpu()
    sums = [float(share_L[first:end].sum()) for first, end in pairwise(word_ends(model, words))]
    largest = max(map(abs, sums))
    return [value / largest if largest > 0 else 0.0 for value in sums]


def word_ends(model: "Model", words: Sequence[str]) -> list[int]:
    """Where the tokens of the first 0, 1, 2, ... words end among those of all: where the ids begin to differ."""
    rows = model.tokenizer([" ".join(words[:count]) for count in range(len(words) + 1)])
    whole = rows[-1]
    # The token that every text ends in, also one without words, is no word's.
    last = len(whole) - (rows[0][-1:] == whole[-1:])
    ends = [min(_in_common(row, whole), last) for row in rows]
    return [max(ends[: index + 1]) for index in range(len(ends))]


def _in_common(row: Sequence[int], other: Sequence[int]) -> int:
    return next(
        (index for index, (a, b) in enumerate(zip(row, other, strict=False)) if a != b), min(len(row), len(other))
    )

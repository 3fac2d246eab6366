"""The most frequent mistakes of a model on a set, each with its worst image and what spoke for the wrong class there.

N = images read, M = mistakes shown, D = embedding width.
"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import torch

from seesay.data.jpeg import decoding
from seesay.data.labelled import LabelledSet
from seesay.data.thumbnails import thumbnail
from seesay.evaluation.suite import Answers, Measured
from seesay.formulas.relevance import in_image
from seesay.model.bundle import Model
from seesay.model.explain import relevance
from seesay.model.zero_shot import ZeroShotClassifier
from seesay.tasks.explain_image import heat_over

# A guess: two rows of cards on a wide screen.
PAIRS_SHOWN = 8
# The longer side of an image on a card, in pixels.
SIDE = 128


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """`count` images of class `label` that were taken for `other`; `worst`, a position in N, with the most confidence.

    `heat` is that image as WebP, bright where it speaks for `other` and not for `label`; None where it was not made.
    """

    label: int
    other: int
    count: int
    worst: int
    heat: bytes | None = None


def confusions_of(answers: Answers) -> tuple[Confusion, ...]:
    """The most frequent mistakes, the most frequent first."""
    is_wrong_N = answers.label_N != answers.predicted_N
    wrong = zip(answers.label_N[is_wrong_N].tolist(), answers.predicted_N[is_wrong_N].tolist(), strict=True)
    found = []
    for (label, other), count in Counter(wrong).most_common(PAIRS_SHOWN):
        mistaken = np.flatnonzero((answers.label_N == label) & (answers.predicted_N == other))
        worst = int(mistaken[answers.confidence_N[mistaken].argmax()])
        found.append(Confusion(label=label, other=other, count=count, worst=worst))
    return tuple(found)


def with_heat(model: Model, measured: Measured, found: tuple[Confusion, ...]) -> tuple[Confusion, ...]:
    """The mistakes with the heat of each worst image, in one pass of the image tower.

    It is that of `seesay.explain` with a contrast, of the classes' rows in place of a text's. As they are for a model
    without rows of texts; `UsageError` for a tower that has no map.
    """
    answers, evalset = measured.answers, measured.evalset
    assert answers is not None and isinstance(evalset, LabelledSet)
    if not found or not isinstance(answers.classifier, ZeroShotClassifier):
        return found
    pixels, photos = [], []
    for mistake in found:
        with decoding(evalset.image(measured.read[mistake.worst])) as decoded:
            pixels.append(model.preprocess.pixels(decoded.pixels_HW3))
            photos.append(np.array(decoded.pixels_HW3))
    row_CD = answers.classifier.weights.cpu()
    text_MD = row_CD[[each.other for each in found]] - row_CD[[each.label for each in found]]
    _, grid_MGG = relevance(model, torch.stack(pixels), text_MD)
    heats = []
    for photo_HW3, grid_GG in zip(photos, grid_MGG.numpy(), strict=True):
        sides = photo_HW3.shape[0], photo_HW3.shape[1]
        heat_HW = in_image(grid_GG, sides, model.preprocess.seen(*sides))
        heats.append(thumbnail(heat_over(photo_HW3, heat_HW), side=SIDE))
    return tuple(replace(mistake, heat=heat) for mistake, heat in zip(found, heats, strict=True))

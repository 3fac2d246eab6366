"""What a model says of the images of rows: features, the cosine with captions, clusters, and a score of preferences.

N = images or choices, D = features, K = clusters.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seesay.base.errors import BrokenSample, RefusedInput, UsageError
from seesay.base.records import Skipped
from seesay.base.streams import say
from seesay.curation.images import map_images
from seesay.curation.text_tables import read_columns
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet
from seesay.data.sources import LooseFile, count_reasons

# Pairs that are encoded at once, so that their images are in memory; a guess. Always as many: how a matrix product is
# rounded depends on its size, and a row must not depend on those beside it.
ENCODED = 64
# Rounds of k-means, and images for each cluster that its centres are learned from; guesses.
ROUNDS, IMAGES_PER_CLUSTER = 20, 256
# Vectors that are compared at once, so that memory is bounded; a guess.
COMPARED = 1 << 12
# Penalties that are tried for preferences, parts of the choices that are held out in turn, and the least of them that
# say anything; guesses.
PENALTIES, FOLDS, LEAST_CHOICES = (0.01, 0.1, 1.0, 10.0, 100.0), 5, 10


class Encoded(NamedTuple):
    """An image's unit features (D,) float32, and their cosine with the caption where it was asked for."""

    image_D: np.ndarray
    cosine: float


class Encoder:
    """A model by the name that `seesay.load` knows; `fingerprint` is of its weights and how it reads images."""

    def __init__(self, name: str):
        from seesay.model.cache import image_fingerprint, text_fingerprint
        from seesay.model.hub import load

        self.name = name
        self._model = load(name)
        parts = (image_fingerprint(self._model), text_fingerprint(self._model))
        self.fingerprint = hashlib.sha256(repr(parts).encode()).hexdigest()

    def refuse_without_texts(self) -> None:
        """`UsageError` for a model that has no cosine of image and caption."""
        if not self._model.embeds_texts:
            name = self._model.name
            raise UsageError(f"{name} predicts captions, and has no cosine of image and caption; name another model.")

    def rows(self, rows: Sequence[Mapping[str, Any]], *, captions: bool = False) -> Iterator[Encoded | BrokenSample]:
        """What the model makes of each row, or why its image cannot be read, in their order."""
        for first in range(0, len(rows), ENCODED):
            block = rows[first : first + ENCODED]
            found = [each for _, each in map_images(block, self._model.preprocess.read)]
            yield from self._encoded(found, [row["caption"] for row in block] if captions else None)

    def images(self, sources: Iterable[Callable[[], bytes]]) -> Iterator[np.ndarray | BrokenSample]:
        """The features (D,) of images by what reads their bytes, or why one cannot be read, in their order."""
        waiting = iter(sources)
        while block := list(islice(waiting, ENCODED)):
            for each in self._encoded([self._read(source) for source in block], None):
                yield each if isinstance(each, BrokenSample) else each.image_D

    def _read(self, source: Callable[[], bytes]) -> Any:
        try:
            return self._model.preprocess.read(source())
        except BrokenSample as error:
            return error

    def _encoded(self, pixels: list[Any], captions: Sequence[str] | None) -> list[Encoded | BrokenSample]:
        import torch

        good = [n for n, each in enumerate(pixels) if not isinstance(each, BrokenSample)]
        found = list(pixels)
        if good:
            full = (good * ENCODED)[:ENCODED]
            image_ND = self._model.encode_pixels(torch.stack([pixels[n] for n in full]))
            text_ND = image_ND if captions is None else self._model.encode_texts([captions[n] for n in full])
            cosine_N = (image_ND * text_ND).sum(1).tolist()
            for at, n in enumerate(good):
                found[n] = Encoded(image_ND[at].numpy(), cosine_N[at])
        return found


def images_of(source: str) -> tuple[str, list[str], list[Callable[[], bytes]]]:
    """The name of an evaluation set, and the keys of its images with what reads the bytes of each."""
    opened = open_evalset(source)
    keys = [opened.key(n) for n in range(len(opened))]
    if isinstance(opened, LabelledSet):
        return opened.name, keys, [functools.partial(opened.image, n) for n in range(len(opened))]
    return (
        opened.name,
        keys,
        [functools.partial(lambda pairs, n: pairs[n].image, opened, n) for n in range(len(opened))],
    )


@functools.lru_cache(maxsize=2)
def encoder(name: str) -> Encoder:
    """The model of that name, loaded once for all stages of a run."""
    return Encoder(name)


def k_means(feature_ND: np.ndarray, count: int) -> np.ndarray:
    """Unit centres (K, D) of unit features, no more than `count`: Lloyd's rounds by cosine from the first features on.

    The result depends on the order of the features, which should be one that nobody chose, such as that of keys.
    """
    centre_KD = np.unique(feature_ND, axis=0, return_index=True)[1]
    centre_KD = feature_ND[np.sort(centre_KD)[:count]].astype(np.float64)
    before_N = None
    for _ in range(ROUNDS):
        nearest_N = nearest(feature_ND, centre_KD)
        if before_N is not None and (nearest_N == before_N).all():
            break
        before_N = nearest_N
        sum_KD = np.zeros_like(centre_KD)
        np.add.at(sum_KD, nearest_N, feature_ND.astype(np.float64))
        length_K1 = np.linalg.norm(sum_KD, axis=1, keepdims=True)
        # A cluster that lost all its images keeps its centre.
        centre_KD = np.where(length_K1 > 0, sum_KD / np.maximum(length_K1, 1e-12), centre_KD)
    return centre_KD


def nearest(feature_ND: np.ndarray, centre_KD: np.ndarray) -> np.ndarray:
    """The number (N,) of the centre that has the largest cosine with each of the features."""
    centre_DK = centre_KD.T.astype(np.float32)
    blocks = [feature_ND[n : n + COMPARED] @ centre_DK for n in range(0, len(feature_ND), COMPARED)]
    return np.concatenate([block.argmax(1) for block in blocks]) if blocks else np.empty(0, np.int64)


def copies_by_cosine(feature_ND: np.ndarray, least: float, fixed: int) -> dict[int, int]:
    """Position -> the first kept one before it that has a cosine of `least` with it; the first `fixed` always stay.

    Compared are all with all: N^2 D steps.
    """
    copies: dict[int, int] = {}
    for first in range(0, len(feature_ND), COMPARED):
        block_BD = feature_ND[first : first + COMPARED]
        close: dict[int, list[int]] = {}
        for start in range(0, first + len(block_BD), COMPARED):
            cosine_BC = block_BD @ feature_ND[start : start + COMPARED].T
            for row, column in zip(*np.nonzero(cosine_BC >= least), strict=True):
                if start + column < first + row:
                    close.setdefault(first + int(row), []).append(start + int(column))
        for position, others in sorted(close.items()):
            original = next((other for other in others if other not in copies), None)
            if position >= fixed and original is not None:
                copies[position] = original
    return copies


def bradley_terry(difference_ND: np.ndarray, penalty: float) -> np.ndarray:
    """The weights (D,) float64 that make the choices most likely: P(a is better than b) = sigmoid(w (a - b)).

    `difference_ND` is better minus worse. What is made small is -sum log P + penalty / 2 |w|^2, by Newton's steps; a
    worth that is linear in features is the model of Bradley and Terry (1952) with covariates.
    """
    x_ND = difference_ND.astype(np.float64)
    weight_D = np.zeros(x_ND.shape[1])
    for _ in range(100):
        p_N = 1 / (1 + np.exp(np.clip(x_ND @ weight_D, -500, 500)))
        gradient_D = penalty * weight_D - x_ND.T @ p_N
        curved_DD = (x_ND.T * (p_N * (1 - p_N))) @ x_ND + penalty * np.eye(len(weight_D))
        step_D = np.linalg.solve(curved_DD, gradient_D)
        # The loss is steeper than its parabola far out: no step turns a choice by more than 4 of its logit.
        step_D *= min(1.0, 4 / max(1e-12, np.abs(x_ND @ step_D).max()))
        weight_D -= step_D
        if np.abs(step_D).max() < 1e-10:
            break
    return weight_D


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """A head that was learned from choices: `agreed` of them were foretold while they were held out."""

    weight_D: np.ndarray
    choices: int
    agreed: float
    penalty: float

    def score(self, image_D: np.ndarray) -> float:
        """The worth of an image, a logit: of two, the odds that the first is preferred are e to the difference."""
        return float(image_D.astype(np.float64) @ self.weight_D)


def learn_preferences(path: str | Path, encoder: Encoder) -> Preferences:
    """The head for a table with the columns `better` and `worse`, each the path of an image from its folder on.

    The penalty is that of `PENALTIES` under which held-out choices are most likely. Choices whose images cannot be
    read are counted in a message; `RefusedInput` where fewer than ten are left.
    """
    path = Path(path)
    better, worse = read_columns(path, ("better", "worse"))
    names = list(dict.fromkeys(str(path.parent / name) for name in (*better, *worse) if name))
    feature_of = dict(zip(names, encoder.images(LooseFile(name, 0).read for name in names), strict=True))
    differences = []
    for first, second in zip(better, worse, strict=True):
        ends = [feature_of.get(str(path.parent / name)) if name else None for name in (first, second)]
        if isinstance(ends[0], np.ndarray) and isinstance(ends[1], np.ndarray):
            differences.append(ends[0] - ends[1])
    if len(differences) < len(better):
        broken = [Skipped(key=name, reason=each.reason) for name, each in feature_of.items()
                  if isinstance(each, BrokenSample)]  # fmt: skip
        unused = len(better) - len(differences)
        say(f"{path}: {unused:,} of {len(better):,} choices cannot be used ({count_reasons(broken)}).")
    if len(differences) < LEAST_CHOICES:
        raise RefusedInput(
            f"{path} has {len(differences)} choices between images; {LEAST_CHOICES} or more say something."
        )
    x_ND = np.array(differences)
    held_out = {penalty: _held_out_logits(x_ND, penalty) for penalty in PENALTIES}
    penalty = min(PENALTIES, key=lambda each: float(np.logaddexp(0, -held_out[each]).sum()))
    agreed = float(((held_out[penalty] > 0) + 0.5 * (held_out[penalty] == 0)).mean())
    return Preferences(weight_D=bradley_terry(x_ND, penalty), choices=len(differences), agreed=agreed, penalty=penalty)


def _held_out_logits(x_ND: np.ndarray, penalty: float) -> np.ndarray:
    """The logit of each choice by a head that was learned from the other parts of them."""
    logit_N = np.empty(len(x_ND))
    for fold in range(FOLDS):
        is_out_N = np.arange(len(x_ND)) % FOLDS == fold
        logit_N[is_out_N] = x_ND[is_out_N] @ bradley_terry(x_ND[~is_out_N], penalty)
    return logit_N

"""Which of the nearest training images are copies: each is laid over the image, and every set has a threshold.

N = images of a set, S = copies made of some, K = matches kept for an image, C = those looked at closely, P = pairs,
H = side.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seesay.base.errors import BrokenSample
from seesay.base.journal import progress
from seesay.data.duplicates import COPIES
from seesay.data.jpeg import decoding
from seesay.evaluation.overlap_result import Choice, Match, SetOverlap
from seesay.evaluation.overlap_search import EvalSet, Searched, image_of
from seesay.evaluation.suite import reasons_of
from seesay.formulas.alignment import agreement
from seesay.formulas.metrics import precise_threshold
from seesay.model.detector import CopyDetector, CopySearch, squashed, squashed_images

# What a threshold has to reach, and in which case: where this share of the images has a copy. Guesses.
PRECISION, COPIED_SHARE = 0.99, 0.1
# The lowest threshold; in sets of photos hardly any image that is no copy has a larger likeness. And how much the
# nearest that is no copy is above the second nearest, rounded up. Both by benchmarks/2026-11-29-overlap.
LEAST, ABOVE_SECOND = 0.7, 0.1
# Matches of an image that are looked at closely, and all others only where these are copies; a guess.
CLOSELY = 3
# With fewer images whose second nearest is known a set says too little about a threshold (a guess).
ENOUGH_OTHERS = 50
# Of a set's own copies these shares are less alike than what may be one, and than what is taken for one (guesses).
DOUBTFUL, TYPICAL = 0.1, 0.25
# Copies made for a threshold, and matches kept below it; guesses.
SAMPLE, BELOW = 1000, 24
# The longer side of an image that a copy is made of; a guess at what is more than the tower sees.
LARGEST = 256
# In place of the likeness to an image that is not there: below all others.
MISSING = -9.0
# Of what is drawn for the copies; any other number would do.
SEED = 0
# Images looked at closely at once, so that memory is bounded.
BLOCK = 64
# Of red, green and blue in a grey (Rec. 601).
LUMA = (0.299, 0.587, 0.114)


def match_all(
    detector: CopyDetector, sets: Sequence[EvalSet], searches: Sequence[CopySearch], searched: Searched
) -> list[SetOverlap]:
    """The pairs of every set."""
    return [
        matched(Look(detector=detector, own=own, search=search, searched=searched))
        for own, search in zip(sets, searches, strict=True)
    ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """A set, its nearest training images, and both sides to read again."""

    detector: CopyDetector
    own: EvalSet
    search: CopySearch
    searched: Searched

    @property
    def offset_N(self) -> Tensor:
        """What is added to the cosines of an image, whatever it is compared with, (N,): less what is usual for it."""
        return self.search.similarity(torch.zeros(len(self.own.described.index), 1))[:, 0]

    def eval_pixels(self, at: Sequence[int]) -> dict[int, np.ndarray]:
        """Images of the set by their positions, squashed, without those that cannot be read any more."""
        index = self.own.described.index
        return squashed_images(lambda position: image_of(self.own.source, int(index[position])), at)[0]

    def train_pixels(self, numbers: Sequence[int]) -> dict[int, np.ndarray]:
        """Training images by their numbers, in the same way."""
        return squashed_images(lambda number: self.searched.pairs[number].image, numbers)[0]

    def likeness(self, at_N: np.ndarray, ranks: slice) -> Tensor:
        """Likeness of the images at these positions to their matches of these ranks, (N, C)."""
        number_NC = self.search.number_NK[at_N][:, ranks]
        found_NC = self.search.similarity(self.search.cosine_NK)[at_N][:, ranks].clone()
        with progress(len(at_N), f"{self.own.source.name}: looking closely") as advance:
            for first in range(0, len(at_N), BLOCK):
                part = slice(first, first + BLOCK)
                found_NC[part] = self._close(at_N[part].tolist(), number_NC[part], found_NC[part])
                advance(len(at_N[part]))
        return found_NC

    def _close(self, at: list[int], number_BC: Tensor, similarity_BC: Tensor) -> Tensor:
        eval_of, train_of = self.eval_pixels(at), self.train_pixels(number_BC[number_BC >= 0].unique().tolist())
        pairs = [
            (row, rank, eval_of[position], train_of[number])
            for row, (position, numbers) in enumerate(zip(at, number_BC.tolist(), strict=True))
            for rank, number in enumerate(numbers)
            if position in eval_of and number in train_of
        ]
        likeness_BC = torch.full(number_BC.shape, MISSING)
        if pairs:
            row, rank, one, other = zip(*pairs, strict=True)
            likeness_BC[row, rank] = similarity_BC[row, rank] + agreement(greys(one), greys(other))
        return likeness_BC


def greys(images: Sequence[np.ndarray]) -> Tensor:
    """Squashed images, each (H, H, 3), to greys from 0 to 1, (P, H, H)."""
    return torch.from_numpy(np.stack(images)).float() @ torch.tensor(LUMA) / 255


def matched(look: Look) -> SetOverlap:
    """The pairs of a set, from a threshold on that is judged by copies made of its own images."""
    search = look.search
    count, ranks = search.number_NK.shape
    copy_S, lost = copies_found(look)
    likeness_NK = torch.full((count, ranks), MISSING)
    likeness_NK[:, :CLOSELY] = look.likeness(np.arange(count), slice(0, CLOSELY))
    other_X, others_note = others(look, likeness_NK, copy_S)
    threshold = LEAST
    if len(copy_S):
        threshold = max(LEAST, precise_threshold(copy_S, other_X, share=COPIED_SHARE, precision=PRECISION))
    (more_N,) = np.nonzero((likeness_NK[:, :CLOSELY] >= threshold).all(1).numpy())
    if len(more_N):
        likeness_NK[more_N, CLOSELY:] = look.likeness(more_N, slice(CLOSELY, ranks))
    choice = Choice(
        threshold=threshold,
        copies=len(copy_S),
        recall=float((copy_S >= threshold).mean()) if len(copy_S) else 0.0,
        precision=PRECISION,
    )
    is_there_NK = search.number_NK >= 0
    unseen = int((is_there_NK & (likeness_NK == MISSING))[:, :CLOSELY].sum())
    crowded = int((likeness_NK[:, -1] >= threshold).sum())
    notes = [
        *look.own.source.notes,
        *others_note,
        *([f"no copy could be made of {lost} images, which are gone."] if lost else []),
        *(
            [f"{unseen} pairs could not be looked at closely, as an image is gone; they are not counted."]
            if unseen
            else []
        ),
        *([f"{crowded} images have more matches than the {ranks} kept."] if crowded else []),
    ]
    return replace(result_of(look, likeness_NK, choice), notes=tuple(notes))


def result_of(look: Look, likeness_NK: Tensor, choice: Choice) -> SetOverlap:
    """The matches from the threshold on, the nearest of the others, and the hash beside them."""
    own, search = look.own, look.search
    best_N, rank_N = likeness_NK.max(1)

    def match(at: int, rank: int) -> Match:
        return Match(
            eval=own.source.key(int(own.described.index[at])),
            train=look.searched.pairs.key(int(search.number_NK[at, rank])),
            similarity=float(likeness_NK[at, rank]),
        )

    is_match_NK = likeness_NK >= choice.threshold
    found = [match(at, rank) for at, rank in is_match_NK.nonzero().tolist()]
    is_overlap_N, is_alike_N = is_match_NK.any(1).numpy(), search.alike_N >= 0
    below = [at for at in best_N.argsort(descending=True).tolist() if MISSING < best_N[at] < choice.threshold]
    return SetOverlap(
        name=own.source.name,
        n=len(own.described.index),
        overlap=int(is_overlap_N.sum()),
        by_hash=int(is_alike_N.sum()),
        by_both=int((is_overlap_N & is_alike_N).sum()),
        choice=choice,
        pairs=tuple(sorted(found, key=lambda pair: -pair.similarity)),
        below=tuple(match(at, int(rank_N[at])) for at in below[:BELOW]),
        skipped_by_reason=reasons_of([*own.source.problems, *own.described.skipped]),
    )


def others(look: Look, likeness_NK: Tensor, copy_S: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """What the images' largest likeness would be if they had no copy, (X,) of those that say something; and notes.

    The nearest may be a copy; the second nearest is taken for another image, and the nearest that is no copy is a
    little above it. Images that stand twice say nothing.
    """
    second_N = likeness_NK.topk(min(2, likeness_NK.shape[1]), dim=1).values[:, -1].numpy()
    is_known_N = second_N > MISSING
    notes = []
    if (count := int(is_known_N.sum())) < ENOUGH_OTHERS:
        notes.append(
            f"only {count} of its images have a second training image to compare with, fewer than {ENOUGH_OTHERS}: "
            "its threshold is judged by little."
        )
    (doubtful_N,) = np.nonzero(is_known_N & (second_N >= (np.quantile(copy_S, DOUBTFUL) if len(copy_S) else LEAST)))
    typical = float(np.quantile(copy_S, TYPICAL)) if len(copy_S) else LEAST
    twice = [int(at) for at in doubtful_N if stands_twice(look, int(at), likeness_NK[int(at)], typical)]
    if twice:
        notes.append(f"{len(twice)} of its images are in the set or in training twice, and judge no threshold.")
        is_known_N[twice] = False
    return second_N[is_known_N] + ABOVE_SECOND, notes


def stands_twice(look: Look, at: int, likeness_K: Tensor, typical: float) -> bool:
    """Whether an image's two nearest are copies of each other, or the image of another one of the set.

    They are where their likeness is that of most copies.
    """
    row_ND, first, second = look.own.described.row_ND, *look.search.number_NK[at][likeness_K.topk(2).indices].tolist()
    cosine_N = row_ND @ row_ND[at]
    cosine_N[at] = MISSING
    nearest = int(cosine_N.argmax())
    # A set of one image has no other.
    evals, trains = look.eval_pixels([at, nearest] if nearest != at else []), look.train_pixels([first, second])
    both = (evals.get(at), evals.get(nearest)), (trains.get(first), trains.get(second))
    pairs = [(one, other) for one, other in both if one is not None and other is not None]
    if not pairs:
        return False
    one, other = (np.stack(side) for side in zip(*pairs, strict=True))
    cosine_P = (look.detector.rows(one) * look.detector.rows(other)).sum(1)
    likeness_P = cosine_P + look.offset_N[at] + agreement(greys(list(one)), greys(list(other)))
    return bool((likeness_P >= typical).any())


def copies_found(look: Look) -> tuple[np.ndarray, int]:
    """Likeness of images of the set to copies made of them, each by one or more of the ten ways in turn, (S,).

    And how many images could not be read for it.
    """
    count = min(len(look.own.described.index), SAMPLE)
    each = min(len(COPIES), max(1, SAMPLE // count))
    at_S = np.linspace(0, len(look.own.described.index) - 1, count).astype(int).repeat(each)
    made, lost = copies_of(look.own, at_S)
    found = [np.empty(0, np.float32)]
    for first in range(0, len(made), 4 * BLOCK):
        at, image, copy = zip(*made[first : first + 4 * BLOCK], strict=True)
        cosine_P = (look.detector.rows(np.stack(image)) * look.detector.rows(np.stack(copy))).sum(1)
        found.append((cosine_P + look.offset_N[list(at)] + agreement(greys(image), greys(copy))).numpy())
    return np.concatenate(found), lost


def copies_of(own: EvalSet, at_S: np.ndarray) -> tuple[list[tuple[int, np.ndarray, np.ndarray]], int]:
    """Positions with their image and a copy of it, by the ten ways in turn, both (H, H, 3); and how many are gone."""
    ways, rng = list(COPIES.values()), np.random.default_rng(SEED)
    made, gone = [], Counter[int]()
    with progress(len(at_S), f"{own.source.name}: copies for a threshold") as advance:
        for n, at in enumerate(at_S.tolist()):
            advance(1)
            try:
                data = image_of(own.source, int(own.described.index[at]))
                with decoding(data, lambda height, width: max(height, width) / LARGEST) as decoded:
                    image = Image.fromarray(decoded.pixels_HW3)
            except BrokenSample:
                gone[at] += 1
                continue
            image.thumbnail((LARGEST, LARGEST))
            made.append((at, squashed(image), squashed(ways[n % len(ways)](image, rng))))
    return made, len(gone)

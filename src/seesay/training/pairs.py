"""What a run learns from: its pairs, those held out for validation, and the facts that its plan is chosen by.

N = captions of all pairs, M = images.
"""

import hashlib
import re
import statistics
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from seesay.base.bounded import read_entries
from seesay.base.errors import BrokenSample, UsageError
from seesay.base.journal import progress
from seesay.base.records import PairSource, Tokens
from seesay.base.runtime import Runtime
from seesay.base.settings import leaves
from seesay.base.streams import say
from seesay.base.version import __version__
from seesay.data.jpeg import decoding
from seesay.data.loader import Subset, permutation
from seesay.data.memory_pairs import is_in_memory
from seesay.data.pairs import listed, open_pairs
from seesay.data.survey import Sampled, sample_images
from seesay.data.tables import TABLE_SUFFIXES
from seesay.data.tokenizer import clean
from seesay.training.plan import DataFacts
from seesay.training.settings import TrainSettings

# Guesses: images that the side is judged by, and the fewest and the most pairs that are held out.
LOOKED_AT = 64
LEAST_VALIDATION, MOST_VALIDATION = 4, 1000
# A hundredth of many pairs is enough. Of fewer, 500 are held out: the 95 % interval of a share of matches is then
# within 4.4 points (20 of 2,000 pairs gave 22). No more than a tenth is given up for that (a guess).
SHARE_OF_MANY, ENOUGH_VALIDATION, LARGEST_SHARE = 0.01, 500, 0.1
# A number that no epoch of training has, so that what is held out is drawn by itself.
HELD_OUT_EPOCH = 2**40
SHA256 = re.compile(r"[0-9a-f]{64}")


class OldRows(Protocol):
    """Images and texts whose rows should stay what they are: all rows, and the logit scale by which they answer."""

    image_ND: Tensor
    text_MD: Tensor
    scale: Tensor

    def drawn(self, step: int, count: int, *, part: tuple[int, int]) -> tuple[Tensor, Tokens, Tensor, Tensor]:
        """The k-th of n equal parts of what holds `count` pairs or a few more: pixels (R, 3, S, S), R texts, rows of
        both."""
        ...


@dataclass(frozen=True, kw_only=True)
class TrainingPairs:
    """What the run learns from, and what it is validated on (None where there is too little).

    `held_out` is the share of the pairs that was held out for it; None where validation pairs were given. `note` says
    in their place what the run is checked on. `old_answers` are rows that should stay what they are.
    """

    training: PairSource
    validation: PairSource | None
    held_out: float | None = None
    note: str = ""
    old_answers: OldRows | None = None

    def lines(self) -> list[str]:
        """How many there are and where from, for people."""
        notes = (f"           {note}" for note in self.training.notes)
        return [f"pairs      {len(self.training):,} from {self.training.name}", *notes]

    @cached_property
    def sampled(self) -> Sampled:
        """Some images of the training pairs, read once."""
        return sample_images(self.training)


def validation_line(pairs: TrainingPairs, *, batch_size: int) -> str:
    """How many pairs are validated on, or why none are, for people."""
    if pairs.note:
        return pairs.note
    if pairs.validation is None:
        if pairs.held_out == 0:
            return "none, as data.validation is 0: a rising loss is not seen, and no best model is kept"
        return (
            f"none: of so few pairs less than {LEAST_VALIDATION} would be held out, so a rising loss is not seen, and "
            "no best model is kept; name some with --val"
        )
    count = len(pairs.validation)
    whole = count // batch_size * batch_size or count
    used = f", {whole:,} of them used" if whole < count else ""
    batches = f"in batches of {min(batch_size, count):,}{used}"
    if pairs.held_out is None:
        return f"{count:,} pairs of --val, {batches}"
    return f"{count:,} pairs held out, {pairs.held_out:.1%} of all, {batches}"


def open_training_pairs(sources: Any, validation: Any, settings: TrainSettings) -> TrainingPairs:
    """The pairs of the run; without validation pairs a share of the training pairs is held out.

    `UsageError` where the run may end early by a validation loss that it does not have, and for a prompt, whose words
    are in the prompts of classes alone.
    """
    if settings.start.how == "prompt":
        raise UsageError(
            "start.how is prompt, which learns the words around the names of classes, and captions have none of them; "
            "use `seesay finetune MODEL DATA --how prompt` on a labelled set."
        )
    columns = {"image_column": settings.data.image_column, "caption_column": settings.data.caption_column}
    source = open_pairs(sources, **columns)
    if settings.data.blocked_hashes is not None:
        source = without_blocked(source, settings.data.blocked_hashes)
    if validation:
        # The columns are those of the training table; validation pairs may lie in a folder.
        named = columns if any(_has_columns(given) for given in listed(validation)) else {}
        return TrainingPairs(training=source, validation=open_pairs(validation, **named))
    share = settings.data.validation
    if share is None:
        share = share_to_hold_out(len(source))
    held_out = min(MOST_VALIDATION, round(share * len(source)))
    if held_out < LEAST_VALIDATION:
        if settings.check.patience:
            raise UsageError(
                f"check.patience is {settings.check.patience}, but no pairs are validated on; name some with --val, or "
                "set it to 0."
            )
        return TrainingPairs(training=source, validation=None, held_out=share)
    shuffled = permutation(settings.seed, HELD_OUT_EPOCH, len(source))
    return TrainingPairs(
        training=Subset(source, np.sort(shuffled[held_out:])),
        validation=Subset(source, np.sort(shuffled[:held_out])),
        held_out=share,
    )


def same_everywhere(settings: TrainSettings, pairs: TrainingPairs) -> dict[str, str]:
    """What processes of one run must have in common, by names that a person would look for."""
    held_out = pairs.validation.fingerprint if pairs.validation is not None else "(none)"
    return {
        **dict(leaves(settings)),
        "the fingerprint of the pairs": pairs.training.fingerprint,
        "the digest of sampled images": pairs.sampled.digest,
        "the fingerprint of the validation pairs": held_out,
        "the version of seesay": __version__,
        "the version of torch": torch.__version__,
    }


def without_blocked(pairs: PairSource, path: str) -> PairSource:
    """The pairs whose images are not on a list of SHA-256; raises as `not_blocked`."""
    return Subset(pairs, not_blocked(pairs.name, lambda index: pairs[index].image, len(pairs), path, what="pairs"))


def not_blocked(name: str, read: Callable[[int], bytes], count: int, path: str, *, what: str) -> list[int]:
    """Which of `count` images of `name` are not on a list of SHA-256; all are read, and it is said how many are.

    `UsageError` where the list cannot be read, has something else, or leaves nothing.
    """
    blocked = {line.lower() for line in read_entries(path)}
    if wrong := [line for line in blocked if not SHA256.fullmatch(line)]:
        raise UsageError(f"{path} has {wrong[0][:80]!r}, and no SHA-256; `seesay overlap --remove` writes such a list.")
    chosen = []
    with progress(count, f"without {path}") as advance:
        for index in range(count):
            with suppress(BrokenSample):  # counted where it is decoded
                if hashlib.sha256(read(index)).hexdigest() in blocked:
                    advance(1)
                    continue
            chosen.append(index)
            advance(1)
    say(f"data.blocked_hashes: {count - len(chosen):,} of {count:,} {what} are left out.")
    if not chosen:
        raise UsageError(f"every image of {name} is on the list {path}; name other {what}, or another list.")
    return chosen


def share_to_hold_out(pairs: int) -> float:
    """The share of so many pairs that is held out where none is requested."""
    count = max(SHARE_OF_MANY * pairs, min(ENOUGH_VALIDATION, LARGEST_SHARE * pairs))
    return count / pairs if pairs else 0.0


def _has_columns(source: Any) -> bool:
    return is_in_memory(source) or Path(source).suffix.lower().removeprefix(".") in TABLE_SUFFIXES


def data_facts(pairs: PairSource, runtime: Runtime) -> DataFacts:
    """Counts, and the size of images spread evenly over the pairs. `UsageError` where none of these can be read."""
    sides = []
    for index in np.linspace(0, len(pairs) - 1, min(LOOKED_AT, len(pairs))).astype(int):
        try:
            with decoding(pairs[int(index)].image) as image:
                sides.append(min(image.height, image.width))
        except BrokenSample:
            continue
    if not sides:
        raise UsageError(f"none of {min(LOOKED_AT, len(pairs))} images looked at in {pairs.name} can be read.")
    return DataFacts(
        pairs=len(pairs),
        captions=sum(len(pairs.captions(index)) for index in range(len(pairs))),
        median_side=round(statistics.median(sides)),
        device=runtime.device,
        cores=runtime.cores,
    )


def caption_chances(pairs: PairSource) -> np.ndarray:
    """How often captions repeat, (N, 2) for the N captions of all pairs.

    For each the chance that it is drawn (these sum to 1), and the chance that another pair draws the same words.
    """
    numbers: dict[str, int] = {}
    count_P = np.empty(len(pairs), dtype=np.int64)
    words: list[int] = []
    for index in range(len(pairs)):
        captions = pairs.captions(index)
        count_P[index] = len(captions)
        words += [numbers.setdefault(clean(caption), len(numbers)) for caption in captions]
    words_N, pair_N = np.array(words, dtype=np.int64), np.repeat(np.arange(len(pairs)), count_P)
    weight_N = 1 / count_P[pair_N]
    drawn_N = np.bincount(words_N, weights=weight_N, minlength=len(numbers))[words_N]
    # A pair may have the same words twice: all of them are its own.
    _, same_N = np.unique(pair_N * max(1, len(numbers)) + words_N, return_inverse=True)
    own_N = np.bincount(same_N, weights=weight_N)[same_N]
    others_N = np.maximum(0.0, drawn_N - own_N) / max(1, len(pairs) - 1)
    return np.stack([weight_N / len(pairs), others_N], axis=1)


def image_chances(image_id_M: np.ndarray) -> np.ndarray:
    """(M, 2) for M images drawn at random: the weight of each, and the chance that another pair has the same.

    Exact where all were drawn. Of a sample of 512 the chance is right in the mean: images that repeat in 1 % of a
    batch of 128 give about ten equal pairs in it, and those of a batch of 1,024 give one.
    """
    count_M = np.unique(image_id_M, return_inverse=True, return_counts=True)
    again_M = count_M[2][count_M[1]] - 1
    drawn = len(image_id_M)
    return np.stack([np.full(drawn, 1 / max(1, drawn)), again_M / max(1, drawn - 1)], axis=1)

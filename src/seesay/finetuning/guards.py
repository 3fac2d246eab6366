"""What must not be lost: sets whose score is measured, and what of them holds the old model while it is trained.

N = images, M = texts, R = rows of a step.
"""

import hashlib
import math
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seesay.base.errors import UsageError
from seesay.base.records import PairSource, Tokens
from seesay.base.streams import say
from seesay.data.class_names import class_prompts, imagenet_names, names_of
from seesay.data.drawings import textures
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet
from seesay.data.pairs import listed
from seesay.data.sources import count_reasons
from seesay.data.tokenizer import pad
from seesay.finetuning.measures import (
    CaptionMeasure,
    ClassMeasure,
    Measure,
    OwnAnswers,
    count_problems,
    encoded,
    evenly,
    evenly_by_class,
    tell_problems,
    unseen_change,
)
from seesay.finetuning.target import (
    Target,
    digests_of,
    image_of,
    refuse_few,
    refuse_shared,
    refuse_unread_classes,
)
from seesay.model.bundle import Model
from seesay.model.encode import read_pixels
from seesay.tasks.words import choose_words

# Of the images of a guard at least and at most so many are measured, and at most so many hold the model
# (benchmarks/2026-11-29-finetune; the bounds are guesses).
LEAST_MEASURED, MOST_MEASURED, MOST_HOLDING = 1000, 5000, 3000
# Pixels that are held in memory of each of the two: 4,000 images of 300 px (a guess).
MOST_BYTES = 2**30
# Images and texts that hold a small model for each pair that it learns from, where a guard has enough of them.
ROWS = 8
# Drawn images that stand in for those where a guard has fewer (benchmarks/2026-11-29-finetune), and the most pixels on
# a side that they have, a guess: larger ones take long to draw.
DRAWN = 600
LARGEST_DRAWN = 128


@dataclass(frozen=True, kw_only=True)
class Holding:
    """What holds the old model: the bytes of images, each read when it is called for, their digests, and texts."""

    images: tuple[Callable[[], bytes], ...] = ()
    digests: tuple[bytes | None, ...] = ()
    texts: tuple[str, ...] = ()

    @property
    def is_enough(self) -> bool:
        """Whether no drawn images are needed beside them."""
        return len(self.images) >= DRAWN

    @property
    def sha256(self) -> str | None:
        """Which they are, but for images that cannot be read, and how many of them a step has; None where there are
        none."""
        if not self.images:
            return None
        whole = hashlib.sha256("\0".join([str(ROWS), *self.texts]).encode())
        for digest in self.digests:
            whole.update(digest or b"")
        return whole.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Guards:
    """What is measured, and what of the same sets holds the model: no image is both."""

    measures: tuple[Measure, ...]
    holding: Holding


def open_guards(old: Model, guard: Any, target: Target, *, is_held: bool) -> Guards:
    """What must not be lost: the sets of `guard`, or the old model's own answers where none is named.

    Where the model `is_held`, a part of a large set's images does that and is not measured. `UsageError` for a set
    that shares images with the target.
    """
    sources = listed(guard) if guard is not None else []
    if not sources:
        names = target.classes.names if target.classes else ()
        own = OwnAnswers(old, target.held_out, target.held_count, name=target.name, without=names)
        return Guards(measures=(own,), holding=Holding())
    learned = target.digests()
    opened = [_open_guard(old, source, target, learned, is_held=is_held) for source in sources]
    measures = tuple(each.measure for each in opened)
    for measure in measures:
        refuse_few(measure, "take a larger guard")
    names = [measure.name for measure in measures]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"two guards are called {twice[0]}; name each set once.")
    if not is_held:
        return Guards(measures=measures, holding=Holding())
    # Guards may have images in common, too.
    measured = {each.digests[number] for each in opened for number in each.measure.chosen} - {None}
    holding = [_holding(old, each, target, measured) for each in opened]
    return Guards(measures=measures, holding=_together(holding))


def refuse_blind(guards: Sequence[Measure], most_loss: float) -> None:
    """`UsageError` for answers of the old model's own on so few images that nothing could be recommended by them.

    They are the best there are for it, so that every other model loses some or none.
    """
    for guard in guards:
        if isinstance(guard, OwnAnswers) and (unseen := 100 * guard.change * unseen_change(guard.n)) > most_loss:
            raise UsageError(
                f"{guard.n} held-out images are so few that a loss of {unseen:.2f} points of the old answers cannot be "
                "excluded, and nothing would be recommended; name a --guard, or allow it with --most-loss "
                f"{math.ceil(unseen)}."
            )


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """A guard that is opened, the digest of each of its images (None: it cannot be read), and what is measured."""

    images: LabelledSet | PairSource
    digests: list[bytes | None]
    measure: ClassMeasure | CaptionMeasure


def _open_guard(old: Model, source: Any, target: Target, learned: Sequence[bytes | None], *, is_held: bool) -> _Opened:
    images = open_evalset(source)
    tell_problems(images)
    digests = digests_of(images)
    refuse_shared(images.name, digests, learned, target.name, "guard")
    most = min(measured_of(len(images)) if is_held else MOST_MEASURED, _room(old))
    if not isinstance(images, LabelledSet):
        of_captions = CaptionMeasure(old, images, most=most)
        count_problems(of_captions, images)
        return _Opened(images=images, digests=digests, measure=of_captions)
    if len(images.class_names) == 1:
        raise UsageError(f"guard {images.name} has one class, so that every answer is right; take another guard.")
    words = choose_words(old, (images,), images.class_names)
    templates = None if words.templates_from == "the model" else words.templates
    measure = ClassMeasure(old, images, words.names, templates, most=most)
    count_problems(measure, images)
    refuse_unread_classes(images, read=measure.read)
    return _Opened(images=images, digests=digests, measure=measure)


def _holding(old: Model, guard: _Opened, target: Target, measured: Set[bytes | None]) -> Holding:
    """What of a guard holds the model: images evenly spread, no copy of one that is measured, and their texts."""
    images, measure = guard.images, guard.measure
    taken = set(measure.chosen)
    others = [n for n in range(len(images)) if n not in taken and guard.digests[n] not in measured]
    most = min(MOST_HOLDING, _room(old))
    if isinstance(measure, ClassMeasure):
        assert isinstance(images, LabelledSet)
        held = evenly_by_class(images, others, most)
        left = [name for name in measure.names if not taken_names(target) & {each.lower() for each in names_of(name)}]
        own = class_prompts(left, measure.templates or old.templates) if held else []
        texts = [prompts[number % len(prompts)] for number, prompts in enumerate(own)]
    else:
        assert not isinstance(images, LabelledSet)
        held = evenly(len(others), others, most)
        texts = [images.captions(number)[0] for number in held]
    return Holding(
        images=tuple(lambda number=number: image_of(images, number) for number in held),
        digests=tuple(guard.digests[number] for number in held),
        texts=tuple(texts),
    )


def _together(parts: Sequence[Holding]) -> Holding:
    """All of what several guards hold the model with."""
    return Holding(
        images=tuple(image for part in parts for image in part.images),
        digests=tuple(digest for part in parts for digest in part.digests),
        texts=tuple(text for part in parts for text in part.texts),
    )


def _room(model: Model) -> int:
    """How many images of the model's size are held in memory."""
    return MOST_BYTES // (3 * model.preprocess.size**2)


def taken_names(target: Target) -> set[str]:
    """What the classes of the target are called, in small letters."""
    names = target.classes.names if target.classes else ()
    return {each.lower() for name in names for each in names_of(name)}


def measured_of(count: int) -> int:
    """How many of a guard's images are measured where the rest holds the model: half of them, between the bounds."""
    return min(max(count // 2, LEAST_MEASURED), MOST_MEASURED)


class OldAnswers:
    """Images and texts that are not learned, with the rows that the old model gives them: `OldRows` of training.

    The images are those of the guard that are not measured, and where these are few, others that are drawn by code
    (`data.drawings.textures`). The texts are the names of ImageNet that are not `taken` by the target (small letters),
    in the model's templates, and those of the guard. What a step draws of them, `rows` for each pair, depends on (seed,
    step) alone.
    """

    def __init__(self, old: Model, taken: Set[str], *, seed: int, holding: Holding = Holding(), rows: int = 1):
        self.seed = seed
        real, _, skipped = read_pixels(old, lambda number: holding.images[number](), len(holding.images))
        if skipped:
            say(f"{len(skipped)} of {len(holding.images)} images of the guard left out: {count_reasons(skipped)}")
        self.real = len(real)
        self.rows = rows
        drawn = textures(max(0, DRAWN - self.real), min(old.preprocess.size, LARGEST_DRAWN))
        self.pixels_N3SS = torch.stack([*real, *(old.preprocess.read(image) for image in drawn)])
        names = [name for name in dict.fromkeys(imagenet_names().values()) if name.lower() not in taken]
        texts = [old.templates[number % len(old.templates)].replace("{}", name) for number, name in enumerate(names)]
        texts += holding.texts
        self.ids = old.tokenizer(texts)
        # Cloned, as what is made for inference cannot be learned from.
        self.image_ND, self.text_MD = encoded(old, self.pixels_N3SS).clone(), old.encode_texts(texts).clone()
        self.scale = torch.tensor(old.logit_scale)

    def __str__(self) -> str:
        drawn = len(self.pixels_N3SS) - self.real
        parts = [f"{self.real:,} images of the guard"] * (self.real > 0) + [f"{drawn:,} drawn ones"] * (drawn > 0)
        return f"{' and '.join(parts)}, {len(self.ids):,} names and captions"

    def drawn(self, step: int, count: int, *, part: tuple[int, int]) -> tuple[Tensor, Tokens, Tensor, Tensor]:
        """The k-th of n equal parts of what holds `count` pairs or a few more: pixels (R, 3, S, S), R texts, rows of
        both."""
        k, n = part
        count *= self.rows
        # As many for every process, since they wait for one another in every chunk; more of them begin with the same.
        drawn_R2 = np.random.default_rng([self.seed, step]).random((max(1, -(-count // n)) * n, 2))[k::n]
        image_R, text_R = (drawn_R2 * (len(self.pixels_N3SS), len(self.ids))).astype(np.int64).T
        tokens = pad([self.ids[number] for number in text_R.tolist()])
        return self.pixels_N3SS[image_R], tokens, self.image_ND[image_R], self.text_MD[text_R]

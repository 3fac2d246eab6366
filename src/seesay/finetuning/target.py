"""What is learned from and chosen by: labelled images whose classes become prompts, or pairs.

N = images.
"""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seesay.base.errors import BrokenSample, UsageError
from seesay.base.journal import progress
from seesay.base.records import PairSource, Skipped
from seesay.data.class_names import ClassName, class_prompts, names_of
from seesay.data.evalsets import open_evalset, open_learned
from seesay.data.images import open_image
from seesay.data.labelled import ClassPairs, LabelledSet, refuse_unseen_classes
from seesay.data.loader import Subset
from seesay.data.memory_pairs import is_in_memory
from seesay.data.pairs import listed
from seesay.finetuning.measures import CaptionMeasure, ClassMeasure, Measure, Read, count_problems, tell_problems
from seesay.model.bundle import Model
from seesay.tasks.words import choose_words
from seesay.training.pairs import TrainingPairs, not_blocked, open_training_pairs
from seesay.training.settings import TrainSettings
from seesay.training.start import class_captions, learned_template

# Guesses: the share of a class that is held out where no validation set is given, and the fewest images to choose by.
HELD_OUT = 0.2
FEWEST = 8
MOST_HELD_OUT = 2000
SHOWN_CLASSES = 5


@dataclass(frozen=True, kw_only=True)
class TargetClasses:
    """The classes of a labelled target: what the set calls them, what they are called in prompts, and the templates."""

    class_names: tuple[str, ...]
    names: tuple[ClassName, ...]
    templates: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is learned from, and what the model is chosen by; `classes` is None for pairs.

    `held_out` gives the bytes of the `held_count` images that are measured and not learned from.
    """

    name: str
    pairs: TrainingPairs
    measure: Measure
    classes: TargetClasses | None
    held_out: Read
    held_count: int
    notes: tuple[str, ...] = ()
    known_digests: Sequence[bytes | None] | None = None

    def digests(self) -> Sequence[bytes | None]:
        """Those of all images that are learned from or chosen by; None of one that cannot be read."""
        return self.known_digests or [
            *digests_of(self.pairs.training),
            *(_digest_of(self.held_out, n) for n in range(self.held_count)),
        ]


def open_target(model: Model, data: Any, val: Any, settings: TrainSettings, *, own_template: bool) -> Target:
    """The labelled set, or the pairs, that `data` names; `val` takes the place of what is held out.

    With `own_template` the prompts of a model are its own, whatever they are when it is measured. `UsageError` for one
    class, several labelled sets, and too little to choose by.
    """
    sources = listed(data)
    opened = [_labelled(source) for source in sources]
    if not any(opened):
        return _pairs_target(model, sources, val, settings)
    if len(opened) > 1 or opened[0] is None:
        raise UsageError(
            f"{len(sources)} sources, one of them with classes; fine-tune on one labelled set, or on pairs."
        )
    refuse_settings_of_pairs(opened[0], settings)
    labelled = _without_blocked(opened[0], settings.data.blocked_hashes)
    return _labelled_target(model, labelled, val, settings, own_template=own_template)


def _labelled(source: Any) -> LabelledSet | None:
    """The train part of a labelled set, or all of it where it has none; None for pairs."""
    if is_in_memory(source):
        return None
    opened = open_learned(source)
    return opened if isinstance(opened, LabelledSet) else None


def refuse_settings_of_pairs(labelled: LabelledSet, settings: TrainSettings) -> None:
    """`UsageError` for a setting that says how pairs are read or held out, which nothing of classes depends on."""
    for name in ("validation", "image_column", "caption_column"):
        if (value := getattr(settings.data, name)) is not None:
            raise UsageError(
                f"data.{name} is {value}, which is for pairs, and {labelled.name} has classes; leave it out."
            )
    if settings.check.patience:
        raise UsageError(
            f"check.patience is {settings.check.patience}, which looks at a validation loss, and classes have none; "
            "leave it out, and shorten the run with --steps."
        )


def _without_blocked(labelled: LabelledSet, path: str | None) -> LabelledSet:
    """The set without the images on the list, where one is named; `UsageError` for a class that has none left."""
    if path is None:
        return labelled
    left = labelled.subset(not_blocked(labelled.name, labelled.image, len(labelled), path, what="images"))
    classes = {labelled.label(number) for number in range(len(labelled))}
    if lost := classes - {left.label(number) for number in range(len(left))}:
        names = ", ".join(repr(labelled.class_names[label]) for label in sorted(lost)[:5])
        raise UsageError(f"all images of class {names} of {labelled.name} are on the list {path}; add others of it.")
    return left


def _labelled_target(model: Model, labelled: LabelledSet, val: Any, settings: TrainSettings, *, own_template: bool):
    if len(labelled.class_names) == 1:
        raise UsageError(
            f"{labelled.name} has one class, {labelled.class_names[0]!r}: every answer would be right; add images of "
            "what is none of it as a second class."
        )
    words = choose_words(model, (labelled,), labelled.class_names)
    training, measured, held, note = _split(labelled, val, seed=settings.seed)
    templates = None if own_template else words.templates
    measure = ClassMeasure(model, measured, words.names, templates, chosen=held)
    refuse_few(measure, "name more with --val")
    refuse_unread_classes(measured, read=measure.read)
    if measured is not labelled:
        count_problems(measure, measured)
        refuse_unread_classes(labelled, read=())
    prompts = class_prompts(words.names, words.templates)
    names = tuple(names_of(name)[0] for name in words.names)
    if settings.start.how == "image":
        prompts = [(caption,) for caption in class_captions(names, words.templates)]
    elif own_template:
        prompts = class_prompts(words.names, (_template_that_fits(model, words.names, settings),))
    pairs = ClassPairs(labelled, prompts, chosen=training)
    chosen = measure.chosen
    return Target(
        name=labelled.name,
        pairs=TrainingPairs(training=pairs, validation=None, note=note + _unmeasured(measured, measure)),
        measure=measure,
        classes=TargetClasses(class_names=labelled.class_names, names=tuple(words.names), templates=words.templates),
        held_out=lambda number: measured.image(chosen[number]),
        held_count=len(chosen),
        notes=(*labelled.notes, *words.notes),
    )


def refuse_unread_classes(labelled: LabelledSet, *, read: Iterable[int]) -> None:
    """`UsageError` for a class of whose images not one can be read; `read` are images that could be.

    Of every other class images are read until one is found.
    """
    found, skipped = list(read), []
    known = {labelled.label(index) for index in found}
    for index in range(len(labelled)):
        if labelled.label(index) in known:
            continue
        try:
            open_image(labelled.image(index))
        except BrokenSample as error:
            skipped.append(Skipped(key=labelled.key(index), reason=error.reason))
        else:
            found.append(index)
            known.add(labelled.label(index))
    refuse_unseen_classes(labelled, found, skipped)


def _template_that_fits(model: Model, names: Sequence[ClassName], settings: TrainSettings) -> str:
    """The template that is learned; `UsageError` where a name behind it would be cut."""
    template = learned_template(model, settings.start)
    longest = max(len(row) for name in names for row in model.tokenizer(names_of(name)))
    count, room = len(template.split()) - 1, model.tokenizer.context - longest
    if count > room:
        hint = f"set start.context to {room} or less" if room > 0 else "give the class a shorter name"
        raise UsageError(
            f"{count} learned words leave no room for the longest class name in the {model.tokenizer.context} tokens "
            f"that {model.name} reads; {hint}."
        )
    return template


def _split(labelled: LabelledSet, val: Any, *, seed: int) -> tuple[list[int], LabelledSet, list[int], str]:
    """What is learned from, and the set and images that are measured: those of `val`, or a fifth of each class."""
    if val is not None and len(listed(val)):
        if len(sources := listed(val)) > 1:
            raise UsageError(f"--val names {len(sources)} sets; validate on one.")
        measured = open_evalset(sources[0])
        if not isinstance(measured, LabelledSet):
            raise UsageError(
                f"{sources[0]} has no classes; validate on other images of the classes of {labelled.name}."
            )
        if measured.class_names != labelled.class_names:
            other = _other_classes(labelled.class_names, measured.class_names)
            raise UsageError(f"{sources[0]} {other} of {labelled.name}; validate on other images of them.")
        tell_problems(measured)
        learned = digests_of(labelled)
        refuse_shared(measured.name, digests_of(measured), learned, labelled.name, "validation set")
        return list(range(len(labelled))), measured, list(range(len(measured))), f"{len(measured):,} images of --val"
    generator = np.random.default_rng(seed)
    label_N = np.array([labelled.label(index) for index in range(len(labelled))])
    share = min(HELD_OUT, MOST_HELD_OUT / max(1, len(labelled)))
    same_N = copies(labelled)
    held: list[int] = []
    for label in np.unique(label_N):
        # An image that is there twice is learned from or held out, never both.
        members = generator.permutation(np.flatnonzero((label_N == label) & (same_N == np.arange(len(same_N)))))
        held += members[: max(1, round(share * len(members))) if len(members) > 1 else 0].tolist()
    training = np.flatnonzero(~np.isin(same_N, held)).tolist()
    return training, labelled, sorted(held), f"{len(held):,} images of {len(labelled):,} held out, by class"


def _unmeasured(labelled: LabelledSet, measure: ClassMeasure) -> str:
    """The classes of which no image is measured, in words; "" where there are none."""
    unseen = sorted(set(range(len(labelled.class_names))) - {labelled.label(index) for index in measure.read})
    named = ", ".join(repr(labelled.class_names[label]) for label in unseen[:SHOWN_CLASSES])
    more = f" and {len(unseen) - SHOWN_CLASSES:,} more" * (len(unseen) > SHOWN_CLASSES)
    return f"; no image of {named}{more} is measured: name some with --val" if unseen else ""


def _other_classes(wanted: Sequence[str], found: Sequence[str]) -> str:
    """What a set has beside the wanted ones, as in `has other classes ('cat' and 2 more are missing) than those`."""
    parts = []
    for names, words in ((set(wanted) - set(found), "missing"), (set(found) - set(wanted), "not among them")):
        if names:
            more = f" and {len(names) - 1:,} more are" if len(names) > 1 else " is"
            parts.append(f"{min(names)!r}{more} {words}")
    return f"has other classes ({', '.join(parts)}) than those" if parts else "has in another order the classes"


def copies(labelled: LabelledSet) -> np.ndarray:
    """For each image the first one of the set with the same bytes, (N,); of equal sizes alone they are read."""
    size_N = np.array([labelled.size(index) for index in range(len(labelled))])
    sizes, count = np.unique(size_N, return_counts=True)
    first: dict[bytes, int] = {}
    same_N = np.arange(len(labelled))
    for index in np.flatnonzero(np.isin(size_N, sizes[count > 1])).tolist():
        with suppress(BrokenSample):
            same_N[index] = first.setdefault(digest(labelled.image(index)), index)
    return same_N


def _pairs_target(model: Model, sources: Sequence[Any], val: Any, settings: TrainSettings) -> Target:
    if settings.start.how in ("prompt", "image"):
        raise UsageError(f"--how {settings.start.how} learns classes, and {sources[0]} has captions; take another.")
    pairs = open_training_pairs(sources, listed(val) if val is not None else (), settings)
    if pairs.validation is None:
        raise UsageError(
            f"{len(pairs.training)} pairs are too few to hold some out to choose by; name some with --val."
        )
    if is_given := val is not None and len(listed(val)) > 0:
        learned, own, notes = digests_of(pairs.training), digests_of(pairs.validation), ()
        refuse_shared(pairs.validation.name, own, learned, pairs.training.name, "validation set")
        known, measured = [*learned, *own], pairs.validation
    else:
        pairs, measured, known = _apart(pairs)
        copies = len(pairs.validation or ()) - len(measured)
        notes = (f"{copies} held-out pairs have an image that another one has, which is measured once.",) * (copies > 0)
    measure = CaptionMeasure(model, measured)
    refuse_few(measure, "name more with --val")
    if is_given:
        count_problems(measure, measured)
    return Target(
        name=pairs.training.name,
        pairs=pairs,
        measure=measure,
        classes=None,
        held_out=lambda number: measured[number].image,
        held_count=len(measured),
        notes=(*pairs.training.notes, *notes),
        known_digests=known,
    )


def _apart(pairs: TrainingPairs) -> tuple[TrainingPairs, PairSource, list[bytes | None]]:
    """The pairs split so that those of one image are learned from or held out, never both; the held-out ones with each
    image once; and the digests of all.

    `UsageError` for too few images that are held out.
    """
    assert isinstance(pairs.training, Subset) and isinstance(pairs.validation, Subset)
    source, held = pairs.training.pairs, set(pairs.validation.indices)
    first: dict[bytes, int] = {}
    known = digests_of(source)
    same_N = np.array([at if each is None else first.setdefault(each, at) for at, each in enumerate(known)], np.int64)
    is_held_N = np.isin(same_N, list(held))
    alone = np.flatnonzero(is_held_N & (same_N == np.arange(len(same_N))))
    if len(alone) < FEWEST:
        raise UsageError(f"{len(alone)} images would be held out, fewer than {FEWEST}; name some with --val.")
    training, validation = (Subset(source, np.flatnonzero(each_N)) for each_N in (~is_held_N, is_held_N))
    share = float(is_held_N.mean()) if pairs.validation.indices != validation.indices else pairs.held_out
    split = replace(pairs, training=training, validation=validation, held_out=share)
    return split, Subset(source, alone), known


def refuse_few(measure: Measure, hint: str) -> None:
    """`UsageError` for a set of so few images that what is measured on them says nothing."""
    if measure.n < FEWEST:
        raise UsageError(f"{measure.name} has {measure.n} images to measure on, fewer than {FEWEST}; {hint}.")


def refuse_shared(
    measured: str, known: Iterable[bytes | None], learned: Iterable[bytes | None], name: str, what: str
) -> None:
    """`UsageError` where an image that is learned from, called `name`, is in the measured set too, by their digests."""
    known = {*known} - {None}
    shared = sum(digest in known for digest in learned)
    if shared:
        raise UsageError(
            f"{shared} image{'s are' if shared > 1 else ' is'} both in {name} and in {measured}, and no image that is "
            f"learned may measure what was learned; take a {what} without them (seesay overlap names them)."
        )


def digests_of(images: LabelledSet | PairSource) -> list[bytes | None]:
    """Those of all images; None of one that cannot be read, which is counted where it is decoded."""
    found = []
    with progress(len(images), f"read {images.name}") as advance:
        for number in range(len(images)):
            found.append(_digest_of(lambda number: image_of(images, number), number))
            advance()
    return found


def _digest_of(read: Read, number: int) -> bytes | None:
    with suppress(BrokenSample):
        return digest(read(number))
    return None


def image_of(images: LabelledSet | PairSource, index: int) -> bytes:
    """The bytes of one image."""
    return images.image(index) if isinstance(images, LabelledSet) else images[index].image


def digest(data: bytes) -> bytes:
    """What tells whether two images are the same bytes."""
    return hashlib.blake2b(data, digest_size=16).digest()

"""What a model is measured by while and after it is fine-tuned: images read once, answers of any model to them.

N = images, M = questions, C = classes, S = side in pixels.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seesay.base.errors import RefusedInput
from seesay.base.records import PairSource
from seesay.base.streams import say
from seesay.data.class_names import ClassName, imagenet_names, names_of
from seesay.data.labelled import LabelledSet
from seesay.data.sources import count_reasons
from seesay.formulas.metrics import recall_at_k, top_k_hits
from seesay.formulas.statistics import mean_interval, paired_difference, proportion_interval
from seesay.model.bundle import Model
from seesay.model.encode import read_pixels
from seesay.model.zero_shot import ZeroShotClassifier

# Images that are encoded at once, and the most that the target is measured on (2,000 give a share within 2.2 points).
BLOCK = 256
MOST_IMAGES = 2000
# With fewer images the first ten hold too many of them to say anything (a guess).
ENOUGH_FOR_TEN = 200
# Other classes that the model's own answers are among: every fifth name of ImageNet (a guess at what is many).
OWN_NAMES_STEP = 5
Read = Callable[[int], bytes]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """How well each of M questions was answered, from 0 to 1, and which image each is about.

    `likelihood` is the mean of log p of the right answers, in nats, where that was measured. `change` is what another
    answer changes a value by, in the mean.
    """

    value_M: np.ndarray
    image_M: np.ndarray
    likelihood: float = 0.0
    change: float = 1.0

    @property
    def mean(self) -> float:
        """The share that was right."""
        return float(self.value_M.mean())


class Measure(Protocol):
    """`what` is measured in words, on so many images `n` of the `total` of `name`.

    `left_out` counts by reason those of `looked_at` that could not be read.
    """

    name: str
    what: str
    n: int
    total: int
    left_out: Counter[str]
    looked_at: int

    def answers(self, model: Model) -> Answered:
        """How well the model answers."""
        ...


class ClassMeasure:
    """Top-1 of images with a class each; without `templates` those of the model that is measured."""

    def __init__(
        self,
        model: Model,
        labelled: LabelledSet,
        names: Sequence[ClassName],
        templates: Sequence[str] | None,
        *,
        chosen: Sequence[int] | None = None,
        most: int = MOST_IMAGES,
    ):
        self.total = len(labelled) if chosen is None else len(chosen)
        chosen = self.chosen = evenly_by_class(labelled, chosen, most)
        self.name, self.names, self.templates = labelled.name, names, templates
        pixels, read, self.left_out = _read(
            model, lambda number: labelled.image(chosen[number]), len(chosen), self.name
        )
        self._pixels_N3SS, self.n, self.looked_at = pixels, len(read), len(chosen)
        self.read = [chosen[number] for number in read]
        self.label_N = torch.tensor([labelled.label(chosen[number]) for number in read])
        self.what = f"top-1 among {len(names)} classes"

    def answers(self, model: Model) -> Answered:
        """Right or wrong for every image."""
        score_NC = class_scores(model, self._pixels_N3SS, self.names, self.templates)
        hit_N = top_k_hits(score_NC, self.label_N, ks=(1,))[1]
        loss = F.cross_entropy(model.logit_scale * score_NC, self.label_N)
        return Answered(value_M=hit_N.astype(float), image_M=np.arange(self.n), likelihood=-float(loss))


class CaptionMeasure:
    """How often the right image is among the first by its caption, one question for each caption."""

    def __init__(self, model: Model, pairs: PairSource, *, most: int = MOST_IMAGES):
        chosen = self.chosen = evenly(len(pairs), None, most)
        self.name, self.total = pairs.name, len(pairs)
        pixels, read, self.left_out = _read(model, lambda number: pairs[chosen[number]].image, len(chosen), self.name)
        self._pixels_N3SS, self.n, self.looked_at = pixels, len(read), len(chosen)
        captions = [pairs.captions(chosen[number]) for number in read]
        self._captions = [caption for own in captions for caption in own]
        self._image_M = np.repeat(np.arange(self.n), [len(own) for own in captions])
        self.k = 10 if self.n >= ENOUGH_FOR_TEN else 1
        self.what = f"recall at {self.k} of {self.n:,} images by their captions"

    def answers(self, model: Model) -> Answered:
        """Found or not for every caption."""
        text_MD, image_ND = model.encode_texts(self._captions), encoded(model, self._pixels_N3SS)
        hits = recall_at_k(image_ND, text_MD, torch.from_numpy(self._image_M), ks=(self.k,))["text_to_image"]
        return Answered(value_M=hits[self.k].astype(float), image_M=self._image_M)


class OwnAnswers:
    """The old model as the teacher: what it says of images among many names that were not trained.

    Its probabilities are taken for true: an answer is worth the probability that the old model gave it. So the old
    model's own answers are worth what it expects of itself, and one that was nearly as likely costs little.
    """

    def __init__(self, old: Model, read: Read, count: int, *, name: str, without: Sequence[ClassName]):
        self.name = f"own answers on {name}"
        taken = {name.lower() for own in without for name in names_of(own)}
        names = [name for name in dict.fromkeys(imagenet_names().values()) if name.lower() not in taken]
        self.names = names[::OWN_NAMES_STEP]
        chosen, self.total = evenly(count, None, MOST_IMAGES), count
        self._pixels_N3SS, found, _ = _read(old, lambda number: read(chosen[number]), len(chosen), self.name, log=None)
        # They are the target's, where they count.
        self.left_out: Counter[str] = Counter()
        self.n = self.looked_at = len(found)
        self.what = f"expected accuracy among {len(self.names)} names of ImageNet, if the old model is right"
        score_NC = class_scores(old, self._pixels_N3SS, self.names, None)
        self.share_NC = (old.logit_scale * score_NC).softmax(1)
        first_N, second_N = self.share_NC.topk(2).values.T
        # Of the next name, which answers turn to.
        self.change = float((first_N - second_N).mean())

    def answers(self, model: Model) -> Answered:
        """The old model's probability of the answer to every image."""
        best_N1 = class_scores(model, self._pixels_N3SS, self.names, None).argmax(1, keepdim=True)
        worth_N = self.share_NC.gather(1, best_N1)[:, 0].double().numpy()
        return Answered(value_M=worth_N, image_M=np.arange(self.n), change=self.change)


def evenly(count: int, chosen: Sequence[int] | None, most: int) -> Sequence[int]:
    """At most so many of the `chosen`, or of all, evenly spread."""
    chosen = range(count) if chosen is None else chosen
    most = min(most, len(chosen))
    return [chosen[index * len(chosen) // most] for index in range(most)]


def evenly_by_class(labelled: LabelledSet, chosen: Sequence[int] | None, most: int) -> Sequence[int]:
    """As `evenly`, of each class by itself: every second image is of few of them where classes come in turn."""
    chosen = range(len(labelled)) if chosen is None else chosen
    return sorted(evenly(len(chosen), sorted(chosen, key=labelled.label), most))


def class_scores(
    model: Model, pixels_N3SS: Tensor, names: Sequence[ClassName], templates: Sequence[str] | None
) -> Tensor:
    """Cosines of images and classes, (N, C)."""
    classifier = model.classifier(names, templates)
    assert isinstance(classifier, ZeroShotClassifier)
    return classifier.scores(encoded(model, pixels_N3SS))


def encoded(model: Model, pixels_N3SS: Tensor) -> Tensor:
    """Unit rows of images, (N, D), a block at a time."""
    return torch.cat([model.encode_pixels(block) for block in pixels_N3SS.split(BLOCK)])


def images_in_words(measure: Measure) -> str:
    """How many images are measured, and of how many."""
    return f"{measure.n:,}{f' of {measure.total:,}' * (measure.n < measure.total)} images"


def unseen_change(images: int) -> float:
    """The largest share of answers that may have changed where not one of so many images' has: its 95 % end."""
    return proportion_interval(0, images)[1]


def difference(before: Answered, after: Answered) -> tuple[float, tuple[float, float]]:
    """The mean of what was gained, question by question, and its 95 % interval over images.

    Shares of right answers have a bootstrap over images, values between 0 and 1 Student's interval; no end is nearer
    than what so few images may not show, of a teacher's answers in the mean. Of the same answers it is (0, 0).
    """
    if after is before:
        return 0.0, (0.0, 0.0)
    if np.isin(before.value_M, (0, 1)).all() and np.isin(after.value_M, (0, 1)).all():
        gain, (least, most), _ = paired_difference(before.value_M, after.value_M, before.image_M)
    else:
        gain_M = after.value_M - before.value_M
        gain, (least, most) = float(gain_M.mean()), mean_interval(gain_M) or (-1.0, 1.0)
    unseen = unseen_change(len(np.unique(before.image_M))) * before.change
    return gain, (max(-1.0, min(least, gain - unseen)), min(1.0, max(most, gain + unseen)))


def count_problems(measure: Measure, images: LabelledSet | PairSource) -> None:
    """Count what of a set was left out when it was opened beside what of its images could not be measured."""
    if images.problems:
        measure.left_out.update(each.reason for each in images.problems)
        measure.looked_at = measure.total + len(images.problems)


def tell_problems(images: LabelledSet | PairSource) -> None:
    """Say what of a set that is only measured was left out when it was opened."""
    if images.problems:
        total = len(images) + len(images.problems)
        say(f"{images.name}: {len(images.problems)} of {total} samples left out: {count_reasons(images.problems)}")


def _read(
    model: Model, read: Read, count: int, name: str, *, log: Callable[[str], object] | None = say
) -> tuple[Tensor, list[int], Counter[str]]:
    """Pixels, which images they are of, and by reason how many cannot be read, which is told."""
    pixels, found, skipped = read_pixels(model, read, count)
    if not pixels:
        raise RefusedInput(f"none of the {count} images of {name} can be read ({count_reasons(skipped)}).")
    if skipped and log is not None:
        log(f"{name}: {len(skipped)} of {count} images left out: {count_reasons(skipped)}")
    return torch.stack(pixels), found, Counter(each.reason for each in skipped)

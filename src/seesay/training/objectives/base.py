"""What every objective has: the towers and heads it needs, a batch to a loss, what it does to images and captions.

How a model answers zero-shot is part of the model, not of the run that made it: two embeddings are compared, or the
head named by `architecture` says how likely a class name is (`Head.log_likelihoods`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from seesay.base.records import Batch, Embedded, Outputs, Predicted
from seesay.data.augment import Augment
from seesay.data.captions import CaptionRule
from seesay.nets.architecture import Architecture, BagOfWordsConfig, TextTransformerConfig
from seesay.nets.clip import Clip
from seesay.training.process_group import ProcessGroup

PLAIN = ("{}",)


@dataclass(frozen=True, kw_only=True)
class GlobalBatch:
    """The pairs of a step on all processes, as a loss has to know them; N of them, B held here.

    `rows` is how many each process holds. `ids`: image and caption ids of the pairs held here, (B,) each; None where
    equal images and captions count as mismatches. `done` is the share of the run that is over. `teacher` is what a
    teacher makes of the pairs held here.
    """

    processes: ProcessGroup
    rows: Sequence[int]
    ids: tuple[Tensor, Tensor] | None = None
    done: float = 0.0
    teacher: Embedded | None = None

    @property
    def world_size(self) -> int:
        """How many processes there are."""
        return self.processes.world_size

    @property
    def local_rows(self) -> slice:
        """Which of all rows are held here."""
        first = sum(self.rows[: self.processes.rank])
        return slice(first, first + self.rows[self.processes.rank])

    @property
    def weight(self) -> float:
        """What a mean over the rows held here weighs, so that the mean over processes is that over all rows."""
        return self.world_size * self.rows[self.processes.rank] / sum(self.rows)

    def all_gather(self, row_BD: Tensor) -> Tensor:
        """The rows of all processes, (N, D) or (N,), with gradients."""
        return self.processes.all_gather(row_BD, self.rows)

    def global_ids(self) -> tuple[Tensor, Tensor] | None:
        """Image and caption ids of all rows, (N,) each."""
        if self.ids is None:
            return None
        image_id_B, caption_id_B = self.ids
        return self.all_gather(image_id_B), self.all_gather(caption_id_B)


class Objective:
    """One way to learn from pairs.

    `crops` are the augmentations that belong to it, if it was published with some, and `captions` says which words an
    epoch sees. `templates` is what class names are put into by a model that was trained with it, if not the default
    ones. A model has overfit one batch where `overfit_tolerance` is left of the way from the first loss to the minimum.
    `is_sum_over_pairs`: the loss of a pair depends on no other pair.
    """

    name: ClassVar[str]
    crops: ClassVar[Augment | None] = None
    captions: ClassVar[CaptionRule] = CaptionRule()
    templates: ClassVar[tuple[str, ...] | None] = None
    # A guess: 64 real pairs end well below it within 250 steps with every objective (benchmarks/2026-11-21-objectives).
    overfit_tolerance: ClassVar[float] = 0.25
    is_sum_over_pairs: ClassVar[bool] = False
    # What is learned beside it, for people.
    beside: str = ""

    def architecture(self, base: Architecture) -> Architecture:
        """`base`, a preset, with the text tower or head that the objective needs."""
        raise NotImplementedError

    def set_up(self, clip: Clip) -> None:
        """Fix what is not learned, before the first step."""

    def loss(self, outputs: Outputs, batch: GlobalBatch) -> Tensor:
        """A scalar: the mean over all pairs; with several processes their mean is that, each giving its part."""
        raise NotImplementedError

    def is_final_form(self, batch: GlobalBatch) -> bool:
        """Whether the loss is the objective's own by now, and no longer what a run begins with."""
        return True

    def chance_loss(self, batch_size: int, vocab_size: int) -> float | None:
        """The loss of a model that guesses; None where it is not known beforehand."""
        return None

    def minimum_loss(self, batch: Batch) -> float:
        """The least loss on a batch of a model that has overfit it, as far as it is known; no less than 0."""
        return 0.0


class PredictionObjective(Objective):
    """An objective whose model predicts captions one by one: its loss is the mean of what the head gives."""

    is_sum_over_pairs = True

    def loss(self, outputs: Outputs, batch: GlobalBatch) -> Tensor:
        assert isinstance(outputs, Predicted)
        return outputs.loss_B.sum() * (batch.world_size / sum(batch.rows))


def transformer(base: Architecture) -> TextTransformerConfig:
    """The transformer of `base`, or one as wide as its bag of words, with four blocks."""
    if isinstance(base.text, TextTransformerConfig):
        return base.text
    text = _bag_of_words(base)
    return TextTransformerConfig(
        context=text.context, vocab_size=text.vocab_size, width=text.width, layers=4, heads=max(1, text.width // 64)
    )


def blocks(base: Architecture) -> dict[str, Any]:
    """Width, heads and so on of `transformer(base)`, for a head that is made of the same blocks."""
    return transformer(base).model_dump(exclude={"kind", "activation"})


def with_text(base: Architecture, text: Any, **changes: Any) -> Architecture:
    """`base` with another text side, checked anew."""
    return Architecture.model_validate({**base.model_dump(), "text": text.model_dump(), **changes})


def bag_of_words(base: Architecture) -> Architecture:
    """`base` with the CBOW text tower, as wide as its transformer if it has one."""
    return with_text(base, _bag_of_words(base))


def _bag_of_words(base: Architecture) -> BagOfWordsConfig:
    text = base.text
    if isinstance(text, BagOfWordsConfig):
        return text
    assert isinstance(text, TextTransformerConfig)
    return BagOfWordsConfig(context=text.context, vocab_size=text.vocab_size, width=text.width)


@torch.no_grad()
def fix_scale(clip: Clip, log_scale: float) -> None:
    """Make the factor on cosines a constant, exp of `log_scale`."""
    clip.logit_scale.fill_(log_scale)
    clip.logit_scale.requires_grad_(False)

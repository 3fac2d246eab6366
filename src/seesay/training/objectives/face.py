"""What every objective has: the towers and heads it needs, a batch to a loss, what it does to pictures and captions.

How a model answers zero-shot is part of the model, not of the run that made it: two embeddings are compared, or the
head named by `architecture` says how likely a class name is (`Head.log_likelihoods`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from seesay.base.records import Batch, Embedded, Predicted
from seesay.data.augment import Augment
from seesay.data.captions import CaptionRule
from seesay.nets.architecture import Architecture, BagOfWordsConfig, TextTransformerConfig
from seesay.nets.clip import Clip
from seesay.training.distributed import Peers

PLAIN = ("{}",)


@dataclass(frozen=True, kw_only=True)
class AllPairs:
    """The pairs of a step, as a loss has to know them: `rows` is how many each process holds.

    Ids are None where equal images and captions count as mismatches. `done` is which share of the run is
    over.
    """

    peers: Peers
    rows: Sequence[int]
    image_id_B: Tensor | None = None
    caption_id_B: Tensor | None = None
    done: float = 0.0

    @property
    def part(self) -> slice:
        """Which of all rows are held here."""
        first = sum(self.rows[: self.peers.rank])
        return slice(first, first + self.rows[self.peers.rank])

    @property
    def share(self) -> float:
        """What a mean over the rows held here weighs, so that the mean over processes is that over all rows."""
        return self.peers.ranks * self.rows[self.peers.rank] / sum(self.rows)

    def gather(self, own_BD: Tensor) -> Tensor:
        """The rows of all processes, (N, D) or (N,), with gradients."""
        return self.peers.gather(own_BD, self.rows)

    def ids(self) -> tuple[Tensor, Tensor] | None:
        """Image and caption ids of all rows, (N,) each."""
        if self.image_id_B is None or self.caption_id_B is None:
            return None
        return self.gather(self.image_id_B), self.gather(self.caption_id_B)


class Objective:
    """One way to learn from pairs.

    `crops` are the augmentations that belong to it, if it was published with some, and `captions` says which words a
    visit sees. `templates` is what class names are put into by a model that was trained with it, if not the usual ones.
    One batch counts as learned by heart where `left` is left of the way from the first loss down to the floor.
    """

    name: ClassVar[str]
    crops: ClassVar[Augment | None] = None
    captions: ClassVar[CaptionRule] = CaptionRule()
    templates: ClassVar[tuple[str, ...] | None] = None
    left: ClassVar[float] = 0.25

    def architecture(self, base: Architecture) -> Architecture:
        """`base`, a preset, with the text tower or head that the objective needs."""
        raise NotImplementedError

    def set_up(self, clip: Clip) -> None:
        """Fix what is not learned, before the first step."""

    def loss(self, seen: Embedded | Predicted, pairs: AllPairs) -> Tensor:
        """The mean over all pairs; with several processes their mean is that, each giving its part."""
        raise NotImplementedError

    def is_own(self, pairs: AllPairs) -> bool:
        """Whether the loss is the objective's own by now, and no longer what a run begins with."""
        return True

    def guess(self, batch_size: int, vocab_size: int) -> float | None:
        """The loss of a model that knows nothing; None where it is not known beforehand."""
        return None

    def floor(self, batch: Batch) -> float:
        """The least loss on a batch of a model that has learned it by heart, as far as it is known; no less than 0."""
        return 0.0


class Predicting(Objective):
    """An objective whose model predicts captions one by one: its loss is the mean of what the head gives."""

    def loss(self, seen: Embedded | Predicted, pairs: AllPairs) -> Tensor:
        assert isinstance(seen, Predicted)
        return seen.loss_B.sum() * (pairs.peers.ranks / sum(pairs.rows))


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
def fix_scale(clip: Clip, logarithm: float) -> None:
    """Make the factor on cosines a constant, exp of `logarithm`."""
    clip.logit_scale.fill_(logarithm)
    clip.logit_scale.requires_grad_(False)

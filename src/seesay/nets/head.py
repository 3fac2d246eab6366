"""What takes a text tower's place in a model that predicts captions. B = images, P = captions, D = width it reads."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from seesay.base.errors import RefusedInput
from seesay.base.records import Tokens


@dataclass(frozen=True, kw_only=True)
class PreparedTexts:
    """P texts, with what a head works out of their token ids once, for all images that they are scored for.

    No weight is in it, so it stays right while the head is trained.
    """

    tokens: Tokens

    def to(self, device: Any) -> "PreparedTexts":
        """The same texts on that device."""
        return PreparedTexts(tokens=self.tokens.to(device))


class Head(nn.Module):
    """A text side without vectors: how likely a caption is, given what the image tower saw.

    It reads the tower's projection, `image_BD`; with `reads_grid` instead that of every place of the image, (B, G, D)
    for G places, a number that depends on the image's side.
    """

    reads_grid = False
    needs_vocabulary = False

    def losses(self, image_BD: Tensor, tokens: Tokens) -> Tensor:
        """For each image and its own caption the loss in nats, (B,)."""
        raise NotImplementedError

    def prepare(self, texts: Tokens) -> PreparedTexts:
        """P texts for `log_likelihoods`, on the device of their ids."""
        return PreparedTexts(tokens=texts)

    def log_likelihoods(self, image_BD: Tensor, texts: PreparedTexts) -> Tensor:
        """How well each of P texts of `prepare` suits each image, (B, P): larger is better, comparable within a row."""
        raise NotImplementedError

    def fit_vocabulary(self, captions: list[list[int]], words: list[str]) -> None:
        """Take in what has to be known of the words before the first step, where `needs_vocabulary` says so.

        `captions` are the token ids of all training captions, start and end token included, and `words` the spelling
        of every id, with a space behind those that end a word. It must follow from these alone, and be kept in buffers.
        """

    def check_vocabulary(self) -> None:
        """`RefusedInput` if the buffers hold what `fit_vocabulary` never writes, as those of a damaged file may."""


def damaged_vocabulary(what: str) -> RefusedInput:
    return RefusedInput(f"the model's {what}; its weights are damaged, fetch or train it again.")

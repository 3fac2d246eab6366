"""What takes a text tower's place in a model that predicts captions. B = pictures, P = captions, D = width it reads."""

from torch import Tensor, nn

from seesay.base.errors import RefusedInput
from seesay.base.records import Tokens


class Head(nn.Module):
    """A text side without vectors: how likely a caption is, given what the image tower saw.

    It reads the tower's projection, `image_BD`; with `reads_grid` instead that of every place of the picture, (B, G, D)
    for G places, a number that depends on the picture's side.
    """

    reads_grid = False
    wants_words = False

    def losses(self, image_BD: Tensor, tokens: Tokens) -> Tensor:
        """For each picture and its own caption the loss in nats, (B,)."""
        raise NotImplementedError

    def log_likelihoods(self, image_BD: Tensor, prompts: Tokens) -> Tensor:
        """How well each of P texts suits each picture, (B, P): larger is better, comparable within a row."""
        raise NotImplementedError

    def learn_words(self, captions: list[list[int]], words: list[str]) -> None:
        """Take in what has to be known of the words before the first step, where `wants_words` says so.

        `captions` are the token ids of all training captions, start and end token included, and `words` the spelling
        of every id, with a space behind those that end a word. It must follow from these alone, and be kept in buffers.
        """

    def refuse_words(self) -> None:
        """`RefusedInput` if the buffers hold what `learn_words` never writes, as those of a damaged file may."""


def damaged_words(what: str) -> RefusedInput:
    return RefusedInput(f"the model's {what}; its weights are damaged, fetch or train it again.")

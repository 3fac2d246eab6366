"""How sure a model's answers may be, by what its file says of the words it learned from. N = images, C = classes."""

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator
from torch import Tensor

from seesay.base.settings import Settings
from seesay.data.class_names import ClassName, names_of
from seesay.formulas.confidence import TemperatureLine, familiarity, temperatures
from seesay.model.layouts.config_file import checked_as

if TYPE_CHECKING:
    from seesay.model.bundle import Model

# Among a model's facts; benchmarks/2026-11-29-calibration makes it for the model in the package.
CONFIDENCE = "confidence"
WORD = re.compile(r"[a-z0-9]+")
# Guesses, far beyond any training and any temperature: pairs as a power of 2, and numbers of the line, of which exp is
# still a float32.
MOST_POWER, MOST_LOG = 63, 20


class _Fact(Settings):
    """What a model's file says: the training's number of pairs, its words, and the line that was fitted.

    Line k of `words` has those that stand in the captions of 2^k to 2^(k+1) - 1 pairs.
    """

    what: str
    pairs: Annotated[int, Field(ge=1, lt=2**MOST_POWER)]
    words: Annotated[tuple[str, ...], Field(max_length=MOST_POWER)]
    line: TemperatureLine

    @field_validator("line")
    @classmethod
    def _gives_temperatures(cls, line: TemperatureLine) -> TemperatureLine:
        if not all(abs(number) <= MOST_LOG for number in astuple(line)) or line.least > line.most:
            raise ValueError(f"its numbers should be within {MOST_LOG} of 0, and least not above most")
        return line


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """The temperatures of the answers among these names: one for each image, so the order of its classes stays."""

    familiarities: tuple[float, ...]
    line: TemperatureLine

    def temperatures(self, score_NC: Tensor) -> Tensor:
        """Cosines (N, C) to what their logits are divided by, (N, 1)."""
        return temperatures(score_NC, self.familiarities, self.line)


def confidence_of(model: "Model", class_names: Sequence[ClassName]) -> Confidence | None:
    """As the model's file says; None where it says nothing. `RefusedInput` where what it says does not fit.

    A class with several names is as familiar as these are in the mean.
    """
    if CONFIDENCE not in model.facts:
        return None
    fact = checked_as(_Fact, model.facts[CONFIDENCE], path=Path(f"{CONFIDENCE} of {model.name}"))
    count_of = {word: 2**power for power, words in enumerate(fact.words) for word in words.split()}

    def familiar(name: str) -> float:
        return familiarity([count_of.get(word, 0) for word in WORD.findall(name.lower())], fact.pairs)

    own = [[familiar(name) for name in names_of(class_name)] for class_name in class_names]
    return Confidence(familiarities=tuple(sum(each) / len(each) for each in own), line=fact.line)

"""What stands in the place of the tokenizer of a model without a text tower."""

from collections.abc import Sequence
from typing import Any, NoReturn

from seesay.base.errors import UsageError
from seesay.data.tokenizer import CaptionTokenizer

# The least that CLIP's bytes and specials need, and that a text has.
VOCAB_SIZE, CONTEXT = 514, 3


class AbsentTokenizer(CaptionTokenizer):
    """Every use is a `UsageError` that says what is missing."""

    def __init__(self, hint: str):
        super().__init__((), context=CONTEXT)
        self.hint = hint

    def _encode(self, captions: Sequence[str]) -> NoReturn:
        raise UsageError(self.hint)

    def to_json(self) -> dict[str, Any]:
        """Nothing that could be written."""
        raise UsageError(self.hint)

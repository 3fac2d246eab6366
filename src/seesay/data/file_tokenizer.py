"""Captions to token ids by a `tokenizer.json` of Hugging Face: whatever vocabulary and rules that file describes.

Ids are those of the file, also where a caption names a special token. Of a caption longer than `READ_PER_ID`
characters for each id of the context only those are read.
"""

import string
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer

from seesay.base.bounded import refuse_values
from seesay.base.errors import RefusedInput
from seesay.base.records import Tokens
from seesay.data.tokenizer import CaptionTokenizer, clean, fixed, pad

KIND = "tokenizer.json"
# A guess: a word of a published vocabulary has at most some 50 characters, the rest is room for what is stripped.
READ_PER_ID = 256
# Values of a tokenizer.json (a guess): Gemma's, which SigLIP 2 has, comes near 2 million.
VALUE_LIMIT = 5 << 19
# Nothing, words, and a character that no vocabulary has.
PROBES = ["", "a photo of a cat", "\ue000"]


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def canonical(text: str) -> str:
    """Fixed, "_" a space, no punctuation of ASCII, lower case, one space between words: open_clip's canonicalize."""
    return " ".join(fixed(text).replace("_", " ").translate(_NO_PUNCTUATION).lower().split())


def spaced(text: str) -> str:
    """Fixed, one space between words: open_clip's whitespace."""
    return " ".join(fixed(text).split())


# What a caption goes through before the file's own rules, by open_clip's names.
CLEANERS = {"canonicalize": canonical, "lower": clean, "whitespace": spaced}


class FileTokenizer:
    """Captions to lists of ids, cut to `context`, the specials of the file included.

    `text` is the file's content, `cleaner` one of `CLEANERS`. Id 0 stands for the id `blank`, and nothing behind the
    first id `end`, where these are given. `RefusedInput` if it is no tokenizer.
    """

    def __init__(
        self,
        text: str,
        *,
        context: int,
        cleaner: str | None = None,
        blank: int | None = None,
        end: int | None = None,
    ):
        self.context, self.cleaner, self.blank, self.end = context, cleaner, blank, end
        self.read_limit = READ_PER_ID * context
        self._tokenizer = parsed(text)
        # The library's own spelling, so that the same tokenizer is the same text however its file was laid out.
        self.text = self._tokenizer.to_str(pretty=False)
        if self._tokenizer.num_special_tokens_to_add(is_pair=False) >= context:
            raise RefusedInput(f"the tokenizer fills a context of {context} with its specials; it is another model's.")
        self._tokenizer.enable_truncation(context)
        self.vocab_size = max(self._tokenizer.get_vocab().values(), default=-1) + 1
        # The specials around a caption are numbers of their own in the file, which the library does not look up.
        largest = max((index for row in self(PROBES) for index in row), default=0)
        if largest >= self.vocab_size:
            raise RefusedInput(
                f"the tokenizer puts id {largest} into captions and has {self.vocab_size} tokens; fetch it again."
            )

    def __call__(self, captions: Sequence[str]) -> list[list[int]]:
        """`TypeError` names the first that is no string, and refuses a string in place of a list of them."""
        rows = [row.ids for row in self._tokenizer.encode_batch_fast(self._readable(captions))]
        if self.end is not None:
            rows = [row[: row.index(self.end) + 1] if self.end in row else row for row in rows]
        return rows if self.blank is None else [[0 if id == self.blank else id for id in row] for row in rows]

    def tokens(self, captions: Sequence[str]) -> Tokens:
        """Captions as one batch of `ids_BL`, padded with 0 to the longest; raises what calling it raises."""
        return pad(self(captions))

    def _readable(self, captions: Sequence[str]) -> list[str]:
        if isinstance(captions, str):
            raise TypeError("a tokenizer takes a list of captions; wrap the single one in a list")
        for position, caption in enumerate(captions):
            if not isinstance(caption, str):
                raise TypeError(f"caption {position} is {type(caption).__name__}, not a string")
        # Half of a surrogate pair, as damaged text has it, is no character and becomes "?".
        read = [caption[: self.read_limit].encode("utf-8", "replace").decode() for caption in captions]
        return read if self.cleaner is None else [CLEANERS[self.cleaner](caption) for caption in read]

    def id_of(self, token: str) -> int | None:
        """The id of a token; None if the vocabulary has no such token."""
        return self._tokenizer.token_to_id(token)

    def token_of(self, index: int) -> str | None:
        """The token of an id; None if the vocabulary has no such id."""
        return self._tokenizer.id_to_token(index)

    def decode(self, ids: Sequence[int]) -> str:
        """Ids back to words, specials left out."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def to_json(self) -> dict[str, Any]:
        """What `model.json` holds of it: kind, context, the text of the file, and its rules where there are any."""
        return {"kind": KIND, "context": self.context, "text": self.text, **self.rules}

    @property
    def rules(self) -> dict[str, Any]:
        """Those beside the file, as arguments."""
        rules = {"cleaner": self.cleaner, "blank": self.blank, "end": self.end}
        return {name: rule for name, rule in rules.items() if rule is not None}


# What a model may hold.
AnyTokenizer = CaptionTokenizer | FileTokenizer


def with_context(tokenizer: AnyTokenizer, context: int) -> AnyTokenizer:
    """The same tokenizer that cuts captions to `context`."""
    if isinstance(tokenizer, FileTokenizer):
        return FileTokenizer(tokenizer.text, context=context, **tokenizer.rules)
    return CaptionTokenizer(tokenizer.merges, context=context, learned=tokenizer.learned)


def parsed(text: str) -> Tokenizer:
    """The tokenizer that `text` describes, without padding and cutting.

    `RefusedInput` if it is none, or one that fails on any caption.
    """
    refuse_values(text, source="the tokenizer", limit=VALUE_LIMIT, lists=VALUE_LIMIT)
    try:
        tokenizer = Tokenizer.from_str(text)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_batch_fast(PROBES)
        return tokenizer
    except BaseException as error:
        # The library raises plain `Exception`, and what it did not foresee is no `Exception` at all.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise RefusedInput(f"the tokenizer cannot be read ({str(error)[:120]}); fetch it again.") from error


def from_json(value: dict[str, Any]) -> AnyTokenizer:
    """What either tokenizer's `to_json` gave; `RefusedInput` if it is something else."""
    if value.get("kind") == KIND:
        return FileTokenizer(**{name: given for name, given in value.items() if name != "kind"})
    return CaptionTokenizer.from_json(value)

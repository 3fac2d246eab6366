"""Captions to token ids: CLIP's lower-cased byte-level BPE, on the `tokenizers` library.

The order of ids is CLIP's whatever the size: 256 byte symbols, the same with `</w>`, one id per merge, then the
start and the end token, so that the end token is always the largest id. The merges alone define a tokenizer.

Ids are those of CLIP's own tokenizer but for three things. The names of the specials in a caption are plain text.
Letters and numbers newer than the Unicode tables of `tokenizers` count as symbols.
Of a caption longer than `read_limit` characters only those are read (white space in front not counted), or that many of
each word where the text needs no repair: 4,096, or 64 for each id of the context where that is more.

B = captions, L = ids of the longest, N = ids of all captions together.
"""

import functools
import hashlib
import html
import json
import re
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from seesay.base.bounded import split_lines
from seesay.base.errors import RefusedInput, UsageError
from seesay.base.records import Tokens
from seesay.data.bpe_file import WORD_END, pairs, read_bpe, read_text

# `context_length` of CLIP's released code; section 2.4 of the paper has 76.
PAPER_CONTEXT = 77
# A guess. Learning is quadratic in the longest word: 100,000 letters without a space take seconds, a million minutes.
LEARNED_CHARACTERS = 10_000
START = "<|startoftext|>"
END = "<|endoftext|>"
# The long s is the one letter that CLIP's case-insensitive pattern takes for another and that lower() leaves alone.
PIECES = r"'[s\u017F]|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
_ASCII_PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")  # the same for lower-cased ASCII
# CLIP's released vocabulary: 256 bytes, the same at the end of a word, then this many merges.
FIRST_MERGE = 512
PAPER_MERGES = 48_894
PAPER_MERGES_SHA256 = "f61f2adf497e6f5357c347aeb4646fabe82f341e946de5bdec5d2858e41bef4a"
BETWEEN = "\0"  # between two captions; no repaired text has it
# Words whose ids are remembered (a guess); longer ones are rare, and so many of them would be hundreds of megabytes.
MEMO_ENTRIES = 65_536
MEMO_LETTERS = 24


class CaptionTokenizer:
    """Captions to lists of ids with start and end token, cut to `context`; ids of `learned_words` are behind them."""

    def __init__(self, merges: Sequence[tuple[str, str]], *, context: int, learned: int = 0):
        self.merges = tuple(merges)
        self.context, self.learned = context, learned
        self.read_limit = max(4096, 64 * context)
        vocabulary = _vocabulary(self.merges)
        self.start, self.end = len(vocabulary), len(vocabulary) + 1
        self.vocab_size = len(vocabulary) + 2 + learned
        self._bpe = _tokenizer(models.BPE(vocab=vocabulary, merges=list(self.merges), end_of_word_suffix=WORD_END))
        ids = {word: [self.end + number] for number, word in enumerate(learned_words(learned), 1)}
        self._ids_of = _Memo(self._bpe, {BETWEEN: [self.end, self.start], **ids})

    def __call__(self, captions: Sequence[str]) -> list[list[int]]:
        """`TypeError` names the first that is no string, and refuses a string in place of a list of them."""
        ids_N, length_B = self._encode(captions)
        ids, ends = ids_N.tolist(), np.cumsum(length_B).tolist()
        return [ids[first:end] for first, end in zip([0, *ends], ends, strict=False)]

    def tokens(self, captions: Sequence[str]) -> Tokens:
        """Captions as one batch, padded with 0, as long as the longest of them."""
        ids_N, length_B = self._encode(captions)
        ids_BL = np.zeros((len(length_B), length_B.max(initial=0)), dtype=np.int64)
        ids_BL[np.arange(ids_BL.shape[1]) < length_B[:, None]] = ids_N
        return Tokens(ids_BL=torch.from_numpy(ids_BL), length_B=torch.from_numpy(length_B))

    def _encode(self, captions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(ids_N, length_B): the rows of all captions one after the other.

        No piece of CLIP's pattern crosses white space, so the ids of a word do not depend on its neighbours.
        """
        if isinstance(captions, str):
            raise TypeError("a tokenizer takes a list of captions; wrap the single one in a list")
        for position, caption in enumerate(captions) if set(map(type, captions)) - {str} else ():
            if not isinstance(caption, str):
                raise TypeError(f"caption {position} is {type(caption).__name__}, not a string")
        if not len(captions):
            return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64)
        most = self.read_limit
        # The first condition holds for most captions, and looking is cheaper than a call.
        texts = [
            text
            if text.isascii() and text.isprintable() and "&" not in text and len(text) <= most
            else self._text(text)
            for text in captions
        ]
        words = f" {BETWEEN} ".join([*texts, ""]).lower().split()
        packed = _packed([self.start]) + b"".join(map(self._ids_of.__getitem__, words))
        ids_N = np.frombuffer(packed, dtype=np.int32)[:-1]
        end_B = np.flatnonzero(ids_N == self.end)
        length_B = np.diff(end_B, prepend=-1)
        if length_B.max() > self.context:
            position_N = np.arange(len(ids_N)) - np.repeat(end_B + 1 - length_B, length_B)
            ids_N = np.where(position_N == self.context - 1, self.end, ids_N)[position_N < self.context]
            length_B = np.minimum(length_B, self.context)
        return ids_N, length_B

    def _text(self, caption: str) -> str:
        """A repaired caption, or as many of its words as can matter: each of them has at least one id."""
        text = _plain(caption)
        if text is None:
            text = clean(caption if len(caption) <= self.read_limit else caption.lstrip()[: self.read_limit])
        text = text.lower()
        if len(text) <= self.read_limit:
            return text
        words = text.split(None, self.context - 2)[: self.context - 2]
        return " ".join([word[: self.read_limit] for word in words])

    def decode(self, ids: Sequence[int]) -> str:
        """Ids back to words; without start and end, and with spaces only about where they were."""
        words = "".join(self._bpe.id_to_token(index) or "" for index in ids if index < self.start)
        return _unbyte(words.replace(WORD_END, " ")).strip()

    def spellings(self) -> list[str]:
        """What every id stands for, with a space behind it where it ends a word; nothing for start and end."""
        symbols = [self._bpe.id_to_token(index) or "" for index in range(self.start)]
        return [*(_unbyte(symbol.replace(WORD_END, " ")) for symbol in symbols), *[""] * (2 + self.learned)]

    def to_json(self) -> dict:
        """What `model.json` holds of it: kind, context and merges."""
        learned = {"learned": self.learned} if self.learned else {}
        merges = [" ".join(pair) for pair in self.merges]
        return {"kind": "clip-bpe", "context": self.context, "merges": merges, **learned}

    @classmethod
    def from_json(cls, value: dict) -> "CaptionTokenizer":
        """What `to_json` gave; `RefusedInput` if it is something else."""
        merges = value.get("merges")
        if value.get("kind") != "clip-bpe" or not isinstance(merges, list) or not isinstance(value.get("context"), int):
            raise RefusedInput("the tokenizer in the model file is not of kind clip-bpe; save the model again.")
        return cls(pairs(merges, where="the model file"), context=value["context"], learned=value.get("learned", 0))

    @classmethod
    def from_file(cls, path: str | Path, *, context: int = PAPER_CONTEXT) -> "CaptionTokenizer":
        """CLIP's own vocabulary from a `tokenizer.json` or a merges file (also OpenAI's longer one)."""
        path = Path(path)
        if not path.is_file():
            raise UsageError(f"tokenizer file {path} does not exist; name a tokenizer.json or a merges file.")
        text = read_text(path)
        if path.suffix == ".json":
            return cls(_merges_of_tokenizer_json(text, path), context=context)
        first, *lines = [line for line in split_lines(text, source=path) if line.strip()] or [""]
        if not first.startswith(("#version", '"bpe_simple_vocab')):
            lines = [first, *lines]
        lines = lines[:PAPER_MERGES]
        if first.startswith('"bpe_simple_vocab') and _sha256(lines) != PAPER_MERGES_SHA256:
            raise RefusedInput(f"{path} says that it is CLIP's merges file, but its merges are others; fetch it again.")
        if not any(lines):
            raise RefusedInput(f"{path} holds no merges; fetch it again.")
        return cls(pairs(lines, where=str(path)), context=context)

    @classmethod
    def train(cls, captions: Iterable[str], *, vocab_size: int, context: int) -> "CaptionTokenizer":
        """A vocabulary of at most `vocab_size` ids, learned from the captions; pairs seen once are not merged."""
        if vocab_size < FIRST_MERGE + 2:
            raise UsageError(f"vocab_size is {vocab_size}; bytes and specials alone need {FIRST_MERGE + 2}.")
        learner = _tokenizer(models.BPE(end_of_word_suffix=WORD_END))
        # The library counts its own single symbols, not CLIP's 512, so it gets a number that surely suffices.
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            initial_alphabet=alphabet,
            # Pairs seen equally often are merged in the order of their symbols, and ends of words would come in any.
            special_tokens=[symbol + WORD_END for symbol in alphabet],
            end_of_word_suffix=WORD_END,
            show_progress=False,
        )
        learner.train_from_iterator((clean(caption)[:LEARNED_CHARACTERS] for caption in captions), trainer)
        learned = json.loads(learner.to_str())["model"]["merges"]
        merges = [tuple(pair) for pair in learned][: vocab_size - FIRST_MERGE - 2]
        return cls(merges, context=context)


class _Memo(dict[str, bytes]):
    """Word -> its packed ids, worked out when first needed; at most `MEMO_ENTRIES`, then it begins anew.

    Words differ mostly by what hangs on them ("dog,", "dog's"), so the pieces of a word are looked up as well.
    A word of the vocabulary is one id: when its merge was learned, only merges inside it had been applied to it, in
    the order in which they are applied to the word alone.
    """

    def __init__(self, bpe: Tokenizer, known: dict[str, list[int]]):
        super().__init__()
        self._bpe = bpe
        self._tokenize = bpe.model.tokenize
        self._id_of = bpe.model.token_to_id
        self._known = known

    def __missing__(self, word: str) -> bytes:
        if word in self._known:
            return _packed(self._known[word])
        is_ascii = word.isascii()
        pieces = [word] if not is_ascii or word.isalpha() else _ASCII_PIECES.findall(word)
        if len(pieces) > 1:
            ids = b"".join([self[piece] for piece in pieces])
        elif is_ascii:
            # Printable ASCII is its own symbols, and the model alone takes half the time of the whole pipeline.
            whole = self._id_of(word + WORD_END)
            ids = _packed([token.id for token in self._tokenize(word)] if whole is None else [whole])
        else:
            ids = _packed(self._bpe.encode(word).ids)
        if len(word) <= MEMO_LETTERS:
            if len(self) >= MEMO_ENTRIES:
                self.clear()
            self[word] = ids
        return ids


def learned_words(count: int) -> list[str]:
    """How words that stand for no letters are written."""
    return [f"<|learned-{number}|>" for number in range(1, count + 1)]


def _packed(ids: Sequence[int]) -> bytes:
    return array("i", ids).tobytes()


def clean(text: str) -> str:
    """As `fixed`, in lower case, one space between words: what CLIP's vocabulary was learned on."""
    return " ".join(fixed(text).split()).lower()


def fixed(text: str) -> str:
    """What ftfy makes of text that was decoded wrongly, with characters in place of HTML's entities, twice."""
    plain = _plain(text)
    if plain is None:
        import ftfy  # few captions need it, and it takes its time

        plain = ftfy.fix_text(_without_deep_entities(text))
        # Python refuses to read a number of more than 4,300 digits; this one is beyond all characters anyway.
        plain = _ENDLESS_NUMBER.sub("&#99999999", plain)
        plain = html.unescape(html.unescape(plain))
    return plain


_ENDLESS_NUMBER = re.compile(r"&#[0-9]{4000,}")
_DEEP_ENTITY = re.compile(r"&(?:(?:amp|AMP|#0{0,9}38|#[xX]0{0,9}26);){8,}")


# Characters that ftfy takes for wrongly decoded text only beside others that are not ASCII, and that it never changes
# but for curly quotes: accented Latin, Greek and Cyrillic letters, punctuation, arrows and signs of mathematics.
_QUIET = "¡-¬®-ÁÄ-ıĴ-ňŊ-őŔ-ƿΑ-ΡΣ-ώѐ-ӿ‐-’“-”†-‧‰-⁞←-⋿"
_QUIET_TEXT = re.compile(rf"[ -~]*+(?:[{_QUIET}][ -~]++)*+[{_QUIET}]?")


def _plain(text: str) -> str | None:
    """What ftfy and `unescape` make of text that they hardly change, as most captions are; None for any other.

    That is printable ASCII with single characters of `_QUIET` in it, and "&" only before a space.
    """
    if text.isascii():
        if not text.isprintable():
            return None
    elif _QUIET_TEXT.fullmatch(text):
        text = text.replace("’", "'").replace("‘", "'").replace("“", '"').replace("”", '"')
    else:
        return None
    return text if "&" not in text or text.count("&") == text.count("& ") else None


def _without_deep_entities(text: str) -> str:
    """`&amp;amp;...` of any depth as `&amp;`, which ends up as the same.

    ftfy goes over the whole text once per level. It leaves entities alone from the first line that has a "<".
    """
    tag = text.find("<")
    end = len(text) if tag < 0 else text.rfind("\n", 0, tag) + 1
    return _DEEP_ENTITY.sub("&amp;", text[:end]) + text[end:]


def pad(rows: Sequence[Sequence[int]]) -> Tokens:
    """Lists of ids to one batch, padded with 0."""
    length_B = torch.tensor([len(row) for row in rows])
    ids_BL = np.zeros((len(rows), int(length_B.max()) if len(rows) else 0), dtype=np.int64)
    for index, row in enumerate(rows):
        ids_BL[index, : len(row)] = row
    return Tokens(ids_BL=torch.from_numpy(ids_BL), length_B=length_B)


def _tokenizer(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer


def _byte_symbols() -> list[str]:
    """CLIP's symbol for each of its first 256 ids: printable bytes first, then the other 68 moved up."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(256 - len(printable))]


@functools.cache
def _byte_of_symbol() -> dict[str, int]:
    symbols = _byte_symbols()
    moved = (byte for byte in range(256) if chr(byte) not in symbols)
    return {symbol: ord(symbol) if ord(symbol) < 256 else next(moved) for symbol in symbols}


def _unbyte(symbols: str) -> str:
    return bytes(_byte_of_symbol().get(symbol, 32) for symbol in symbols).decode("utf-8", "replace")


def _vocabulary(merges: Sequence[tuple[str, str]]) -> dict[str, int]:
    singles = _byte_symbols()
    symbols = [*singles, *(single + WORD_END for single in singles), *("".join(pair) for pair in merges)]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    if len(vocabulary) != len(symbols):
        raise RefusedInput("the merges give one symbol twice; this is no CLIP vocabulary.")
    for index, pair in enumerate(merges, start=FIRST_MERGE):
        for part in pair:
            # With the order held, merging pair by pair (CLIP) and position by position (`tokenizers`) come to the same.
            if vocabulary.get(part, index) >= index:
                raise RefusedInput(
                    f"the merges use {part!r}, which no byte or earlier merge gives; the list is damaged."
                )
    return vocabulary


def _sha256(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _merges_of_tokenizer_json(text: str, path: Path) -> list[tuple[str, str]]:
    """The merges of a Hugging Face `tokenizer.json`, refused unless its ids are in CLIP's order."""
    merges, ids = read_bpe(text, where=str(path))
    expected = _vocabulary(merges)
    expected |= {START: len(expected), END: len(expected) + 1}
    moved = next((symbol for symbol, index in expected.items() if ids.get(symbol) != index), None)
    if moved is not None:
        raise RefusedInput(
            f"{path} gives {moved!r} the id {ids.get(moved)!r:.40}, CLIP's order gives {expected[moved]}."
        )
    return merges

"""Captions to token ids: CLIP's lower-cased byte-level BPE, on the `tokenizers` library.

The order of ids is CLIP's whatever the size: 256 byte symbols, the same with `</w>`, one id per merge, then the
start and the end token, so that the end token is always the largest id. The merges alone define a tokenizer.
"""

import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import ftfy
import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.records import Tokens

PAPER_CONTEXT = 77
START = "<|startoftext|>"
END = "<|endoftext|>"
WORD_END = "</w>"
PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
FIRST_MERGE = 512
PAPER_MERGES = 48_894


class CaptionTokenizer:
    """Captions to lists of ids with start and end token, cut to `context` with the end token kept."""

    def __init__(self, merges: Sequence[tuple[str, str]], *, context: int):
        self.merges = tuple(merges)
        self.context = context
        vocabulary = _vocabulary(self.merges)
        self.vocab_size = len(vocabulary) + 2
        self.start = self.vocab_size - 2
        self.end = self.vocab_size - 1
        self._bpe = _tokenizer(models.BPE(vocab=vocabulary, merges=list(self.merges), end_of_word_suffix=WORD_END))

    def __call__(self, captions: Sequence[str]) -> list[list[int]]:
        for position, caption in enumerate(captions):
            if not isinstance(caption, str):
                raise TypeError(f"caption {position} is {type(caption).__name__}, not a string")
        encoded = self._bpe.encode_batch([clean(caption) for caption in captions], add_special_tokens=False)
        return [[self.start, *row.ids[: self.context - 2], self.end] for row in encoded]

    def tokens(self, captions: Sequence[str]) -> Tokens:
        """Captions as one padded batch, as long as the longest of them."""
        return pad(self(captions))

    def decode(self, ids: Sequence[int]) -> str:
        """Ids back to words; start, end and spaces are not kept exactly."""
        words = "".join(self._bpe.id_to_token(index) for index in ids if index < self.start)
        return _unbyte(words.replace(WORD_END, " ")).strip()

    def to_json(self) -> dict:
        return {"kind": "clip-bpe", "context": self.context, "merges": [" ".join(pair) for pair in self.merges]}

    @classmethod
    def from_json(cls, value: dict) -> "CaptionTokenizer":
        """What `to_json` gave; `RefusedInput` if it is something else."""
        merges = value.get("merges")
        if value.get("kind") != "clip-bpe" or not isinstance(merges, list) or not isinstance(value.get("context"), int):
            raise RefusedInput("the tokenizer in the model file is not of kind clip-bpe; save the model again.")
        return cls(_pairs(merges, where="the model file"), context=value["context"])

    @classmethod
    def from_file(cls, path: str | Path, *, context: int = PAPER_CONTEXT) -> "CaptionTokenizer":
        """CLIP's own vocabulary from a `tokenizer.json` or a merges file (also OpenAI's longer one)."""
        path = Path(path)
        if not path.is_file():
            raise UsageError(f"tokenizer file {path} does not exist; name a tokenizer.json or a merges file.")
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return cls(_merges_of_tokenizer_json(text, path), context=context)
        lines = [line for line in text.splitlines() if line.strip()]
        if lines and lines[0].startswith(("#version", '"bpe_simple_vocab')):
            lines = lines[1:]
        return cls(_pairs(lines[:PAPER_MERGES], where=str(path)), context=context)

    @classmethod
    def train(cls, captions: Iterable[str], *, vocab_size: int, context: int) -> "CaptionTokenizer":
        """A vocabulary of at most `vocab_size` ids, learned from the captions; pairs seen once are not merged."""
        if vocab_size < FIRST_MERGE + 2:
            raise UsageError(f"vocab_size is {vocab_size}; bytes and specials alone need {FIRST_MERGE + 2}.")
        learner = _tokenizer(models.BPE(end_of_word_suffix=WORD_END))
        # The library counts its own single symbols, not CLIP's 512, so it is asked for what surely suffices.
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            end_of_word_suffix=WORD_END,
            show_progress=False,
        )
        learner.train_from_iterator((clean(caption) for caption in captions), trainer)
        learned = json.loads(learner.to_str())["model"]["merges"]
        merges = [tuple(pair) for pair in learned][: vocab_size - FIRST_MERGE - 2]
        return cls(merges, context=context)


def clean(text: str) -> str:
    """ftfy, HTML entities twice, lower case, one space between words: what CLIP's vocabulary was learned on."""
    if not (text.isascii() and text.isprintable() and "&" not in text):
        # Plain printable ASCII is what ftfy gives back unchanged, and most captions are that.
        text = ftfy.fix_text(text.encode("utf-8", "replace").decode("utf-8"))
        text = html.unescape(html.unescape(text))
    return " ".join(text.split()).lower()


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


def _unbyte(symbols: str) -> str:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    byte_of = dict(zip(_byte_symbols(), [*printable, *others], strict=True))
    return bytes(byte_of.get(symbol, 32) for symbol in symbols).decode("utf-8", "replace")


def _vocabulary(merges: Sequence[tuple[str, str]]) -> dict[str, int]:
    singles = _byte_symbols()
    symbols = [*singles, *(single + WORD_END for single in singles), *("".join(pair) for pair in merges)]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    if len(vocabulary) != len(symbols):
        raise RefusedInput("the merges give one symbol twice; this is no CLIP vocabulary.")
    unknown = [part for pair in merges for part in pair if part not in vocabulary]
    if unknown:
        raise RefusedInput(f"the merges use {unknown[0]!r}, which no byte or earlier merge gives; the list is damaged.")
    return vocabulary


def _pairs(lines: Iterable[str], *, where: str) -> list[tuple[str, str]]:
    pairs = []
    for number, line in enumerate(lines):
        parts = line.split() if isinstance(line, str) else line
        if len(parts) != 2:
            raise RefusedInput(f"merge {number} in {where} is {line!r}, not two symbols; is this a merges file?")
        pairs.append((parts[0], parts[1]))
    return pairs


def _merges_of_tokenizer_json(text: str, path: Path) -> list[tuple[str, str]]:
    """The merges of a Hugging Face `tokenizer.json`, refused unless its ids are in CLIP's order."""
    try:
        model = json.loads(text)["model"]
        merges, ids = _pairs(model["merges"], where=str(path)), model["vocab"]
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedInput(f"{path} is no BPE tokenizer.json ({error}); name CLIP's own or a merges file.") from error
    expected = _vocabulary(merges)
    moved = next((symbol for symbol, index in expected.items() if ids.get(symbol) != index), None)
    if moved is not None:
        raise RefusedInput(f"{path} gives {moved!r} the id {ids.get(moved)}, CLIP's order gives {expected[moved]}.")
    return merges

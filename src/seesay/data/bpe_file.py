"""The merges and ids in a `tokenizer.json`, and lists of merges: hostile text in, pairs of symbols out."""

import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from seesay.base.bounded import parse_json
from seesay.base.errors import RefusedInput, StorageError

WORD_END = "</w>"
# Bytes (a guess).
FILE_LIMIT = 64 << 20


def read_text(path: Path) -> str:
    """A text file, also a gzipped one, of at most `FILE_LIMIT` bytes."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            data = file.read(FILE_LIMIT + 1)
        if len(data) > FILE_LIMIT:
            raise RefusedInput(f"{path} holds more than {FILE_LIMIT >> 20} MiB; it is no vocabulary.")
        return data.decode("utf-8")
    except (gzip.BadGzipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise RefusedInput(f"{path} is damaged or no text ({error}); fetch it again.") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}); allow it or fix the disk.") from error


def pairs(lines: Iterable[Any], *, where: str) -> list[tuple[str, str]]:
    """Merges as pairs, from lines of text or lists of two; `RefusedInput` names the first that is neither."""
    found = []
    for number, line in enumerate(lines):
        parts = line.split() if isinstance(line, str) else line
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
            raise RefusedInput(f"merge {number} in {where} is {line!r:.80}, not two symbols; is this a merges file?")
        found.append((parts[0], parts[1]))
    return found


def read_bpe(text: str, *, where: str) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Merges and the ids of all symbols; `RefusedInput` for anything but a byte-pair encoding with CLIP's word ends."""
    try:
        model = parse_json(text, source=where)["model"]
        merges, ids = model["merges"], model["vocab"]
    except (KeyError, TypeError) as error:
        raise RefusedInput(f"{where} is no BPE tokenizer.json ({error}); name CLIP's own or a merges file.") from error
    if not isinstance(merges, list) or not isinstance(ids, dict):
        raise RefusedInput(f"{where} is no BPE tokenizer.json (merges or vocab); name CLIP's own or a merges file.")
    kind, suffix = model.get("type", "BPE"), model.get("end_of_word_suffix")
    if kind != "BPE" or suffix != WORD_END:
        raise RefusedInput(
            f"{where} is of type {kind!r:.40} with end_of_word_suffix {suffix!r:.40}, CLIP's is a BPE with "
            f"{WORD_END!r}; name CLIP's own or a merges file."
        )
    return pairs(merges, where=where), ids

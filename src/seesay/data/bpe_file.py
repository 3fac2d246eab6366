"""The merges and ids in a `tokenizer.json`, and lists of merges: hostile text in, pairs of symbols out."""

import json
from collections.abc import Iterable
from typing import Any

from seesay.base.errors import RefusedInput

WORD_END = "</w>"


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
        model = json.loads(text)["model"]
        merges, ids = model["merges"], model["vocab"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
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

"""Text files of strangers: read up to a limit, and refused before much more is made of them than they have bytes."""

import json
import re
from pathlib import Path
from typing import Any

from seesay.base.errors import RefusedInput, UsageError

# Guesses. Bytes: SigLIP 2's tokenizer.json has 34 MB.
SIZE_LIMIT = 64 << 20
# Values of a JSON file, each some 100 bytes in memory: CLIP's vocabulary has 100,000 with its merges. And lists and
# objects among them: a kilobyte each while they are checked, and CLIP's merges may be 49,000 lists of two.
VALUE_LIMIT = 1 << 21
LIST_LIMIT = 1 << 17
# Lines of a list, each some 60 bytes in memory beside its text.
LINE_LIMIT = 1 << 22
# What str.splitlines splits at.
LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
# A text of JSON, also one without its end, or what comes before a value that is not the first.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[,\[{]', re.DOTALL)


def read_text(path: str | Path, *, limit: int = SIZE_LIMIT, encoding: str = "utf-8") -> str:
    """The text of a file; `RefusedInput` if it has more bytes than `limit`. Raises what opening and decoding do."""
    with open(path, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise RefusedInput(f"{path} has more than {limit:,} bytes, the most that is read of such a file; split it.")
    # As text files are read: every line end as "\n".
    return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def split_lines(text: str, *, source: object) -> list[str]:
    """The lines of a text from `source`; `RefusedInput` for more than `LINE_LIMIT` of them."""
    if sum(map(text.count, LINE_ENDS)) > LINE_LIMIT:
        raise RefusedInput(f"{source} has more than {LINE_LIMIT:,} lines, the most that are read; split it.")
    return text.splitlines()


def read_entries(path: str | Path) -> list[str]:
    """The lines of a list that are not empty; `UsageError` where it cannot be read."""
    try:
        return [line.strip() for line in split_lines(read_text(path), source=path) if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the list {path} cannot be read ({error}); name a text file with an entry a line.") from error


def parse_json(text: str, *, source: object, limit: int = VALUE_LIMIT) -> Any:
    """The value of JSON from `source`; `RefusedInput` if it is none, nested too deep, or has too many values."""
    refuse_values(text, source=source, limit=limit)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RefusedInput(f"{source} is no valid JSON ({error}); save or fetch it again.") from error


def read_json(path: str | Path, *, limit: int = VALUE_LIMIT) -> Any:
    """`parse_json` of a file; raises what `read_text` does, but for what is not UTF-8: `RefusedInput`."""
    try:
        return parse_json(read_text(path), source=path, limit=limit)
    except UnicodeDecodeError as error:
        raise RefusedInput(f"{path} is no valid JSON ({error}); save or fetch it again.") from error


def refuse_values(text: str, *, source: object, limit: int = VALUE_LIMIT, lists: int = LIST_LIMIT) -> None:
    """`RefusedInput` for JSON of more values than `limit`, or lists and objects than `lists`; none of them is made."""
    # Most files pass this count, which takes no time; inside a text, such as a tokenizer.json, it counts too much.
    if (opened := sum(map(text.count, "[{"))) <= lists and opened + text.count(",") <= limit:
        return
    values = opened = 0
    for tokens, match in enumerate(_TOKEN.finditer(text)):
        first = text[match.start()]
        values += first != '"'
        opened += first in "[{"
        # Valid JSON has at most two texts for each value.
        if values > limit or tokens > 4 * limit:
            raise RefusedInput(f"{source} has more than {limit:,} values, the most that are read of a JSON file.")
        if opened > lists:
            raise RefusedInput(f"{source} has more than {lists:,} lists and objects, the most that are read.")

"""When a caption contains a query: MetaCLIP's spacing, in which words end at spaces and at seven marks.

The text gets a space at both ends and around each mark, tabs and line ends become spaces, and a query is contained
where it stands there with a space at both ends (`substr_matching.py` of MetaCLIP). Capitals count.
"""

import re

WRAPPED = (",", ".", ";", ":", "?", "!", "`")
# A mark at a letter, two marks with one space between, and what is a space in every text.
_NEVER = re.compile(r"[^ ][,.;:?!`]|[,.;:?!`][^ ]|[,.;:?!`] [,.;:?!`]|[\t\n\r]")
_TABLE = str.maketrans({**{mark: f" {mark} " for mark in WRAPPED}, "\t": " ", "\n": " ", "\r": " "})


def spaced(text: str) -> str:
    """The text as queries are looked for in it."""
    return f" {text} ".translate(_TABLE)


def contains(text: str, query: str) -> bool:
    """Whether the caption `text` contains `query`: the definition, one query at a time."""
    return f" {query} " in spaced(text)


def can_match(query: str) -> bool:
    """Whether a caption can contain `query`, and it has a letter or digit in it.

    A mark in it stands between spaces, and between two marks there are two spaces or more, as there are in each text.
    """
    return any(map(str.isalnum, query)) and _NEVER.search(f" {query} ") is None

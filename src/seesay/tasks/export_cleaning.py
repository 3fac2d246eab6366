"""What a model does to captions before its vocabulary, as rules of a `tokenizer.json`, for programs without ftfy.

A rule replaces what a pattern finds by a fixed text, so that characters and entities each have one; what needs more
than that is named in `NOT_CLEANED`.
"""

import functools
import string
import unicodedata
from collections import defaultdict
from html.entities import html5, name2codepoint

from tokenizers import Regex, Tokenizer, normalizers

from seesay.data.tokenizer import fixed

# Where characters lie that ftfy replaces one by one: controls and Latin, punctuation, ligatures, full and half width.
RANGES = (range(0x2D0), range(0x2000, 0x2070), range(0x3000, 0x3001), range(0xFB00, 0xFB07), range(0xFE00, 0xFFFE))
NOT_CLEANED = (
    "letters that were decoded wrongly, which ftfy repairs (as in 'schÃ¶n')",
    "entities of HTML for characters that HTML 4 has no name for, but for those of ASCII",
    "entities behind a '<' that were escaped more than twice, which are read all the same",
    "characters beyond the number that the model reads of a caption",
)
# Of a model whose tokenizer.json keeps its special tokens, as some programs look for them.
SPECIALS_READ = "the names of special tokens in a caption, which are read as these tokens"
# A terminal's colours; "&" however often it was escaped; and the letter whose lower case depends on what follows.
TERMINAL, ESCAPED = "\x1b\\[[0-9;]*[a-zA-Z]", "&(?:(?:amp|AMP|#0*38|#[xX]0*26);)+"
LAST_SIGMA = r"(?<=\p{L})Σ(?!\p{L})"


def with_cleaning(text: str, cleaner: str | None) -> str:
    """The tokenizer.json of a vocabulary with the cleaner, by the names of `CLEANERS`, before its own rules."""
    whole = Tokenizer.from_str(text)
    rules = [] if cleaner is None else [*fixing(), *_AFTER[cleaner]()]
    if rules:
        own = [whole.normalizer] if whole.normalizer is not None else []
        whole.normalizer = normalizers.Sequence([*rules, *own])
    return whole.to_str(pretty=False)


@functools.cache
def fixing() -> tuple[normalizers.Normalizer, ...]:
    """`fixed`, as far as rules can: entities, a character for a character, no controls, composed letters."""
    written: dict[str, list[str]] = defaultdict(list)
    gone = []
    for code in (code for part in RANGES for code in part):
        one = chr(code)
        result = fixed(one)
        if not result:
            gone.append(one)
        elif result not in (one, unicodedata.normalize("NFC", one)):
            written[result] += [one, *_numbers(one)]
    for one in dict.fromkeys([*map(chr, name2codepoint.values()), *map(chr, range(0x21, 0x7F))]):
        written[fixed(one)] += [*_names(one), *_numbers(one)]
    # What "&" begins is read after it.
    ampersand = written.pop("&")
    return (
        _rule(TERMINAL, ""),
        _rule("|".join(ampersand), "&"),
        _rule(ESCAPED, "&"),
        *(_rule("|".join(dict.fromkeys(each)), result) for result, each in written.items()),
        _rule(f"[{''.join(gone)}]", ""),
        normalizers.NFC(),
    )


def _rule(pattern: str, result: str) -> normalizers.Normalizer:
    return normalizers.Replace(Regex(pattern), result)


def _names(one: str) -> list[str]:
    """A character's names in HTML. The oldest need no semicolon, if they begin no other name; ftfy reads capitals."""
    names = [name for name, value in html5.items() if value == one]
    loud = [
        name.upper() for name, value in html5.items() if value.upper() == one and name.islower() and name[-1] == ";"
    ]
    names += [name for name in loud if name not in html5]
    return [f"&{name}" if name.endswith(";") else f"&{name}(?![a-zA-Z0-9]*;)" for name in names]


def _numbers(one: str) -> list[str]:
    """A character's numbers in HTML, in ten and in sixteen digits."""
    digits = "".join(f"[{each}{each.upper()}]" if each.isalpha() else each for each in f"{ord(one):x}")
    return [f"&#0*{ord(one)};?(?![0-9])", f"&#[xX]0*{digits};?(?![0-9a-fA-F])"]


def _spaced() -> list[normalizers.Normalizer]:
    return [_rule(r"\s+", " "), normalizers.Strip()]


def _lower() -> list[normalizers.Normalizer]:
    return [*_spaced(), _rule(LAST_SIGMA, "ς"), normalizers.Lowercase()]


def _canonical() -> list[normalizers.Normalizer]:
    escaped = "".join(f"\\{each}" if each in "\\]^-[" else each for each in string.punctuation)
    return [_rule("_", " "), _rule(f"[{escaped}]", ""), *_lower()]


# By the names of `data.file_tokenizer.CLEANERS`, what comes behind `fixed`.
_AFTER = {"canonicalize": _canonical, "lower": _lower, "whitespace": _spaced}

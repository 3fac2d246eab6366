"""Words from outside on their way to a terminal or a figure: they cannot steer it, hide in it, or flood it."""

import unicodedata

# A screen of 24 lines with 80 columns, that of a VT100: no message of ours is as long.
LONGEST = 1920
# The end of a message is its hint: a quarter of what is shown of a long one. A guess.
END = LONGEST // 4
# Control, format (bidi overrides, zero width), half of a surrogate pair, line and paragraph separator: the general
# categories of Unicode that draw nothing and change how the rest is read.
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: str) -> str:
    """`text` in one line of at most `LONGEST` characters: controls spelt out (\\x1b, \\u202e), a middle left out."""
    # No character is spelt out with fewer than one: what is behind these two is not shown.
    start, end = spelt_out(text[:LONGEST]), spelt_out(text[-END:])
    if len(text) <= LONGEST and len(start) <= LONGEST:
        return start
    cut = f" [... of {len(text):,} characters ...] "
    return f"{start[: LONGEST - END - len(cut)]}{cut}{end[-END:]}"


def spelt_out(text: str, *, but: str = "") -> str:
    """`text` with each character that cannot be seen as its escape in Python, except those in `but`."""
    if text.isprintable():
        return text
    return "".join(
        letter.encode("unicode_escape").decode()
        if letter not in but and unicodedata.category(letter) in UNSEEN
        else letter
        for letter in text
    )

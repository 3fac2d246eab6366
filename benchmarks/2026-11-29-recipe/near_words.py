"""Give images one more caption, with the name of something near that no caption has: "a cougar" for a tiger.

    python benchmarks/2026-11-29-recipe/near_words.py /usr/share/wordnet HELD

People ask for things that no training image shows. WordNet 3.0 says what such a thing is near to: each kind of animal,
plant, food and artefact that is not trained goes to the trained classes that are fewest steps away, over a common
broader meaning that still says something of a picture. An image draws one of its class's, by a hash of its key. HELD is
what `hold_out.py` and `broader_words.py` wrote; its shards of ImageNet's classes and of instruments are rewritten.
Nothing of an eval-* set is read, and no name is chosen by one.
"""

import re
import sys
import tarfile
from collections import defaultdict
from pathlib import Path

from broader_words import BROAD_WORDS, WordNet, caption_of, draw, rewrite

# Where kinds are taken from: animal, plant, food, natural object, artefact. And where not: persons.
ROOTS = ("animal", "plant", "food", "fruit", "artifact", "geological_formation")
SOURCES = ("*imagenet*", "instruments")
# Steps up from the untrained kind and down to the trained class.
MOST_UP, MOST_DOWN = 5, 5


class Near:
    """The untrained kinds near each trained class, the nearest first."""

    def __init__(self, wordnet: WordNet, trained: set[int]):
        self.wordnet, self.broad = wordnet, frozenset(BROAD_WORDS.split())
        roots = {place for place, words in wordnet.words.items() if words[0] in ROOTS}
        below = self._below(trained)
        taken = {word for place in trained for word in wordnet.words[place]}
        found: dict[int, list[tuple[int, str]]] = defaultdict(list)
        for place, words in wordnet.words.items():
            if not taken & set(words) and roots & wordnet.above(place).keys():
                classes, steps = self._nearest(place, below)
                for own in classes:
                    found[own].append((steps, words[0].replace("_", " ")))
        self.words = {own: [word for _, word in sorted(near)] for own, near in found.items()}

    def _below(self, trained: set[int]) -> dict[int, dict[int, int]]:
        """Of each meaning that is not too broad the trained classes below it, by how many steps."""
        below: dict[int, dict[int, int]] = defaultdict(dict)
        for own in trained:
            for up, steps in self.wordnet.above(own, MOST_DOWN).items():
                if not self.broad & set(self.wordnet.words[up]):
                    below[up][own] = steps
        return below

    def _nearest(self, place: int, below: dict[int, dict[int, int]]) -> tuple[list[int], int]:
        steps_of: dict[int, int] = {}
        for up, steps in self.wordnet.above(place, MOST_UP).items():
            for own, down in below.get(up, {}).items():
                steps_of[own] = min(steps_of.get(own, steps + down), steps + down)
        least = min(steps_of.values(), default=0)
        return [own for own, steps in steps_of.items() if steps == least], least

    def captions(self, place: int | None, key: str) -> list[str]:
        """One caption for the pair of this key: of two draws the nearer kind counts."""
        words = self.words.get(place, []) if place else []
        if not words:
            return []
        word = words[min(draw("near", key, len(words)), draw("near again", key, len(words)))]
        return [caption_of(word, "near template", key)]


def place_of(key: str, meanings: dict[str, int]) -> int | None:
    """The class of the pair with this key, as a place in WordNet."""
    if match := re.search(r"n(\d{8})", key):
        return int(match[1])
    return meanings.get("_".join(key.split("-")[1:-1]).lower()) if key.startswith("instr-") else None


def keys_of(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return [name for name in tar.getnames() if name.endswith(".txt")]


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    wordnet = WordNet(Path(sys.argv[1]))
    instruments = {
        word: place
        for place, words in wordnet.words.items()
        for word in words
        if any(wordnet.words[up][0] == "musical_instrument" for up in wordnet.above(place))
    }
    paths = [path for name in SOURCES for path in sorted(Path(sys.argv[2]).glob(f"train-{name}/*.tar"))]
    places = {place_of(key, instruments) for path in paths for key in keys_of(path)} & wordnet.words.keys()
    near = Near(wordnet, places)
    print(f"{len(places):,} trained classes, {len({word for own in near.words.values() for word in own}):,} near words")
    for path in paths:
        added = rewrite(path, lambda key: near.captions(place_of(key, instruments), key))
        print(f"{path.parent.name}: {added:,} captions added")


if __name__ == "__main__":
    main()

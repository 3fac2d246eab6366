"""Give images of ImageNet's classes one more caption with a broader word: "a photo of a cat" beside "a tabby".

    python benchmarks/2026-11-29-recipe/broader_words.py /usr/share/wordnet HELD

WordNet 3.0's own files (Debian: wordnet-base and wordnet-sense-index) say what a class is a kind of. Of those words the
ones are taken that people use (counted at least once in WordNet's tagged texts) and that say something of a picture.
HELD is what `hold_out.py` wrote; its training shards whose keys have a WordNet number are rewritten. What is drawn is
drawn by a hash of the key. Nothing of an eval-* set is read.
"""

import hashlib
import io
import re
import sys
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

# Too broad for a caption.
BROAD_WORDS = """
abstraction act agent alimentation area artefact article artifact attribute base being body_part boundary
causal_agent cause commodity communication construction consumer_durables consumer_goods container content
conveyance covering creation deed device division entity equipment event extremity facility force form goods
group grouping happening human_action human_activity implement installation instrumentality instrumentation
know-how layer line living_thing location matter means measure mechanism medium message natural_object
nutriment object occurrence organism parcel part physical_entity physical_object piece point portion process
product production property psychological_feature region relation round_shape section segment shape solid
structure substance support supporting_structure surface sustenance system thing tract trade_good unit
vertebrate victuals way whole
"""
TEMPLATES = ("a photo of {}.", "{}.", "this is {}.", "an image of {}.", "a picture of {}.")
CAPTIONS = 1


class WordNet:
    """The nouns: words and next broader meanings by their place in `data.noun`, and how often a word is used."""

    def __init__(self, folder: Path):
        self.words: dict[int, list[str]] = {}
        self.broader: dict[int, list[int]] = {}
        self.uses: dict[tuple[str, int], int] = {}
        for line in (folder / "index.sense").read_text().splitlines():
            key, place, _, count = line.split()
            word, kind = key.split("%")
            if kind.startswith("1:"):
                self.uses[word, int(place)] = int(count)
        for line in (folder / "data.noun").read_text().splitlines():
            if not line.startswith("  "):
                self._read(line.split(" "))

    def _read(self, cells: list[str]) -> None:
        place, words = int(cells[0]), int(cells[3], 16)
        links = 4 + 2 * words
        self.words[place] = [word.lower() for word in cells[4:links:2]]
        starts = range(links + 1, links + 1 + 4 * int(cells[links]), 4)
        self.broader[place] = [int(cells[at + 1]) for at in starts if cells[at] in ("@", "@i") and cells[at + 2] == "n"]

    def above(self, place: int, most: int = 20) -> dict[int, int]:
        """Broader meanings by how many steps they are away, at most so many, and the meaning itself."""
        found, level = {place: 0}, [place]
        for steps in range(1, most + 1):
            level = [up for one in level for up in self.broader[one] if up not in found]
            found |= dict.fromkeys(level, steps)
        return found

    @cache  # noqa: B019 - there is one, for as long as the script runs
    def kinds(self, place: int) -> list[list[str]]:
        """What the meaning is a kind of, the nearest first: at most three words of each broader meaning."""
        broad = frozenset(BROAD_WORDS.split())
        found, seen, level = [], {place}, [place]
        while level:
            level = list(dict.fromkeys(up for one in level for up in self.broader[one] if up not in seen))
            seen |= set(level)
            for up in level:
                words = self.words[up]
                used = [word.replace("_", " ") for word in words if self.uses.get((word, up), 0)]
                if used and not broad & set(words):
                    found.append(used[:3])
        return found


def captions_of(key: str, wordnet: WordNet) -> list[str]:
    """Captions with broader words for the pair of this key; of two draws of a level the nearer one counts."""
    match = re.search(r"n(\d{8})", key)
    kinds = wordnet.kinds(int(match[1])) if match else []
    if not kinds:
        return []

    found = []
    for index in range(CAPTIONS):
        words = kinds[min(draw(f"level{index}", key, len(kinds)), draw(f"again{index}", key, len(kinds)))]
        found.append(caption_of(words[draw(f"word{index}", key, len(words))], f"template{index}", key))
    return list(dict.fromkeys(found))


def draw(what: str, key: str, count: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{what} {key}".encode(), digest_size=8).digest(), "big") % count


def caption_of(word: str, what: str, key: str) -> str:
    article = "an" if word[0] in "aeiou" else "a"
    return TEMPLATES[draw(what, key, len(TEMPLATES))].format(f"{article} {word}")


def rewrite(path: Path, captions_of: Callable[[str], list[str]]) -> int:
    """Write the shard anew with the further captions and return how many they are."""
    added, new = 0, path.with_suffix(".new")
    with tarfile.open(path) as old, tarfile.open(new, "w") as out:
        for member in old:
            file = old.extractfile(member)
            assert file is not None
            data = file.read()
            if member.name.endswith(".txt"):
                captions = captions_of(member.name)
                data = data.rstrip(b"\n") + b"\n" + "".join(caption + "\n" for caption in captions).encode()
                added += len(captions)
            entry = tarfile.TarInfo(member.name)
            entry.size = len(data)
            out.addfile(entry, io.BytesIO(data))
    new.rename(path)
    return added


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    wordnet = WordNet(Path(sys.argv[1]))
    for path in sorted(Path(sys.argv[2]).glob("train-*imagenet*/*.tar")):
        added = rewrite(path, lambda key: captions_of(key, wordnet))
        print(f"{path.parent.name}: {added:,} captions added")


if __name__ == "__main__":
    main()

"""Copy the training shards without whole sources and half of ImageNet's classes, and judge sets of every kind.

    python leave_out.py DATA OUT --side 0 [--share 0.5]

Side 0 learns Flickr8k, OpenStax, NLVR and RSICD, side 1 the photos of things, places and products, the drawings and the
flags; each has its half of ImageNet's classes. OUT/train-*/ are those pairs (with `--share` a part of them),
OUT/judge-*/ are labelled images of all kinds, the same ones whatever the side, which neither side learns from: of one
half of them a model knows the kind, of the other it never saw one. Nothing of an eval-* set is read.
"""

import argparse
import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "2026-11-29-recipe"))
from hold_out import Members, names_of, read_pairs, unit, write_pairs

# The sources that side 0 learns; side 1 learns the others, and each its half of ImageNet's classes.
FIRST = ("flickr8k", "openstax", "openstax2", "nlvr", "rsicd", "rsicd2")
# Images of a class in a judge set; of emoji there is one of each.
MOST = {
    "imagenet-0": 6, "imagenet-1": 6, "instruments": 15, "sports": 20, "places": 6, "scene": 50, "monkey": 20,
    "food": 30, "weather": 40, "trash": 40, "ikea": 6, "fashion": 8, "emoji": 1, "rsicd": 12,
}  # fmt: skip
# Classes of fewer images are left out of a judge set.
FEWEST = {"ikea": 6, "fashion": 8}
MONKEYS = (
    "mantled howler", "patas monkey", "bald uakari", "Japanese macaque", "pygmy marmoset", "white-headed capuchin",
    "silvery marmoset", "common squirrel monkey", "black-headed night monkey", "Nilgiri langur",
)  # fmt: skip
RSICD = {
    "baseballfield": "baseball field", "bareland": "bare land", "storagetanks": "storage tanks",
    "railwaystation": "railway station", "denseresidential": "dense residential area",
    "mediumresidential": "medium residential area", "sparseresidential": "sparse residential area",
}  # fmt: skip
DRAWN = {"Animals & Nature", "Food & Drink", "Objects", "Travel & Places", "Activities"}
DRAWING = re.compile(
    r"^(?:(?:clip art|an? \w+|emoji|icon|drawing|cartoon|picture) (?:of|showing) )?(?:an? |the )?(.*?)(?: emoji)?\.?$"
)


class Kinds:
    """Says of each pair which judge set it belongs to, and under which name."""

    def __init__(self, data: Path):
        self.imagenet = names_of(data / "train-miniimagenet2" / "wnid_names.tsv")
        self.imagenet |= names_of(data / "train-tinyimagenet2" / "wnid_names.tsv")
        self.places = names_of(data / "train-places" / "classes.tsv")

    def of(self, source: str, key: str, members: Members) -> tuple[str, str] | None:
        """(Judge set, class name), or None."""
        parts = key.split("-")
        text = members["txt"].decode()
        if match := re.search(r"n(\d{8})", key) if "imagenet" in source else None:
            return f"imagenet-{half(match[0])}", self.imagenet[match[0]]
        if source == "places":
            return source, self.places["-".join(parts[1:-1])]
        if source in ("instruments", "sports"):
            return source, " ".join(parts[1:-1])
        if parts[0] == "monkey":
            return "monkey", MONKEYS[int(parts[1][1:])]
        if parts[0] in ("scene", "food", "weather", "trash"):
            return parts[0], " ".join(parts[1:-1])
        if source.startswith("rsicd"):
            name = key.split("_")[1]
            return None if name.isdigit() else ("rsicd", RSICD.get(name, name))
        if source == "ikea" and (match := re.search(r"^([A-Z][\w' -]+): ", text, re.M)):
            return "ikea", match[1].lower()
        if source == "fashion":
            return "fashion", json.loads(members["json"])["type"].lower()
        if source == "emoji" and json.loads(members["json"])["category"] in DRAWN:
            match = DRAWING.match(text.splitlines()[-1])
            return ("emoji", match[1]) if match else None
        return None


def half(wordnet: str) -> int:
    """Which side learns an ImageNet class."""
    return int(unit(f"half {wordnet}") >= 0.5)


def is_learned(source: str, key: str, side: int) -> bool:
    if match := re.search(r"n(\d{8})", key) if "imagenet" in source else None:
        return half(match[0]) == side
    return (source in FIRST) == (side == 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, choices=(0, 1), required=True)
    parser.add_argument("--share", type=float, default=1.0)
    given = parser.parse_args()
    kinds, judged = Kinds(given.data), defaultdict(lambda: defaultdict(list))
    taken: Counter[tuple[str, str]] = Counter()
    for folder in sorted(given.data.glob("train-*")):
        source, rest = folder.name.removeprefix("train-"), []
        for key, members in sorted(read_pairs(folder).items(), key=lambda pair: unit(pair[0])):
            kind = kinds.of(source, key, members)
            if kind and taken[kind] < MOST[kind[0]]:
                taken[kind] += 1
                judged[kind[0]][kind[1]].append((key, members["webp"]))
            elif is_learned(source, key, given.side) and unit(f"share {key}") < given.share:
                rest.append((key, {suffix: members[suffix] for suffix in ("webp", "txt")}))
        if rest:
            write_pairs(given.out / folder.name / "0.tar", rest)
        print(f"{folder.name}: {len(rest):,} pairs", flush=True)
    for name, images in judged.items():
        classes = sorted(label for label, own in images.items() if len(own) >= FEWEST.get(name, 1))
        labelled = [
            (key.replace(".", "-"), {"webp": data, "cls": str(index).encode()})
            for index, label in enumerate(classes)
            for key, data in images[label]
        ]
        write_pairs(given.out / f"judge-{name}" / "0.tar", labelled)
        (given.out / f"judge-{name}" / "classnames.txt").write_text("\n".join(classes) + "\n")
        print(f"judge-{name}: {len(labelled):,} images, {len(classes)} classes", flush=True)


if __name__ == "__main__":
    main()

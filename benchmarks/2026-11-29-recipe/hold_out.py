"""Copy the training shards without some pairs of each kind, which become sets of their own to judge recipes by.

    python benchmarks/2026-11-29-recipe/hold_out.py ../shared/data OUT [--per-class 10] [--share 1.0]

OUT/train-*/ have all other pairs (with `--share` a part of them), OUT/held-tinyimagenet, -miniimagenet and -places are
labelled, OUT/held-flickr8k is for retrieval. Which pairs these are is decided by a hash of their keys. mini-ImageNet's
classes are those that Tiny-ImageNet has not. Nothing of an eval-* set is read.
"""

import argparse
import hashlib
import io
import re
import tarfile
from collections import Counter, defaultdict
from pathlib import Path

Members = dict[str, bytes]


def unit(key: str) -> float:
    """A number in [0, 1) that depends on the key alone."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") / 2**64


def read_pairs(folder: Path) -> dict[str, Members]:
    pairs: dict[str, Members] = defaultdict(dict)
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, suffix = member.name.rpartition(".")
                file = tar.extractfile(member)
                assert file is not None
                pairs[key][suffix] = file.read()
    return pairs


def write_pairs(path: Path, pairs: list[tuple[str, Members]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key, members in pairs:
            for suffix, data in members.items():
                entry = tarfile.TarInfo(f"{key}.{suffix}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))


def names_of(path: Path) -> dict[str, str]:
    rows = (line.split("\t") for line in path.read_text().splitlines())
    return {row[0]: row[1].split(",")[0] for row in rows}


class Holder:
    """Says of each pair which set it is held out for, and under which class."""

    def __init__(self, data: Path, per_class: int):
        self.tiny = names_of(data / "train-tinyimagenet2" / "wnid_names.tsv")
        self.mini = names_of(data / "train-miniimagenet2" / "wnid_names.tsv")
        self.places = names_of(data / "train-places" / "classes.tsv")
        self.most = {
            "tinyimagenet": per_class,
            "miniimagenet": per_class,
            "places": per_class,
            "flickr8k": 100 * per_class,
        }
        self.taken: Counter[tuple[str, str]] = Counter()

    def set_of(self, source: str, key: str) -> tuple[str, str] | None:
        found = self._set_of(source, key)
        if found is None or self.taken[found] >= self.most[found[0]]:
            return None
        self.taken[found] += 1
        return found

    def _set_of(self, source: str, key: str) -> tuple[str, str] | None:
        if source == "train-tinyimagenet2":
            return "tinyimagenet", self.tiny[key.split("_")[0]]
        if source == "train-miniimagenet2" and (wordnet := key.split("-")[1]) not in self.tiny:
            return "miniimagenet", self.mini[wordnet]
        if source == "train-places" and (match := re.match(r"places-(.*)-\d+$", key)):
            return "places", self.places[match[1]]
        return ("flickr8k", "") if source == "train-flickr8k" else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--per-class", type=int, default=10)
    parser.add_argument("--share", type=float, default=1.0)
    given = parser.parse_args()
    holder = Holder(given.data, given.per_class)
    held: dict[str, list[tuple[str, str, Members]]] = defaultdict(list)
    for folder in sorted(given.data.glob("train-*")):
        rest = []
        for key, members in sorted(read_pairs(folder).items(), key=lambda pair: unit(pair[0])):
            if found := holder.set_of(folder.name, key):
                held[found[0]].append((found[1], key, members))
            elif unit("share " + key) < given.share:
                rest.append((key, {suffix: members[suffix] for suffix in members if suffix in ("webp", "txt")}))
        write_pairs(given.out / folder.name / "0.tar", rest)
        print(f"{folder.name}: {len(rest):,} pairs")
    for name, found in held.items():
        classes = sorted({label for label, _, _ in found})
        print(f"held-{name}: {len(found):,} pairs, {len(classes)} classes")
        if name == "flickr8k":
            write_pairs(given.out / "held-flickr8k" / "0.tar", [(key, members) for _, key, members in found])
            continue
        labelled = [
            (key, {"webp": members["webp"], "cls": str(classes.index(label)).encode()}) for label, key, members in found
        ]
        write_pairs(given.out / f"held-{name}" / "0.tar", labelled)
        (given.out / f"held-{name}" / "classnames.txt").write_text("\n".join(classes) + "\n")


if __name__ == "__main__":
    main()

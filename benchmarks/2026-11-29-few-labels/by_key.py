"""Labelled sets of training shards by the kind in each key, such as sports-kabaddi-a357413e.

    python benchmarks/2026-11-29-few-labels/by_key.py ../shared/data OUT

OUT/sports, OUT/instr and the others have at most 30 images of each kind. The box was trained on these images, so that
zero-shot is better than on images that it has not seen.
"""

import io
import sys
import tarfile
from collections import defaultdict
from pathlib import Path

SHARDS = {"sports": ["sports"], "instruments": ["instr"], "places": ["places"]}
SHARDS["everyday"] = ["scene", "monkey", "food", "trash", "weather"]
MOST_OF_A_KIND = 30


def labelled(shards: Path, prefix: str, folder: Path) -> None:
    images: dict[str, list[bytes]] = defaultdict(list)
    for path in sorted(shards.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                first, *kind, _ = member.name.split("-")
                if first == prefix and member.name.endswith(".webp"):
                    images[" ".join(kind)].append(tar.extractfile(member).read())
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "0.tar", "w") as tar:
        for label, kind in enumerate(sorted(images)):
            for number, image in enumerate(images[kind][:MOST_OF_A_KIND]):
                for ending, content in (("webp", image), ("cls", str(label).encode())):
                    header = tarfile.TarInfo(f"{label:03}-{number:03}.{ending}")
                    header.size = len(content)
                    tar.addfile(header, io.BytesIO(content))
    (folder / "classnames.txt").write_text("\n".join(sorted(images)) + "\n")


if __name__ == "__main__":
    data, out = map(Path, sys.argv[1:])
    for shards, prefixes in SHARDS.items():
        for prefix in prefixes:
            labelled(data / f"train-{shards}", prefix, out / prefix)

"""CPU seconds of indexing beside those of `classify` for the same photos: whole commands, in turn.

    OMP_NUM_THREADS=1 python indexing.py ../../../shared/data --rounds 3 --out indexing.json > indexing.log

The photos are those of the shards as they are there, about 96 px (`small`), or ten photographs of scikit-image cut to
2000 x 1500 (`large`). CPU seconds of all processes of a command, so that other work on the machine does not count.
`beyond` is without what both commands take for one photo: imports, weights, and the table of an index.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import skimage

sys.path.insert(0, str(Path(__file__).parents[1] / "2026-11-21-pixels"))
import pictures

LABELS = ["a dog", "a beach", "a child", "a street"]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("data", type=Path)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--small", type=int, default=1500)
    options.add_argument("--large", type=int, default=100)
    options.add_argument("--out", type=Path, required=True)
    chosen = options.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        one = write(Path(place) / "one", small_photos(chosen.data, 1))
        sets = {
            f"{chosen.small} of about 96 px": write(Path(place) / "small", small_photos(chosen.data, chosen.small)),
            f"{chosen.large} of 2000 x 1500": write(Path(place) / "large", large_photos(chosen.large)),
        }
        for name, photos in sets.items():
            rows.append({"photos": name, **compare(photos, one, Path(place), chosen.rounds)})
            print(json.dumps(rows[-1]), flush=True)
            chosen.out.write_text(json.dumps({"load": os.getloadavg(), "cases": rows}, indent=1) + "\n")


def small_photos(data: Path, count: int):
    for path in sorted(data.glob("train-flickr8k/*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".webp") and count:
                    count -= 1
                    yield member.name, tar.extractfile(member).read()


def large_photos(count: int):
    made = pictures.jpegs(Path(skimage.__file__).parent / "data", (2000, 1500), min(count, 20))
    # Each is another file, as the same bytes may be looked up and not read again.
    return ((f"{number}.jpg", made[number % len(made)] + bytes([number])) for number in range(count))


def write(folder: Path, files) -> Path:
    folder.mkdir()
    for name, data in files:
        (folder / name).write_bytes(data)
    return folder


def compare(photos: Path, one: Path, place: Path, rounds: int) -> dict:
    spent: dict[str, list[float]] = {"classify": [], "index": [], "classify one": [], "index one": []}
    for turn in range(rounds):
        for name in list(spent)[:: 1 if turn % 2 else -1]:
            folder = one if name.endswith("one") else photos
            spent[name].append(seconds(name.split()[0], folder, place / f"made-{turn}-{name.replace(' ', '-')}"))
    ratios = [c / i for c, i in zip(spent["classify"], spent["index"], strict=True)]
    beyond = [
        (c - c1) / (i - i1)
        for c, c1, i, i1 in zip(*(spent[n] for n in ("classify", "classify one", "index", "index one")), strict=True)
    ]
    return {
        "CPU s": {name: round(statistics.median(values), 2) for name, values in spent.items()},
        "classify / index": round(statistics.median(ratios), 2),
        "range": [round(min(ratios), 2), round(max(ratios), 2)],
        "beyond": round(statistics.median(beyond), 2),
    }


def seconds(kind: str, photos: Path, made: Path) -> float:
    words = [sys.executable, "-m", "seesay"]
    if kind == "classify":
        words += ["classify", str(photos), *LABELS, "-o", f"{made}.csv"]
    else:
        words += ["search", str(photos), "two dogs in snow", "--index", str(made)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(made, ignore_errors=True)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()

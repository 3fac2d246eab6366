"""Indexing beside `classify` for the same photos: CPU seconds and the clock of whole commands, in turn.

    OMP_NUM_THREADS=1 python indexing.py ../../../shared/data --rounds 3 --out indexing.json > indexing.log

The photos are those of the shards as they are there, about 96 px (`small`), or ten photographs of scikit-image and
scikit-learn cut to 500 x 375 (`middle`) and 3000 x 2000 (`large`). CPU seconds are those of all processes of a command.
`beyond` is without what both commands take for one photo: imports, weights, and the table of an index; a command's own
`photos per second` leaves out more, the time until its first batch.
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
import time
from pathlib import Path

import skimage

sys.path.insert(0, str(Path(__file__).parents[1] / "2026-11-21-pixels"))
import pictures

LABELS = ["a dog", "a beach", "a child", "a street"]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("data", type=Path)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--small", type=int, default=2000)
    options.add_argument("--middle", type=int, default=600)
    options.add_argument("--large", type=int, default=30)
    options.add_argument("--out", type=Path, required=True)
    chosen = options.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        one = write(Path(place) / "one", small_photos(chosen.data, 1))
        sets = {
            f"{chosen.small} of about 96 px": write(Path(place) / "small", small_photos(chosen.data, chosen.small)),
            f"{chosen.middle} of 500 x 375": write(Path(place) / "middle", photographs(chosen.middle, (500, 375))),
            f"{chosen.large} of 3000 x 2000": write(Path(place) / "large", photographs(chosen.large, (3000, 2000))),
        }
        alone = rounds_of({"classify": one, "index": one}, Path(place), chosen.rounds)
        for name, photos in sets.items():
            spent = rounds_of({"classify": photos, "index": photos}, Path(place), chosen.rounds)
            rows.append({"photos": name, **compare(spent, alone)})
            print(json.dumps(rows[-1]), flush=True)
            chosen.out.write_text(json.dumps({"load": os.getloadavg(), "cases": rows}, indent=1) + "\n")


def small_photos(data: Path, count: int):
    for path in sorted(data.glob("train-flickr8k/*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".webp") and count:
                    count -= 1
                    yield member.name, tar.extractfile(member).read()


def photographs(count: int, size: tuple[int, int]):
    made = pictures.jpegs(Path(skimage.__file__).parent / "data", size, min(count, 20))
    # Each is another file, as the same bytes may be looked up and not read again.
    return ((f"{number}.jpg", made[number % len(made)] + number.to_bytes(4, "big")) for number in range(count))


def write(folder: Path, files) -> Path:
    folder.mkdir()
    for name, data in files:
        (folder / name).write_bytes(data)
    return folder


def rounds_of(folders: dict[str, Path], place: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(CPU seconds, seconds of the clock) of each command in each round."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in folders}
    for turn in range(rounds):
        for name in list(folders)[:: 1 if turn % 2 else -1]:
            spent[name].append(seconds(name, folders[name], place / f"made-{turn}-{name}"))
    return spent


def compare(spent: dict, alone: dict) -> dict:
    result = {}
    for at, kind in enumerate(("CPU s", "clock s")):
        whole = {name: [row[at] for row in rows] for name, rows in spent.items()}
        first = {name: statistics.median(row[at] for row in rows) for name, rows in alone.items()}
        ratios = [c / i for c, i in zip(whole["classify"], whole["index"], strict=True)]
        beyond = {name: statistics.median(values) - first[name] for name, values in whole.items()}
        result[kind] = {
            **{name: round(statistics.median(values), 2) for name, values in whole.items()},
            **{f"{name} one": round(value, 2) for name, value in first.items()},
            "classify / index": round(statistics.median(ratios), 2),
            "range": [round(min(ratios), 2), round(max(ratios), 2)],
            "beyond": round(beyond["classify"] / beyond["index"], 2),
        }
    return result


def seconds(kind: str, photos: Path, made: Path) -> tuple[float, float]:
    words = [sys.executable, "-m", "seesay"]
    if kind == "classify":
        words += ["classify", str(photos), *LABELS, "-o", f"{made}.csv"]
    else:
        words += ["search", str(photos), "two dogs in snow", "--index", str(made)]
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(words, check=True, capture_output=True)
    clock, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(made, ignore_errors=True)
    Path(f"{made}.csv").unlink(missing_ok=True)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, clock


if __name__ == "__main__":
    main()

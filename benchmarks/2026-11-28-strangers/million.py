"""Read a CSV of a million rows with two quotes left open: pairs, captions, problems, seconds of a core, peak memory.

python benchmarks/2026-11-28-strangers/million.py FOLDER        # with the version to measure on PYTHONPATH
"""

import resource
import sys
import time
from pathlib import Path

from seesay.data.tables import open_table

ROWS, OPEN = 1_000_000, (5, 777_777)


def write(folder: Path) -> dict[str, Path]:
    """Two tables beside 1,000 images: bare captions of which two begin with a quote, and captions all in quotes."""
    (folder / "img").mkdir(parents=True, exist_ok=True)
    for number in range(1000):
        (folder / "img" / f"{number}.jpg").write_bytes(b"x")
    paths = {"plain": folder / "plain.csv", "quoted": folder / "quoted.csv"}
    with paths["plain"].open("w", encoding="utf-8") as file:
        file.write("image,caption\n")
        for row in range(ROWS):
            caption = f'"never closed {row}' if row in OPEN else f"a photo of thing number {row} on a table"
            file.write(f"img/{row % 1000}.jpg,{caption}\n")
    with paths["quoted"].open("w", encoding="utf-8") as file:
        file.write("image,caption\n")
        for row in range(ROWS):
            file.write(f'img/{row % 1000}.jpg,"a photo, of ""thing"" {row}, on a table"\n')
    return paths


def main(folder: Path) -> None:
    for name, path in write(folder).items():
        started = time.process_time()
        pairs = open_table(path)
        captions = sum(len(pairs.captions(index)) for index in range(len(pairs)))
        seconds = time.process_time() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        problems = [(problem.key, problem.reason) for problem in pairs.problems][:4]
        print(f"{name}: {captions:,} captions, {problems}, {seconds:.1f} s, peak {peak:.0f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

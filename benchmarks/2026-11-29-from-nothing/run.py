"""What 2,000 pairs teach a model from nothing in a quarter of an hour, beside the untouched model in the box.

    python benchmarks/2026-11-29-from-nothing/run.py ../shared/data OUT > benchmarks/2026-11-29-from-nothing/log.txt

The pairs are spread evenly over all train-* folders of the data, which are those that the box learned from as well.
"""

import sys
from pathlib import Path

import numpy as np

import seesay
from seesay.data.pairs import open_pairs

PAIRS = 2000
SETS = ("eval-caltech101", "eval-cifar10", "eval-tinyimagenet-val")


def main(data: Path, out: Path) -> None:
    pairs = open_pairs([str(folder) for folder in sorted(data.glob("train-*"))])
    chosen = [pairs[int(index)] for index in np.linspace(0, len(pairs) - 1, PAIRS).astype(int)]
    folder = out / "pairs"
    folder.mkdir(parents=True, exist_ok=True)
    for number, pair in enumerate(chosen):
        (folder / f"{number:04}.jpg").write_bytes(pair.image)
        (folder / f"{number:04}.txt").write_text("\n".join(pair.captions) + "\n")
    trained = seesay.train(folder, out=out / "run", workers=0, minutes=15)
    sets = [str(data / name) for name in SETS]
    for model in (trained, seesay.load("box")):
        for row in seesay.evaluate(model, sets, cache=False).rows():
            score, low, high = (100 * row[name] for name in ("value", "low", "high"))
            print(f"{row['model']}: {row['set']} {score:.1f} [{low:.1f}, {high:.1f}], n {row['n']}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""A few training images, no copy hidden among them: every pair that is found is wrong, unless an image is in both.

    python benchmarks/2026-11-29-overlap/few_images.py --data ../shared/data --out few.json

Of all training images as many are drawn as are named, and what `seesay overlap` takes for copies of a set's images is
listed, with the threshold. Without enough copies of other images the second nearest says less about a threshold.
"""

import argparse
import io
import json
import random
import tarfile
import time
from pathlib import Path

import seesay
from seesay.data.pairs import open_pairs

SETS = ("eval-dtd10", "eval-food20", "eval-rsicd30", "eval-caltech101")


def write_drawn(pairs, path: Path, count: int, seed: int) -> None:
    """A tar of so many pairs, drawn by the seed."""
    with tarfile.open(path, "w") as tar:
        for number in sorted(random.Random(seed).sample(range(len(pairs)), count)):
            for ending, data in (("jpg", pairs[number].image), ("txt", pairs.key(number).encode())):
                member = tarfile.TarInfo(f"{number:06}.{ending}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--counts", type=int, nargs="+", default=[400])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--folder", type=Path, default=Path("few"))
    parser.add_argument("--out", type=Path, default=Path("few.json"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True)
    pairs = open_pairs([str(path) for path in sorted(arguments.data.glob("train-*"))])
    results = []
    for count in arguments.counts:
        for seed in arguments.seeds:
            path = arguments.folder / f"few-{count}-{seed}.tar"
            write_drawn(pairs, path, count, seed)
            start = time.process_time()
            found = seesay.overlap(str(path), [str(arguments.data / name) for name in arguments.sets])
            for own in found.sets:
                wrong = [{"eval": p.eval, "train": p.train, "similarity": round(p.similarity, 3)} for p in own.pairs]
                row = {"count": count, "seed": seed, "set": own.name, "n": own.n, "threshold": own.choice.threshold}
                results.append({**row, "recall": own.choice.recall, "pairs": wrong})
                print(f"{count} seed {seed} {own.name}: n {own.n}, threshold {own.choice.threshold:.3f}, "
                      f"recall of copies {own.choice.recall:.3f}, pairs {wrong}", flush=True)  # fmt: skip
            print(f"{time.process_time() - start:.0f} CPU seconds", flush=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""A leak of 10 %: of 2,000 test images 200 that the model is right about are hidden, changed, among training images.

    python benchmarks/2026-11-29-overlap/leak.py --data ../shared/data

As if the model had learned them by heart. 'All minus clean' is computed by hand from who was right, and compared with
what `seesay overlap` says, which has to find them first.
"""

import argparse
import io
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import seesay
from seesay.data.decode import decode
from seesay.data.duplicates import COPIES
from seesay.data.evalsets import open_evalset
from seesay.evaluation.suite import Question, measure_set

LEAKED, SEED = 200, 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    source = open_evalset(arguments.data / "eval-cifar10")
    model = seesay.load("box")
    measured = measure_set(model, source, Question())
    hit_N = measured.hits["top1"]
    rng = np.random.default_rng(SEED)
    leaked = np.sort(rng.choice(np.flatnonzero(hit_N), LEAKED, replace=False))
    ways = list(COPIES.values())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "leak.tar"
        with tarfile.open(path, "w") as tar:
            for number, at in enumerate(leaked):
                image = Image.fromarray(decode(source.image(measured.read[at])))
                file = io.BytesIO()
                ways[number % len(ways)](image, rng).save(file, "PNG")
                for suffix, content in (("png", file.getvalue()), ("txt", b"leaked")):
                    member = tarfile.TarInfo(f"leak-{number:03}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        train = [str(path), str(arguments.data / "train-emoji"), str(arguments.data / "train-sports")]
        found = seesay.overlap(train, str(arguments.data / "eval-cifar10"), model=model).sets[0]
    is_leaked_N = np.isin(np.arange(len(hit_N)), leaked)
    clean = hit_N[~is_leaked_N].mean()
    print(f"by hand: all {hit_N.mean():.4f}, clean {clean:.4f}, all - clean {hit_N.mean() - clean:+.4f}")
    values = found.to_json()
    low, high = values["interval"]
    print(
        f"overlap: {found.overlap} of {found.n} found, {LEAKED} leaked; all {values['all']:.4f}, "
        f"clean {values['clean']:.4f}, all - clean {values['difference']:+.4f} [{low:+.4f}, {high:+.4f}], "
        f"p {values['p_value']:.2g}"
    )


if __name__ == "__main__":
    main()

"""Hides 2,000 copies of `eval-*` images, made in ten ways, in a tar beside the training images.

    python benchmarks/2026-11-29-overlap/hide.py --data ../shared/data --out hidden

`hidden/copies.tar` has the copies as PNG with a caption each, `hidden/truth.json` what each is a copy of and how.
`eval-shift-photo32` is left out: its images are some of `eval-caltech101`.
"""

import argparse
import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from seesay.data.decode import decode
from seesay.data.duplicates import COPIES
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet

COPIED, SEED = 2_000, 7
LEFT_OUT = ("eval-shift-photo32",)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("hidden"))
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    folders = [folder for folder in sorted(arguments.data.glob("eval-*")) if folder.name not in LEFT_OUT]
    sets = [open_evalset(folder) for folder in folders]
    every = [(n, index) for n, found in enumerate(sets) for index in range(len(found))]
    rng = np.random.default_rng(arguments.seed)
    ways, truth = list(COPIES), []
    with tarfile.open(arguments.out / "copies.tar", "w") as tar:
        for number, at in enumerate(sorted(rng.choice(len(every), COPIED, replace=False))):
            n, index = every[at]
            found, way = sets[n], ways[number % len(ways)]
            data = found.image(index) if isinstance(found, LabelledSet) else found[index].image
            file = io.BytesIO()
            COPIES[way](Image.fromarray(decode(data)), rng).save(file, "PNG")
            for suffix, content in (("png", file.getvalue()), ("txt", b"one of the copies")):
                member = tarfile.TarInfo(f"copy-{number:04}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            truth.append({"copy": f"copy-{number:04}", "set": found.name, "eval": found.key(index), "way": way})
    (arguments.out / "truth.json").write_text(json.dumps(truth, indent=0))
    print(f"{len(truth)} copies of {len(every)} images of {', '.join(found.name for found in sets)}")


if __name__ == "__main__":
    main()

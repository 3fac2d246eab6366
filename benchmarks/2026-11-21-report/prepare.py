"""What the report needs beyond the sets: halves to learn from, and standard models for the distribution shift.

    python prepare.py DATA WORK

DATA/eval-* are labelled tars. WORK/NAME-halves gets train/ and test/ tars of every second picture of a class, in
CLIP_benchmark's layout; WORK/baseline.json the accuracies of pixel classifiers on the two sets of the shift.
"""

import argparse
import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from seesay import LinearProbe
from seesay.data.evalsets import open_evalset
from seesay.data.images import open_image
from seesay.data.labelled import LabelledSet

HALVED = ("cifar10", "mnist", "dtd10", "rsicd30", "caltech101")
NATURAL, SHIFTED = "eval-shift-photo32", "eval-shift-emoji32"
SIDES = (2, 3, 4, 6, 8, 12)
PENALTY = 10.0
FOLDS = 5


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("data", type=Path)
    options.add_argument("work", type=Path)
    given = options.parse_args()
    for name in HALVED:
        halve(open_evalset(given.data / f"eval-{name}"), given.work / f"{name}-halves")
    natural, shifted = (open_evalset(given.data / name) for name in (NATURAL, SHIFTED))
    rows = [standard_model(natural, shifted, side=side, grey=grey) for grey in (False, True) for side in SIDES]
    (given.work / "baseline.json").write_text(json.dumps(rows, indent=2) + "\n")
    for row in rows:
        print(f"{row['name']:22} natural {100 * row['natural']:5.1f}  shifted {100 * row['shifted']:5.1f}")


def halve(found: LabelledSet, folder: Path) -> None:
    """Every first, third, ... picture of a class to train/, the others to test/."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classnames.txt").write_text("\n".join(found.class_names) + "\n")
    seen = [0] * len(found.class_names)
    members: dict[str, list[tuple[str, bytes]]] = {"train": [], "test": []}
    for index in range(len(found)):
        label = found.label(index)
        part = members[("train", "test")[seen[label] % 2]]
        part += [(f"{index:06}.webp", found.image(index)), (f"{index:06}.cls", str(label).encode())]
        seen[label] += 1
    for part, files in members.items():
        (folder / part).mkdir(exist_ok=True)
        with tarfile.open(folder / part / "0.tar", "w") as tar:
            for name, data in files:
                header = tarfile.TarInfo(name)
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))


def standard_model(natural: LabelledSet, shifted: LabelledSet, *, side: int, grey: bool) -> dict[str, object]:
    """Logistic regression on pixels: cross-validated on the natural set, then learned from all of it for the other."""
    x_NW, label_N = pixels_of(natural, side=side, grey=grey)
    fold_N = np.random.default_rng(0).permutation(len(label_N)) % FOLDS
    hits = 0
    for fold in range(FOLDS):
        probe = LinearProbe(penalty=PENALTY).fit(x_NW[fold_N != fold], label_N[fold_N != fold])
        hits += int((probe.predict(x_NW[fold_N == fold]) == label_N[fold_N == fold]).sum())
    x_MW, label_M = pixels_of(shifted, side=side, grey=grey)
    other = float((LinearProbe(penalty=PENALTY).fit(x_NW, label_N).predict(x_MW) == label_M).mean())
    return {
        "name": f"{side} x {side} {'grey' if grey else 'colour'} pixels",
        "natural": hits / len(label_N),
        "shifted": other,
        "n_natural": len(label_N),
        "n_shifted": len(label_M),
    }


def pixels_of(found: LabelledSet, *, side: int, grey: bool) -> tuple[np.ndarray, np.ndarray]:
    rows = []
    for index in range(len(found)):
        image = Image.fromarray(open_image(found.image(index))).convert("L" if grey else "RGB")
        rows.append(np.asarray(image.resize((side, side), Image.Resampling.BOX), dtype=np.float32).ravel() / 255 - 0.5)
    return np.stack(rows), np.array([found.label(index) for index in range(len(found))])


if __name__ == "__main__":
    main()

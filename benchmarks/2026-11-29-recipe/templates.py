"""Which templates suit the box: every set that the package has, on images that were held out of its training.

    python templates.py HELD

HELD is what `hold_out.py` wrote. A line for each: its name, how many templates, top-1 of the 200, 75 and 100 classes,
and of all images.
"""

import sys
from pathlib import Path

import seesay
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet
from seesay.data.prompts import TEMPLATES

HELD = ("held-tinyimagenet", "held-miniimagenet", "held-places")


def main(held: Path) -> None:
    model = seesay.load("box")
    sets = [evalset for name in HELD if isinstance(evalset := open_evalset(held / name), LabelledSet)]
    rows = [model.encode_images([own.image(index) for index in range(len(own))]) for own in sets]
    for name, templates in {"its own": model.templates, **TEMPLATES}.items():
        right = []
        for own, row_ND in zip(sets, rows, strict=True):
            best = model.classifier(own.class_names, templates).scores(row_ND).argmax(1).tolist()
            right.append(sum(own.label(index) == label for index, label in enumerate(best)))
        shares = " ".join(f"{100 * count / len(own):.1f}" for count, own in zip(right, sets, strict=True))
        print(f"{name:16s} {len(templates):3d}  {shares}  {100 * sum(right) / sum(map(len, sets)):.2f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""A model moved to another size of images: every tensor beside open_clip's, and what it costs without training.

    PYTHONPATH=src:PEERS python benchmarks/2026-11-29-reshape/run.py parity
    python benchmarks/2026-11-29-reshape/run.py box ../shared/data

`parity` is for an environment with open_clip (PEERS has a shim for its torchvision, if one is needed). `box` moves the
model in the box, a convolutional tower of 48 px, to other sizes.
"""

import sys
import tempfile
from pathlib import Path

import torch

import seesay

# open_clip resizes no attention pool of a ResNet; ours is compared with torch in the tests.
MODELS = {"ViT-B/32": 320, "ViT-B/16": 336}
SETS = ("eval-tinyimagenet-val", "eval-cifar10", "eval-rsicd30")
SIZES = (48, 40, 56, 64)


def parity() -> None:
    import tvshim  # type: ignore[import-not-found] # noqa: F401, I001
    import open_clip  # type: ignore[import-not-found]

    from seesay.model.build import build

    for name, size in MODELS.items():
        model = build(name)
        with tempfile.TemporaryDirectory() as folder:
            old, new = Path(folder) / "old", Path(folder) / "new"
            seesay.convert(model, old, to="open_clip")
            seesay.convert(model, new, to="open_clip", image_size=size)
            # Theirs: built for the new size, its weights read from the old folder and resized by their own function.
            theirs = open_clip.create_model(f"local-dir:{old}", force_image_size=size, pretrained_image=False)
            ours = open_clip.create_model(f"local-dir:{new}")
            mine, other = ours.state_dict(), theirs.state_dict()
            differ = {
                key: float((mine[key] - other[key]).abs().max()) for key in mine if mine[key].shape == other[key].shape
            }
            shapes = [key for key in mine if mine[key].shape != other[key].shape]
            changed = {key: value for key, value in differ.items() if value}
            before = seesay.load(old).clip.state_dict()
            after = seesay.load(new).clip.state_dict()
            moved = [key for key in before if not torch.equal(before[key], after[key])]
            print(f"{name} to {size} px, {len(mine)} tensors: unequal {changed}, other shapes {shapes}; moved {moved}")


def box(data: Path) -> None:
    model = seesay.load("box")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            seesay.convert(model, Path(folder) / "new", image_size=size)
            moved = seesay.load(Path(folder) / "new")
            rows = seesay.evaluate(moved, [str(data / name) for name in SETS], cache=False).rows()
            # The first row of a set is its top-1.
            tops = {row["set"]: row for row in reversed(rows)}
            words = ", ".join(f"{name} {100 * row['value']:.1f}" for name, row in tops.items())
            print(f"box at {size} px: {words}", flush=True)


if __name__ == "__main__":
    parity() if sys.argv[1] == "parity" else box(Path(sys.argv[2]))

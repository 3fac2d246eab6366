"""What a model makes of labelled sets and of the words it learned from: unit rows, labels and counts, in one file.

    python encode.py MODEL OUT.npz --pairs TRAIN... --sets SET...

N = images, C = classes, D = embedding width.
"""

import argparse
import re
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch

import seesay
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet
from seesay.model.encode import encode_image_set

WORD = re.compile(r"[a-z0-9]+")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=Path, nargs="*", default=[])
    parser.add_argument("--sets", type=Path, nargs="+", required=True)
    parser.add_argument("--size", type=int, help="side of images in pixels, where it is not the model's own")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = seesay.load(given.model)
    if given.size:
        model.preprocess = model.preprocess.model_copy(update={"size": given.size})
    kept: dict[str, np.ndarray] = {"scale": np.array(model.logit_scale)}
    pairs, counts = word_counts(given.pairs)
    kept["pairs"] = np.array(pairs)
    kept["words"], kept["counts"] = np.array(list(counts)), np.array(list(counts.values()))
    for location in given.sets:
        labelled = open_evalset(location)
        if not isinstance(labelled, LabelledSet):
            continue
        name = location.name.removeprefix("judge-").removeprefix("held-")
        image_ND, read, _ = encode_image_set(model, labelled.image, len(labelled))
        kept[f"{name}/images"] = image_ND.numpy()
        kept[f"{name}/labels"] = np.array([labelled.label(index) for index in read])
        kept[f"{name}/names"] = np.array(labelled.class_names)
        kept[f"{name}/rows"] = model.classifier(labelled.class_names).weights.numpy()
        print(name, image_ND.shape, len(labelled.class_names), flush=True)
    np.savez_compressed(given.out, **kept)


def word_counts(folders: list[Path]) -> tuple[int, Counter[str]]:
    """How many pairs there are, and in how many pairs' captions each word stands."""
    pairs, counts = 0, Counter()
    for path in sorted(file for folder in folders for file in folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".txt"):
                    file = tar.extractfile(member)
                    assert file is not None
                    pairs += 1
                    counts.update(set(WORD.findall(file.read().decode().lower())))
    return pairs, counts


if __name__ == "__main__":
    main()

"""Which mean to take off an image, and which penalty: how often the named class is among the concepts of an image.

    python benchmarks/2026-11-29-explain/concepts.py DATA [MODEL]

200 images of `eval-tinyimagenet-val`, whose 200 class names are the concepts. "images" is SpLiCE's own way, with the
mean of 200 other images of the set; "grey" takes five grey images in their place. The penalty is a share of the one at
which no concept is left.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import seesay
from seesay.data.evalsets import open_evalset
from seesay.formulas.concepts import sparse_sum

COUNT = 200

if __name__ == "__main__":
    model = seesay.load(sys.argv[2] if len(sys.argv) > 2 else "box")
    evalset = open_evalset(str(Path(sys.argv[1]) / "eval-tinyimagenet-val"))
    chosen = np.random.default_rng(0).permutation(len(evalset))[: 2 * COUNT].tolist()
    pixels = torch.stack([model.preprocess.read(evalset.image(index)) for index in chosen])
    labels = [evalset.label(index) for index in chosen[:COUNT]]
    images = model.encode_pixels(pixels).double()
    words = model.classifier(evalset.class_names).weights.double()
    ranked = (images[:COUNT] @ words.T).topk(5).indices.tolist()
    first = np.mean([row[0] == label for row, label in zip(ranked, labels, strict=True)])
    in_five = np.mean([label in row for row, label in zip(ranked, labels, strict=True)])
    print(f"zero-shot: first {first:.3f}, among five {in_five:.3f}")
    greys = torch.stack([torch.full_like(pixels[0], level) for level in (0, 64, 128, 192, 255)])
    means = {
        "nothing": torch.zeros(images.shape[1]).double(),
        "grey": model.encode_pixels(greys).double().mean(0),
        "images": images[COUNT:].mean(0),
    }
    concepts = F.normalize(words - words.mean(0), dim=1).numpy()
    for name, mean in means.items():
        for penalty in (0.25, 0.5, 0.7):
            sizes, firsts, fives = [], [], []
            for row, label in zip(images[:COUNT], labels, strict=True):
                target = F.normalize(row - mean, dim=0).numpy()
                weights = sparse_sum(target, concepts, penalty=penalty * float((concepts @ target).max()))
                order = [index for index in np.argsort(-weights, kind="stable") if weights[index] > 0]
                sizes.append(len(order))
                firsts.append(order[:1] == [label])
                fives.append(label in order[:5])
            print(
                f"less {name:8} penalty {penalty}: first {np.mean(firsts):.3f}, among five {np.mean(fives):.3f}, "
                f"concepts {np.median(sizes):.0f}",
                flush=True,
            )

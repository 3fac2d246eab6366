"""How much of an image's usual cosine is best taken off: recall of the hidden copies by weight, one threshold for all.

    python benchmarks/2026-11-29-overlap/choose_weight.py --data ../shared/data --hidden hidden --every 6

Of the training images each sixth is searched. Precision counts a match with anything but the image's own copy as wrong,
also where an eye sees the same image.

N = images of the sets, K = matches kept.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from seesay.data.evalsets import open_evalset
from seesay.data.pairs import open_pairs
from seesay.evaluation.overlap_search import image_of
from seesay.model.detector import MATCHES, CopyDetector

WEIGHTS = (0.0, 0.3, 0.5, 0.7, 1.0)
PRECISIONS = (0.99, 0.97, 0.95, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--hidden", type=Path, default=Path("hidden"))
    parser.add_argument("--every", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    detector = CopyDetector()
    truth = json.loads((arguments.hidden / "truth.json").read_text())
    copy_of = {(own["set"], own["eval"]): number for number, own in enumerate(truth)}
    rows, own = [], []
    for folder in sorted(arguments.data.glob("eval-*")):
        if folder.name != "eval-shift-photo32":
            source = open_evalset(folder)
            rows.append(detector.describe(lambda n, s=source: image_of(s, n), range(len(source))).row_ND)
            own += [copy_of.get((source.name, source.key(n)), -1) for n in range(len(source))]
    searched = []
    for path in (arguments.hidden / "copies.tar", *sorted(arguments.data.glob("train-*"))):
        source = open_pairs([path])
        step = 1 if path.suffix == ".tar" else arguments.every
        searched.append(detector.describe(lambda n, s=source: s[n].image, range(0, len(source), step)).row_ND)
    cosine_NK, at_NK = (torch.cat(rows) @ torch.cat(searched).T).topk(MATCHES, dim=1)
    own_N = np.array(own)
    is_right_N = (at_NK[:, 0].numpy() == own_N) & (own_N >= 0)
    print(f"nearest is the copy: {100 * is_right_N.sum() / len(truth):.2f} %")
    print("| weight | " + " | ".join(f"recall at {100 * p:.0f} %" for p in PRECISIONS) + " |")
    for weight in WEIGHTS:
        similarity_N = (cosine_NK[:, 0] - weight * cosine_NK[:, MATCHES // 2 :].mean(1)).numpy()
        right_N = is_right_N[np.argsort(-similarity_N)]
        precision_N = right_N.cumsum() / np.arange(1, len(right_N) + 1)
        recalls = [
            right_N[: np.flatnonzero(precision_N >= p).max(initial=-1) + 1].sum() / len(truth) for p in PRECISIONS
        ]
        print(f"| {weight} | " + " | ".join(f"{100 * recall:.1f}" for recall in recalls) + " |")


if __name__ == "__main__":
    main()

"""How much what two images agree in, laid over each other, is best added to their similarity; and from where it counts.

    python benchmarks/2026-11-29-overlap/choose_agreement.py --data ../shared/data --hidden hidden --every 6

Of the training images each sixth is searched. `hidden` are copies of the seed 7, and what is reported is measured on
those of the seed 8. First recall at a precision of 99 % and 97 % with one threshold for all sets, by the weight of the
correlation and that of stretch and shear; then for each set what the nearest and the second nearest have that are no
copy of the image. Precision counts a match with anything but the image's own copy as wrong, also where an eye sees the
same image.

N = images of the sets, K = matches kept, C = those looked at closely.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from seesay.data.evalsets import open_evalset
from seesay.data.pairs import open_pairs
from seesay.evaluation.overlap_match import CLOSELY, greys
from seesay.evaluation.overlap_search import image_of
from seesay.formulas.alignment import END, LOWEST, WEIGHT, laid_over
from seesay.model.detector import MATCHES, USUAL_WEIGHT, CopyDetector, squashed_images

WEIGHTS, PENALTIES, PRECISIONS = (0.0, 0.05, 0.1, 0.2, 0.3), (0.0, 0.5, 1.0, 2.0), (0.99, 0.97)
BLOCK = 64


def recall_at(best_N: np.ndarray, is_right_N: np.ndarray, copies: int, precision: float) -> float:
    right_N = is_right_N[np.argsort(-best_N, kind="stable")]
    precision_N = right_N.cumsum() / np.arange(1, len(right_N) + 1)
    return right_N[: np.flatnonzero(precision_N >= precision).max(initial=-1) + 1].sum() / copies


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
    pairs = [open_pairs([arguments.hidden / "copies.tar"]), open_pairs(sorted(arguments.data.glob("train-*")))]
    chosen = [*((0, n) for n in range(len(pairs[0]))), *((1, n) for n in range(3, len(pairs[1]), arguments.every))]

    def train_image(number: int) -> bytes:
        side, n = chosen[number]
        return pairs[side][n].image

    searched = detector.describe(train_image, range(len(chosen)))
    sets, parts, own, similarity, is_own = [], [], [], [], []
    for folder in sorted(arguments.data.glob("eval-*")):
        if folder.name == "eval-shift-photo32":
            continue
        source = open_evalset(folder)
        described = detector.describe(lambda n, s=source: image_of(s, n), range(len(source)))
        cosine_NK, at_NK = (described.row_ND @ searched.row_ND.T).topk(MATCHES, dim=1)
        number_NC = torch.from_numpy(searched.index)[at_NK[:, :CLOSELY]]
        usual_N1 = cosine_NK[:, MATCHES // 2 :].mean(1, keepdim=True)
        found = []
        for first in range(0, len(described.index), BLOCK):
            index = described.index[first : first + BLOCK].tolist()
            evals = squashed_images(lambda n, s=source: image_of(s, n), index)[0]
            number_BC = number_NC[first : first + BLOCK]
            trains = squashed_images(train_image, number_BC.unique().tolist())[0]
            each = [(evals[n], trains[m]) for n, row in zip(index, number_BC.tolist(), strict=True) for m in row]
            with torch.inference_mode():
                found.append(torch.stack(laid_over(*map(greys, zip(*each, strict=True))), 1))
        parts.append(torch.cat(found).view(-1, CLOSELY, 3).numpy())
        similarity.append((cosine_NK[:, :CLOSELY] - USUAL_WEIGHT * usual_N1).numpy())
        own_N = np.array([copy_of.get((source.name, source.key(n)), -1) for n in described.index.tolist()])
        is_own.append(number_NC.numpy() == own_N[:, None])
        own.append(own_N)
        sets += [source.name] * len(own_N)
    part_NC3, similarity_NC, is_own_NC = (np.concatenate(each) for each in (parts, similarity, is_own))

    def likeness(weight: float, penalty: float) -> np.ndarray:
        r_NC, stretch_NC, shear_NC = part_NC3.transpose(2, 0, 1)
        added_NC = -weight * np.log(END - np.clip(r_NC, 0, 1)) - penalty * (stretch_NC + shear_NC)
        return similarity_NC + np.maximum(added_NC, LOWEST)

    print("| weight of r | stretch and shear | " + " | ".join(f"recall at {100 * p:.0f} %" for p in PRECISIONS) + " |")
    for weight in WEIGHTS:
        for penalty in PENALTIES if weight else PENALTIES[:1]:
            like_NC = likeness(weight, penalty)
            is_right_N = np.take_along_axis(is_own_NC, like_NC.argmax(1)[:, None], 1)[:, 0]
            recalls = [recall_at(like_NC.max(1), is_right_N, len(truth), precision) for precision in PRECISIONS]
            print(f"| {weight} | {penalty} | " + " | ".join(f"{100 * recall:.1f}" for recall in recalls) + " |")
    like_NC = likeness(WEIGHT, 1.0)
    print("\n| set | own copy: lowest 2, 5, 10 % | no copy: 99 %, three largest | second: 99 %, three largest |")
    for name in dict.fromkeys(sets):
        is_set_N = np.array(sets) == name
        sorted_NC = -np.sort(-like_NC, 1)
        others_N = sorted_NC[is_set_N & (np.concatenate(own) < 0), 0]
        cells = [np.quantile(like_NC[is_own_NC & is_set_N[:, None]], (0.02, 0.05, 0.1))]
        cells += [np.r_[np.quantile(x, 0.99), np.sort(x)[::-1][:3]] for x in (others_N, sorted_NC[is_set_N, 1])]
        print(f"| {name} | " + " | ".join(" ".join(f"{value:.2f}" for value in cell) for cell in cells) + " |")


if __name__ == "__main__":
    main()

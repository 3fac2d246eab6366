"""Right answers of two models on the same sets, paired: what `encode.py` of ../2026-11-29-calibration wrote of each.

    python near_trial.py WITHOUT.npz WITH.npz

N = images, C = names.
"""

import sys

import numpy as np


def hits(file: "np.lib.npyio.NpzFile", name: str) -> np.ndarray:
    score_NC = file[f"{name}/images"] @ file[f"{name}/rows"].T
    return score_NC.argmax(1) == file[f"{name}/labels"]


def main(first: str, second: str) -> None:
    files = [np.load(path) for path in (first, second)]
    print("| set | n | names | without, % | with, % | difference, points, 95 % |\n|---|---|---|---|---|---|")
    for name in (key.removesuffix("/images") for key in files[0].files if key.endswith("/images")):
        without_N, with_N = (hits(file, name) for file in files)
        change_N = with_N.astype(int) - without_N
        half = 1.96 * change_N.std() / len(change_N) ** 0.5
        print(
            f"| {name} | {len(change_N)} | {len(files[0][f'{name}/rows'])} | {100 * without_N.mean():.1f} | "
            f"{100 * with_N.mean():.1f} | {100 * change_N.mean():+.1f} ± {100 * half:.1f} |"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])

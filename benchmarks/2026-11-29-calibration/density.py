"""Would it help to know how near an image is to those of the training? Tried beside the best cosine, and not kept.

    python density.py BOX.npz SIDE0.npz SIDE1.npz --models box RUN0/model RUN1/model --pairs HELD SIDE0 SIDE1

The first three as for `fit.py`; --pairs are the folders with the train-* shards of each, of which a share of images is
encoded (--share, 1 in 20 of the box's). Printed is the mean error of the sets of `fit.py`'s table, each by a fit that
never saw its kind. Nothing of an eval-* set is read.

N = images, T = images of the training, D = width of rows.
"""

import argparse
import tarfile
from pathlib import Path

import numpy as np
import torch
from fit import FOLDS, KNOWN, Encoded, Fitted, Task, WordNet, renamed, tasks_of

import seesay
from seesay.formulas.reliability import reliability
from seesay.model.encode import encode_image_set

# The two trainings saw images at this size (their sides were ended before the larger ones).
SIDE_OF_OTHERS = 32


class Density:
    """How near rows are to those of the training."""

    def __init__(self, trained_TD: np.ndarray):
        self.trained_TD, self.mean_D = trained_TD, trained_TD.mean(0)
        value_D, vector_DD = np.linalg.eigh(np.cov((trained_TD - self.mean_D).T))
        self.value_D, self.vector_DD = value_D[::-1], vector_DD[:, ::-1]

    def mahalanobis(self, row_ND: np.ndarray) -> np.ndarray:
        """The logarithm of the mean square along each axis of the training, in its own deviations."""
        along_ND = (row_ND - self.mean_D) @ self.vector_DD
        return np.log((along_ND**2 / (self.value_D + 1e-3 * self.value_D[0])).mean(1))

    def nearest(self, row_ND: np.ndarray) -> np.ndarray:
        """The mean cosine of the ten nearest."""
        return np.sort(row_ND @ self.trained_TD.T, 1)[:, -10:].mean(1)


def trained_rows(model: str, folder: Path, *, side: int | None, share: float) -> np.ndarray:
    opened, random, images = seesay.load(model), np.random.default_rng(0), []
    if side:
        opened.preprocess = opened.preprocess.model_copy(update={"size": side})
    for path in sorted(folder.glob("train-*/*.tar")):
        with tarfile.open(path) as tar:
            members = [member for member in tar.getmembers() if not member.name.endswith((".txt", ".json"))]
            chosen = random.permutation(len(members))[: max(1, int(share * len(members)))]
            images += [tar.extractfile(members[number]).read() for number in chosen]
    return encode_image_set(opened, images.__getitem__, len(images))[0].double().numpy()


class FittedWith(Fitted):
    """With the number `extra` of each image beside familiarity and best cosine, or in the latter's place."""

    def __init__(self, tasks: list[Task], extra, *, has_cosine: bool):
        self.more, self.has_cosine = extra, has_cosine
        super().__init__(tasks)

    def features(self, task: Task) -> torch.Tensor:
        columns = super().features(task)
        columns = columns if self.has_cosine else columns[:, :-1]
        columns_more = [torch.from_numpy(self.more(task)).float()[:, None]] if self.more else []
        return torch.cat([columns, *columns_more], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoded", type=Path, nargs=3)
    parser.add_argument("--models", nargs=3, required=True)
    parser.add_argument("--pairs", type=Path, nargs=3, required=True)
    parser.add_argument("--share", type=float, nargs=3, default=(0.05, 0.25, 0.25))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    models = [Encoded(name, path) for name, path in zip(KNOWN, given.encoded, strict=True)]
    renamed(models[0], seesay.load("box"), given.data, WordNet(given.wordnet))
    random, tasks, density = np.random.default_rng(0), [], {}
    for number, (encoded, model, folder) in enumerate(zip(models, given.models, given.pairs, strict=True)):
        side = SIDE_OF_OTHERS if number else None
        density[encoded.name] = Density(trained_rows(model, folder, side=side, share=given.share[number]))
        tasks += tasks_of(encoded, random)
    ways = {
        "": None,
        "Mahalanobis": lambda task: density[task.model].mahalanobis(task.row_ND),
        "ten nearest": lambda task: density[task.model].nearest(task.row_ND),
    }
    for name, extra in ways.items():
        for has_cosine in (True, False) if extra else (True,):
            errors = []
            for fold in FOLDS:
                others = [task for task in tasks if task.set not in fold]
                fitted = FittedWith(others, extra, has_cosine=has_cosine)
                own = [task for task in tasks if task.set in fold and task.is_whole]
                errors += [reliability(fitted.confidence(task), task.hit_N).expected_error for task in own]
            what = " and ".join(["best cosine"] * has_cosine + [name] * bool(name))
            print(f"{what}: {100 * np.mean(errors):.1f} %", flush=True)


if __name__ == "__main__":
    main()

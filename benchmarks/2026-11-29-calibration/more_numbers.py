"""Which other numbers would say how sure an answer may be? Tried beside familiarity and best cosine, and not kept.

    python more_numbers.py BOX.npz SIDE0.npz SIDE1.npz --models box RUN0/model RUN1/model \\
        --pairs HELD SIDE0 SIDE1 --data DATA

The first three as for `fit.py`; --pairs are the folders with the train-* shards of each, of which a share of images is
encoded (--share). Printed is the mean error of the sets of `fit.py`'s table, each by a fit that never saw its kind, and
how far confidence and share of right answers lie apart in the mean. Nothing of an eval-* set is read.

N = images, C = names, T = images of the training, K = means of them, D = width of rows.
"""

import argparse
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from fit import FOLDS, KNOWN, Encoded, Fitted, Task, WordNet, renamed, tasks_of

import seesay
from seesay.formulas.reliability import reliability
from seesay.model.confidence import WORD
from seesay.model.encode import encode_image_set

MEANS, ROUNDS, NEAREST, FEWEST = 500, 8, 10, 4
MOST_APART = 4.0


class Trained:
    """What a model makes of images and words of its training."""

    def __init__(self, model: str, folder: Path, *, share: float):
        opened, random, images = seesay.load(model), np.random.default_rng(0), []
        counts, said = Counter(), []
        for path in sorted(folder.glob("train-*/*.tar")):
            for image, caption in pairs_of(path):
                words = set(WORD.findall(caption.lower()))
                counts.update(words)
                if random.random() < share:
                    images.append(image)
                    said.append(words)
        rows, read, _ = encode_image_set(opened, images.__getitem__, len(images))
        self.row_TD = rows.double().numpy()
        self.mean_D, self.cov_DD = self.row_TD.mean(0), np.cov(self.row_TD.T)
        self.scale = opened.logit_scale
        self.mean_KD = self.means(random)
        self.apart = self.words_apart(opened, counts, [said[number] for number in read])

    def means(self, random: np.random.Generator) -> np.ndarray:
        """Unit means of images that lie together (k-means by cosine)."""
        mean_KD = self.row_TD[random.choice(len(self.row_TD), MEANS, replace=False)]
        for _ in range(ROUNDS):
            total_KD = np.zeros_like(mean_KD)
            np.add.at(total_KD, (self.row_TD @ mean_KD.T).argmax(1), self.row_TD)
            length_K1 = np.linalg.norm(total_KD, axis=1, keepdims=True)
            mean_KD = np.where(length_K1 > 0, total_KD / length_K1.clip(1e-9), mean_KD)
        return mean_KD

    def words_apart(self, model: "seesay.Model", counts: Counter, said: list[set[str]]) -> dict[str, float]:
        """Of each word how far the images that have it in a caption lie from the others, in their deviation."""
        words = sorted(word for word, count in counts.items() if count >= FEWEST)
        row_WD = model.classifier(words).weights.double().numpy()
        place = {word: number for number, word in enumerate(words)}
        total_W, count_W = np.zeros(len(words)), np.zeros(len(words))
        for row_D, own in zip(self.row_TD, said, strict=True):
            pick = [place[word] for word in own if word in place]
            total_W[pick] += row_WD[pick] @ row_D
            count_W[pick] += 1
        deviation_W = np.sqrt(np.einsum("wd,de,we->w", row_WD, self.cov_DD, row_WD))
        apart_W = (total_W / count_W.clip(1) - row_WD @ self.mean_D) / deviation_W
        return {word: apart_W[place[word]] for word in words if count_W[place[word]]}

    def mahalanobis(self, task: Task) -> np.ndarray:
        """The logarithm of the mean square along each axis of the training, in its own deviations."""
        value_D, vector_DD = np.linalg.eigh(self.cov_DD)
        along_ND = (task.row_ND - self.mean_D) @ vector_DD
        return np.log((along_ND**2 / (value_D + 1e-3 * value_D[-1])).mean(1))

    def nearest(self, task: Task) -> np.ndarray:
        """The mean cosine of the ten nearest images."""
        return np.sort(task.row_ND @ self.row_TD.T, 1)[:, -NEAREST:].mean(1)

    def nearest_means(self, task: Task) -> np.ndarray:
        """The mean cosine of the three nearest of 500 means, which are 128 KB as int8."""
        return np.sort(task.row_ND @ self.mean_KD.T, 1)[:, -3:].mean(1)

    def learned(self, task: Task) -> float:
        """How far apart the words of the names put images of the training: of each name its worst word, the mean."""
        worst = [min((self.apart.get(word, 0.0) for word in WORD.findall(name.lower())), default=0.0)
                 for name in task.names]  # fmt: skip
        return float(np.clip(worst, 0, MOST_APART).mean())

    def told_apart(self, task: Task) -> float:
        """The deviation over images of the training of the logits of a name, less those of all names."""
        own_CD = task.name_CD - task.name_CD.mean(0)
        return self.scale * float(np.sqrt(np.einsum("cd,de,ce->c", own_CD, self.cov_DD, own_CD).mean()))

    def favoured(self, task: Task) -> np.ndarray:
        """By how much the best name has larger logits than the others for images of the training."""
        mean_C = self.scale * task.name_CD @ self.mean_D
        return mean_C[task.answer_N] - mean_C.mean()


def pairs_of(path: Path):
    """(Image, caption) of a shard."""
    with tarfile.open(path) as tar:
        parts: dict[str, dict[str, bytes]] = {}
        for member in tar:
            key, _, ending = member.name.rpartition(".")
            parts.setdefault(key, {})[ending] = tar.extractfile(member).read()
    for own in parts.values():
        yield next(data for ending, data in own.items() if ending not in ("txt", "json")), own["txt"].decode()


def alike(task: Task) -> float:
    """The mean cosine between two names."""
    count = len(task.names)
    return float((task.name_CD @ task.name_CD.T).sum() - count) / (count * (count - 1))


class FittedWith(Fitted):
    """With more numbers of each image beside familiarity and best cosine, or in the latter's place."""

    def __init__(self, tasks: list[Task], more, *, has_cosine: bool):
        self.more, self.has_cosine = more, has_cosine
        super().__init__(tasks)

    def features(self, task: Task) -> torch.Tensor:
        columns = super().features(task)
        columns = columns if self.has_cosine else columns[:, :-1]
        own = [np.broadcast_to(each(task), task.best_N.shape) for each in self.more]
        return torch.cat([columns, *(torch.tensor(each, dtype=torch.float32)[:, None] for each in own)], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoded", type=Path, nargs=3)
    parser.add_argument("--models", nargs=3, required=True)
    parser.add_argument("--pairs", type=Path, nargs=3, required=True)
    parser.add_argument("--share", type=float, nargs=3, default=(0.1, 0.25, 0.25))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    models = [Encoded(name, path) for name, path in zip(KNOWN, given.encoded, strict=True)]
    renamed(models[0], seesay.load("box"), given.data, WordNet(given.wordnet))
    random, tasks, trained = np.random.default_rng(0), [], {}
    for encoded, model, folder, share in zip(models, given.models, given.pairs, given.share, strict=True):
        trained[encoded.name] = Trained(model, folder, share=share)
        tasks += tasks_of(encoded, random)
    of_model = {
        name: lambda task, own=own: own(trained[task.model], task)
        for name, own in {
            "ten nearest images": Trained.nearest,
            "three nearest means": Trained.nearest_means,
            "Mahalanobis distance": Trained.mahalanobis,
            "words learned": Trained.learned,
            "names told apart": Trained.told_apart,
            "best name favoured": Trained.favoured,
        }.items()
    }
    numbers = {"number of names": lambda task: np.log(len(task.names)), "names alike": alike, **of_model}
    ways = {(): [], **{(name,): [own] for name, own in numbers.items()}}
    for pair in (("words learned", "ten nearest images"), ("names alike", "ten nearest images")):
        ways[pair] = [numbers[name] for name in pair]
    for names, more in ways.items():
        for has_cosine in (True, False) if names else (True,):
            errors, apart = [], []
            for fold in FOLDS:
                fitted = FittedWith([task for task in tasks if task.set not in fold], more, has_cosine=has_cosine)
                for task in (task for task in tasks if task.set in fold and task.is_whole):
                    sure_N = fitted.confidence(task)
                    errors.append(reliability(sure_N, task.hit_N).expected_error)
                    apart.append(abs(sure_N.mean() - task.hit_N.mean()))
            what = " and ".join(["best cosine"] * has_cosine + list(names))
            print(f"{what}: {100 * np.mean(errors):.1f} %, {100 * np.mean(apart):.1f}", flush=True)


if __name__ == "__main__":
    main()

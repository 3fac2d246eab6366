"""Fit the temperature of the model in the box by how well names and images are known, and write it into its file.

    python fit.py BOX.npz SIDE0.npz SIDE1.npz --wordnet /usr/share/wordnet --data DATA [--box FOLDER]

The three are of `encode.py`: the box with the images held out of its training, and two models that each never saw half
of the kinds (`leave_out.py`). Of each set its images among all its names, and among names drawn from them. For the box
some of the kinds that it knows are asked for by words that it does not. The line is fitted to "is the best name
right?", with a start for each model; the table has what each set gets from a fit that never saw its kind. Nothing of an
eval-* set is read.

N = images, C = names.
"""

import argparse
import json
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

import seesay
from seesay.formulas.calibration import softmax_temperature
from seesay.formulas.confidence import TemperatureLine, familiarity
from seesay.formulas.reliability import reliability
from seesay.model.confidence import CONFIDENCE, WORD

sys.path.insert(0, str(Path(__file__).parents[1] / "2026-11-29-recipe"))
from broader_words import WordNet
from hold_out import names_of

# The sets by which each model's own temperature was found: kinds that it knows.
KNOWN = {
    "box": ("tinyimagenet", "miniimagenet", "places"),
    "side 0": ("imagenet-0", "rsicd"),
    "side 1": ("imagenet-1", "places", "instruments", "sports", "fashion", "scene"),
}
# What is left out together, so that no set is judged by a fit that saw its kind.
FOLDS = (
    ("instruments", "scene", "imagenet-0", "tinyimagenet"),
    ("monkey", "ikea", "weather", "tinyimagenet, rare words"),
    ("fashion", "trash", "rsicd", "miniimagenet, rare words", "miniimagenet"),
    ("food", "sports", "emoji", "places", "imagenet-1"),
)
MOST_NAMES, MOST_IMAGES, DRAWS = 142, 200, 3
# Words in fewer pairs count as none; a class is asked for by a rare word where it stands in fewer pairs than this.
FEWEST_PAIRS, RARE = 4, 30


@dataclass
class Set:
    image_ND: np.ndarray
    label_N: np.ndarray
    names: list[str]
    row_CD: np.ndarray

    def among(self, pick_C: np.ndarray) -> "Set":
        """The images that show one of these names, and no other names."""
        place = np.full(len(self.names), -1)
        place[pick_C] = np.arange(len(pick_C))
        kept = place[self.label_N] >= 0
        names = [self.names[index] for index in pick_C]
        return Set(self.image_ND[kept], place[self.label_N[kept]], names, self.row_CD[pick_C])


class Encoded:
    """What `encode.py` wrote of a model."""

    def __init__(self, name: str, path: Path):
        file = np.load(path)
        self.name, self.scale = name, float(file["scale"])
        self.pairs = int(file["pairs"])
        self.count_of = dict(zip(file["words"].tolist(), file["counts"].tolist(), strict=True))
        names = [key.removesuffix("/images") for key in file.files if key.endswith("/images")]
        self.sets = {
            name: Set(
                file[f"{name}/images"], file[f"{name}/labels"], file[f"{name}/names"].tolist(), file[f"{name}/rows"]
            )
            for name in names
        }

    def rarest(self, name: str) -> int:
        """How many pairs have the rarest word of a name, as `model.json` will have it: cut to a power of 2."""
        count = min((self.count_of.get(word, 0) for word in WORD.findall(name.lower())), default=0)
        return 0 if count < FEWEST_PAIRS else 2 ** int(np.log2(count))

    def log_scale(self) -> float:
        """Of the one temperature that suits the kinds that it knows."""
        inverses = [
            1 / softmax_temperature(self.scale * own.image_ND @ own.row_CD.T, own.label_N)
            for own in (self.sets[name] for name in KNOWN[self.name])
        ]
        return float(np.log(self.scale * np.mean(inverses)))


@dataclass
class Task:
    """Images among names: logits less the best one, at the temperature for known kinds, padded to `MOST_NAMES`."""

    model: str
    set: str
    is_whole: bool
    below_NC: np.ndarray
    best_N: np.ndarray
    hit_N: np.ndarray
    familiarity: float
    row_ND: np.ndarray
    names: list[str]
    name_CD: np.ndarray
    answer_N: np.ndarray


def tasks_of(encoded: Encoded, random: np.random.Generator) -> list[Task]:
    found, scale = [], np.exp(encoded.log_scale())
    print(f"{encoded.name}: {encoded.pairs:,} pairs, factor {encoded.scale:.1f}, for what it knows {scale:.1f}")
    for name, own in encoded.sets.items():
        most = min(len(own.names), MOST_NAMES)
        sizes = [most, *np.exp(random.uniform(np.log(min(5, most)), np.log(most + 1), DRAWS)).astype(int)]
        for number, size in enumerate(sizes):
            few = own.among(np.sort(random.choice(len(own.names), max(3, min(size, most)), replace=False)))
            kept = random.permutation(len(few.label_N))[: MOST_IMAGES if number == 0 else 80]
            if len(kept) < 15:
                continue
            cosine_NC = few.image_ND[kept] @ few.row_CD.T
            best_N = cosine_NC.max(1)
            below_NC = np.full((len(kept), MOST_NAMES), -1e5, np.float32)
            below_NC[:, : len(few.names)] = scale * (cosine_NC - best_N[:, None])
            answer_N = cosine_NC.argmax(1)
            hit_N = answer_N == few.label_N[kept]
            mean = np.mean([familiarity([encoded.rarest(each)], encoded.pairs) for each in few.names])
            asked = few.image_ND[kept], few.names, few.row_CD, answer_N
            found.append(Task(encoded.name, name, number == 0, below_NC, best_N, hit_N, float(mean), *asked))
    return found


class Fitted:
    """log T = start of the model + names * familiarity + cosine * best cosine, over some tasks."""

    def __init__(self, tasks: list[Task]):
        self.models = sorted({task.model for task in tasks})
        x_NF, below_NC, hit_N = (torch.cat([part(task) for task in tasks]) for part in (self.features, below, hits))
        weight_N = torch.cat([torch.full((len(task.hit_N),), len(task.hit_N) ** -0.5) for task in tasks])
        line_F = torch.zeros(x_NF.shape[1], requires_grad=True)
        optimizer = torch.optim.LBFGS([line_F], max_iter=60, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            log_N = log_confidence(below_NC, x_NF @ line_F)
            other_N = torch.log1p(-log_N.exp().clamp_max(1 - 1e-5))
            total = -(weight_N * torch.where(hit_N, log_N, other_N)).sum() / weight_N.sum()
            total.backward()
            return total

        optimizer.step(loss)
        self.line_F = line_F.detach()

    def features(self, task: Task) -> torch.Tensor:
        own = [np.full(len(task.best_N), float(task.model == name)) for name in self.models]
        columns = [*own, np.full(len(task.best_N), task.familiarity), task.best_N]
        return torch.tensor(np.stack(columns, 1), dtype=torch.float32)

    def confidence(self, task: Task) -> np.ndarray:
        return log_confidence(below(task), self.features(task) @ self.line_F).exp().double().numpy()


def below(task: Task) -> torch.Tensor:
    return torch.from_numpy(task.below_NC)


def hits(task: Task) -> torch.Tensor:
    return torch.from_numpy(task.hit_N)


def log_confidence(below_NC: torch.Tensor, log_t_N: torch.Tensor) -> torch.Tensor:
    return (below_NC / log_t_N.exp()[:, None]).log_softmax(1).amax(1)


def renamed(box: Encoded, model: "seesay.Model", data: Path, wordnet: WordNet) -> None:
    """Add sets of the classes of ImageNet that WordNet has a word for that is rare in the box's captions."""
    number_of = {}
    for name in ("train-tinyimagenet2", "train-miniimagenet2"):
        number_of |= {label: number for number, label in names_of(data / name / "wnid_names.tsv").items()}
    for name in ("tinyimagenet", "miniimagenet"):
        own = box.sets[name]
        words = [[word.replace("_", " ") for word in wordnet.words[int(number_of[each][1:])]] for each in own.names]
        rare = [min(each, key=box.rarest) for each in words]
        rows = model.classifier(rare).weights.numpy()
        pick = np.flatnonzero([box.rarest(word) < RARE for word in rare])
        box.sets[f"{name}, rare words"] = Set(own.image_ND, own.label_N, rare, rows).among(pick)


def table(tasks: list[Task]) -> str:
    rows = []
    for fold in FOLDS:
        fitted = Fitted([task for task in tasks if task.set not in fold])
        for task in (task for task in tasks if task.set in fold and task.is_whole):
            plain_N = below(task).log_softmax(1).amax(1).exp().double().numpy()
            errors = [reliability(each_N, task.hit_N).expected_error for each_N in (plain_N, fitted.confidence(task))]
            rows.append(
                f"| {task.model} | {task.set} | {100 * task.hit_N.mean():.1f} % | {task.familiarity:.2f} | "
                f"{100 * errors[0]:.1f} % | {100 * errors[1]:.1f} % |"
            )
    head = "| model | set | right | names known | error with one temperature | with the line of other kinds |"
    return "\n".join([head, "|---|---|---|---|---|---|", *sorted(rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("encoded", "side_0", "side_1"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--box", type=Path, help="the folder whose model.json is written")
    given = parser.parse_args()
    torch.set_num_threads(1)
    box, random = Encoded("box", given.encoded), np.random.default_rng(0)
    renamed(box, seesay.load("box"), given.data, WordNet(given.wordnet))
    others = [Encoded("side 0", given.side_0), Encoded("side 1", given.side_1)]
    tasks = [task for encoded in (box, *others) for task in tasks_of(encoded, random)]
    print(table(tasks))
    fitted = Fitted(tasks)
    start, names, cosine = (float(fitted.line_F[at]) for at in (0, -2, -1))
    # From the factor for what it knows to the one in its file.
    start += float(np.log(box.scale)) - box.log_scale()
    logs = np.concatenate(
        [start + names * task.familiarity + cosine * task.best_N for task in tasks if task.model == "box"]
    )
    ends = {"least": float(logs.min()), "most": float(logs.max())}
    line = TemperatureLine(start=start, names=names, cosine=cosine, **ends)
    print(line)
    if given.box:
        write(given.box, box, line)


def write(folder: Path, box: Encoded, line: TemperatureLine) -> None:
    """The line and the words into `model.json`."""
    count = max(box.count_of.values()).bit_length()
    words: list[list[str]] = [[] for _ in range(count)]
    for word, pairs in sorted(box.count_of.items()):
        if pairs >= FEWEST_PAIRS and not re.fullmatch(r"\d{5,}", word):
            words[pairs.bit_length() - 1].append(word)
    path = folder / "model.json"
    described = json.loads(path.read_text())
    described["facts"][CONFIDENCE] = {
        "what": "kinds left out of two shorter trainings, and rare words for kinds that were held out of this one",
        "pairs": box.pairs,
        "words": [" ".join(own) for own in words],
        "line": {name: round(value, 4) for name, value in asdict(line).items()},
    }
    path.write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

"""Do other views of an image, or what names lean to, say more? Tried, and not kept.

    python views.py BOX.npz SIDE0.npz SIDE1.npz --models box RUN0/model RUN1/model \\
        --pairs HELD SIDE0 SIDE1 --data DATA

As for `more_numbers.py`. Each image is encoded in a mirror, nearer (85 % of a side) and in two corners (75 %). Printed
are the shares of right answers by the mean row of some views, the mean error of the sets of `fit.py`'s table with one
number more (how far views agree), and the shares of right answers where a name loses a part of what it has for images
of the training. Nothing of an eval-* set is read.

N = images, C = names, D = width of rows.
"""

import argparse
import io
from pathlib import Path

import numpy as np
import torch
from fit import FOLDS, KNOWN, Encoded, Task, WordNet, renamed, tasks_of
from more_numbers import FittedWith, pairs_of
from PIL import Image

import seesay
from seesay.data.evalsets import open_evalset
from seesay.formulas.reliability import reliability
from seesay.model.encode import encode_image_set

# Share of a side that is kept, and where it lies: 0 is the upper left corner, 1 the lower right one.
VIEWS = {"mirror": None, "nearer": (0.85, 0.5), "upper left": (0.75, 0.0), "lower right": (0.75, 1.0)}
MEANS = (("mirror",), ("mirror", "nearer"), tuple(VIEWS))
LEANS = ((0.25, 0), (0.5, 0), (0.75, 0), (0.5, 2), (0.75, 2))
SHARE = (0.06, 0.12, 0.12)
# What side 0 learned of the kinds that are judged; side 1 learned all others (`leave_out.py`).
LEARNED = ("imagenet-0", "rsicd")


def seen(data: bytes, view: str, side: int) -> bytes:
    """The middle square of an image, of that side, as it is in that view."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    least = min(image.size)
    left, top = (image.width - least) // 2, (image.height - least) // 2
    square = image.crop((left, top, left + least, top + least)).resize((side, side), Image.Resampling.BICUBIC)
    if VIEWS[view] is None:
        square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    else:
        share, place = VIEWS[view]
        kept = round(side * share)
        start = round((side - kept) * place)
        box = (start, start, start + kept, start + kept)
        square = square.crop(box).resize((side, side), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    square.save(file, "PNG", compress_level=0)
    return file.getvalue()


class Looked:
    """What a model makes of each set in every view, and of a share of what it was trained on."""

    def __init__(self, model: str, folder: Path, *, share: float):
        opened, random = seesay.load(model), np.random.default_rng(0)
        side, self.views, self.place = opened.preprocess.size, {}, {}
        for path in sorted([*folder.glob("held-*"), *folder.glob("judge-*")]):
            labelled = open_evalset(path)
            if not hasattr(labelled, "label"):
                continue
            name = path.name.removeprefix("judge-").removeprefix("held-")
            own, read, _ = encode_image_set(opened, labelled.image, len(labelled))
            self.place[name] = {row.tobytes(): number for number, row in enumerate(own.numpy())}
            for view in VIEWS:
                images = [seen(labelled.image(index), view, side) for index in read]
                self.views[name, view] = encode_image_set(opened, images.__getitem__, len(images))[0].numpy()
        images = [image for path in sorted(folder.glob("train-*/*.tar")) for image, _ in pairs_of(path)
                  if random.random() < share]  # fmt: skip
        self.row_TD = encode_image_set(opened, images.__getitem__, len(images))[0].numpy()

    def of(self, task: Task, view: str) -> np.ndarray:
        """The rows (N, D) of a task's images in that view."""
        name = task.set.removesuffix(", rare words")
        pick = [self.place[name][row.astype(np.float32).tobytes()] for row in task.row_ND]
        return self.views[name, view][pick]


def agreement(looked: Looked, task: Task) -> np.ndarray:
    """The mean cosine between an image and its views."""
    return np.mean([(looked.of(task, view) * task.row_ND).sum(1) for view in VIEWS], 0)


def same_name(looked: Looked, task: Task) -> np.ndarray:
    """The share of the views that have the best name of the image."""
    return np.mean([(looked.of(task, view) @ task.name_CD.T).argmax(1) == task.answer_N for view in VIEWS], 0)


def error_with(tasks: list[Task], more: list) -> float:
    """The mean error in % of the sets, each by a fit that never saw its kind."""
    errors = []
    for fold in FOLDS:
        fitted = FittedWith([task for task in tasks if task.set not in fold], more, has_cosine=True)
        own = [task for task in tasks if task.set in fold and task.is_whole]
        errors += [reliability(fitted.confidence(task), task.hit_N).expected_error for task in own]
    return 100 * float(np.mean(errors))


def right(models: list[Encoded], answers) -> str:
    """The share in % of right answers of each of the box's sets, and the means of kinds that a side knows or never
    saw."""
    found, seen_or_not = [], {"known": [], "unseen": []}
    for encoded in models:
        for name, own in encoded.sets.items():
            share = 100 * (answers(encoded, name, own).argmax(1) == own.label_N).mean()
            if encoded.name == "box":
                found.append(f"{name} {share:.1f}")
            else:
                is_known = (name in LEARNED) == (encoded.name == "side 0")
                seen_or_not["known" if is_known else "unseen"].append(share)
    means = [f"{len(shares)} {kind} kinds {np.mean(shares):.1f}" for kind, shares in seen_or_not.items()]
    return f"{', '.join(found)}; {', '.join(means)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoded", type=Path, nargs=3)
    parser.add_argument("--models", nargs=3, required=True)
    parser.add_argument("--pairs", type=Path, nargs=3, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    models = [Encoded(name, path) for name, path in zip(KNOWN, given.encoded, strict=True)]
    looked = {
        encoded.name: Looked(model, folder, share=share)
        for encoded, model, folder, share in zip(models, given.models, given.pairs, SHARE, strict=True)
    }

    def viewed(encoded: Encoded, name: str, own, views=()) -> np.ndarray:
        rows = own.image_ND + sum((looked[encoded.name].views[name, view] for view in views), np.float32(0))
        return rows @ own.row_CD.T

    def leant(encoded: Encoded, name: str, own, part: float, deviations: float) -> np.ndarray:
        known_TC = looked[encoded.name].row_TD @ own.row_CD.T
        return own.image_ND @ own.row_CD.T - part * (known_TC.mean(0) + deviations * known_TC.std(0))

    for views in ((), *MEANS):
        line = right(models, lambda *asked, views=views: viewed(*asked, views=views))
        print(f"right by the image{''.join(f' + {view}' for view in views)}: {line}", flush=True)
    for part, deviations in LEANS:
        line = right(models, lambda *asked, part=part, deviations=deviations: leant(*asked, part, deviations))
        print(f"right with {part} of a name's mean + {deviations} deviations taken away: {line}", flush=True)
    renamed(models[0], seesay.load("box"), given.data, WordNet(given.wordnet))
    random = np.random.default_rng(0)
    tasks = [task for encoded in models for task in tasks_of(encoded, random)]
    numbers = {"cosine of the views": agreement, "views with the same name": same_name}
    for name, number in {"none": None, **numbers}.items():
        more = [] if number is None else [lambda task, own=number: own(looked[task.model], task)]
        print(f"error with {name}: {error_with(tasks, more):.1f} %", flush=True)


if __name__ == "__main__":
    main()

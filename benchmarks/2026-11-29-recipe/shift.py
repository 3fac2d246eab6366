"""Does a temperature that falls with the best cosine know what it does not know? Asked with degraded images.

    python hold_out.py ../shared/data HELD --per-class 4
    python shift.py HELD ../shared/data [--model box]

Prints the top-1 and the best cosine of each form, then the expected calibration error of each set with the temperature
exp(a + b (best cosine - 0.5)) that is best on all forms, and with the model's own. The eval-* sets are looked at to say
whether it holds; nothing was chosen by them.

N = images, C = classes.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

import seesay
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet
from seesay.model.encode import score_image_set

HELD = ("held-tinyimagenet", "held-miniimagenet", "held-places")
EVAL = ("eval-tinyimagenet-val", "eval-cifar10", "eval-caltech101", "eval-rsicd30")
NAMES = (30, 10, 5)
Picture = Image.Image
Task = tuple[np.ndarray, np.ndarray]


def jpeg(image: Picture, quality: int) -> Picture:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(out).convert("RGB")


def part(image: Picture, share: float) -> Picture:
    width, height = image.size
    left, top = int(width * (1 - share) / 2), int(height * (1 - share) / 2)
    return image.crop((left, top, width - left, height - top))


FORMS: dict[str, Callable[[Picture], Picture]] = {
    "as is": lambda image: image,
    "32 px": lambda image: image.resize((32, 32), Image.Resampling.BOX),
    "24 px": lambda image: image.resize((24, 24), Image.Resampling.BOX),
    "16 px": lambda image: image.resize((16, 16), Image.Resampling.BOX),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "JPEG 8": lambda image: jpeg(image, 8),
    "grey": lambda image: ImageOps.grayscale(image).convert("RGB"),
    "middle half": lambda image: part(image, 0.5),
    "middle third": lambda image: part(image, 0.35),
    "white border": lambda image: ImageOps.expand(image, max(image.size) // 2, "white"),
    "on its side": lambda image: image.rotate(90),
    "upside down": ImageOps.flip,
    "dark": lambda image: image.point(lambda value: value // 3),
    "four tones": lambda image: ImageOps.posterize(image, 2),
    "edges": lambda image: image.filter(ImageFilter.EDGE_ENHANCE_MORE),
    "solarised": lambda image: ImageOps.solarize(image, 128),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("held", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="box")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = seesay.load(given.model)
    scale, random = float(model.logit_scale), np.random.default_rng(0)
    tasks: list[Task] = []
    for name in HELD:
        tasks += tasks_of(model, given.held / name, random)

    def loss(line: np.ndarray) -> float:
        parts = [-log_softmax(scaled(cosine_NC, line, scale), 1)[rows(label_N)].mean() for cosine_NC, label_N in tasks]
        return float(np.mean([part / np.log(task[0].shape[1]) for part, task in zip(parts, tasks, strict=True)]))

    line = minimize(loss, np.zeros(2), method="L-BFGS-B").x
    print(
        f"temperature exp({line[0]:.2f} + {line[1]:.2f} (best cosine - 0.5)); calibration error, with one, with this:"
    )
    for location in (*(given.held / name for name in HELD), *(given.data / name for name in EVAL)):
        evalset = open_evalset(location)
        assert isinstance(evalset, LabelledSet)
        classifier = model.classifier(evalset.class_names)
        score_NC, read, _ = score_image_set(model, classifier, evalset.image, len(evalset))
        cosine_NC, label_N = score_NC.double().numpy(), np.array([evalset.label(index) for index in read])
        one, two = (error(scaled(cosine_NC, given_line, scale), label_N) for given_line in (np.zeros(2), line))
        print(f"{location.name:24s} {100 * one:5.1f} % {100 * two:5.1f} %", flush=True)


def tasks_of(model: "seesay.Model", location: Path, random: np.random.Generator) -> list[Task]:
    """Cosines and labels of every form of a set's images, among all names and among a few with the right one first."""
    evalset = open_evalset(location)
    assert isinstance(evalset, LabelledSet)
    classifier = model.classifier(evalset.class_names)
    images = [Image.open(io.BytesIO(evalset.image(index))).convert("RGB") for index in range(len(evalset))]
    label_N = np.array([evalset.label(index) for index in range(len(evalset))])
    tasks: list[Task] = []
    for name, form in FORMS.items():
        cosine_NC = classifier.scores(model.encode_images([form(image) for image in images])).double().numpy()
        right = (cosine_NC.argmax(1) == label_N).mean()
        print(f"{location.name} {name}: {100 * right:.1f} %, cosine {cosine_NC.max(1).mean():.3f}", flush=True)
        tasks.append((cosine_NC, label_N))
        others = [np.delete(np.arange(cosine_NC.shape[1]), label) for label in label_N]
        for count in NAMES:
            chosen = [
                [label, *random.choice(other, count - 1, replace=False)]
                for label, other in zip(label_N, others, strict=True)
            ]
            tasks.append((np.take_along_axis(cosine_NC, np.array(chosen), 1), np.zeros(len(label_N), int)))
    return tasks


def scaled(cosine_NC: np.ndarray, line: np.ndarray, scale: float) -> np.ndarray:
    best_N1 = cosine_NC.max(1, keepdims=True)
    return scale * cosine_NC / np.exp(line[0] + line[1] * (best_N1 - 0.5))


def rows(label_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(len(label_N)), label_N


def error(logit_NC: np.ndarray, label_N: np.ndarray) -> float:
    """Expected calibration error in 15 bins of equal width (Guo et al. 2017)."""
    p_NC = softmax(logit_NC, 1)
    sure_N, right_N = p_NC.max(1), p_NC.argmax(1) == label_N
    bin_N = np.minimum((sure_N * 15).astype(int), 14)
    return float(
        sum(abs(sure_N[bin_N == b].mean() - right_N[bin_N == b].mean()) * (bin_N == b).mean() for b in np.unique(bin_N))
    )


if __name__ == "__main__":
    main()

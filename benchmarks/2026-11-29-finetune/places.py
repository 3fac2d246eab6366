"""Whether an image in three places says what it says in one, with less chance: losses of models on sets.

    python benchmarks/2026-11-29-finetune/places.py --data ../shared/data --model box --runs RUN...

RUN are folders of `seesay finetune` that began with --model. A line for every trained model, set and shift (in pixels,
of three places 0 and both signs): what top-1 gained in one place and in three, how far these are apart in standard
errors, what both would deviate by with a guard of 800 images, and of 400 such guards, drawn from the set with putting
back, how often the 95 % interval's end was at least the loss of the whole set in three places, or as the images are.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import seesay
from seesay.data.evalsets import open_evalset
from seesay.finetuning.measures import Answered, ClassMeasure, class_scores, difference
from seesay.tasks.words import choose_words

SETS = ("eval-tinyimagenet-val", "eval-cifar10", "eval-food20", "eval-dtd10")
PIXELS = (1, 4)
GUARDS, GUARD_IMAGES = 400, 800


def hits(model, measure: ClassMeasure, pixels: int) -> np.ndarray:
    """Right or wrong of the images moved by so many pixels, (N,)."""
    side = measure._pixels_N3SS.shape[-1]
    from_S = (torch.arange(side) - pixels).clamp(0, side - 1)
    moved_N3SS = measure._pixels_N3SS[:, :, from_S][..., from_S]
    score_NC = class_scores(model, moved_N3SS, measure.names, measure.templates)
    return (score_NC.argmax(1) == measure.label_N).numpy().astype(float)


def end_of_interval(old_PN: np.ndarray, new_PN: np.ndarray) -> float:
    """The lower end of what was gained, as the command has it."""
    image_M = np.tile(np.arange(old_PN.shape[1]), len(old_PN))
    before, after = (Answered(value_M=hit_PN.ravel(), image_M=image_M) for hit_PN in (old_PN, new_PN))
    return difference(before, after)[1][0]


def line(old_PN: np.ndarray, new_PN: np.ndarray, generator: np.random.Generator) -> str:
    """What the module says of one model, set and shift; the images as they are first of P places."""
    gain_PN = new_PN - old_PN
    one_N, three_N = gain_PN[0], gain_PN.mean(0)
    apart_N = one_N - three_N
    z = apart_N.mean() / (apart_N.std(ddof=1) / len(apart_N) ** 0.5)
    ends = []
    for _ in range(GUARDS):
        drawn = generator.integers(len(one_N), size=GUARD_IMAGES)
        ends.append(end_of_interval(old_PN[:, drawn], new_PN[:, drawn]))
    own, plain = (100 * (np.array(ends) <= truth + 1e-9).mean() for truth in (three_N.mean(), one_N.mean()))
    first, second = (100 * each_N.std() / GUARD_IMAGES**0.5 for each_N in (one_N, three_N))
    return (
        f"gained {100 * one_N.mean():+.2f}, in three places {100 * three_N.mean():+.2f}, apart {z:+.1f} errors; "
        f"deviation {first:.2f}, {second:.2f}; covers {own:.0f} %, as they are {plain:.0f} %"
    )


def main() -> None:
    """A line for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    old, generator = seesay.load(arguments.model), np.random.default_rng(0)
    for name in SETS:
        opened = open_evalset(arguments.data / name)
        words = choose_words(old, (opened,), opened.class_names)
        measure = ClassMeasure(old, opened, words.names, words.templates)
        shifts = [0, *(sign * pixels for pixels in PIXELS for sign in (1, -1))]
        before = {shift: hits(old, measure, shift) for shift in shifts}
        for run in arguments.runs:
            new = seesay.load(run / "train" / "model")
            after = {shift: hits(new, measure, shift) for shift in shifts}
            for pixels in PIXELS:
                places = (0, pixels, -pixels)
                both = (np.stack([each[place] for place in places]) for each in (before, after))
                text = line(*both, generator)
                print(f"{name}, {measure.n} images, {run.name}, {pixels} px: {text}", flush=True)


if __name__ == "__main__":
    main()

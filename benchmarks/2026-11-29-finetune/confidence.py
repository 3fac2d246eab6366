"""Whether what the box says of its own certainty is still right for a model that was fine-tuned from it.

    python benchmarks/2026-11-29-finetune/confidence.py --data ../shared/data --model box --runs RUN...

RUN are folders of compare.py, WORK/TARGET-HOW-SEED-KEEP, beside the halves of their targets. For the old model, the one
half of the way and the trained one: expected calibration error on images that were not learned, with the old model's
fact `confidence` and without one. And so for the old model at other sizes.
"""

import argparse
from pathlib import Path

import torch

import seesay
from seesay.data.evalsets import open_evalset
from seesay.finetuning.measures import ClassMeasure, encoded
from seesay.finetuning.sweep import between
from seesay.formulas.reliability import reliability
from seesay.model.confidence import CONFIDENCE
from seesay.model.reshape import reshape
from seesay.tasks.words import choose_words

SIZES = (48, 64, 96)
MOST = 1000


def measure_of(model, source: Path) -> ClassMeasure:
    """Images of a set, evenly spread."""
    opened = open_evalset(source)
    words = choose_words(model, (opened,), opened.class_names)
    chosen = range(0, len(opened), max(1, len(opened) // MOST))
    return ClassMeasure(model, opened, words.names, words.templates, chosen=chosen)


def error(model, measure: ClassMeasure, fact: dict | None) -> float:
    """The expected calibration error of the model's probabilities, with the fact or without."""
    model.facts = {} if fact is None else {CONFIDENCE: fact}
    classifier = model.classifier(measure.names, measure.templates)
    score_NC = classifier.scores(encoded(model, measure._pixels_N3SS))
    share_NC = classifier.probabilities_of(score_NC)
    best = share_NC.max(1)
    return reliability(best.values.numpy(), (best.indices == measure.label_N).numpy()).expected_error


def main() -> None:
    """A line for each model and set."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="box")
    parser.add_argument("--runs", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    old = seesay.load(arguments.model)
    fact = old.facts[CONFIDENCE]
    sets = [arguments.data / "eval-tinyimagenet-val"]
    for source in sets:
        for size in SIZES:
            model = reshape(old, image_size=size)
            measure = measure_of(model, source)
            with_fact, without = (100 * error(model, measure, each) for each in (fact, None))
            print(f"{size} px, {source.name}: {with_fact:.1f} % with the fact, {without:.1f} % without", flush=True)
    for run in arguments.runs:
        new = seesay.load(run / "train" / "model")
        for source in (*sets, run.parent / run.name.rsplit("-", 3)[0]):
            measure = measure_of(old, source)
            ends = [between(old, new, a) for a in (0.0, 0.5, 1.0)]
            found = [
                f"{100 * error(each, measure, fact):.1f} ({100 * error(each, measure, None):.1f})" for each in ends
            ]
            print(f"{run.name}, {source.name}: {', '.join(found)} % with the fact (without), a = 0, 0.5, 1", flush=True)


if __name__ == "__main__":
    main()

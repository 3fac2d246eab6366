"""Held-out images asked for by the words people use: is it a cat, a dog or a car, where the pairs say "tabby"?

    python trial.py HELD NAME --keep WEIGHTS ...
    python broad_names.py HELD WEIGHTS [WEIGHTS ...] [--wordnet /usr/share/wordnet]

Of the held-out images of Tiny-ImageNet and mini-ImageNet those count whose class WordNet says to be one of `KINDS`;
each is asked which of the kinds that occur it is. Nothing of an eval-* set is read.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from broader_words import WordNet
from trial import Trial
from trial import arguments as trial_arguments

from seesay.data.evalsets import open_evalset
from seesay.data.images import Preprocess
from seesay.data.labelled import LabelledSet
from seesay.data.prompts import TEMPLATES
from seesay.model.bundle import Model
from seesay.model.encode import score_image_set

SETS = ("tinyimagenet", "miniimagenet")
WORDS = """
bag ball bear bird boat bottle bread bridge bus camera car cat cattle chair church clock coat computer crab
dog dress elephant fence fish fox frog fruit gun hat horse house insect knife lamp lizard monkey piano rabbit
ship shoe shop snake spider table telephone tower truck vegetable wolf
"""
KINDS = WORDS.split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("held", type=Path)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    kind_of = kinds_by_class(given.data, WordNet(given.wordnet))
    sys.argv = ["trial.py", str(given.held), "judge"]
    trial = Trial(trial_arguments())
    for weights in given.weights:
        trial.clip.load_state_dict(torch.load(weights, weights_only=True))
        right, count = judged(trial, given.held, kind_of)
        print(json.dumps({"weights": weights.stem, "top1": round(100 * right / count, 1), "n": count}), flush=True)


def kinds_by_class(data: Path, wordnet: WordNet) -> dict[str, str]:
    """The kind of each class that has one, by the class's name."""
    found = {}
    for name in ("train-tinyimagenet2", "train-miniimagenet2"):
        for line in (data / name / "wnid_names.tsv").read_text().splitlines():
            number, names = line.split("\t")[:2]
            place = int(number[1:])
            levels = [[word.replace("_", " ") for word in wordnet.words[place]], *wordnet.kinds(place)]
            if kinds := [kind for words in levels for kind in KINDS if kind in words]:
                found[names.split(",")[0]] = kinds[0]
    return found


def judged(trial: Trial, held: Path, kind_of: dict[str, str]) -> tuple[int, int]:
    """Images whose best kind is theirs, and all."""
    kinds, right, count = sorted(set(kind_of.values())), 0, 0
    preprocess, templates = Preprocess(size=64), TEMPLATES["short"]
    clip, architecture, tokenizer = trial.clip.eval(), trial.architecture, trial.tokenizer
    model = Model(clip, architecture, tokenizer, preprocess=preprocess, templates=templates, name="trial")
    classifier = model.classifier(kinds)
    for name in SETS:
        labelled = open_evalset(held / f"held-{name}")
        assert isinstance(labelled, LabelledSet)
        score_NC, read, _ = score_image_set(model, classifier, labelled.image, len(labelled))
        for row_C, index in zip(score_NC, read, strict=True):
            kind = kind_of.get(labelled.class_names[labelled.label(index)])
            count += kind is not None
            right += kind == kinds[int(row_C.argmax())]
    return right, count


if __name__ == "__main__":
    main()

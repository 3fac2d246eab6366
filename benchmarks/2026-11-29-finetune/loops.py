"""Models of the loop as a teacher, and the mean of the weights of several runs, for "What the digits lack".

python benchmarks/2026-11-29-finetune/loops.py loop DATA WORK SEED STEPS RATE OUT   # the loop's model of the digits
python benchmarks/2026-11-29-finetune/loops.py mean DATA WORK MODEL ...             # scores of the mean of models
"""

import copy
import sys
from pathlib import Path

import compare
import torch

import seesay


def scores_of(old, data: Path, target: Path):
    """Measures of the digits' other half, Tiny ImageNet and Flickr8k."""
    guards = data / compare.GUARD, data / compare.CAPTIONS
    return compare.measures(old, target, *guards, has_own_words=False)


def main(what: str, data: Path, work: Path, *words: str) -> None:
    torch.set_num_threads(1)
    target = compare.split(data / "eval-mnist", work / "eval-mnist", first="train", second="test")
    old = seesay.load("box")
    if what == "loop":
        seed, compare.STEPS, rate, out = int(words[0]), int(words[1]), float(words[2]), words[3]
        model, _ = compare.naive(old, target, model="box", seed=seed, rate=rate)
        model.save(out)
    else:
        parts = [seesay.load(path).clip.state_dict() for path in words]
        mean = {name: sum(part[name].double() for part in parts) / len(parts) for name in parts[0]}
        model = copy.copy(old)
        model.clip = copy.deepcopy(old.clip)
        model.clip.load_state_dict({name: value.to(parts[0][name].dtype) for name, value in mean.items()})
    print({name: each.answers(model).mean for name, each in scores_of(old, data, target).items()})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])

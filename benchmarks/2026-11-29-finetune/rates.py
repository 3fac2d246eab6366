"""Learning rates of fine-tuning the box on half of a labelled set: target, a real guard, and the box's own answers.

    python benchmarks/2026-11-29-finetune/rates.py --target SET --guard ../shared/data/eval-tinyimagenet-val \
        --work WORK --how full --rates 3e-5 1e-4 3e-4

SET is a folder with train/ and test/ as compare.py makes them (WORK/eval-mnist). 500 images of test and guard; at a
quarter, a half, three quarters and all of the way from the old model to the trained one.
"""

import argparse
from pathlib import Path

import torch

import seesay
from seesay.base.settings import read_settings
from seesay.data.evalsets import open_evalset
from seesay.finetuning import measures
from seesay.finetuning.finetune import with_defaults
from seesay.finetuning.guards import open_guards
from seesay.finetuning.sweep import between
from seesay.finetuning.target import open_target
from seesay.tasks.words import choose_words
from seesay.training.settings import TrainSettings
from seesay.training.train import train_model

STEPS, BATCH = 120, 32

parser = argparse.ArgumentParser()
parser.add_argument("--target", required=True)
parser.add_argument("--guard", required=True)
parser.add_argument("--work", type=Path, required=True)
parser.add_argument("--how", default="full")
parser.add_argument("--rates", nargs="+", required=True)
arguments = parser.parse_args()
torch.set_num_threads(1)
measures.MOST_IMAGES = 500
old, how = seesay.load("box"), arguments.how
for rate in arguments.rates:
    base = {"start": {"model": "box", "how": how}, "steps": STEPS, "batch_size": BATCH, "data": {"workers": 0}}
    words = [f"optimizer.learning_rate={rate}", "check.every=1.0", "towers.precision=float32", "device=cpu"]
    settings = read_settings(TrainSettings, file=None, overrides=words, base=base)
    target = open_target(old, arguments.target, (), settings, own_template=how == "prompt")
    test = open_evalset(arguments.target)
    named = choose_words(old, (test,), test.class_names)
    scores = [measures.ClassMeasure(old, test, named.names, None if how == "prompt" else named.templates)]
    scores += [m for guard in (arguments.guard, ()) for m in open_guards(old, guard, target, is_held=False).measures]
    print(how, rate, "old", *(f"{score.answers(old).mean:.4f}" for score in scores), flush=True)
    settings = with_defaults(settings, target)
    new = train_model(target.pairs, out=arguments.work / f"{how}-{rate}", settings=settings, start=old)
    for a in (0.25, 0.5, 0.75, 1.0):
        model = between(old, new, a)
        print(how, rate, a, *(f"{score.answers(model).mean:.4f}" for score in scores), flush=True)

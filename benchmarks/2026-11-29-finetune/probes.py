"""A probe on the features of each fine-tuned model that `compare.py` left in WORK, plain and from words, beside words.

    python benchmarks/2026-11-29-finetune/probes.py --work WORK

The models are those that were recommended; the probe learns from all of the target's half that the model learned from.
"""

import argparse
from pathlib import Path

import torch

import seesay
from seesay.tasks.few_shot import open_labelled, probe_sets


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    work = parser.parse_args().work
    torch.set_num_threads(1)
    for run in sorted(work.glob("*-default")):
        target, how, seed, _ = run.name.rsplit("-", 3)
        if how not in ("full", "image"):
            continue
        model = seesay.load(run / "model")
        train, test = (open_labelled(work / target / part) for part in ("train", "test"))
        plain, from_words = (probe_sets(model, train, test, from_words=each) for each in (False, True))
        scores = [("words", plain.zero_shot), ("plain probe", plain.score), ("from words", from_words.score)]
        print(target, how, f"seed {seed}:", ", ".join(f"{name} {100 * score.value:.1f}" for name, score in scores))


if __name__ == "__main__":
    main()

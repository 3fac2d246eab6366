"""The classifier of ImageNet's 1,000 classes in all 80 templates: this package's engines beside open_clip in float32.

    PYTHONPATH=../shared/peers:benchmarks/2026-11-29-engines PEERS/bin/python classifier.py WHO OUT.jsonl

PEERS is as for ../2026-11-29-engines/peers.py; one thread, open_clip's random weights on both sides, CPU seconds from
strings to unit rows. WHO is "ours" (each engine makes all 80,000 prompts twice, in turn) or "open_clip" (its own
build_zero_shot_classifier, eager). open_clip gets the 80 prompts of one class at a time, which is faster here than the
ten classes of its default; each line is of ten classes from all over the 1,000: any number of lines is a fair part.
"""

import json
import sys
import time
from pathlib import Path

import peers  # beside the other benchmark; it imports open_clip
import torch
from open_clip import IMAGENET_CLASSNAMES, build_zero_shot_classifier, get_tokenizer

from seesay.data.prompts import TEMPLATES

ENGINES, ROUNDS, OF_A_LINE = ("torch", "torch-bf16", "torch-int8"), 2, 10
CHOSEN = TEMPLATES["imagenet80"]


def note(out: str, **row: object) -> None:
    print(row, flush=True)
    with Path(out).open("a") as file:
        file.write(json.dumps(row) + "\n")


@torch.inference_mode()
def of_ours(own, out: str) -> None:
    models = {engine: own.with_engine(engine) for engine in ENGINES}
    rows = {}
    for turn in range(ROUNDS):
        for engine, model in list(models.items())[:: 1 if turn else -1]:
            model.classifier(IMAGENET_CLASSNAMES[:1], CHOSEN[:2])
            start, wall = time.process_time(), time.perf_counter()
            rows[engine] = model.classifier(IMAGENET_CLASSNAMES, CHOSEN).weights
            seconds = time.process_time() - start
            row = {"who": engine, "prompts": len(IMAGENET_CLASSNAMES) * len(CHOSEN), "cpu_seconds": round(seconds, 1)}
            row |= {"wall_seconds": round(time.perf_counter() - wall, 1)}
            note(out, **row, smallest_cosine=float((rows[engine] * rows.get("torch", rows[engine])).sum(1).min()))
    torch.save(rows, Path(out).with_suffix(".pt"))


@torch.inference_mode()
def of_open_clip(peer, out: str) -> None:
    tokenizer, step = get_tokenizer("ViT-B-32"), len(IMAGENET_CLASSNAMES) // OF_A_LINE
    templates = [lambda name, one=one: one.format(name) for one in CHOSEN]
    for first in range(step):
        names = IMAGENET_CLASSNAMES[first::step]
        start = time.process_time()
        columns_DC = build_zero_shot_classifier(peer, tokenizer, names, templates, num_classes_per_batch=1)
        seconds = time.process_time() - start
        note(out, who="open_clip", first=first, prompts=len(names) * len(CHOSEN), cpu_seconds=round(seconds, 2))
        torch.save(columns_DC.T, Path(out).with_name(f"open_clip-{first}.pt"))


def main() -> None:
    who, out = sys.argv[1:]
    torch.set_num_threads(1)
    peer, own = peers.opened()
    if who == "ours":
        of_ours(own, out)
    else:
        of_open_clip(peer, out)


if __name__ == "__main__":
    main()

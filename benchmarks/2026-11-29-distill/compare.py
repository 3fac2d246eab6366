"""A small model with and without a teacher: the same pairs, steps and seeds, and what each answers at the end.

    python benchmarks/2026-11-29-distill/compare.py --data ../shared/data --work WORK --seeds 3

The teacher is the box (64 px), the student `--model`: conv-small (48 px, 56 % of its multiplications) or conv-tiny
(32 px, 3 %). Both runs of a seed have the same first weights, batches and crops. The box has seen these pairs; none of
them has seen the images that are measured. Results go to WORK/results.jsonl, one line each; what is there is not done
again.
"""

import argparse
import json
import time
from pathlib import Path

import torch

import seesay
from seesay.base.journal import read_events
from seesay.data.evalsets import open_evalset
from seesay.finetuning.measures import CaptionMeasure
from seesay.training.validation import ZeroShotCheck

PAIRS = ("train-flickr8k", "train-tinyimagenet")
CLASSES, CAPTIONS = ("eval-tinyimagenet-val", "eval-cifar10"), "eval-flickr8k-dev"


def flops_of(model) -> int:
    """Multiplications and additions of one image through the image tower, as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    side = model.architecture.image.image_size
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.clip.embed_images(torch.zeros(1, 3, side, side))
    return counter.get_total_flops()


def main() -> None:
    """Do what is not done yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--model", default="conv-tiny")
    parser.add_argument("--pairs", nargs="+", default=PAIRS)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--weights", type=float, nargs="*", default=[0.0, 1.0], help="0 is a run without a teacher")
    parser.add_argument("--temperature", type=float, default=1.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    results = arguments.work / "results.jsonl"
    done = {tuple(json.loads(line)["run"]) for line in results.read_text().splitlines()} if results.exists() else set()
    pairs = [arguments.data / name for name in arguments.pairs]
    checks = {name: ZeroShotCheck(arguments.data / name) for name in CLASSES}
    for seed in range(arguments.seeds):
        for weight in arguments.weights:
            run = (arguments.model, arguments.steps, weight, arguments.temperature, seed)
            if run in done:
                continue
            out, began = arguments.work / "-".join(map(str, run)), time.process_time()
            distillation = {
                "weight": weight,
                "temperature": arguments.temperature,
                "rows": str(arguments.work / "rows"),
            }
            taught = {"teacher": "box", "distillation": distillation} if weight else {}
            model = seesay.train(
                pairs,
                out=out,
                model=arguments.model,
                steps=arguments.steps,
                batch_size=arguments.batch,
                seed=seed,
                device="cpu",
                workers=0,
                towers={"precision": "bfloat16"},
                overrides=["check.every=1.0"],
                **taught,
            )
            seconds = time.process_time() - began
            teacher = [event for event in read_events(out / "events.jsonl") if event.get("event") == "teacher"]
            scores = {name: check.measure(model)["top1"] for name, check in checks.items()}
            captions = open_evalset(arguments.data / CAPTIONS)
            scores[f"{CAPTIONS} R@10"] = CaptionMeasure(model, captions).answers(model).mean
            line = {"run": run, **scores, "cpu_seconds": round(seconds, 1), "flops": flops_of(model)}
            line |= {
                "teacher_flops": flops_of(seesay.load("box")),
                "rows": [[e["files_made"], e["seconds"]] for e in teacher],
            }
            with results.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()

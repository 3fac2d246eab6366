"""Three shorter trainings by the box's recipe that differ in their seed alone: how far their scores lie apart.

    OMP_NUM_THREADS=1 python benchmarks/2026-11-29-recipe/seeds.py HELD ../shared/data WORK STEPS > seeds.jsonl

HELD is what hold_out.py and broader_words.py wrote. Steps in place of minutes, so that a busy machine changes nothing.
"""

import json
import subprocess
import sys
from pathlib import Path

import seesay

ROOT = Path(__file__).resolve().parents[2]
SETS = ("tinyimagenet-val", "flickr8k-dev", "cifar10", "caltech101", "food20", "shift-photo32", "rsicd30")


def main() -> None:
    held, data, work, steps = sys.argv[1:]
    pairs = [*sorted(map(str, Path(held).glob("train-*"))), f"{held}/train-flickr8k"]
    for seed in range(3):
        run = Path(work) / f"seed{seed}"
        command = ["train", *pairs, "--recipe", str(ROOT / "recipes/box.toml"), "--steps", steps, "--seed", str(seed)]
        command += ["--out", str(run), "--workers", "1", "--set", "check.every=1.0"]
        subprocess.run([sys.executable, "-m", "seesay", *command], check=True, stdout=sys.stderr)
        found = seesay.evaluate(str(run / "model"), [f"{data}/eval-{name}" for name in SETS])
        scores = {f"{each['set']} {each['task']}": each for each in found.to_json()}
        print(json.dumps({"seed": seed, "steps": int(steps), "scores": scores}), flush=True)


if __name__ == "__main__":
    main()

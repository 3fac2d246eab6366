"""Train every objective on the same pairs with at most 12 minutes of CPU time, and ask each zero-shot.

    python run.py DATA --out FOLDER [--objectives a,b,...] [--seconds 600]

DATA holds train-tinyimagenet, train-flickr8k and eval-tinyimagenet-val. One thread; start it twice with other
objectives to use two cores. Finished runs are not made again; result.json is written after each.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

STEPS = {
    "contrastive": 3000,
    "contrastive-bow": 3000,
    "sigmoid": 3000,
    "bag-of-words": 3000,
    "caption": 2000,
    "bicaption": 1500,
    "masked-caption": 3000,
    "masked-caption-att-fc": 3000,
    "convirt": 3000,
    "vse": 1500,
    "n-grams": 3000,
}
# All others have the default, 0.001; VSE++'s maxima bring all rows together at that rate (published: 0.0002).
RATES = {"vse": 3e-4}


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seesay(*words: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "seesay", *words], check=True, env=environment)


def one(name: str, data: Path, out: Path) -> dict:
    run, answer = out / name, out / f"{name}.json"
    before = cpu_seconds()
    pairs = [str(data / "train-tinyimagenet"), str(data / "train-flickr8k")]
    settings = ["--model", "conv-tiny", "--batch-size", "128", "--steps", str(STEPS[name]), "--workers", "0"]
    if name in RATES:
        settings += ["--set", f"optimizer.learning_rate={RATES[name]}"]
    seesay("train", *pairs, "--out", str(run), "--objective", name, *settings, "--set", "check.every=0.2")
    spent = cpu_seconds() - before
    seesay("evaluate", str(run / "model"), str(data / "eval-tinyimagenet-val"), "--json", str(answer))
    told = json.loads(answer.read_text())[0]
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if "event" not in event]
    return {
        "steps": STEPS[name],
        "train_cpu_seconds": round(spent, 1),
        "first_loss": steps[0]["loss"],
        "last_smooth_loss": steps[-1]["smooth_loss"],
        **{key: told[key] for key in ("n", "top1", "interval95", "chance", "top5")},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--objectives", default=",".join(STEPS))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.objectives.split(","):
        result = given.out / f"{name}.result.json"
        if not result.exists():
            result.write_text(json.dumps(one(name, given.data, given.out)))
        print(name, result.read_text(), flush=True)


if __name__ == "__main__":
    main()

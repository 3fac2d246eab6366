"""Let every objective learn 64 real pairs by heart: one caption each, no augmentation, 64 pairs a step.

    python overfit.py DATA --out FOLDER [--objectives a,b,...]

DATA holds train-tinyimagenet. One thread; overfit.json is written to FOLDER after each.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from seesay.training.objectives import OBJECTIVES

PAIRS = 64
STEPS = 250
RATES = {"vse": 3e-4}


def take_pairs(data: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(data / "train-tinyimagenet" / "tinyimagenet-train-00000.tar") as tar:
        for member in tar:
            path = folder / Path(member.name).name
            content = tar.extractfile(member).read()
            path.write_bytes(content.splitlines()[0] if path.suffix == ".txt" else content)
            if path.suffix == ".txt" and len(list(folder.glob("*.txt"))) == PAIRS:
                return


def learned(name: str, pairs: Path, run: Path) -> dict:
    words = ["--objective", name, "--model", "conv-tiny", "--batch-size", str(PAIRS), "--steps", str(STEPS)]
    given = {
        "data.validation": 0,
        "data.augment.scale": 1.0,
        "check.every": 1,
        "data.share_repeats": "true",
        "optimizer.learning_rate": RATES.get(name, 1e-3),
    }
    settings = [word for key, value in given.items() for word in ("--set", f"{key}={value}")]
    command = [
        sys.executable,
        "-m",
        "seesay",
        "train",
        str(pairs),
        "--out",
        str(run),
        *words,
        "--workers",
        "0",
        *settings,
    ]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    losses = [event["loss"] for event in events if "event" not in event]
    return {"first_loss": losses[0], "last_loss": losses[-1]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--objectives", default=",".join(OBJECTIVES))
    given = parser.parse_args()
    take_pairs(given.data, given.out / "pairs")
    found = {}
    for name in given.objectives.split(","):
        found[name] = learned(name, given.out / "pairs", given.out / name)
        (given.out / "overfit.json").write_text(json.dumps(found, indent=1) + "\n")
        print(name, found[name], flush=True)


if __name__ == "__main__":
    main()

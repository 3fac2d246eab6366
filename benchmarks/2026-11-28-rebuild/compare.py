"""Two versions of the source, the same trainings in turn: equal weights, and how fast each is.

    python compare.py OLD_SRC NEW_SRC PAIRS --out result.json [--rounds 5]

OLD_SRC and NEW_SRC are folders with the package `seesay` in them; PAIRS is what `seesay train` takes, as demo/digits.
Each training runs in a process of its own with one thread, old and new in turn. Speed is pairs per second of processor
time (user and system) over the whole process, start included; the ratio is new to old, round by round.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

RUNS = {
    "demo": ["--model", "conv-tiny", "--batch-size", "32", "--steps", "600"],
    "vit-small": ["--model", "vit-small", "--batch-size", "64", "--steps", "24"],
}
FIXED = [
    "--workers",
    "0",
    "--set",
    'towers.precision="float32"',
    "--set",
    "check.every=1.0",
    "--set",
    "data.validation=0",
]


def train(source: Path, pairs: str, words: list[str], out: Path) -> dict:
    """Pairs per processor second, wall seconds of the steps as logged, and the SHA-256 of the weights."""
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "seesay", "train", pairs, "--out", str(out), *words, *FIXED]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    done = json.loads((out / "events.jsonl").read_text().splitlines()[-1])
    return {"pairs_per_cpu_second": done["pairs_seen"] / cpu, "seconds": done["seconds"], "sha256": done["sha256"]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("pairs")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    result = {}
    for name, words in RUNS.items():
        measured: dict[str, list[dict]] = {"old": [], "new": []}
        with tempfile.TemporaryDirectory() as folder:
            for number in range(arguments.rounds + 1):
                for which in ("old", "new"):
                    run = train(getattr(arguments, which), arguments.pairs, words, Path(folder) / f"{which}-{number}")
                    print(name, number, which, run, flush=True)
                    # The first round warms the file cache.
                    if number:
                        measured[which].append(run)
        ratios = [
            new["pairs_per_cpu_second"] / old["pairs_per_cpu_second"]
            for old, new in zip(measured["old"], measured["new"], strict=True)
        ]
        shas = {run["sha256"] for runs in measured.values() for run in runs}
        result[name] = {
            "is_equal": len(shas) == 1,
            "sha256": sorted(shas),
            "ratio_median": round(statistics.median(ratios), 4),
            "ratios": [round(ratio, 4) for ratio in ratios],
            "old": measured["old"],
            "new": measured["new"],
        }
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
        print(name, result[name]["is_equal"], result[name]["ratio_median"], flush=True)


if __name__ == "__main__":
    main()

"""Two versions of the source, the same trainings at the same time: equal weights, and how fast each is.

    python compare.py OLD_SRC NEW_SRC PAIRS --out result.json [--rounds 4]

OLD_SRC and NEW_SRC are folders with the package `seesay` in them; PAIRS is what `seesay train` takes, as demo/digits.
Old and new train side by side, each on a core of its own with one thread, so that what slows the machine down slows
both; then they change cores, because cores differ. Speed is pairs per second of processor time (user and system) over
the whole process, start included; the ratio of a round is the geometric mean of new to old over its two turns.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

RUNS = {
    "demo": ["--model", "conv-tiny", "--batch-size", "32", "--steps", "600"],
    "vit-small": ["--model", "vit-small", "--batch-size", "64", "--steps", "12"],
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


def train(source: Path, pairs: str, words: list[str], out: Path, *, core: int) -> dict:
    """Pairs per processor second, wall seconds of the steps as logged, and the SHA-256 of the weights."""
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    command = ["taskset", "-c", str(core), sys.executable, "-m", "seesay", "train", pairs, "--out", str(out)]
    process = subprocess.Popen(
        [*command, *words, *FIXED], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{source} ended with {process.returncode}")
    done = json.loads((out / "events.jsonl").read_text().splitlines()[-1])
    speed = done["pairs_seen"] / (used.ru_utime + used.ru_stime)
    return {"core": core, "pairs_per_cpu_second": speed, "seconds": done["seconds"], "sha256": done["sha256"]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("pairs")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    result = {}
    for name, words in RUNS.items():
        turns: list[dict[str, dict]] = []
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as both:
            for number in range(2 * arguments.rounds):
                jobs = {
                    which: both.submit(
                        train,
                        getattr(arguments, which),
                        arguments.pairs,
                        words,
                        Path(folder) / f"{which}-{number}",
                        core=(number + index) % 2,
                    )
                    for index, which in enumerate(("old", "new"))
                }
                turns.append({which: job.result() for which, job in jobs.items()})
                print(name, number, turns[-1], flush=True)
        ratio = [turn["new"]["pairs_per_cpu_second"] / turn["old"]["pairs_per_cpu_second"] for turn in turns]
        rounds = [math.sqrt(first * second) for first, second in zip(ratio[::2], ratio[1::2], strict=True)]
        shas = {run["sha256"] for turn in turns for run in turn.values()}
        result[name] = {
            "is_equal": len(shas) == 1,
            "sha256": sorted(shas),
            "ratio_median": round(statistics.median(rounds), 4),
            "ratios": [round(value, 4) for value in rounds],
            "turns": turns,
        }
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
        print(name, result[name]["is_equal"], result[name]["ratio_median"], result[name]["ratios"], flush=True)


if __name__ == "__main__":
    main()

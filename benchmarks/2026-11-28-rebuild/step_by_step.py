"""Two versions of the source train in turns of one step on one core: how much longer is a step of the new one?

    python step_by_step.py OLD_SRC NEW_SRC PAIRS --out steps.json

Two processes, one per version, hold one core and one thread. After each step of the optimizer a process hands a token
to the other and waits for it to come back, so that a step of the old code and the same step of the new one lie
milliseconds apart and what slows the machine down slows both. A step is everything between two of those: batch,
forward, loss, backward, log. Reported: the median over all steps of old time to new time, over 1 is faster now, with
the 95 % interval of that median (order statistics), in both orders, and with both processes of the new source, which
shows what the method itself adds.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

RUNS = {
    "demo": ["--model", "conv-tiny", "--batch-size", "32", "--steps", "1500"],
    "vit-small": ["--model", "vit-small", "--batch-size", "64", "--steps", "60"],
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
# The first steps fill caches and allocators.
WARM_STEPS = 10

CHILD = """
import json, os, sys, time
read, write, out, first = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4] == "first"
sys.argv = ["seesay", *sys.argv[5:]]
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
times, began = [], [None]
def turn(*_):
    if began[0] is not None:
        times.append(time.process_time() - began[0])
    if began[0] is not None or not first:
        try:
            os.write(write, b"x")
        except BrokenPipeError:
            pass
    os.read(read, 1)
    began[0] = time.process_time()
register_optimizer_step_post_hook(turn)
from seesay.cli.main import main
code = 0
try:
    code = main()
finally:
    os.close(write)
    open(out, "w").write(json.dumps(times))
sys.exit(code)
"""


def in_turns(sources: list[Path], pairs: str, words: list[str], folder: Path) -> tuple[list[list[float]], list[str]]:
    """Processor seconds of each step for each source, and the SHA-256 of the weights."""
    pipes = [os.pipe(), os.pipe()]
    processes = []
    for index, source in enumerate(sources):
        out = folder / f"{index}"
        command = [sys.executable, "-c", CHILD, str(pipes[index][0]), str(pipes[1 - index][1]), f"{out}.json"]
        command += ["first" if index == 0 else "second", "train", pairs, "--out", str(out), *words, *FIXED]
        processes.append(
            subprocess.Popen(
                ["taskset", "-c", "1", *command],
                env={**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"},
                stdout=subprocess.DEVNULL,
                pass_fds=(pipes[index][0], pipes[1 - index][1]),
            )
        )
    for pipe in pipes:
        os.close(pipe[0])
        os.close(pipe[1])
    if any(process.wait() for process in processes):
        raise RuntimeError("a training failed")
    times = [json.loads((folder / f"{index}.json").read_text()) for index in (0, 1)]
    ends = [json.loads((folder / f"{index}" / "events.jsonl").read_text().splitlines()[-1]) for index in (0, 1)]
    return times, [end["sha256"] for end in ends]


def ratio(times: list[list[float]]) -> dict:
    """Median of first to second over the steps, with its 95 % interval by order statistics."""
    ratios = sorted(one / other for one, other in list(zip(*times, strict=False))[WARM_STEPS:])
    half = 0.98 * math.sqrt(len(ratios))
    middle = len(ratios) / 2
    return {
        "steps": len(ratios),
        "median": round(statistics.median(ratios), 4),
        "interval95": [
            round(ratios[int(middle - half)], 4),
            round(ratios[min(int(middle + half), len(ratios) - 1)], 4),
        ],
        "milliseconds": [round(1000 * statistics.median(one[WARM_STEPS:]), 3) for one in times],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("pairs")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    result: dict[str, list] = {}
    for name, words in RUNS.items():
        for _ in range(arguments.rounds):
            for what, sources in {
                "old to new": [arguments.old, arguments.new],
                "new to old, inverted": [arguments.new, arguments.old],
                "new to new": [arguments.new, arguments.new],
            }.items():
                with tempfile.TemporaryDirectory() as folder:
                    times, shas = in_turns(sources, arguments.pairs, words, Path(folder))
                if what == "new to old, inverted":
                    times = times[::-1]
                result.setdefault(f"{name}, {what}", []).append({**ratio(times), "equal": len(set(shas)) == 1})
                print(name, what, result[f"{name}, {what}"][-1], flush=True)
                arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

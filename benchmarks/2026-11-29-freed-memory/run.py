"""Training and encoding with freed memory kept by the process, and as glibc does by itself, in turn: CPU seconds.

    OMP_NUM_THREADS=1 python benchmarks/2026-11-29-freed-memory/run.py ROUNDS WORK PAIRS... > result.jsonl

Each line is one process of its own: `train` 30 steps of recipes/box.toml at 64 px on PAIRS (its imports, vocabulary and
first reading of the images included), the others 10 batches of 32 images of ViT-B/32's random weights by that engine.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Whatever it says, the package leaves glibc as it is where this is there; an empty one says nothing to glibc.
WAYS = {"kept": {}, "glibc's own": {"GLIBC_TUNABLES": ""}}
ENCODE = """
import sys, time, torch, seesay
torch.set_num_threads(1)
model = seesay.build("ViT-B/32", seed=0).with_engine(sys.argv[1])
pixels = torch.randint(0, 256, (32, 3, 224, 224), dtype=torch.uint8)
model.encode_pixels(pixels)
start = time.process_time()
for _ in range(10):
    model.encode_pixels(pixels)
print(time.process_time() - start)
"""


def one(job: str, way: dict[str, str], work: Path, pairs: list[str]) -> dict[str, float]:
    shutil.rmtree(work / "run", ignore_errors=True)
    train = ["-m", "seesay", "train", *pairs, "--recipe", str(ROOT / "recipes/box.toml"), "--out", str(work / "run")]
    train += ["--set", "schedule.sizes=[[64,1.0]]", "--steps", "30", "--workers", "0"]
    command = [sys.executable, *(train if job == "train" else ["-c", ENCODE, job])]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env={**os.environ, **way}, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    seconds = user + system if job == "train" else float(done.stdout)
    return {"seconds": round(seconds, 2), "system": round(system, 2)}


def main() -> None:
    rounds, work, *pairs = sys.argv[1:]
    for turn in range(int(rounds)):
        for job in ("train", "torch", "torch-bf16", "torch-int8"):
            for name in list(WAYS) if turn % 2 else list(WAYS)[::-1]:
                print(
                    json.dumps({"round": turn, "job": job, "way": name, **one(job, WAYS[name], Path(work), pairs)}),
                    flush=True,
                )


if __name__ == "__main__":
    main()

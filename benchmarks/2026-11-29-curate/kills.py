"""Kill `seesay curate` at random moments and go on: the shards must be those of a run that nobody killed.

    python benchmarks/2026-11-29-curate/kills.py POOL queries.tsv FOLDER 20

POOL are tar shards with captions, as one pattern in quotes.
"""

import glob
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

STAGES = "match,balance,filter,dedup,shards"
EASY = ["--set", "filter.least_side=32", "--set", "rows=500", "--set", "shards.pairs=500", "--image-size", "48"]


def command(pool, queries, folder):
    program = os.path.join(os.path.dirname(sys.executable), "seesay")
    words = ["--queries", queries, "--out", str(folder), "--stages", STAGES, "--per-query", "300", *EASY]
    return [program, "curate", *sorted(glob.glob(pool)), *words]


def hashes(folder):
    files = [*sorted((folder / "shards").glob("0*")), folder / "pairs.parquet", folder / "counts.json"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main():
    pool, queries, root, kills = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
    seed = int(sys.argv[5]) if len(sys.argv) > 5 else 2026
    chosen = random.Random(seed)
    for name in ("whole", "killed"):
        shutil.rmtree(root / name, ignore_errors=True)
    started = time.monotonic()
    subprocess.run(command(pool, queries, root / "whole"), check=True, stdout=subprocess.DEVNULL)
    whole = time.monotonic() - started
    done = 0
    while done < kills:
        process = subprocess.Popen(command(pool, queries, root / "killed"), stdout=subprocess.DEVNULL)
        time.sleep(chosen.uniform(1.5, 1.5 + 2.5 * whole / kills))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            done += 1
        process.wait()
    subprocess.run(command(pool, queries, root / "killed"), check=True, stdout=subprocess.DEVNULL)
    expected, found = hashes(root / "whole"), hashes(root / "killed")
    result = {
        "kills": done,
        "seed": seed,
        "unbroken_s": round(whole, 1),
        "files": len(expected),
        "same": expected == found,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

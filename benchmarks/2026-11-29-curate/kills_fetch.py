"""Kill `seesay.curate` at random moments while it fetches, and go on: the set must be that of a run nobody killed.

    python benchmarks/2026-11-29-curate/kills_fetch.py FOLDER 200

A server of its own (`tests/hostile_hosts.py`) has 600 images, and 60 URLs that give none; parts have 20 rows. Each try
is a fork of this process, with all imported, and gets SIGKILL after up to a fifth of the time of the unbroken
run. After 20 kills, or where a run ended before its kill, the set is finished, compared, and begun anew.
"""

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

import pyarrow as pa
from pyarrow import parquet

import seesay
import seesay.curation.curate

HOUSE = Path(__file__).parents[2]
SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
import hostile_hosts
with hostile_hosts.hostile_server() as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""
BAD = ("/missing", "/html", "/cut", "/noai", "/short")


def run(table, out):
    seesay.curate(
        table, out=out, stages=["fetch", "dedup", "shards"], image_size=32, allow_private="127.0.0.1",
        overrides=["rows=20", "shards.pairs=100", "fetch.retries=0", "fetch.per_host=8", "fetch.workers=8"],
    )  # fmt: skip


def hashes(folder):
    files = [*sorted((folder / "shards").glob("0*")), *(folder / name for name in ("pairs.parquet", "counts.json"))]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def forked(table, out):
    """The process of a try, in the fork of this one."""
    process = os.fork()
    if process == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            run(table, out)
        finally:
            os._exit(0)
    return process


def main():
    root, kills = Path(sys.argv[1]), int(sys.argv[2])
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    command = [sys.executable, "-c", SERVER, str(HOUSE / "tests")]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    port = int(server.stdout.readline())
    paths = [f"/good/{n}" if n % 11 else f"{BAD[n // 11 % 5]}?{n}" for n in range(660)]
    table = root / "pool.parquet"
    columns = {
        "url": [f"http://127.0.0.1:{port}{path}" for path in paths],
        "caption": [f"image {path}" for path in paths],
    }
    parquet.write_table(pa.table(columns), table)
    started = time.monotonic()
    os.waitpid(forked(table, root / "whole"), 0)
    unbroken = time.monotonic() - started
    expected = hashes(root / "whole")
    chosen = random.Random(2026)
    done = ended = same = runs = torn = 0
    while done < kills:
        shutil.rmtree(root / "cut", ignore_errors=True)
        tries = 0
        while done < kills and tries < 20:
            process = forked(table, root / "cut")
            time.sleep(chosen.uniform(0, unbroken / 5))
            found, _ = os.waitpid(process, os.WNOHANG)
            if found:
                ended += 1
                break
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            done, tries = done + 1, tries + 1
            # Every part that is there is whole.
            for path in (root / "cut").rglob("0*.parquet"):
                try:
                    parquet.read_table(path)
                except pa.ArrowException:
                    torn += 1
        os.waitpid(forked(table, root / "cut"), 0)
        runs += 1
        same += hashes(root / "cut") == expected
    result = {"kills": done, "runs": runs, "same": same, "ended_before": ended, "torn_parts": torn,
              "files": len(expected), "unbroken_s": round(unbroken, 2), "clock_s": round(time.monotonic() - started),
              "load": os.getloadavg()}  # fmt: skip
    print(json.dumps(result, indent=1))
    server.communicate(timeout=60)


if __name__ == "__main__":
    main()

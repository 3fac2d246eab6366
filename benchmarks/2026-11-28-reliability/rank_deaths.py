"""F-T4: one of two processes of a training is killed or stopped, fifty times on one run.

    python rank_deaths.py FOLDER --turns 50 --log rank-deaths.jsonl > rank-deaths.txt
    python rank_deaths.py FOLDER --turns 4 --timeout 120 --log rank-deaths-120.jsonl

Which code is measured is decided by PYTHONPATH. A turn starts the same command as the last turn, as two processes with
two loader processes each, waits for two more checkpoints, and sends SIGKILL or SIGSTOP to one process at a random
moment. It is right if the run went on from the newest checkpoint on disk, if the other process ends by itself within
60 s (killed) or 150 s (stopped), with exit code 1 and the name of the lost one, without a traceback, and if nothing is
left: no process of either session, no file in /dev/shm. A stopped process is ended by SIGKILL afterwards, as an
operator would.
The log has a line for each turn; a script that was ended goes on after the last line, with the same run.
"""

import argparse
import json
import os
import platform
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image

PAIRS, SIDE = 64, 32
# Which process gets what: in turn, so that all four come equally often.
TURNS = [(0, "KILL"), (1, "KILL"), (0, "STOP"), (1, "STOP")]
# The figure's own bounds.
ALLOWED_SECONDS = {"KILL": 60, "STOP": 150}
# A turn that does not come as far as two checkpoints in this time has not started again. For a busy machine.
START_SECONDS = 300
# The signal comes so many seconds after the second checkpoint at most: somewhere in the steps or in the next save.
MOMENT_SECONDS = 1.0
# Loader processes end themselves when the one they work for is gone; this is what they get for it.
LAST_SECONDS = 15
SHARED = Path("/dev/shm")  # noqa: S108


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path, help="the pairs and the run; kept, so that a later call goes on")
    options.add_argument("--turns", type=int, default=50)
    options.add_argument("--timeout", type=float, default=20, help="parallel_timeout_seconds of the run")
    options.add_argument("--log", type=Path, required=True)
    chosen = options.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    pairs = chosen.folder / "pairs"
    if not pairs.exists():
        write_pairs(pairs)
    done = [json.loads(line) for line in chosen.log.read_text().splitlines()] if chosen.log.exists() else []
    for turn in range(len(done), chosen.turns):
        done.append(one_turn(turn, pairs, chosen))
        with chosen.log.open("a") as log:
            log.write(json.dumps(done[-1]) + "\n")
    print(json.dumps(summary(done, chosen), indent=2))
    return 0 if all(turn["right"] for turn in done) else 1


def write_pairs(folder: Path) -> None:
    folder.mkdir()
    for index in range(PAIRS):
        pixels = np.random.default_rng(index).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"image number {index}\n")


def one_turn(turn: int, pairs: Path, chosen: argparse.Namespace) -> dict:
    """Start both processes, end or stop one of them, and see what becomes of the other."""
    which, name = TURNS[turn % len(TURNS)]
    out = chosen.folder / "run"
    shared, before = set(os.listdir(SHARED)), events(out)
    # Of the folders, not of the log: a kill may come between a checkpoint and the line about it.
    last = max((int(path.name.removeprefix("step-")) for path in out.glob("checkpoints/step-*")), default=None)
    began = time.monotonic()
    runs = start(pairs, out, chosen.timeout)
    # A resumed run removes what was logged after its checkpoint, which is one line at most.
    saved = count(before, "checkpoint") + 2
    is_ready = wait_for(lambda: count(events(out), "checkpoint") >= saved, START_SECONDS, runs)
    started = time.monotonic() - began
    time.sleep(random.Random(turn).uniform(0, MOMENT_SECONDS))
    runs[which].send_signal(getattr(signal, f"SIG{name}"))
    sent = time.monotonic()
    is_hung = not wait_for(lambda: runs[1 - which].poll() is not None, ALLOWED_SECONDS[name])
    seconds = time.monotonic() - sent
    for run in runs if is_hung else [runs[which]]:
        run.kill()
    stderr = [run.communicate()[1] for run in runs]
    wait_for(lambda: not left(runs) and not set(os.listdir(SHARED)) - shared, LAST_SECONDS)
    steps = [event["step"] for event in events(out) if event.get("event") == "resume"]
    outcome = {
        "started": is_ready,
        "resumed": steps[-1:] == ([] if last is None else [last]),
        "ended": not is_hung,
        "exit_code": runs[1 - which].returncode == 1,
        "named": bool(re.search(rf"process {which} \(pid {runs[which].pid} on ", stderr[1 - which])),
        "no_traceback": not any("Traceback" in text for text in stderr),
        "no_orphans": not left(runs),
        "no_shared_memory": not set(os.listdir(SHARED)) - shared,
    }
    right = all(outcome.values())
    for pid in left(runs):
        os.kill(pid, signal.SIGKILL)
    told = {} if right else {"stderr": [text[-1500:] for text in stderr], "code": runs[1 - which].returncode}
    times = {"start_seconds": round(started, 1), "seconds": round(seconds, 2), "load": round(os.getloadavg()[0], 1)}
    return {"turn": turn, "process": which, "signal": name, "right": right, **outcome, **times, "from": last, **told}


def start(pairs: Path, out: Path, timeout: float) -> list[subprocess.Popen]:
    settings = [
        "model=conv-tiny",
        "batch_size=8",
        "steps=1000000",
        "checkpoint.every_steps=20",
        "data.workers=2",
        "towers.precision=float32",
        f"parallel_timeout_seconds={timeout}",
    ]
    words = [word for setting in settings for word in ("--set", setting)]
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port = asked.getsockname()[1]
    group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "seesay", "train", str(pairs), "--out", str(out), *words],
            env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for rank in range(2)
    ]


def wait_for(is_so, seconds: float, runs=()) -> bool:
    """Whether it came to be so in time; sooner if one of the runs has ended by itself."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if is_so():
            return True
        if any(run.poll() is not None for run in runs):
            return False
        time.sleep(0.05)
    return False


def events(out: Path) -> list[dict]:
    path = out / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def count(listed: list[dict], event: str) -> int:
    return sum(line.get("event") == event for line in listed)


def left(runs: list[subprocess.Popen]) -> list[int]:
    """The processes that still belong to the sessions of these runs."""
    sessions, found = {str(run.pid) for run in runs}, []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[3] in sessions and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def summary(done: list[dict], chosen: argparse.Namespace) -> dict:
    kinds = {f"{name} {rank}": [t for t in done if (t["process"], t["signal"]) == (rank, name)] for rank, name in TURNS}
    return {
        "turns": len(done),
        "right": sum(turn["right"] for turn in done),
        "wrong": Counter(key for turn in done for key, value in turn.items() if value is False),
        "most_seconds_until_the_other_was_gone": {
            kind: max(turn["seconds"] for turn in turns) for kind, turns in kinds.items() if turns
        },
        "most_seconds_to_start_again": max(turn["start_seconds"] for turn in done),
        "parallel_timeout_seconds": chosen.timeout,
        "machine": {"cores": os.cpu_count(), "load": [min(t["load"] for t in done), max(t["load"] for t in done)]},
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }


if __name__ == "__main__":
    sys.exit(main())

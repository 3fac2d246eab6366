"""Kill a loader process of a small training at a random moment, many times, and count how the trainings end.

    python deaths.py --runs 200 --out result.json
    python deaths.py --runs 20 --signal STOP --out result-stop.json
    python deaths.py --runs 400 --what batches --busy 0 --out result-batches.json

Which code is measured is decided by PYTHONPATH. Every training has two loader processes and synthetic images, and two
busy loops run beside all of them. A run is right if it ends with exit code 1 and the line that names the loader process
(STOP: the line that names data.timeout_seconds), without a traceback, leaving neither a process nor a file behind.
"""

import argparse
import atexit
import io
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from seesay.base.errors import SeesayError
from seesay.cli.main import main as seesay
from seesay.data.augment import Augment
from seesay.data.loader import Batches, Crops
from seesay.data.pairs import open_pairs
from seesay.data.tokenizer import CaptionTokenizer

BUSY = "while True: pass"
PAIRS, SIDE = 100, 48
# The signal comes after one of the first ten steps of a training, and there at a random moment of so many seconds;
# where only batches are read, in the first so many seconds.
STEPS = 10
MOMENT = {"training": 0.2, "batches": 1.0}
# Longer than this is a hang. The training itself gives up sooner, which is counted as another message.
HANG_SECONDS = 120.0
# What torch makes in the temporary directory on import, and means to find again.
TORCH_CACHE = "torchinductor_"
# Seconds after which the training itself calls its loader processes hung.
TIMEOUTS = {"KILL": 60, "STOP": 4}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=200)
    options.add_argument("--signal", choices=sorted(TIMEOUTS), default="KILL")
    options.add_argument("--what", choices=("training", "batches"), default="training")
    options.add_argument("--busy", type=int, default=2, help="busy loops beside the trainings")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, required=True)
    chosen = options.parse_args()
    generator = random.Random(chosen.seed)
    loops = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(chosen.busy)]
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp())
    try:
        pairs = write_pairs(folder / "pairs")
        torch.set_num_threads(1)
        # In this process, so that the trainings, forked from it, find everything imported: 0.4 s of CPU time, not 3 s.
        seesay(training(pairs, folder / "first", "data.workers=0", steps=2))
        outcomes = []
        for number in range(chosen.runs):
            outcomes.append(one_death(pairs, folder, chosen, generator))
            print(json.dumps({"run": number, **outcomes[-1]}), flush=True)
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
        shutil.rmtree(folder)
    counts = Counter(key for outcome in outcomes for key, value in outcome.items() if value and key in COUNTED)
    result = {
        "runs": chosen.runs,
        "what": chosen.what,
        "signal": chosen.signal,
        **{key: counts[key] for key in COUNTED},
        "minutes": round((time.monotonic() - started) / 60, 1),
        "machine": {"cores": os.cpu_count(), "busy_loops": chosen.busy, "load": os.getloadavg()},
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    chosen.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


COUNTED = ("right", "traceback", "hang", "other_message", "processes_left", "files_left")


def write_pairs(folder: Path) -> Path:
    folder.mkdir()
    for index in range(PAIRS):
        pixels = np.random.default_rng(index).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG")
        (folder / f"{index}.jpg").write_bytes(buffer.getvalue())
        (folder / f"{index}.txt").write_text(f"image number {index}\n")
    return folder


def training(pairs: Path, out: Path, *settings: str, steps: int) -> list[str]:
    words = ["train", str(pairs), "--out", str(out), "--steps", str(steps)]
    settings = ("model=conv-tiny", "batch_size=16", "towers.precision=float32", "log.every_steps=1", *settings)
    return words + [word for setting in settings for word in ("--set", setting)]


def one_death(pairs: Path, folder: Path, chosen: argparse.Namespace, generator: random.Random) -> dict:
    """Start a training, send the signal to one of its loader processes, and see how it ends."""
    name = chosen.signal
    temporary = Path(tempfile.mkdtemp(dir=folder))
    words = training(pairs, temporary / "run", "data.workers=2", f"data.timeout_seconds={TIMEOUTS[name]}", steps=10**6)
    (temporary / "tmp").mkdir()
    with (temporary / "stderr").open("wb") as stderr:
        work = partial(seesay, words) if chosen.what == "training" else partial(read_for_ever, pairs, TIMEOUTS[name])
        pid = forked(work, stderr.fileno(), temporary / "tmp")
        workers = wait_for_workers(pid)
        steps = generator.randrange(STEPS) if chosen.what == "training" else 0
        wait_for_steps(temporary / "run" / "events.jsonl", steps)
        time.sleep(generator.uniform(0, MOMENT[chosen.what]))
        victim = generator.choice(workers)
        os.kill(victim, getattr(signal, f"SIG{name}"))
        code = wait_for_end(pid)
    text = (temporary / "stderr").read_text()
    expected = "no batch came from the loader processes" if name == "STOP" else rf"\(pid {victim}, signal 9\) ended"
    time.sleep(0.2)
    outcome = {
        "traceback": "Traceback" in text,
        "hang": code is None,
        "other_message": not re.search(expected, text),
        "processes_left": sum(is_running(worker) for worker in workers),
        "files_left": [name for name in os.listdir(temporary / "tmp") if not name.startswith(TORCH_CACHE)]
        + shared_files([pid, *workers]),
    }
    right = code == 1 and not any(outcome.values())
    last = "" if right else text[-2000:]
    return {"right": right, **outcome, "steps": steps, "exit_code": code, "stderr": last}


def read_for_ever(pairs: Path, seconds: int) -> int:
    """Nothing but batches: the main process is always taking one over, which is when a death is worst."""
    tokenizer = CaptionTokenizer([("i", "m")], context=12)
    crops = Crops(open_pairs([pairs]), tokenizer, augment=Augment(), seed=0, cache=None)
    batches, step = Batches(crops, batch_size=4), -1
    stream = batches.starting_at(0, size_at=lambda step: 32, workers=2, timeout_seconds=seconds)
    # Before this was repaired, what a death raised had to be explained from outside.
    explain = getattr(batches, "explain_worker_failures", lambda _: nullcontext())
    try:
        with closing(batches), explain(lambda: step):
            for step, _ in enumerate(stream):  # noqa: B007
                pass
    except SeesayError as error:
        print(f"error: {error}", file=sys.stderr)
    return 1


def forked(work: Callable[[], int], stderr: int, temporary: Path) -> int:
    """The process id of `work()`, running in a fork of this process with its own standard error and TMPDIR."""
    pid = os.fork()
    if pid:
        return pid
    os.dup2(stderr, 2)
    os.environ["TMPDIR"] = str(temporary)
    tempfile.tempdir = None
    code = 70  # an error that the command did not catch
    try:
        code = work()
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    # As at the end of a program, but not what the parent would do at its own.
    atexit._run_exitfuncs()
    sys.stderr.flush()
    os._exit(code)


def wait_for_workers(pid: int) -> list[int]:
    until = time.monotonic() + HANG_SECONDS
    while time.monotonic() < until:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if len(children) == 2:
            return [int(child) for child in children]
        time.sleep(0.005)
    raise SystemExit("a training has not started its loader processes")


def wait_for_steps(events: Path, steps: int) -> None:
    until = time.monotonic() + HANG_SECONDS
    while steps and time.monotonic() < until:
        if events.exists() and events.read_bytes().count(b'"learning_rate"') >= steps:
            return
        time.sleep(0.005)


def wait_for_end(pid: int) -> int | None:
    """The exit code; None if it has not ended in time, and is killed."""
    until = time.monotonic() + HANG_SECONDS
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def shared_files(pids: list[int]) -> list[str]:
    folder = Path("/dev/shm")  # noqa: S108
    return [path.name for path in folder.glob("*") if any(f"_{pid}_" in path.name for pid in pids)]


if __name__ == "__main__":
    main()

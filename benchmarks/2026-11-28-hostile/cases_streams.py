"""Closed and full streams, small machines, Ctrl-C, outputs that cannot be written, forged embeddings, odd numbers.

Each case makes its input below `folder`, runs `python -m seesay` of whatever is on PYTHONPATH, and gives outcome,
exit, seconds and peak_mb. `python cases_streams.py` prints them all.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measure import measured
from PIL import Image
from safetensors.torch import load, save

# How often a command is interrupted, and at which moments: at random in so many seconds after its start.
INTERRUPTS, SECONDS = 200, 1.0
SEESAY = [sys.executable, "-m", "seesay"]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "SEESAY_CACHE": "off"}


def images(folder: Path) -> Path:
    """Two classes of four images."""
    for index, name in enumerate(("cat", "dog")):
        for number in range(4):
            path = folder / "images" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (60 * number, 200 * index, 90)).save(path)
    return folder / "images"


def captioned(folder: Path) -> Path:
    """The images with a caption each."""
    for path in images(folder).rglob("*.png"):
        path.with_suffix(".txt").write_text(f"a {path.parent.name}")
    return folder / "images"


def in_shell(prefix: str, redirect: str, words: list[str], folder: Path, **env: str) -> dict[str, Any]:
    """The command after `prefix` with its streams redirected; standard output goes to a file unless it is redirected.

    How many lines of results came is added to the outcome.
    """
    images(folder)
    results = folder / "results.txt"
    line = f'cd "{folder}"; {prefix} exec "$@" >"{results}" {redirect}'
    done = measured(["sh", "-c", line, "sh", *SEESAY, *words], env={**ENVIRONMENT, **env})
    lines = results.read_text(errors="replace").splitlines()
    remarks = sum(line.startswith(("model:", "skipped", "error:")) for line in lines)
    done["outcome"] = f"{done['outcome'] or '(nothing)'} | results: {len(lines)} lines, {remarks} remarks among them"
    return done


def stream(redirect: str, folder: Path) -> dict[str, Any]:
    return in_shell("", redirect, ["classify", "images", "cat", "dog", "--format", "csv"], folder)


def with_limit(prefix: str, folder: Path) -> dict[str, Any]:
    return in_shell(prefix, "", ["classify", str(folder / "images"), "cat", "dog", "--format", "csv"], folder)


def without_home(folder: Path) -> dict[str, Any]:
    """An id that the system does not know, and no HOME: in a user namespace, so that files can still be read."""
    os.environ.pop("SEESAY_CACHE", None)
    images(folder)
    words = ["unshare", "-U", "--map-user=54321", "env", "-u", "HOME", "-u", "XDG_CACHE_HOME", *SEESAY]
    return measured([*words, "evaluate", "box", str(folder / "images")], env={"OMP_NUM_THREADS": "1"})


def late(words: list[str], folder: Path) -> dict[str, Any]:
    """An output below a file. A model was loaded, and images measured, where the seconds are those of the work."""
    if words[0] == "doctor":
        captioned(folder)
    images(folder)
    (folder / "file").write_text("")
    place = folder / "file" / "new"
    named = [word.format(images=folder / "images", place=place, folder=folder) for word in words]
    return measured([*SEESAY, *named], env=ENVIRONMENT)


def interrupted(folder: Path) -> dict[str, Any]:
    """Traces among 200 runs; those of the interpreter itself, before its first line of ours, apart."""
    images(folder)
    moments, ours, theirs, codes = random.Random(5), 0, 0, []
    started = time.monotonic()
    for _ in range(INTERRUPTS):
        process = subprocess.Popen(
            [*SEESAY, "classify", str(folder / "images"), "cat", "dog"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **ENVIRONMENT},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        time.sleep(moments.random() * SECONDS)
        process.send_signal(signal.SIGINT)
        error = process.communicate()[1]
        if "Traceback" in error or "Exception ignored" in error:
            is_ours = "/seesay/" in error
            ours, theirs = ours + is_ours, theirs + (not is_ours)
        codes.append(process.returncode)
    counts = {code: codes.count(code) for code in sorted(set(codes))}
    outcome = f"{INTERRUPTS} runs: {ours} traces of ours, {theirs} of the interpreter's start; exit codes {counts}"
    return {"outcome": outcome, "exit": None, "seconds": round(time.monotonic() - started, 2), "peak_mb": 0.0}


def forged(folder: Path) -> dict[str, Any]:
    """Rows in a cache that others may write are replaced, with the right sums: is the score another one?"""
    words = [*SEESAY, "evaluate", "box", str(images(folder)), "--json", str(folder / "scores.json")]
    env = {**ENVIRONMENT, "SEESAY_CACHE": str(folder / "cache")}
    scores = []
    for _ in range(2):
        done = measured(words, env=env)
        scores.append(json.loads((folder / "scores.json").read_text())[0]["top1"])
        for path in (folder / "cache" / "images").glob("*.safetensors"):
            tensors = load(path.read_bytes()[32:])
            tensors["image_ND"] = torch.roll(tensors["image_ND"], 4, 0)
            data = save(tensors)
            # The sum as it was, or with the file's name: what anybody can work out who reads the source.
            is_old = hashlib.sha256(path.read_bytes()[32:]).digest() == path.read_bytes()[:32]
            named = b"" if is_old else f"images/{path.name}\n".encode()
            path.write_bytes(hashlib.sha256(named + data).digest() + data)
            path.chmod(0o666)
    # A warning ends in the line of the source that gave it.
    is_told = "cache.read" in done["outcome"]
    return {**done, "outcome": f"top-1 {scores[0]} then {scores[1]}, {'with' if is_told else 'without'} a remark"}


def number(words: list[str], folder: Path) -> dict[str, Any]:
    """Training that may take 30 s."""
    base = ["train", str(captioned(folder)), "--out", str(folder / "run"), "--model", "conv-tiny", "--workers", "0"]
    return measured([*SEESAY, *base, *words], env=ENVIRONMENT, limit_s=30)


CASES: list[tuple[str, Callable[[Path], dict[str, Any]]]] = [
    ("standard output closed", partial(stream, ">&-")),
    ("standard error closed", partial(stream, "2>&-")),
    ("standard error full", partial(stream, "2>/dev/full")),
    ("standard output full", partial(stream, ">/dev/full")),
    ("standard input and error closed", partial(stream, "<&- 2>&-")),
    ("ulimit -v 300000", partial(with_limit, "ulimit -v 300000;")),
    ("removed working folder", partial(with_limit, "mkdir gone; cd gone; rmdir ../gone;")),
    ("unknown user without HOME", without_home),
    ("Ctrl-C in the first second", interrupted),
    ("evaluate --json below a file", partial(late, ["evaluate", "box", "{images}", "--json", "{place}"])),
    ("evaluate --report below a file", partial(late, ["evaluate", "box", "{images}", "--report", "{place}"])),
    ("evaluate --results below a file", partial(late, ["evaluate", "box", "{images}", "--results", "{place}"])),
    ("probe --json below a file", partial(late, ["probe", "{images}", "{images}", "--json", "{place}"])),
    ("doctor --json below a file", partial(late, ["doctor", "{images}", "--seconds", "2", "--json", "{place}"])),
    ("classify --bad below a file", partial(late, ["classify", "{images}", "cat", "dog", "--bad", "{place}"])),
    ("convert DST below a file", partial(late, ["convert", "box", "{place}", "--to", "hf"])),
    ("forged embeddings", forged),
    ("train --minutes inf", partial(number, ["--minutes", "inf"])),
    ("train --minutes 1e308", partial(number, ["--minutes", "1e308"])),
    ("train --minutes nan", partial(number, ["--minutes", "nan"])),
]


if __name__ == "__main__":
    for name, case in CASES:
        with tempfile.TemporaryDirectory() as inside:
            print(name, json.dumps(case(Path(inside))), flush=True)

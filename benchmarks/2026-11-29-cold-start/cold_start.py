"""Seconds to the first answer of `seesay classify PHOTO cat dog car` with the packaged model, and to its end.

Run: python cold_start.py OUT.json ROUNDS NAME=SOURCE...

SOURCE is the folder src of a checkout; each round runs all of them in turn, in a process of its own, on one thread. CPU
seconds are user's and system's together, of the whole process; the first answer is the first line of the table.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

out, rounds, *named = sys.argv[1:]
sources = dict(pair.split("=", 1) for pair in named)
found = {name: {"first": [], "end": [], "cpu": []} for name in sources}
with tempfile.TemporaryDirectory() as folder:
    photo = Path(folder) / "photo.jpg"
    Image.effect_noise((1600, 1200), 80).convert("RGB").save(photo)
    words = [sys.executable, "-m", "seesay", "classify", str(photo), "cat", "dog", "car"]
    for number in range(int(rounds) + 1):
        for name, source in sources.items():
            environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
            start = time.perf_counter()
            process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
            while not process.stdout.readline().startswith(str(photo).encode()):
                pass
            first = time.perf_counter() - start
            process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            assert status == 0
            # The first round is not counted: files are read from the disk.
            if number:
                found[name]["first"].append(round(first, 3))
                found[name]["end"].append(round(time.perf_counter() - start, 3))
                found[name]["cpu"].append(round(usage.ru_utime + usage.ru_stime, 3))
        print(number, {name: [each[-1:] for each in kinds.values()] for name, kinds in found.items()}, flush=True)


def summary(seconds):
    return {"median": statistics.median(seconds), "least": min(seconds), "most": max(seconds)}


result = {name: {kind: summary(seconds) for kind, seconds in kinds.items()} for name, kinds in found.items()}
facts = {"load": os.getloadavg(), "cores": os.cpu_count(), "rounds": int(rounds), "seconds": result}
Path(out).write_text(json.dumps(facts, indent=1) + "\n")

"""Two threads of torch beside busy processes, waiting threads spinning and sleeping in turn.

Run: python spin.py OUT.json ROUNDS BUSY...

Encodes 256 random images with the box in a process of its own, so many rounds each way, beside BUSY processes that
count, such as 0 1 2. CPU and wall seconds of the encoding alone.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

WORK = """
import time, numpy as np, torch, seesay
torch.set_num_threads({threads})
model = seesay.load("box")
pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (64, 3, 64, 64), dtype=np.uint8))
model.encode_pixels(pixels)
cpu, wall = time.process_time(), time.perf_counter()
for _ in range(4):
    model.encode_pixels(pixels)
print(time.process_time() - cpu, time.perf_counter() - wall)
"""
WAYS = {"one thread": (1, {}), "two, spinning": (2, {}), "two, sleeping": (2, {"GOMP_SPINCOUNT": "0"})}
found = []
for busy in map(int, sys.argv[3:]):
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        seconds = {way: [] for way in WAYS}
        for _ in range(int(sys.argv[2])):
            for way, (threads, more) in WAYS.items():
                kept = {
                    name: value
                    for name, value in os.environ.items()
                    if name not in ("GOMP_SPINCOUNT", "OMP_NUM_THREADS")
                }
                command = [sys.executable, "-c", WORK.format(threads=threads)]
                done = subprocess.run(command, env={**kept, **more}, capture_output=True, text=True, check=True)
                seconds[way].append([float(word) for word in done.stdout.split()])
    finally:
        for other in others:
            other.kill()
    for way, times in seconds.items():
        cpu, wall = (round(statistics.median(column), 2) for column in zip(*times, strict=True))
        found.append(
            {"busy": busy, "way": way, "cpu_seconds": cpu, "wall_seconds": wall, "load": round(os.getloadavg()[0], 1)}
        )
        print(found[-1], flush=True)
    Path(sys.argv[1]).write_text(json.dumps(found, indent=1) + "\n")

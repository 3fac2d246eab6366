"""What engine torch-exact costs beside torch, and how far batches of torch are from each row alone.

Run: python exact.py OUT.json ROUNDS THREADS MODEL...

MODEL is a size, which gets random weights, or what `seesay.load` takes. Both engines in turn, medians of the rounds;
the texts are 64 different ones.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

import seesay
from seesay.model.build import build
from seesay.nets.presets import PRESETS

out, rounds, threads, *names = sys.argv[1:]
torch.set_num_threads(int(threads))
texts = [f"a photo of {number} {word}" for word in ("cats", "red buses on a road") for number in range(32)]
found = []
for name in names:
    model = build(name) if name in PRESETS else seesay.load(name)
    models = {engine: model.with_engine(engine) for engine in ("torch", "torch-exact")}
    side = model.preprocess.size
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (32, 3, side, side), dtype=np.uint8))
    for kind in ("images 1", "images 8", "images 32", "texts 64"):
        count = int(kind.split()[1])
        cpu, wall, rows = ({engine: [] for engine in models} for _ in range(3))
        for turn in range(int(rounds) + 1):
            for engine in list(models)[:: 1 if turn % 2 else -1]:
                own, before, start = models[engine], time.process_time(), time.perf_counter()
                row = own.encode_texts(texts) if kind.startswith("texts") else own.encode_pixels(pixels[:count])
                cpu[engine].append(time.process_time() - before)
                wall[engine].append(time.perf_counter() - start)
                rows[engine] = row
        ratios = [
            [own / usual for own, usual in zip(kept["torch-exact"][1:], kept["torch"][1:], strict=True)]
            for kept in (cpu, wall)
        ]
        found.append(
            {
                "model": name,
                "threads": int(threads),
                "kind": kind,
                "cpu_ratio": round(statistics.median(ratios[0]), 2),
                "cpu_least_most": [round(min(ratios[0]), 2), round(max(ratios[0]), 2)],
                "wall_ratio": round(statistics.median(ratios[1]), 2),
                "torch_ms_cpu": round(1000 * statistics.median(cpu["torch"][1:]), 2),
                "largest_difference": float((rows["torch"] - rows["torch-exact"]).abs().max()),
                "load": round(os.getloadavg()[0], 1),
            }
        )
        print(found[-1], flush=True)
        Path(out).write_text(json.dumps(found, indent=1) + "\n")

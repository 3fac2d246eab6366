"""Every engine's CPU and wall time beside torch in float32, in turn. python speed.py OUT.json ROUNDS MODEL THREADS...

MODEL is a size, which gets random weights (their cosines are better than those of trained ones), or a model's folder.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

import seesay
from seesay.model.build import build
from seesay.model.engines import installed_engines
from seesay.nets.presets import PRESETS

out, rounds, name, *threads = sys.argv[1:]
exact = build(name) if name in PRESETS else seesay.load(name)
side = exact.preprocess.size
generator = np.random.default_rng(0)
texts = [f"a photo of a {word}" for word in ("cat", "dog", "small red bus on a road", "sea urchin") for _ in range(16)]
found = []
for count in map(int, threads):
    torch.set_num_threads(count)
    models = {}
    for engine in installed_engines():
        try:
            models[engine] = exact.with_engine(engine)
        except seesay.SeesayError as error:
            print(engine, error, flush=True)
    for kind in ("images 1", "images 8", "images 32", "texts 64"):
        number = int(kind.split()[1])
        pixels = torch.from_numpy(generator.integers(0, 256, (number, 3, side, side), dtype=np.uint8))
        work = (
            (lambda own: own.encode_texts(texts))
            if kind.startswith("texts")
            else (lambda own, pixels=pixels: own.encode_pixels(pixels))
        )
        right = work(exact)
        cosines = {engine: float((work(own) * right).sum(1).min()) for engine, own in models.items()}
        cpu, wall = ({engine: [] for engine in models} for _ in range(2))
        for turn in range(int(rounds)):
            order = list(models) if turn % 2 else list(models)[::-1]
            for engine in order:
                before, start = time.process_time(), time.perf_counter()
                work(models[engine])
                cpu[engine].append(time.process_time() - before)
                wall[engine].append(time.perf_counter() - start)
        for engine in models:
            ratios = [one / own for one, own in zip(cpu["torch"], cpu[engine], strict=True)]
            walls = [one / own for one, own in zip(wall["torch"], wall[engine], strict=True)]
            row = {
                "model": name,
                "threads": count,
                "kind": kind,
                "engine": engine,
                "cpu_ratio": round(statistics.median(ratios), 2),
                "cpu_ratio_least_most": [round(min(ratios), 2), round(max(ratios), 2)],
                "wall_ratio": round(statistics.median(walls), 2),
                "milliseconds_cpu": round(1000 * statistics.median(cpu[engine]), 2),
                "smallest_cosine": cosines[engine],
            }
            found.append(row)
            print(row, flush=True)
        Path(out).write_text(json.dumps(found, indent=1) + "\n")

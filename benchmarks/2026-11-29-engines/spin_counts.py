"""Two threads of torch that spin for so many turns before they sleep, beside so many busy processes.

    python spin_counts.py SPINS BUSY...

SPINS such as none,0,1000 ("none": libgomp's own), BUSY such as 0 1 2. Median milliseconds of a batch by the clock and
mean milliseconds of CPU time, each in a process of its own.
"""

import os
import statistics
import subprocess
import sys
import time

RUNS = (
    ("ViT-B/32", "torch", 1, 20),
    ("ViT-B/32", "torch-bf16", 1, 30),
    ("ViT-B/32", "torch-int8", 1, 40),
    ("ViT-B/32", "torch-int8", 8, 8),
    ("box", "torch", 1, 100),
    ("box", "torch", 64, 10),
)


def encode(name: str, engine: str, count: int, rounds: int) -> None:
    import numpy as np
    import torch

    import seesay
    from seesay.model.build import build

    torch.set_num_threads(2)
    model = (seesay.load(name) if name == "box" else build(name)).with_engine(engine)
    shape = (count, 3, model.preprocess.size, model.preprocess.size)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    for _ in range(3):
        model.encode_pixels(pixels)
    times, cpu = [], time.process_time()
    for _ in range(rounds):
        start = time.perf_counter()
        model.encode_pixels(pixels)
        times.append(time.perf_counter() - start)
    print(1000 * statistics.median(times), 1000 * (time.process_time() - cpu) / rounds)


def measure(spins: list[str], busy: int) -> None:
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        for run in RUNS:
            found = []
            for spin in spins:
                env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
                # Whoever says how threads wait is not told otherwise; the second is for another library's threads.
                env |= {"KMP_BLOCKTIME": "0"} if spin == "none" else {"GOMP_SPINCOUNT": spin}
                command = [sys.executable, __file__, "encode", *map(str, run)]
                made = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
                wall, cpu = map(float, made.split()[-2:])
                found.append(f"{spin}: {wall:.1f} ms, cpu {cpu:.1f}")
            print(busy, *run[:3], " | ".join(found), flush=True)
    finally:
        for other in others:
            other.kill()


if __name__ == "__main__":
    if sys.argv[1] == "encode":
        encode(*sys.argv[2:4], *map(int, sys.argv[4:]))
    else:
        for number in sys.argv[2:]:
            measure(sys.argv[1].split(","), int(number))

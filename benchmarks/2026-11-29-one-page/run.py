"""examples/clip_in_one_page.py with five seeds: the share of held-out digits read right, and the seconds of a CPU.

python benchmarks/2026-11-29-one-page/run.py > benchmarks/2026-11-29-one-page/log.txt
"""

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))

import clip_in_one_page as page
import torch

if __name__ == "__main__":
    torch.set_num_threads(1)
    shares, seconds = [], []
    for seed in range(5):
        started = time.process_time()
        shares.append(page.main(seed=seed))
        seconds.append(time.process_time() - started)
    print("held-out images read right:", ", ".join(f"{share:.1%}" for share in shares))
    print(f"median {statistics.median(shares):.1%}; CPU seconds, median {statistics.median(seconds):.0f}")

"""Memory and load time of rounded weights in processes of their own, since where glibc leaves holes differs by process.

python weights_dtype_fresh.py MODEL WAY COUNT     as many processes load the folder MODEL with weights_dtype WAY;
                                                  WAY ordinary is without, and WAYs with commas between go in turn
"""

import json
import subprocess
import sys
import time
from pathlib import Path


def memory():
    """Megabytes that no other process has."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss_Anon:"))


def child(model, way):
    import torch

    import seesay

    torch.set_num_threads(1)
    before, cpu = memory(), time.process_time()
    loaded = seesay.load(model, weights_dtype=None if way == "ordinary" else way)
    cpu = time.process_time() - cpu
    loaded.encode_pixels(torch.zeros(1, 3, 224, 224, dtype=torch.uint8))
    loaded.encode_texts(["a photo of a cat"])
    row = {"model": Path(model).name, "way": way, "load_cpu": round(cpu, 2), "own": round(memory() - before)}
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    model, way, *count = sys.argv[1:]
    if not count:
        child(model, way)
    for _ in range(int(*count)):
        for one in way.split(","):
            subprocess.run([sys.executable, __file__, model, one], check=True)

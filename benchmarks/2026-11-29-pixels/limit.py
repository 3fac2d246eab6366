"""How fast can the fast mode be at 3000 x 2000? libjpeg-turbo alone, at each of its scales, beside Pillow's whole path.

    OMP_NUM_THREADS=1 python limit.py PHOTOS --out limit.json > limit.log

As `speed.py`: CPU seconds, all sides taking turns, medians of the rounds.
"""

import argparse
import json
import os
import statistics
from pathlib import Path

import numpy as np
import simplejpeg
import speed

SIDES = (3000, 2000)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("photos", type=Path)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--out", type=Path, required=True)
    chosen = options.parse_args()
    np.ones(30 << 20, np.uint8)
    files = speed.photos(chosen.photos, SIDES, 4, "JPEG", 1)
    sides = {
        "Pillow": speed.by_pillow,
        **{f"decoded at 1/{k}": lambda data, k=k: at_scale(data, k) for k in (1, 2, 4, 8)},
    }
    spent = speed.milliseconds(sides, files, chosen.rounds)
    for name, values in spent.items():
        ratios = [whole / part for whole, part in zip(spent["Pillow"], values, strict=True)]
        print(f"{name}: {statistics.median(values):.2f} ms, {statistics.median(ratios):.2f} times Pillow", flush=True)
    result = {"load": os.getloadavg(), "kB": sum(map(len, files)) // 4000, "ms": spent}
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")


def at_scale(data: bytes, k: int) -> None:
    simplejpeg.decode_jpeg(data, min_height=SIDES[1] // k, min_width=SIDES[0] // k)


if __name__ == "__main__":
    main()

"""From the bytes of a photo to the square a model takes: the exact mode and the fast one beside Pillow, part by part.

    OMP_NUM_THREADS=1 python speed.py PHOTOS --out speed.json > speed.log

PHOTOS is scikit-image's `data` folder; scikit-learn has two more photographs. CPU seconds of one thread, all sides
taking turns in each round; ratios are medians of the rounds. Pillow is its decoder, the turn that EXIF asks for, its
resize and crop, as torchvision calls them. Before the first round as much memory is taken and given back as a model
takes: the system's allocator asks for pages anew for every picture until then, and for fewer afterwards. Each side's
decoder alone is timed as well: no resize can be faster than that.
"""

import argparse
import io
import json
import os
import statistics
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from seesay.data.decode import decode
from seesay.data.images import FINEST, FastPreprocess, Preprocess
from seesay.data.jpeg import decoding, not_shrunk

sys.path.insert(0, str(Path(__file__).parents[1] / "2026-11-21-pixels"))
import pictures

SIDE = 224
# Name, sides, how many, file format, EXIF orientation.
CASES = [
    ("64 x 48", (64, 48), 200, "JPEG", 1),
    ("256 x 192", (256, 192), 80, "JPEG", 1),
    ("640 x 480", (640, 480), 40, "JPEG", 1),
    ("480 x 640", (480, 640), 40, "JPEG", 1),
    ("500 x 375", (500, 375), 40, "JPEG", 1),
    ("500 x 375, turned by EXIF", (500, 375), 40, "JPEG", 6),
    ("3000 x 2000", (3000, 2000), 4, "JPEG", 1),
    ("4000 x 3000", (4000, 3000), 3, "JPEG", 1),
    ("3000 x 4000", (3000, 4000), 3, "JPEG", 1),
    ("4000 x 3000, turned by EXIF", (4000, 3000), 3, "JPEG", 6),
    ("500 x 375 PNG", (500, 375), 20, "PNG", 1),
    ("640 x 480 PNG", (640, 480), 20, "PNG", 1),
    ("4000 x 3000 PNG", (4000, 3000), 2, "PNG", 1),
    ("500 x 375 WebP", (500, 375), 20, "WEBP", 1),
    ("640 x 480 WebP", (640, 480), 20, "WEBP", 1),
    ("4000 x 3000 WebP", (4000, 3000), 2, "WEBP", 1),
]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("photos", type=Path)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--out", type=Path, required=True)
    chosen = options.parse_args()
    np.ones(30 << 20, np.uint8)
    rows = []
    for name, sides, count, kind, turn in CASES:
        files = photos(chosen.photos, sides, count, kind, turn)
        rows.append({"photos": name, "kB": sum(map(len, files)) // count // 1000, **speed(files, chosen.rounds)})
        print(json.dumps(rows[-1]), flush=True)
    chosen.out.write_text(json.dumps({"load": os.getloadavg(), "cases": rows}, indent=1) + "\n")


def photos(folder: Path, sides: tuple[int, int], count: int, kind: str, turn: int) -> list[bytes]:
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, turn, 0, 0)
    made = pictures.jpegs(folder, sides, count)
    return [saved(decode(data), kind, exif) for data in made] if kind != "JPEG" or turn != 1 else made


def saved(pixels_HW3: np.ndarray, kind: str, exif: bytes) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels_HW3).save(file, kind, exif=exif, quality=90, method=0, compress_level=3)
    return file.getvalue()


def speed(files: list[bytes], rounds: int) -> dict:
    sides: dict[str, Callable[[bytes], object]] = {
        "Pillow": by_pillow,
        "exact": Preprocess(size=SIDE).read,
        "fast": FastPreprocess(size=SIDE).read,
        "Pillow's decoder": by_pillows_decoder,
        "exact, decoder": lambda data: decoded(data, not_shrunk),
        "fast, decoder": lambda data: decoded(data, lambda height, width: min(height, width) / (FINEST * SIDE)),
    }
    spent = milliseconds(sides, files, rounds)
    ratios = {name: [p / own for p, own in zip(spent["Pillow"], spent[name], strict=True)] for name in sides}
    return {
        "ms": {name: round(statistics.median(values), 2) for name, values in spent.items()},
        "times Pillow": {name: round(statistics.median(values), 2) for name, values in ratios.items()},
        "range": {name: [round(min(values), 2), round(max(values), 2)] for name, values in ratios.items()},
    }


def milliseconds(
    sides: dict[str, Callable[[bytes], object]], files: list[bytes], rounds: int
) -> dict[str, list[float]]:
    """Of each side for a file in each round, all taking turns; the first round does not count."""
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            started = time.process_time()
            for data in files:
                sides[name](data)
            if turn:
                spent[name].append(1000 * (time.process_time() - started) / len(files))
    return spent


def by_pillows_decoder(data: bytes) -> None:
    Image.open(io.BytesIO(data)).load()


def decoded(data: bytes, most: Callable[[int, int], float]) -> None:
    with decoding(data, most):
        pass


def by_pillow(data: bytes) -> np.ndarray:
    """torchvision's Resize and CenterCrop on a Pillow image, written out."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    short = min(image.size)
    image = image.resize(tuple(int(SIDE * side / short) for side in image.size), Image.Resampling.BICUBIC)
    left, top = (round((side - SIDE) / 2) for side in image.size)
    return np.asarray(image.crop((left, top, left + SIDE, top + SIDE))).transpose(2, 0, 1).copy()


if __name__ == "__main__":
    main()

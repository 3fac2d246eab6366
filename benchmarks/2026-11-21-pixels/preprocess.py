"""From a JPEG to the pixels a model takes: the exact mode, the fast one, and Pillow as torchvision uses it.

    python preprocess.py PHOTOS --out preprocess.json > preprocess.txt

PHOTOS is scikit-image's `data` folder. Speed in pictures per CPU second of one thread, the sides taking turns; distance
from the exact mode in levels of 0 to 255, and between embeddings as a cosine. Needs scikit-learn for two photographs.
"""

import argparse
import io
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from pictures import BIG, SMALL, jpegs
from PIL import Image

import seesay
from seesay.data.images import FastPreprocess, Preprocess
from seesay.data.jpeg import decode_shrunk

SIDE = 224
CASES = [("500x375", SMALL, 60), ("3000x2000", BIG, 10)]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("photos", type=Path)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--out", type=Path, required=True)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    models = {"box (64 px)": seesay.load("box"), "random ViT-B/32": seesay.build("ViT-B/32")}
    rows = []
    for name, size, count in CASES:
        pictures = jpegs(chosen.photos, size, count)
        rows.append({"pictures": name, **speed(pictures, chosen.rounds), **distance(pictures)})
        rows[-1]["lowest_cosine"] = {
            title: round(float(cosines(model, pictures).min()), 6) for title, model in models.items()
        }
        print(json.dumps(rows[-1]), flush=True)
    chosen.out.write_text(json.dumps({"load": os.getloadavg(), "cases": rows}, indent=2) + "\n")


def speed(pictures: list[bytes], rounds: int) -> dict:
    sides = {"exact": Preprocess(size=SIDE).read, "fast": FastPreprocess(size=SIDE).read, "Pillow": by_pillow}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            started = time.process_time()
            for data in pictures:
                sides[name](data)
            if turn:
                rates[name].append(len(pictures) / (time.process_time() - started))
    paired = {name: [a / b for a, b in zip(rates[name], rates["Pillow"], strict=True)] for name in rates}
    return {
        "per_cpu_second": {name: round(statistics.median(values), 1) for name, values in rates.items()},
        "times_pillow": {name: round(statistics.median(values), 2) for name, values in paired.items()},
        "times_pillow_range": {name: [round(min(v), 2), round(max(v), 2)] for name, v in paired.items()},
    }


def by_pillow(data: bytes) -> np.ndarray:
    """torchvision's Resize and CenterCrop on a PIL image, written out."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    short = min(image.size)
    image = image.resize(tuple(int(SIDE * side / short) for side in image.size), Image.Resampling.BICUBIC)
    left, top = (round((side - SIDE) / 2) for side in image.size)
    return np.asarray(image.crop((left, top, left + SIDE, top + SIDE))).transpose(2, 0, 1).copy()


def distance(pictures: list[bytes]) -> dict:
    far = [
        (FastPreprocess(size=SIDE).read(data).int() - Preprocess(size=SIDE).read(data).int()).abs().float()
        for data in pictures
    ]
    limit = 2 * SIDE
    return {
        "shrunk": sorted({decode_shrunk(data, lambda h, w: min(h, w) / limit).shrink for data in pictures}),
        "levels_max": max(float(picture.max()) for picture in far),
        "levels_mean": round(statistics.mean(float(picture.mean()) for picture in far), 4),
    }


def cosines(model: seesay.Model, pictures: list[bytes]) -> torch.Tensor:
    exact, fast = model.encode_images(pictures), model.with_preprocess("fast").encode_images(pictures)
    return (exact * fast).sum(1)


if __name__ == "__main__":
    main()

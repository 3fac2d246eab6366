"""What an index makes of a photo beside its pixels, part by part: the least time of many repeats, by the clock.

OMP_NUM_THREADS=1 python thumbnails.py > thumbnails.log
"""

import hashlib
import json
import sys
import timeit
from pathlib import Path

import skimage
import torch
from PIL import Image

import seesay
from seesay.data.duplicates import looks
from seesay.data.jpeg import decoding
from seesay.data.thumbnails import quick_thumbnail
from seesay.index.reading import QUALITY, SIDE

sys.path.insert(0, str(Path(__file__).parents[1] / "2026-11-21-pixels"))
import pictures


def least_ms(work) -> float:
    return round(min(timeit.repeat(work, number=1, repeat=25)) * 1000, 3)


def parts(preprocess, size: tuple[int, int]) -> dict:
    (data,) = pictures.jpegs(Path(skimage.__file__).parent / "data", size, 1)
    with decoding(data) as image:
        stored, sides = Image.fromarray(image.pixels_HW3), (SIDE, round(SIDE * size[1] / size[0]))
        small_HW3 = quick_thumbnail(image, side=SIDE, quality=QUALITY)[1]
        return {
            "size": size,
            "ms to prepare": least_ms(lambda: preprocess.pixels(image)),
            "thumbnail": least_ms(lambda: quick_thumbnail(image, side=SIDE, quality=QUALITY)),
            "Pillow's resize alone": least_ms(lambda: stored.resize(sides, Image.Resampling.BICUBIC, reducing_gap=2.0)),
            "looks": least_ms(lambda: looks(small_HW3)),
            "SHA-256": least_ms(lambda: hashlib.sha256(data).digest()),
        }


def main() -> None:
    torch.set_num_threads(1)
    preprocess = seesay.load("box").preprocess
    for size in ((500, 375), (3000, 2000)):
        print(json.dumps(parts(preprocess, size)), flush=True)


if __name__ == "__main__":
    main()

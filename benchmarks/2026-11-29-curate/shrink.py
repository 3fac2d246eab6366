"""How near ways to shrink a JPEG come to Lanczos' filter over the whole image, and how long they take.

    python benchmarks/2026-11-29-curate/shrink.py

Four photographs of scikit-image as JPEG of several sides, to 256 pixels; decibels, and milliseconds of CPU. "area" is
what img2dataset does (means of areas); "twice" shrinks in the decoder as far as twice the side, "once" as far as the
side, and the rest by Lanczos' filter or the one that is named. 138 dB are the same bytes.
"""

import io
import time

import numpy as np
import skimage.data
from PIL import Image

from seesay.data.jpeg import decoding

LANCZOS, HAMMING, BOX, SIDE = Image.Resampling.LANCZOS, Image.Resampling.HAMMING, Image.Resampling.BOX, 256
BICUBIC = Image.Resampling.BICUBIC


def decibels(image, reference):
    difference = np.asarray(image).astype(float) - np.asarray(reference).astype(float)
    return 10 * np.log10(255**2 / max(1e-9, np.mean(difference**2)))


def shrunk(data, sides, least, kernel):
    with decoding(data, lambda height, width: min(height, width) / least) as decoded:
        return Image.fromarray(decoded.pixels_HW3).resize(sides, kernel)


def main():
    ways = {"area": (1 << 20, BOX), "twice, Hamming": (2 * SIDE, HAMMING), "twice": (2 * SIDE, LANCZOS),
            "once": (SIDE, LANCZOS), "once, bicubic": (SIDE, BICUBIC), "once, Hamming": (SIDE, HAMMING)}  # fmt: skip
    for side in (300, 400, 512, 700, 1000, 1500):
        found = {name: [] for name in ways}
        for name in ("astronaut", "chelsea", "coffee", "rocket"):
            image = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
            scale = side / min(image.size)
            image = image.resize([round(each * scale) for each in image.size], Image.Resampling.BICUBIC)
            file = io.BytesIO()
            image.save(file, "jpeg", quality=90)
            data = file.getvalue()
            sides = [round(each * SIDE / side) for each in image.size]
            reference = Image.open(io.BytesIO(data)).convert("RGB").resize(sides, LANCZOS)
            for way, (least, kernel) in ways.items():
                started = time.process_time()
                for _ in range(5):
                    result = shrunk(data, sides, least, kernel)
                found[way].append((decibels(result, reference), 200 * (time.process_time() - started)))
        means = {way: np.mean(each, 0) for way, each in found.items()}
        print(side, "; ".join(f"{way}: {decibel:.1f} dB, {ms:.1f} ms" for way, (decibel, ms) in means.items()))


if __name__ == "__main__":
    main()

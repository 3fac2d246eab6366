"""Seconds of a core for 500 ordinary JPEGs read as a model takes them; run with each version on PYTHONPATH in turn."""

import io
import sys
import time

import numpy as np
from PIL import Image, ImageFilter

from seesay.data.images import MODES


def photos(count: int) -> list[bytes]:
    """JPEGs of 500 x 375 of coloured noise that was blurred, some 40 kB each; a tenth lies on its side by its EXIF."""
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    for number in range(count):
        image = Image.fromarray(random.integers(0, 256, (375, 500, 3), dtype=np.uint8))
        image = image.filter(ImageFilter.GaussianBlur(1.2))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=90, **({"exif": exif} if number % 10 == 0 else {}))
        files.append(file.getvalue())
    return files


def main(mode: str, count: int = 500) -> None:
    """Print the seconds."""
    read, files = MODES[mode](size=224).read, photos(count)
    for data in files[:20]:
        read(data)
    started = time.process_time()
    for data in files:
        read(data)
    print(time.process_time() - started)


if __name__ == "__main__":
    main(sys.argv[1])

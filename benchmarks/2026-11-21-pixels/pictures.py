"""JPEGs of two sizes from photographs that scikit-image and scikit-learn bring: cut, scaled, grained and encoded."""

import io
from pathlib import Path

import numpy as np
import sklearn.datasets
from PIL import Image
from scipy.ndimage import gaussian_filter

PHOTOS = ["astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "rocket.jpg", "motorcycle_left.png"]
PHOTOS += ["ihc.png", "retina.jpg"]
SMALL, BIG = (500, 375), (3000, 2000)


def photographs(folder: Path) -> list[Image.Image]:
    """Ten photographs: eight in scikit-image's `data` folder, two of scikit-learn's."""
    mine = [Image.open(folder / name).convert("RGB") for name in PHOTOS]
    return mine + [Image.fromarray(array) for array in sklearn.datasets.load_sample_images().images]


def jpegs(folder: Path, size: tuple[int, int], count: int, *, seed: int = 0) -> list[bytes]:
    """Quality 90, colour at half the resolution; each another part of a photograph.

    What is scaled up gets the grain that a sensor would have given it: without, it has nothing to decode.
    """
    randomness, sources = np.random.default_rng(seed), photographs(folder)
    return [_encoded(_part(sources[number % len(sources)], size, randomness)) for number in range(count)]


def _part(photo: Image.Image, size: tuple[int, int], randomness: np.random.Generator) -> Image.Image:
    aspect = size[0] / size[1]
    width = min(photo.width, photo.height * aspect) * randomness.uniform(0.7, 1)
    height = width / aspect
    left, top = randomness.uniform(0, photo.width - width), randomness.uniform(0, photo.height - height)
    part = photo.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))
    if size[0] <= width * 2:
        return part
    grain = gaussian_filter(randomness.standard_normal((size[1], size[0], 3)), (0.8, 0.8, 0)) * 9
    return Image.fromarray((np.asarray(part) + grain).clip(0, 255).astype(np.uint8))


def _encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()

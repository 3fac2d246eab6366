"""Lay a few real photographs into a folder. They come inside scikit-image, so nothing is downloaded.

python examples/photos.py photos
"""

import shutil
import sys
from pathlib import Path

import skimage

# File inside scikit-image -> what is in the photograph.
PHOTOS = {
    "chelsea.png": "cat",
    "coffee.png": "coffee",
    "rocket.jpg": "rocket",
    "motorcycle_left.png": "motorcycle",
    "astronaut.png": "astronaut",
    "camera.png": "photographer",
    "coins.png": "coins",
    "grass.png": "grass",
}
FOLDER = Path(skimage.__file__).parent / "data"


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in PHOTOS:
        shutil.copy(FOLDER / name, folder)
    print(f"{len(PHOTOS)} photographs in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "photos"))

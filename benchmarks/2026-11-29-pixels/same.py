"""Are the exact mode's pixels Pillow's, bit for bit? Real pictures in every form, size and turn, each way beside it.

    python same.py ../../../shared/data --pictures 600 --out same.json > same.log

Every picture of the shards is saved anew as what chance says: JPEG of any quality, sampling or order, grey or CMYK, PNG
of seven modes (1, 8 and 16 bits), WebP, TIFF; of 20 to 4,000 pixels, in one of eight EXIF orientations. The reference
decodes by Pillow (`decode`), resizes the whole upright picture and cuts out the centre, as torchvision or transformers
do. `digest` is of all squares: another version of seesay that gives the same has the same pixels.
"""

import argparse
import collections
import hashlib
import io
import itertools
import json
import random
import struct
import tarfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from seesay.data.images import Preprocess, decode

JPEG = [
    {"quality": 90},
    {"quality": 30},
    {"quality": 95, "subsampling": 0},
    {"quality": 80, "subsampling": 1},
    {"quality": 85, "progressive": True},
    {"quality": 85, "restart_marker_blocks": 3, "optimize": True},
]
FORMS = [
    *(("JPEG", "RGB", options) for options in JPEG * 2),
    ("JPEG", "L", {"quality": 85}),
    ("JPEG", "CMYK", {"quality": 85}),
    ("PNG", "RGB", {"compress_level": 1}),
    ("PNG", "RGBA", {"compress_level": 1}),
    ("PNG", "P", {"compress_level": 1}),
    ("PNG", "L", {"compress_level": 1}),
    ("PNG", "LA", {"compress_level": 1}),
    ("PNG", "1", {"compress_level": 1}),
    ("PNG", "I;16", {"compress_level": 1}),
    ("TIFF", "RGB", {}),
    ("WEBP", "RGB", {"quality": 80, "method": 0}),
    ("WEBP", "RGBA", {"quality": 80, "method": 0}),
]
SIZES = (224, 224, 64, 336, 384, 256, 32, 35)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("data", type=Path)
    options.add_argument("--pictures", type=int, default=600)
    options.add_argument("--out", type=Path, required=True)
    chosen = options.parse_args()
    begun, digest = time.process_time(), hashlib.sha256()
    counts: collections.Counter[str] = collections.Counter()
    wrong: list[dict] = []
    for number, picture in enumerate(itertools.islice(pictures(chosen.data), chosen.pictures)):
        chance = random.Random(number)
        data, form = saved(picture, chance)
        for _ in range(3):
            preprocess = a_preprocess(chance)
            square = preprocess.read(data).permute(1, 2, 0).numpy()
            expected = by_pillow(decode(data), preprocess)
            digest.update(square.tobytes())
            counts[form["kind"]] += 1
            counts[f"turned {form['turn']}"] += 1
            counts[preprocess.resize] += 1
            if not np.array_equal(square, expected):
                far = np.abs(square.astype(int) - expected)
                wrong.append(
                    {**form, "size": preprocess.size, "levels": int(far.max()), "pixels": int((far > 0).sum())}
                )
                print(json.dumps(wrong[-1]), flush=True)
    result = {
        "pictures": chosen.pictures,
        "squares": 3 * chosen.pictures,
        "different": len(wrong),
        "of": dict(sorted(counts.items())),
        "digest": digest.hexdigest(),
        "CPU s": round(time.process_time() - begun),
    }
    print(json.dumps(result))
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")


def pictures(folder: Path):
    """One picture of each shard in turn."""
    shards = [iter_shard(path) for path in sorted(folder.glob("*/*.tar"))]
    while True:
        for shard in shards:
            if (data := next(shard, None)) is not None:
                yield Image.open(io.BytesIO(data)).convert("RGB")


def iter_shard(path: Path):
    with tarfile.open(path) as tar:
        for member in tar:
            if member.name.endswith(".webp"):
                yield tar.extractfile(member).read()


def saved(picture: Image.Image, chance: random.Random) -> tuple[bytes, dict]:
    """The picture as a file, and what it is."""
    short = int(20 * (1600 / 20) ** chance.random())
    # Cameras' shapes as often as any other.
    aspect = chance.choice([4 / 3, 3 / 2, 16 / 9, 1, 0.5 + 2 * chance.random()])
    sides = (max(1, round(short * aspect)), short)
    sides = sides if chance.random() < 0.5 else sides[::-1]
    kind, mode, options = chance.choice(FORMS)
    turn = chance.choice([1, 1, 1, 2, 3, 4, 5, 6, 6, 7, 8, 8])
    image = picture.resize(sides, Image.Resampling.BICUBIC)
    grain = np.random.default_rng(chance.randrange(1 << 30)).integers(-12, 13, (*sides[::-1], 1), dtype=np.int16)
    image = Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))
    if mode == "RGBA":
        image.putalpha(image.getchannel("G"))
    file = io.BytesIO()
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, turn, 0, 0)
    (image if image.mode == mode else converted(image, mode)).save(file, kind, exif=exif, **options)
    return file.getvalue(), {"kind": f"{kind} {mode}", "sides": sides, "turn": turn}


def converted(image: Image.Image, mode: str) -> Image.Image:
    if mode != "I;16":
        return image.convert(mode)
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 255 + np.asarray(image)[:, :, 0])


def a_preprocess(chance: random.Random) -> Preprocess:
    return Preprocess(
        size=chance.choice(SIZES),
        resize="squash" if chance.random() < 0.1 else "shortest",
        interpolation="bilinear" if chance.random() < 0.3 else "bicubic",
        crop="transformers" if chance.random() < 0.3 else "torchvision",
    )


def by_pillow(pixels_HW3: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """Resize and centre crop of a whole Pillow image, written out."""
    image, size = Image.fromarray(pixels_HW3), preprocess.size
    resample = Image.Resampling[preprocess.interpolation.upper()]
    if preprocess.resize == "squash":
        return np.array(image.resize((size, size), resample))
    short = min(image.size)
    image = image.resize(tuple(int(size * side / short) for side in image.size), resample)
    before = (lambda spare: round(spare / 2)) if preprocess.crop == "torchvision" else (lambda spare: spare // 2)
    left, top = (before(side - size) for side in image.size)
    return np.array(image.crop((left, top, left + size, top + size)))


if __name__ == "__main__":
    main()

"""Rows of 512 numbers that the model in the package makes of real images, and of captions, for `query.py`.

Usage: OMP_NUM_THREADS=1 python real_vectors.py FOLDER SHARD...

The model's rows have 256 numbers, so a row here is that of an image beside that of its mirrored centre, and a query
that of a caption twice: 512 numbers of unit length in which a query and a row are as far from one another as words and
photos are. FOLDER gets `images.npy` (N, 512) and `captions.npy` (M, 512), float32.
"""

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

import seesay

BATCH = 512


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def main(folder, shards):
    model = seesay.load("box")
    images, captions, seen, done = [], [], set(), 0

    def encode(squares, others):
        halves = [model.encode_pixels(torch.stack(part)).numpy() for part in (squares, others)]
        images.append(unit(np.concatenate(halves, axis=1)))

    squares, others = [], []
    for shard in shards:
        with tarfile.open(shard) as file:
            for member in file:
                data = file.extractfile(member).read() if member.isfile() else b""
                if member.name.endswith(".txt"):
                    caption = data.decode("utf-8", "replace").strip().split("\n")[0]
                    if len(captions) < 20_000 and caption and caption not in seen:
                        seen.add(caption)
                        captions.append(caption)
                    continue
                try:
                    image = Image.open(io.BytesIO(data)).convert("RGB")
                except OSError:
                    continue  # it is no image
                across, down = image.width // 6, image.height // 6
                inner = ImageOps.mirror(image.crop((across, down, image.width - across, image.height - down)))
                squares.append(model.preprocess.read(image))
                others.append(model.preprocess.read(inner))
                if len(squares) == BATCH:
                    encode(squares, others)
                    squares, others, done = [], [], done + BATCH
        print(shard, done, len(captions), flush=True)
    if squares:
        encode(squares, others)
    np.save(folder / "images.npy", np.concatenate(images))
    text = model.encode_texts(captions).numpy()
    np.save(folder / "captions.npy", unit(np.concatenate([text, text], axis=1)))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    main(target, sys.argv[2:])

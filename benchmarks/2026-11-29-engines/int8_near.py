"""How near torch-int8 is to float32 on trained weights, and its texts' CPU time beside torch's, one thread.

    python int8_near.py MODEL BIG FOLDER...

MODEL is a trained model, each FOLDER one of photos, of which 200 are taken; BIG is a folder of ViT-B/32, with any
weights.
"""

import statistics
import sys
import time
from pathlib import Path

import torch

import seesay

TEXTS = ["a photo of a cat", "two dogs run on a beach", "red car", "a plate of sushi on a table", "x y z", ""]


def seconds(model: seesay.Model, texts: list[str]) -> float:
    start = time.process_time()
    model.encode_texts(texts)
    return time.process_time() - start


def main() -> None:
    torch.set_num_threads(1)
    trained, big, *folders = sys.argv[1:]
    model = seesay.load(trained)
    other = model.with_engine("torch-int8")
    for folder in folders:
        files = sorted(str(path) for path in Path(folder).rglob("*") if path.suffix in (".jpg", ".png", ".webp"))
        files = files[:: max(1, len(files) // 200)][:200]
        cosine_B = (model.encode_images(files) * other.encode_images(files)).sum(1)
        print(Path(folder).name, len(files), f"smallest {cosine_B.min():.5f} mean {cosine_B.mean():.5f}", flush=True)
    cosine_B = (model.encode_texts(TEXTS) * other.encode_texts(TEXTS)).sum(1)
    print("texts", f"smallest {cosine_B.min():.5f}", flush=True)
    model = seesay.load(big)
    other = model.with_engine("torch-int8")
    for texts in (TEXTS[:1], TEXTS * 8):
        pairs = [(seconds(model, texts), seconds(other, texts)) for _ in range(8)][1:]
        ratios = [one / two for one, two in pairs]
        print(len(texts), f"texts: {statistics.median(ratios):.2f} times torch, {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()

"""What torch's operators take of torch-int8, the least of ten runs for each call, one thread.

    python int8_operators.py MODEL IMAGES

MODEL is a folder of ViT-B/32, whose weights may be any.
"""

import sys
import time
from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import seesay


class Calls(TorchDispatchMode):
    """Each call of an operator: its name, the shapes of two tensors, and seconds."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        start = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        shapes = [tuple(one.shape) for one in args if isinstance(one, torch.Tensor)][:2]
        self.calls.append((f"{func} {shapes}", time.perf_counter() - start))
        return result


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    own, count = seesay.load(sys.argv[1]), int(sys.argv[2])
    other, side = own.with_engine("torch-int8"), own.preprocess.size
    pixels_N3SS = own.preprocess.normalise(torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8))
    runs = []
    for _ in range(10):
        with Calls() as made:
            other.encoder.embed_images(pixels_N3SS)
        runs.append(made.calls)
    total, times = Counter(), Counter()
    for calls in zip(*runs, strict=True):
        total[calls[0][0]] += min(seconds for _, seconds in calls) / count * 1000
        times[calls[0][0]] += 1
    products = sum(value for name, value in total.items() if "qlinear" in name)
    whole, calls = sum(total.values()), sum(times.values())
    print(f"{count} images: {whole:.2f} ms an image, {calls} calls, {products:.2f} in products")
    for name, value in total.most_common(30):
        print(f"{value:8.3f} ms an image, {times[name]} calls: {name}")


if __name__ == "__main__":
    main()

"""3x3 convolutions by oneDNN and as products of matrices: milliseconds, the best of several, one thread.

    python benchmarks/2026-11-29-recipe/convolutions.py bfloat16
    ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 python benchmarks/2026-11-29-recipe/convolutions.py bfloat16
    python benchmarks/2026-11-29-recipe/convolutions.py float32

B = images, C = channels in, K = channels out, S = side of the map.
"""

import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from seesay.nets.convolutional import _patches, _product

B = 128
SHAPES = [  # C, K, S, stride
    (64, 64, 12, 1), (64, 128, 12, 2), (128, 128, 6, 1), (128, 256, 6, 2), (256, 256, 3, 1),
    (64, 64, 8, 1), (64, 128, 16, 2), (128, 128, 8, 1), (128, 256, 8, 2), (256, 256, 4, 1),
    (128, 128, 4, 1), (256, 256, 2, 1), (512, 512, 2, 1),
]  # fmt: skip


def milliseconds(function: Callable[[], object], times: int = 8) -> float:
    function()
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return 1e3 * best


def main() -> None:
    torch.set_num_threads(1)
    dtype = getattr(torch, sys.argv[1])
    print("| channels | map | stride | forward | as product | gradient of weights | as product |")
    print("|---|---|---|---|---|---|---|")
    for C, K, S, stride in SHAPES:
        x = torch.randn(B, C, S, S).to(dtype).contiguous(memory_format=torch.channels_last)
        weight = torch.randn(K, C, 3, 3).to(dtype).contiguous(memory_format=torch.channels_last)
        gradient = torch.randn_like(F.conv2d(x, weight, stride=stride, padding=1))
        rest = (None, [stride] * 2, [1, 1], [1, 1], False, [0, 0], 1, [False, True, False])
        forward = milliseconds(lambda: F.conv2d(x, weight, stride=stride, padding=1))  # noqa: B023
        product = milliseconds(lambda: _product(x, weight)) if stride == 1 else float("nan")  # noqa: B023
        library = milliseconds(lambda: torch.ops.aten.convolution_backward(gradient, x, weight, *rest))  # noqa: B023
        own = milliseconds(lambda: gradient.permute(0, 2, 3, 1).flatten(0, 2).T @ _patches(x, stride))  # noqa: B023
        print(
            f"| {C} to {K} | {S} x {S} | {stride} | {forward:.2f} | {product:.2f} | {library:.2f} | {own:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

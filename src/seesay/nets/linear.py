"""Linear layers whose products the faster of torch's two libraries computes.

T = rows, I = inputs, O = outputs, B = images, S = side in pixels, P = patches.
"""

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# What a product of usual size is measured with: some 0.3 ms, and calls, of which a busy machine leaves one undisturbed.
ROWS, WIDTH, CALLS = 128, 512, 7
_here = threading.local()
_measuring = threading.Lock()


class Linear(nn.Linear):
    """`nn.Linear` by `linear`: the same numbers but for rounding."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        return linear(input, self.weight, self.bias)


def linear(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """`F.linear`, (..., I) to (..., O).

    Inside `faster_products`, on a CPU and without gradients, it is oneDNN's product of float32 where that is faster
    here: MKL, which torch takes, has no 512-bit products for processors of AMD.
    """
    return (_by_onednn if _is_for_onednn(x, weight_OI) else F.linear)(x, weight_OI, bias_O)


def patch_rows(patches: nn.Conv2d, pixels_B3SS: Tensor) -> Tensor:
    """A convolution whose kernels lie side by side, to its rows (B, P, O); as a product where `linear` is oneDNN's."""
    weight_O3KK = patches.weight
    if not _is_for_onednn(pixels_B3SS, weight_O3KK):
        return patches(pixels_B3SS).flatten(2).transpose(1, 2)
    side = weight_O3KK.shape[-1]
    tiles = pixels_B3SS.unfold(2, side, side).unfold(3, side, side)
    return _by_onednn(tiles.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2), weight_O3KK.flatten(1), patches.bias)


def _is_for_onednn(x: Tensor, weight: Tensor) -> bool:
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or not getattr(_here, "is_wanted", False):
        return False
    if x.device.type != "cpu" or x.dtype != torch.float32 or weight.dtype != torch.float32:
        return False
    # Threads that measure at once take each other's time.
    with _measuring:
        return is_faster_by_onednn()


@contextmanager
def faster_products(is_wanted: bool) -> Iterator[None]:
    """Inside, in this thread, products of float32 are the faster ones, if they are wanted."""
    before = getattr(_here, "is_wanted", False)
    _here.is_wanted = is_wanted
    try:
        yield
    finally:
        _here.is_wanted = before


@functools.cache
def is_faster_by_onednn() -> bool:
    """Whether a product takes oneDNN less than two thirds of the time it takes torch's own choice, here and now.

    Measured once, in 5 ms: on the two kinds of processors seen it is half of the time or about the same. So it is
    answered alike each time, and rows do not differ in their last digits from one run to the next, but now and then
    where far more runs than there are cores; `torch-exact` does not ask.
    """
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    # Whatever the defaults are.
    weight_OI = torch.ones(WIDTH, WIDTH, dtype=torch.float32, device="cpu")
    x_TI, bias_O = weight_OI.new_ones(ROWS, WIDTH), weight_OI.new_ones(WIDTH)
    times: dict[Callable, list[float]] = {F.linear: [], _by_onednn: []}
    for _ in range(CALLS):
        for product, found in times.items():
            start = time.perf_counter()
            product(x_TI, weight_OI, bias_O)
            found.append(time.perf_counter() - start)
    return min(times[_by_onednn]) < min(times[F.linear]) * 2 / 3


def _by_onednn(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.default(x, weight_OI, bias_O, "none", [], "")

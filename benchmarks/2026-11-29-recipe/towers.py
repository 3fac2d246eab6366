"""Pairs per second of the convolutional towers' training step, torch's own convolutions against ours, alternating.

python benchmarks/2026-11-29-recipe/towers.py [THREADS]
"""

import statistics
import sys
import time

import torch
from torch import nn

from seesay.nets.architecture import ConvNetConfig
from seesay.nets.convolutional import Conv3x3, ConvNet

TOWERS = [(64, (2, 2, 2), 32), (64, (2, 2, 2), 48), (64, (2, 2, 2, 1), 48), (64, (2, 2, 2, 1), 64), (96, (2, 2, 2), 48)]
BATCH, ROUNDS = 128, 9


def step(tower: nn.Module, optimizer: torch.optim.Optimizer, pixels: torch.Tensor) -> float:
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
        loss = tower(pixels).float().square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return time.perf_counter() - start


def tower_of(width: int, depths: tuple[int, ...], *, is_ours: bool) -> ConvNet:
    torch.manual_seed(0)
    tower = ConvNet(ConvNetConfig(image_size=48, width=width, depths=depths), 256)
    for module in tower.modules():
        if isinstance(module, Conv3x3) and not is_ours:
            module.__class__ = nn.Conv2d  # type: ignore[assignment]
    return tower


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    torch.set_flush_denormal(True)
    print("| width, depths | side | torch's, pairs/s | ours | ratio |\n|---|---|---|---|---|")
    for width, depths, side in TOWERS:
        sides = [tower_of(width, depths, is_ours=is_ours) for is_ours in (False, True)]
        optimizers = [torch.optim.AdamW(tower.parameters(), fused=True) for tower in sides]
        pixels = torch.randn(BATCH, 3, side, side)
        seconds = [
            [step(tower, optimizer, pixels) for tower, optimizer in zip(sides, optimizers, strict=True)]
            for _ in range(ROUNDS + 2)
        ]
        theirs, ours = (statistics.median(column) for column in zip(*seconds[2:], strict=True))
        ratio = statistics.median(one / other for one, other in seconds[2:])
        print(f"| {width}, {depths} | {side} | {BATCH / theirs:.0f} | {BATCH / ours:.0f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()

"""Running statistics of batch normalisation: which layers have them, and how one training step moves them once."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class RunningStatistics:
    """Running mean and variance, which every forward pass moves: one step moves them once, or not at all."""

    def __init__(self, module: nn.Module):
        norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
        self.buffers = [buffer for norm in norms for buffer in norm.buffers()]
        self._before: list[torch.Tensor] = []
        self._recorded: list[list[torch.Tensor]] = []

    def snapshot(self) -> None:
        """Remember them as they are, at the start of a step."""
        self._before = [buffer.clone() for buffer in self.buffers]
        self._recorded = []

    def restore(self) -> None:
        """Make them what they were at the snapshot."""
        for buffer, before in zip(self.buffers, self._before, strict=True):
            buffer.copy_(before)

    def record(self) -> None:
        """Note where one chunk of the batch has moved them, and restore them for the next."""
        self._recorded.append([buffer.clone() for buffer in self.buffers])
        self.restore()

    def apply_mean(self) -> None:
        """Move them to the mean over the recorded chunks, which moved each from the same snapshot."""
        for buffer, moved in zip(self.buffers, zip(*self._recorded, strict=True), strict=True):
            # The number of batches is an integer, and the same after every chunk.
            buffer.copy_(torch.stack(moved).mean(0) if buffer.is_floating_point() else moved[0])


def train_mode(module: nn.Module, *, has_statistics: bool) -> None:
    """As `module.train()`, but normalisations go on with the running statistics they have where these are given."""
    module.train()
    for layer in module.modules():
        if has_statistics and isinstance(layer, _BatchNorm):
            layer.eval()


def has_batch_norm(module: nn.Module) -> bool:
    """Whether a row's embedding depends on the other rows it is computed with."""
    return any(isinstance(layer, _BatchNorm) for layer in module.modules())

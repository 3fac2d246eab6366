"""What a step must not do: move anything from a batch that is not finite, or end in words nobody can act on."""

import errno
import json
import math
import statistics
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from seesay.base.errors import SeesayError
from seesay.base.publish import publish_file

BAD_BATCH_NAME = "bad_batch.json"
MOST_BAD_STEPS = 3
SPIKE = 10.0
SPIKE_WINDOW = 100
SPIKE_LEAST = 20

# What torch says where an allocation failed and the error has no class of its own.
MEMORY_WORDS = (
    "not enough memory",
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "can't start new thread",
    "could not create a primitive",  # what oneDNN says of it
)


class RunningStatistics:
    """BatchNorm's running mean and variance, which a forward pass moves: one step moves them once, or not at all."""

    def __init__(self, module: nn.Module):
        norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
        self.buffers = [buffer for norm in norms for buffer in norm.buffers()]
        self._before: list[torch.Tensor] = []
        self._taken: list[list[torch.Tensor]] = []

    def keep(self) -> None:
        """Remember them as they are, at the start of a step."""
        self._before = [buffer.clone() for buffer in self.buffers]
        self._taken = []

    def put_back(self) -> None:
        """Make them what they were at the start of the step."""
        for buffer, before in zip(self.buffers, self._before, strict=True):
            buffer.copy_(before)

    def take(self) -> None:
        """Note where one piece of the batch has moved them, and put them back for the next."""
        self._taken.append([buffer.clone() for buffer in self.buffers])
        self.put_back()

    def settle(self) -> None:
        """Move them to the mean over the pieces, which moved each from the same start."""
        for buffer, moved in zip(self.buffers, zip(*self._taken, strict=True), strict=True):
            # The number of batches is an integer, and the same after every piece.
            buffer.copy_(torch.stack(moved).mean(0) if buffer.is_floating_point() else moved[0])


@dataclass(frozen=True, kw_only=True)
class BadStep:
    """A step that was left out: what was not finite, and the pictures of its batch."""

    step: int
    loss: float
    gradient_norm: float
    images: Sequence[int]
    keys: Sequence[str]

    def told(self) -> dict[str, Any]:
        """As JSON has it: null for a number that is not finite."""
        numbers = {"loss": self.loss, "gradient_norm": self.gradient_norm}
        return {**asdict(self), **{key: value if math.isfinite(value) else None for key, value in numbers.items()}}


class BadSteps:
    """Steps left out in a row; the third writes `bad_batch.json` and ends the run."""

    def __init__(self) -> None:
        self._row: list[BadStep] = []

    def clear(self) -> None:
        self._row.clear()

    def add(self, bad: BadStep, folder: Path | None) -> None:
        """Raises `SeesayError` at three in a row; `folder` is the run's, None where another process writes there."""
        self._row.append(bad)
        if len(self._row) < MOST_BAD_STEPS:
            return
        if folder is not None:
            told = [step.told() for step in self._row]
            publish_file(folder / BAD_BATCH_NAME, (json.dumps(told, indent=1) + "\n").encode())
        raise SeesayError(
            f"loss or gradient was not finite {MOST_BAD_STEPS} steps in a row, up to step {bad.step:,}; what was "
            f"saved is whole: lower optimizer.learning_rate, or look at the images named in {BAD_BATCH_NAME}."
        )


class SpikeWatch:
    """Sees a loss above ten times the median of the last hundred; it is said and nothing is rolled back."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=SPIKE_WINDOW)

    def sees(self, loss: float) -> float | None:
        """The median that `loss` stands ten times above, else None."""
        median = statistics.median(self._last) if len(self._last) >= SPIKE_LEAST else math.inf
        self._last.append(loss)
        return median if loss > SPIKE * median else None


@contextmanager
def memory_told(*, batch_size: int, micro_batch: int, is_saved: Callable[[], bool]) -> Iterator[None]:
    """An allocation that fails in here ends as one line: the batch, the micro-batch to try, and what is saved."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        if micro_batch < 2:
            way_out = "one pair at a time is too much: take a smaller model or smaller pictures"
        else:
            way_out = f"try --micro-batch {micro_batch // 2}"
        at_once = f", {micro_batch} at a time" if micro_batch < batch_size else ""
        saved = "The last checkpoint is whole, and the same command goes on from it."
        if not is_saved():
            saved = "Nothing was saved yet: the same command begins anew."
        raise SeesayError(f"out of memory at batch size {batch_size}{at_once}; {way_out}. {saved}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, by its class, the system's number or torch's words for it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in MEMORY_WORDS)


def has_batch_norm(module: nn.Module) -> bool:
    """Whether a row's embedding depends on the other rows it is computed with."""
    return any(isinstance(layer, _BatchNorm) for layer in module.modules())

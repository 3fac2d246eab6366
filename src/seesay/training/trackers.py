"""Where a run is logged beside `events.jsonl`: TensorBoard and Weights & Biases, one class each, on request."""

import hashlib
import importlib
import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from seesay.base.errors import UsageError


class Tracker(Protocol):
    """Takes the numbers of a step, or of a check, by name."""

    def track(self, values: Mapping[str, Any], *, step: int) -> None:
        """Log the numbers among `values` for a step."""
        ...

    def close(self) -> None:
        """Write what is not written yet."""
        ...


class TensorBoard(Tracker):
    """Scalars in `folder/tensorboard`; of a run that goes on, what was logged after `step` is logged anew."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, step: int):
        _need("tensorboard")
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        self._writer = writer(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def track(self, values: Mapping[str, Any], *, step: int) -> None:
        for name, value in _numbers(values).items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases(Tracker):
    """A run named as its folder, the same one when it goes on; keys, mode and project are wandb's own (`WANDB_...`)."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, step: int):
        wandb = _need("wandb")
        path = str(folder.resolve())
        self._run = wandb.init(
            dir=path,
            name=folder.name,
            id=hashlib.blake2b(path.encode(), digest_size=8).hexdigest(),
            resume="allow",
            config=dict(settings),
        )

    def track(self, values: Mapping[str, Any], *, step: int) -> None:
        self._run.log(_numbers(values), step=step)

    def close(self) -> None:
        self._run.finish()


TRACKERS = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def open_trackers(names: Sequence[str], folder: Path, settings: Mapping[str, Any], *, step: int) -> list[Tracker]:
    """The trackers of these names for the run in `folder`, which stands at `step`."""
    return [TRACKERS[name](folder, settings, step=step) for name in names]


def refuse_missing(names: Sequence[str]) -> None:
    """Raises `UsageError` with the line to type where a package is not installed."""
    for name in names:
        _need(name)


def _need(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UsageError(
            f'log.to has {package!r}, which is not installed; add it with: pip install "seesay[track]".'
        ) from error


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if isinstance(value, numbers.Real)}

"""CLIP made whole: pairs to model to answers. The names below are loaded when they are first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seesay.evaluation.training import train
    from seesay.model.build import build
    from seesay.model.bundle import Model
    from seesay.model.hub import load

__version__ = "0.1.0"
__all__ = ["Model", "build", "load", "train"]

_ADDRESS = {
    "Model": "seesay.model.bundle",
    "build": "seesay.model.build",
    "load": "seesay.model.hub",
    "train": "seesay.evaluation.training",
}


def __getattr__(name: str) -> Any:
    if name not in _ADDRESS:
        raise AttributeError(f"module 'seesay' has no attribute {name!r}")
    return getattr(import_module(_ADDRESS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

"""CLIP made whole: pairs to model to answers. The names below are loaded when they are first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seesay.evaluation.contest import compare
    from seesay.evaluation.doctor import doctor
    from seesay.evaluation.training import train
    from seesay.formulas.contrastive import contrastive_loss
    from seesay.model.build import build
    from seesay.model.bundle import Model
    from seesay.model.encode_once import zero_shot_classifier
    from seesay.model.hub import load
    from seesay.model.zero_shot import ZeroShotClassifier
    from seesay.tasks.classify_folder import classify_folder
    from seesay.tasks.linear_probe import LinearProbe
    from seesay.tasks.retrieve import recall_at_k

__version__ = "0.1.0"
__all__ = [
    "LinearProbe",
    "Model",
    "ZeroShotClassifier",
    "build",
    "classify_folder",
    "compare",
    "contrastive_loss",
    "doctor",
    "load",
    "recall_at_k",
    "train",
    "zero_shot_classifier",
]

_ADDRESS = {
    "LinearProbe": "seesay.tasks.linear_probe",
    "Model": "seesay.model.bundle",
    "ZeroShotClassifier": "seesay.model.zero_shot",
    "build": "seesay.model.build",
    "classify_folder": "seesay.tasks.classify_folder",
    "compare": "seesay.evaluation.contest",
    "contrastive_loss": "seesay.formulas.contrastive",
    "doctor": "seesay.evaluation.doctor",
    "load": "seesay.model.hub",
    "recall_at_k": "seesay.tasks.retrieve",
    "train": "seesay.evaluation.training",
    "zero_shot_classifier": "seesay.model.encode_once",
}


def __getattr__(name: str) -> Any:
    if name not in _ADDRESS:
        raise AttributeError(f"module 'seesay' has no attribute {name!r}")
    return getattr(import_module(_ADDRESS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

"""One objective per file; the dict that names them."""

from collections.abc import Sequence

from seesay.base.errors import UsageError, nearest
from seesay.base.names import same_name
from seesay.data.captions import CaptionRule
from seesay.nets.architecture import Architecture, BagOfWordsConfig
from seesay.training.objectives.bag_of_words import BagOfWordsPrediction
from seesay.training.objectives.base import Objective, PredictionObjective
from seesay.training.objectives.bicaption import Bicaption
from seesay.training.objectives.caption import Caption
from seesay.training.objectives.classes import Classes
from seesay.training.objectives.contrastive import Contrastive
from seesay.training.objectives.contrastive_bow import ContrastiveBow
from seesay.training.objectives.convirt import Convirt
from seesay.training.objectives.distilled import Distilled
from seesay.training.objectives.masked_caption import MaskedCaption, MaskedCaptionAttFc
from seesay.training.objectives.matryoshka import Matryoshka
from seesay.training.objectives.n_grams import VisualNGrams
from seesay.training.objectives.sigmoid import Sigmoid
from seesay.training.objectives.vse import Vse
from seesay.training.settings import TrainSettings

OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Contrastive(),
        ContrastiveBow(),
        Sigmoid(),
        Caption(),
        Bicaption(),
        BagOfWordsPrediction(),
        VisualNGrams(),
        MaskedCaption(),
        MaskedCaptionAttFc(),
        Convirt(),
        Vse(),
    )
}


def objective_of(name: str, widths: Sequence[int] | None = None) -> Objective:
    """The objective of that name; `UsageError` with the nearest names if there is none.

    With `widths` on rows cut to each of them too (`Matryoshka`), which `UsageError` refuses where there are no rows.
    """
    if name == Classes.name and widths is None:
        return Classes()
    found = same_name(name, OBJECTIVES)
    if found is None:
        known = ", ".join(OBJECTIVES)
        raise UsageError(f"objective {name!r} is not known.{nearest(name, OBJECTIVES)} Known: {known}.")
    objective = OBJECTIVES[found]
    if widths and isinstance(objective, PredictionObjective):
        raise UsageError(
            f"objective {found} predicts captions, and has no rows of widths {list(widths)}; leave them out."
        )
    return Matryoshka(objective, widths) if widths else objective


def taught(objective: Objective, settings: TrainSettings) -> Objective:
    """The objective with the teacher of the settings beside it, if they name one; `UsageError` where none can be."""
    if settings.teacher is None:
        return objective
    if isinstance(objective, PredictionObjective) or objective.captions != CaptionRule():
        learns = "predicts captions" if isinstance(objective, PredictionObjective) else "learns parts of captions"
        raise UsageError(
            f"objective {objective.name} {learns}, of which teacher {settings.teacher} has no rows; take contrastive, "
            "or leave the teacher out."
        )
    distillation = settings.distillation
    assert distillation.weight is not None
    return Distilled(objective, settings.teacher, weight=distillation.weight, temperature=distillation.temperature)


def default_objective(architecture: Architecture) -> str:
    """The name of CLIP's objective for the text tower that a preset has, or SigLIP's for a model that scores so."""
    if architecture.scoring == "sigmoid":
        return Sigmoid.name
    return ContrastiveBow.name if isinstance(architecture.text, BagOfWordsConfig) else Contrastive.name

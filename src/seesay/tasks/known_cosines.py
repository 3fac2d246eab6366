"""What a model brings along to say "none of these" without a labelled set: cosines of photos with their own labels.

N = photos, C = labels.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seesay.base.errors import UsageError
from seesay.base.values import percent
from seesay.tasks.decision import LabelDecision

if TYPE_CHECKING:
    from seesay.model.bundle import Model
    from seesay.model.zero_shot import Classifier

# Their name among a model's facts.
KNOWN = "known_photos"
SHARES = np.linspace(0, 1, 101)


def known_cosines(cosine_N: np.ndarray, what: str) -> dict[str, Any]:
    """(N,) cosines of photos that the model did not learn from, each with its own label, as a fact of the model.

    They are kept as the hundred steps from the least to the most; `what` names the photos.
    """
    return {"what": what, "photos": len(cosine_N), "cosines": np.quantile(cosine_N, SHARES).tolist()}


def decision_by_known(model: "Model", classifier: "Classifier", rate: float) -> LabelDecision:
    """The classifier with no answer below the cosine that the share `rate` of the model's known photos does not reach.

    Raises `UsageError` where the model brings none.
    """
    known = model.facts.get(KNOWN)
    if known is None:
        raise UsageError(
            f"{model.name} brings no cosines of photos whose labels are known, by which --none-of-these holds its "
            "rate: add --calibrate FOLDER, with a folder of photos for every label."
        )
    cosine = float(np.interp(rate, SHARES, known["cosines"]))
    facts = {KNOWN: {"what": known["what"], "photos": known["photos"]}, "rate": rate, "cosine": cosine}
    threshold_C = torch.full((len(classifier.class_names),), cosine)
    return LabelDecision(classifier=classifier, threshold_C=threshold_C, facts=facts)


def line_of_known(facts: Mapping[str, Any]) -> str:
    """What `decision_by_known` rests on, for people."""
    known = facts[KNOWN]
    return (
        f"none of these: below a cosine of {facts['cosine']:.4f}, as were {percent(facts['rate'])} % of "
        f"{known['photos']:,} {known['what']} with their own label; yours may differ: --calibrate FOLDER holds the "
        "rate on your photos"
    )

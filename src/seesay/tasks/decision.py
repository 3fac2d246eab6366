"""When a label is an answer: rules, and a classifier that keeps to them.

N = photos, C = labels, D = embedding width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from seesay.base.errors import RefusedInput, UsageError, nearest
from seesay.base.printable import printable
from seesay.base.records import Ranking
from seesay.base.values import percent
from seesay.tasks.answers import BETWEEN, NONE_OF_THESE

# Rules are checked before anything brings torch.
if TYPE_CHECKING:
    from torch import Tensor

    from seesay.model.bundle import Model
    from seesay.model.zero_shot import Classifier

# Among a model's facts: cosines of photos that it did not learn from, each with its own label.
KNOWN = "known_photos"
SHARES = np.linspace(0, 1, 101)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """When a label is an answer. Rates and thresholds are between 0 and 1.

    `none_of_these`: a photo whose best cosine is too low has no answer; this happens to at most this share of the
    photos that do show one of the labels. `multi_label`: a photo may have several labels or none; each label is given
    to at most the share `false_alarms` of the photos that show another one. Both hold with 95 % confidence, for each
    label by itself, and for photos like those that the thresholds were fitted on: each of them shows its own label and
    no other. A label in `thresholds` is an answer from that probability on instead, and with `threshold` so is every
    other label.
    """

    none_of_these: float | None = None
    multi_label: bool = False
    false_alarms: float = 0.05
    threshold: float | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def check(self, labels: Sequence[str]) -> None:
        """Raise `UsageError` for what cannot be done with these labels."""
        for name, value in self._numbers():
            if value is not None and not 0 < value < 1:
                raise UsageError(f"{name} {value:g} should be between 0 and 1, such as 0.05.")
        if self.none_of_these is not None:
            if self.multi_label:
                raise UsageError("--none-of-these goes without --multi-label, where a photo may have no label anyway.")
            if NONE_OF_THESE in labels:
                raise UsageError(f"label {NONE_OF_THESE!r} is what --none-of-these answers; leave it out.")
        if not self.multi_label and (self.threshold is not None or self.thresholds):
            raise UsageError("--threshold is for --multi-label; for a single answer there is --none-of-these RATE.")
        known = set(labels)
        if unknown := [label for label in self.thresholds if label not in known]:
            raise UsageError(f"--threshold names {unknown[0]!r}, which is no label.{nearest(unknown[0], labels)}")
        if self.multi_label and (joined := [label for label in labels if BETWEEN in label]):
            raise UsageError(f"label {joined[0]!r} holds {BETWEEN!r}, which separates labels in --multi-label.")

    def _numbers(self) -> list[tuple[str, float | None]]:
        rates = [("--none-of-these", self.none_of_these), ("--false-alarms", self.false_alarms)]
        own = [(f"--threshold {label}", value) for label, value in self.thresholds.items()]
        return [*rates, ("--threshold", self.threshold), *own]


@dataclass(frozen=True, kw_only=True)
class LabelDecision:
    """A classifier, and `threshold_C`, the cosines that labels must reach to be an answer; None where only a ranking is
    wanted.

    `facts` say what was fitted on which set: plain values, empty without a labelled set.
    """

    classifier: "Classifier"
    threshold_C: "Tensor | None" = None
    is_multi_label: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    def answers(self, image_ND: "Tensor", *, top: int) -> list[tuple[Ranking, tuple[str, ...] | None]]:
        """For every row the `top` labels, and the labels that are its answer: see `tasks.answers.Answer`."""
        cosine_NC = self.classifier.scores(image_ND)
        rankings = self.classifier.rank_scores(cosine_NC, top=top)
        if self.threshold_C is None:
            return [(ranking, None) for ranking in rankings]
        order_NC = cosine_NC.argsort(1, descending=True)
        if not self.is_multi_label:
            order_NC = order_NC[:, :1]
        is_answer_NC = (cosine_NC >= self.threshold_C).gather(1, order_NC)
        names = self.classifier.class_names
        chosen = [
            tuple(names[index] for index, is_answer in zip(order, flags, strict=True) if is_answer)
            for order, flags in zip(order_NC.tolist(), is_answer_NC.tolist(), strict=True)
        ]
        return list(zip(rankings, chosen, strict=True))


def known_cosines(cosine_N: np.ndarray, what: str) -> dict[str, Any]:
    """(N,) cosines of photos that the model did not learn from, each with its own label, as a fact of the model.

    They are kept as the hundred steps from the least to the most; `what` names the photos.
    """
    return {"what": what, "photos": len(cosine_N), "cosines": np.quantile(cosine_N, SHARES).tolist()}


def decision_by_known(model: "Model", classifier: "Classifier", rate: float) -> LabelDecision:
    """The classifier with no answer below the cosine that the share `rate` of the model's known photos does not reach.

    A quantile of those photos, with no confidence for others. Raises `UsageError` where the model brings none, and
    `RefusedInput` where what it brings are no cosines.
    """
    known = model.facts.get(KNOWN)
    if known is None:
        raise UsageError(
            f"{model.name} brings no cosines of photos whose labels are known, by which --none-of-these holds its "
            "rate: add --calibrate FOLDER, with a folder of photos for every label."
        )
    cosine = float(np.interp(rate, SHARES, _steps(known, model.name)))
    facts = {KNOWN: {"what": known["what"], "photos": known["photos"]}, "rate": rate, "cosine": cosine}
    import torch

    threshold_C = torch.full((len(classifier.class_names),), cosine)
    return LabelDecision(classifier=classifier, threshold_C=threshold_C, facts=facts)


def _steps(known: Any, name: str) -> list[float]:
    """The steps of `known_cosines` as a model's file holds them."""
    fact = known if isinstance(known, dict) else {}
    steps: Any = fact.get("cosines")
    is_list = isinstance(steps, list) and len(steps) == len(SHARES)
    is_right = is_list and all(isinstance(step, float | int) and -1.01 <= step <= 1.01 for step in steps)
    if not (is_right and isinstance(fact.get("photos"), int) and isinstance(fact.get("what"), str)):
        raise RefusedInput(
            f"{KNOWN} of {name} are no {len(SHARES)} cosines of so many photos; take --calibrate FOLDER."
        )
    return steps


def line_of_known(facts: Mapping[str, Any]) -> str:
    """What `decision_by_known` rests on, for people."""
    known = facts[KNOWN]
    return printable(
        f"none of these: below a cosine of {facts['cosine']:.4f}, as were {percent(facts['rate'])} % of "
        f"{known['photos']:,} {known['what']} with their own label; yours may differ: --calibrate FOLDER holds the "
        "rate on your photos"
    )

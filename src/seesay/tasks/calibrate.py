"""A classifier fitted on photos whose labels are known: probabilities that can be believed, thresholds that hold.

Temperature, or scale and bias, have the highest likelihood on a labelled set. Thresholds are cosines of photo and
label, so they do not depend on that fit, and the rates that they hold are exact (`formulas.calibration`).

N = photos, C = labels.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.records import Skipped
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet
from seesay.data.sources import count_reasons
from seesay.formulas.calibration import (
    FLATTEST,
    SHARPEST,
    scores_needed,
    sigmoid_loss_and_error,
    sigmoid_scale_and_bias,
    softmax_loss_and_error,
    softmax_temperature,
    threshold_holding,
)
from seesay.model.bundle import Model
from seesay.model.encode import score_image_set
from seesay.model.zero_shot import Classifier
from seesay.tasks.decision import KNOWN, LabelDecision, Rules, decision_by_known, line_of_known

# A guess: with fewer photos a fit says next to nothing.
FEWEST = 10
# The index of no label.
UNKNOWN = -1
# What a rate that is held rests on: cosines of photos that the model has learned are higher than those of new ones.
UNSEEN = ", unless the model was trained on these"
Logits = np.ndarray
Change = Callable[[Logits], Logits]


@dataclass(frozen=True, kw_only=True)
class KnownPhotos:
    """Photos of a labelled set: cosines to every label, and the index of the right one, `UNKNOWN` for another class."""

    name: str
    cosine_NC: np.ndarray
    label_N: np.ndarray
    skipped: tuple[Skipped, ...]

    @property
    def is_known_N(self) -> np.ndarray:
        """Whether a photo shows one of the labels, (N,)."""
        return self.label_N != UNKNOWN


def open_labelled_photos(location: str | Path) -> LabelledSet:
    """The labelled set at that location; `UsageError` for photos without a label each."""
    unlabelled = UsageError(
        f"--calibrate {str(location)!r} holds no labels; it needs a folder of photos for every label, named after it."
    )
    folder = Path(location)
    # What `open_evalset` says of a folder with nothing but photos is how to write captions.
    if folder.is_dir() and not any(item.is_dir() or item.suffix in (".tar", ".txt") for item in folder.iterdir()):
        raise unlabelled
    opened = open_evalset(location)
    if not isinstance(opened, LabelledSet):
        raise unlabelled
    return opened


def check_overlap(labelled: LabelledSet, labels: Sequence[str]) -> None:
    """Raise `UsageError` where not one class of the set is a label."""
    if not set(labelled.class_names) & set(labels):
        raise UsageError(
            f"no class of {labelled.name} is one of the labels; its classes: {', '.join(labelled.class_names[:5])}"
            f"{', ...' if len(labelled.class_names) > 5 else ''}. Name its folders after the labels."
        )


def decision_for(
    model: Model,
    classifier: Classifier,
    *,
    rules: Rules,
    labelled: LabelledSet | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> LabelDecision:
    """The classifier with these rules, fitted on `labelled` if there is a labelled set.

    Its photos whose class is not a label count as photos of something else. Raises `UsageError` for rules
    that cannot be held with so few photos, or whose labels have no probability of their own without a fit.
    """
    rules.check(classifier.class_names)
    if labelled is None:
        if rules.multi_label and classifier.bias is None:
            raise UsageError(
                f"{model.name} shares probabilities out over the labels, so that no label has one of its own: "
                "--multi-label needs --calibrate FOLDER, with a folder of photos for every label."
            )
        if rules.none_of_these is not None:
            return decision_by_known(model, classifier, rules.none_of_these)
        return LabelDecision(
            classifier=classifier, threshold_C=thresholds(classifier, rules, None), is_multi_label=rules.multi_label
        )
    check_overlap(labelled, classifier.class_names)
    known = read_known(model, classifier, labelled, progress)
    is_label_by_label = rules.multi_label or classifier.bias is not None
    fitted, facts = (fit_sigmoid if is_label_by_label else fit_softmax)(classifier, known)
    threshold_C = thresholds(fitted, rules, known)
    facts |= {"set": labelled.name, "data_fingerprint": labelled.fingerprint, "skipped": len(known.skipped)}
    if threshold_C is not None:
        facts |= threshold_facts(known, threshold_C, rules)
    return LabelDecision(classifier=fitted, threshold_C=threshold_C, is_multi_label=rules.multi_label, facts=facts)


def read_known(
    model: Model, classifier: Classifier, labelled: LabelledSet, progress: Callable[[int], None]
) -> KnownPhotos:
    """The photos of a labelled set with their cosines, those of the labels first.

    `RefusedInput` where not one can be read, `UsageError` for fewer than 10 photos of the labels.
    """
    score_NC, read, skipped = score_image_set(model, classifier, labelled.image, len(labelled), progress=progress)
    skipped = [*labelled.problems, *(replace(item, key=labelled.key(int(item.key))) for item in skipped)]
    if not read:
        reasons = count_reasons(skipped)
        raise RefusedInput(f"none of {len(labelled)} photos of {labelled.name} could be read ({reasons}).")
    index_of = {name: index for index, name in enumerate(classifier.class_names)}
    label_N = np.array([index_of.get(labelled.class_names[labelled.label(index)], UNKNOWN) for index in read])
    if (count := int((label_N != UNKNOWN).sum())) < FEWEST:
        raise UsageError(f"{labelled.name} has {count} photos of the labels that can be read; give {FEWEST} or more.")
    cosine_NC = score_NC.numpy()
    # Photos of the labels first: then both halves of them have some.
    order_N = np.argsort(label_N == UNKNOWN, kind="stable")
    return KnownPhotos(
        name=labelled.name, cosine_NC=cosine_NC[order_N], label_N=label_N[order_N], skipped=tuple(skipped)
    )


def fit_softmax(classifier: Classifier, known: KnownPhotos) -> tuple[Classifier, dict[str, Any]]:
    """The classifier at the temperature of the highest likelihood for the photos that show a label; and the facts.

    A model's own `confidence` stays below it.
    """
    cosine_NC = torch.from_numpy(known.cosine_NC[known.is_known_N]).double()
    logit_NC = (classifier.scales(cosine_NC) * cosine_NC).numpy()
    label_N = known.label_N[known.is_known_N]

    def fitted_change(logit_NC: Logits, label_N: np.ndarray) -> Change:
        temperature = softmax_temperature(logit_NC, label_N)
        return lambda others_NC: others_NC / temperature

    before = softmax_loss_and_error(logit_NC, label_N)
    after = softmax_loss_and_error(*predicted_by_the_other_half(fitted_change, logit_NC, label_N))
    temperature = softmax_temperature(logit_NC, label_N)
    facts = {"n": len(label_N), "temperature": temperature, **_measures("before", before), **_measures("after", after)}
    return replace(classifier, scale=classifier.scale / temperature), facts


def fit_sigmoid(classifier: Classifier, known: KnownPhotos) -> tuple[Classifier, dict[str, Any]]:
    """The classifier that scores label by label, with the scale and bias of the highest likelihood; and the facts.

    Every photo is a match for its own label and for no other. A model that shares its probabilities out has no
    "before".
    """
    bias = classifier.bias or 0.0
    logit_NC = classifier.scale * known.cosine_NC.astype(np.float64) + bias
    is_match_NC = np.equal(known.label_N[:, None], np.arange(logit_NC.shape[1]))

    def fitted_change(logit_NC: Logits, is_match_NC: np.ndarray) -> Change:
        factor, shift = sigmoid_scale_and_bias(logit_NC, is_match_NC)
        return lambda others_NC: others_NC * factor + shift

    after = sigmoid_loss_and_error(*predicted_by_the_other_half(fitted_change, logit_NC, is_match_NC))
    factor, shift = sigmoid_scale_and_bias(logit_NC, is_match_NC)
    facts: dict[str, Any] = {"n": len(logit_NC), "factor": factor, "shift": shift}
    if classifier.bias is not None:
        facts |= _measures("before", sigmoid_loss_and_error(logit_NC, is_match_NC))
    facts |= _measures("after", after)
    return replace(classifier, scale=classifier.scale * factor, bias=bias * factor + shift), facts


def predicted_by_the_other_half(
    fitted_change: Callable[[Logits, np.ndarray], Change], logit_NC: Logits, target_N: np.ndarray
) -> tuple[Logits, np.ndarray]:
    """Every second photo changed as was fitted on the others, and the other way round: a test on what was not seen.

    Returns logits (N, C) and targets (N,).
    """
    first, second = ((logit_NC[start::2], target_N[start::2]) for start in (0, 1))
    changed = [fitted_change(*second)(first[0]), fitted_change(*first)(second[0])]
    return np.concatenate(changed), np.concatenate([first[1], second[1]])


def thresholds(classifier: Classifier, rules: Rules, known: KnownPhotos | None) -> Tensor | None:
    """The cosine that each label must reach, (C,) float32; None where only a ranking is wanted.

    One threshold for all where there is one answer; each label has its own where there may be several, from a
    probability if one is set for it or no photos are known. `UsageError` where photos are too few for the rate.
    """
    names = classifier.class_names
    if rules.none_of_these is not None:
        assert known is not None
        best_N = known.cosine_NC[known.is_known_N].max(1)
        held = held_or_refused(best_N, rules.none_of_these, f"photos of the labels in {known.name}")
        return torch.full((len(names),), held[0])
    if not rules.multi_label:
        return None
    probability_of = dict.fromkeys(names, rules.threshold) | dict(rules.thresholds)
    if known is None:
        probability_of = {label: 0.5 if value is None else value for label, value in probability_of.items()}
    return torch.tensor(
        [
            cosine_at(classifier, probability)
            if (probability := probability_of[label]) is not None
            else alarm_threshold(known, index, rules)
            for index, label in enumerate(names)
        ]
    )


def alarm_threshold(known: KnownPhotos | None, index: int, rules: Rules) -> float:
    """The cosine from which on label number `index` is an answer: photos of other labels rarely reach it."""
    assert known is not None
    other_N = known.cosine_NC[known.label_N != index, index]
    threshold = held_or_refused(-other_N, rules.false_alarms, f"photos of other labels in {known.name}")[0]
    # What lies at the threshold itself must still be below the threshold.
    return float(np.nextafter(np.float32(-threshold), np.float32(np.inf)))


def cosine_at(classifier: Classifier, probability: float) -> float:
    """The cosine at which a classifier that scores label by label gives this probability."""
    assert classifier.bias is not None
    return (math.log(probability / (1 - probability)) - classifier.bias) / classifier.scale


def held_or_refused(score_N: np.ndarray, rate: float, what: str) -> tuple[float, int, float]:
    """As `formulas.calibration.threshold_holding`; `UsageError` where there are too few scores."""
    held = threshold_holding(score_N, rate)
    if held is None:
        raise UsageError(
            f"{len(score_N)} {what} are too few to hold a rate of {rate:g} with 95 % confidence: "
            f"that takes {scores_needed(rate):,}; add photos, or allow a higher rate."
        )
    return held


def threshold_facts(known: KnownPhotos, threshold_C: Tensor, rules: Rules) -> dict[str, Any]:
    """What the thresholds did to the photos they were fitted on, as counts, and the rates that they hold."""
    is_above_NC = np.greater_equal(known.cosine_NC, threshold_C.numpy())
    if rules.none_of_these is not None:
        lost_N = np.equal(is_above_NC.sum(1), 0)
        best_N = known.cosine_NC[known.is_known_N].max(1)
        return {
            "cosine": float(threshold_C[0]),
            "known": int(known.is_known_N.sum()),
            "known_lost": int(lost_N[known.is_known_N].sum()),
            "rate_held": held_or_refused(best_N, rules.none_of_these, "photos")[2],
            "others": int((~known.is_known_N).sum()),
            "others_detected": int(lost_N[~known.is_known_N].sum()),
        }
    own_NC = np.equal(known.label_N[:, None], np.arange(is_above_NC.shape[1]))
    return {
        "cosines": threshold_C.tolist(),
        "own_labels": int(own_NC.sum()),
        "own_labels_found": int((own_NC & is_above_NC).sum()),
        "other_labels": int((~own_NC).sum()),
        "other_labels_given": int((~own_NC & is_above_NC).sum()),
    }


def in_words(facts: Mapping[str, Any], rules: Rules) -> list[str]:
    """What was fitted, in lines for people; none where nothing was."""
    if not facts:
        return []
    if KNOWN in facts:
        return [line_of_known(facts)]
    skipped = f", {facts['skipped']} skipped" if facts["skipped"] else ""
    if "temperature" in facts:
        what = f"temperature {facts['temperature']:.3g}{_at_bound(facts['temperature'])}"
    else:
        what = f"logits times {facts['factor']:.3g} {facts['shift']:+.3g}"
    loss, error = _change(facts, "log_loss"), _change(facts, "calibration_error")
    lines = [
        f"calibrated on {facts['n']:,} photos of {facts['set']}{skipped}: {what}; log loss {loss}, "
        f"calibration error {error} (each half of the photos by the fit on the other half)"
    ]
    if rules.none_of_these is not None:
        lost, known = facts["known_lost"], facts["known"]
        detected = f"; so are {facts['others_detected']} of {facts['others']} others" if facts["others"] else ""
        lines.append(
            f"none of these: below a cosine of {facts['cosine']:.4f}, as are {lost} of {known} photos that show a label"
            f"{detected}; of new photos like these at most {100 * facts['rate_held']:.3g} % (95 % confidence){UNSEEN}"
        )
    if rules.multi_label:
        held = ""
        if rules.threshold is None:
            rate = f"{100 * rules.false_alarms:.3g} %"
            held = (
                f"; of new photos like these a label is given to at most {rate} of others (95 % confidence, each label)"
                f"{UNSEEN}"
            )
        lines.append(
            f"multi-label: {facts['own_labels_found']} of {facts['own_labels']} own labels are found, "
            f"{facts['other_labels_given']} of {facts['other_labels']} others are given wrongly{held}"
        )
    return lines


def _at_bound(temperature: float) -> str:
    """Words for a temperature that is the least or the most that is looked for."""
    if temperature <= SHARPEST:
        return " (the least: all photos are right by far, as where the model learned from them)"
    return " (the most: no label fits better than by chance)" if temperature >= FLATTEST else ""


def _measures(when: str, loss_and_error: tuple[float, float]) -> dict[str, float]:
    return {f"log_loss_{when}": loss_and_error[0], f"calibration_error_{when}": loss_and_error[1]}


def _change(facts: Mapping[str, Any], name: str) -> str:
    before = f"{facts[f'{name}_before']:.3f} -> " if f"{name}_before" in facts else ""
    return f"{before}{facts[f'{name}_after']:.3f}"

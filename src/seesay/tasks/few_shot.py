"""A linear probe on two labelled sets: all of the training set, then a few images of every class, beside zero-shot.

N = images, W = width of the image tower, K = classes of the training set, D = embedding width.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from seesay.base.errors import RefusedInput, UsageError, nearest
from seesay.base.records import Score, Skipped
from seesay.data.evalsets import open_evalset, open_learned
from seesay.data.labelled import LabelledSet, refuse_unseen_classes, shared_images
from seesay.data.sources import count_reasons
from seesay.formulas.metrics import mean_average_precision_11, mean_per_class, mean_roc_auc, top_k_hits
from seesay.formulas.statistics import (
    bootstrap_interval,
    mean_interval,
    mean_per_class_interval,
    proportion_interval,
)
from seesay.model.bundle import Model
from seesay.model.cache import EmbeddingCache, cached_encode_images
from seesay.model.encode import embeddings_of, encode_feature_set, score_image_set
from seesay.model.zero_shot import Classifier, ZeroShotClassifier
from seesay.tasks.estimator_input import check_settings
from seesay.tasks.linear_probe import LinearProbe
from seesay.tasks.probe_result import ProbeResult, ShotsResult, shots_equal_to
from seesay.tasks.words import choose_words

Penalty = float | Literal["sweep"]
NO_CACHE = EmbeddingCache(None)
# As in the code of CoOp (Zhou et al. 2022): a penalty is validated on as many further images per class, four at most.
MOST_VALIDATION_SHOTS = 4
# A guess: the interval over more choices of images is the same.
MOST_SEEDS = 1000
RANKING_METRICS = {"map11": mean_average_precision_11, "roc-auc": mean_roc_auc}
METRICS = ("accuracy", "mean-per-class", *RANKING_METRICS)
# Hanley and McNeil (1982): the area under the curve of answers that say nothing.
CHANCE_OF_ROC_AUC = 0.5


@dataclass(frozen=True, kw_only=True)
class EncodedSet:
    """Features of the images that could be `read`, and their classes as the training set numbers them."""

    read: list[int]
    features_NW: torch.Tensor
    label_N: np.ndarray
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a probe is fitted and measured, and the score of zero-shot."""

    seeds: int
    penalty: Penalty
    metric: str
    zero_shot: float
    start: "OfFeatures | None" = None


@dataclass(frozen=True, kw_only=True)
class OfFeatures:
    """A classifier of embeddings that is asked with the features they are made of; what a probe starts from."""

    model: Model
    head: Classifier

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the scores."""
        return self.head.class_names

    @property
    def scale(self) -> float:
        """The factor on scores that makes them logits."""
        return self.head.scale

    def scores(self, features_NW: torch.Tensor) -> torch.Tensor:
        """Features (N, W) to scores (N, K)."""
        return self.head.scores(embeddings_of(self.model, features_NW))


def probe_sets(
    model: Model,
    train: LabelledSet,
    test: LabelledSet,
    *,
    shots: Sequence[int] = (),
    seeds: int = 3,
    penalty: Penalty = "sweep",
    metric: str = "accuracy",
    from_words: bool = False,
    cache: EmbeddingCache = NO_CACHE,
    progress: Callable[[int], None] = lambda done: None,
) -> ProbeResult:
    """Learn on `train`, measure on `test`; features are those before the projection, not of unit length.

    Features are read from `cache` and written to it; `progress` is called with the number of images just encoded.
    Zero-shot chooses among the classes of `train` too, with the names and templates of `choose_words`; with
    `from_words` probes start from it. `UsageError` as `check_sets` and `check_protocol`; `RefusedInput` where no image
    of a set can be read.
    """
    check_protocol(shots, seeds, penalty, metric, from_words=from_words)
    if from_words and model.reads_grid:
        raise UsageError(f"{model.name} reads a grid of an image, not its features; leave --from-words out.")
    check_sets(train, test, shots, from_words=from_words)
    learned, tested = (encode_set(model, each, train, cache, progress) for each in (train, test))
    refuse_too_few(train, learned.label_N, shots, "images that can be read")
    words = choose_words(model, (test, train), train.class_names)
    head = model.classifier(words.names, words.templates)
    zero_shot = measured(metric, zero_shot_scores(model, head, test, tested), tested.label_N)
    start = OfFeatures(model=model, head=head) if from_words else None
    probe = LinearProbe(penalty=penalty, start=start).fit(learned.features_NW, learned.label_N)
    whole = measured(metric, probe_scores(probe, tested, train), tested.label_N)
    protocol = Protocol(seeds=seeds, penalty=penalty, metric=metric, zero_shot=zero_shot.value, start=start)
    few = tuple(few_shots(learned, tested, train, count, protocol) for count in shots)
    points = [(float(entry.shots), entry.mean) for entry in few if entry.shots]
    points.append((len(learned.label_N) / len(train.class_names), whole.value))
    skipped = [*train.problems, *learned.skipped, *test.problems, *tested.skipped]
    return ProbeResult(
        train=train.name,
        set_name=test.name,
        model=model.name,
        metric=metric,
        n_train=len(learned.label_N),
        classes=len(train.class_names),
        features=learned.features_NW.shape[1],
        score=whole,
        zero_shot=zero_shot,
        penalty=probe.penalty_,
        iterations=probe.n_iter_,
        validation_scores=probe.validation_scores_,
        templates=words.templates,
        shots=few,
        seeds=seeds,
        shots_equal_to_zero_shot=shots_equal_to(zero_shot.value, points) if any(shots) else None,
        skipped_by_reason=dict(Counter(item.reason for item in skipped).most_common()),
        data_fingerprints=(train.fingerprint, test.fingerprint),
        shared_images=shared_images(train.subset(learned.read), test.subset(tested.read)),
        set_notes=(*dict.fromkeys([*train.notes, *test.notes, *words.remarks, *on_unlearned(train)]),),
        start_scale=probe.start_scale_ if from_words else None,
    )


def open_labelled(source: str | Path, *, is_learned: bool = False) -> LabelledSet:
    """The labelled set that `source` names, or what of it `is_learned`; `UsageError` for images with captions."""
    evalset = open_learned(source) if is_learned else open_evalset(source)
    if not isinstance(evalset, LabelledSet):
        raise UsageError(
            f"{str(source)!r} holds images with captions; a probe needs classes: a folder of images for each, "
            "or .tar with .cls and classnames.txt."
        )
    return evalset


def check_protocol(
    shots: Sequence[int], seeds: int, penalty: Penalty, metric: str, *, from_words: bool = False
) -> None:
    """`UsageError` for a penalty, a metric or numbers that there cannot be."""
    check_settings(1, penalty)
    if metric not in METRICS:
        raise UsageError(f"metric {metric!r} is not known.{nearest(metric, METRICS)} Known: {', '.join(METRICS)}.")
    if any(count < (0 if from_words else 1) for count in shots) or seeds < 1:
        hint = " A probe of 0 shots is the zero-shot classifier: with --from-words." if 0 in shots else ""
        raise UsageError(f"shots are {list(shots)} and seeds {seeds}; give numbers of 1 or more.{hint}")
    if seeds > MOST_SEEDS:
        raise UsageError(f"seeds is {seeds}; give {MOST_SEEDS:,} or fewer.")


def check_sets(train: LabelledSet, test: LabelledSet, shots: Sequence[int], *, from_words: bool = False) -> None:
    """`UsageError`, before any image is read, for unknown classes, fewer than two, or too few images for the shots.

    So are classes that cannot be told apart, as other sets have their name twice, and with `from_words` those without
    an image to learn from.
    """
    if len(train.class_names) < 2:
        raise UsageError(f"{train.name} has one class; a probe needs two or more.")
    occurring = {test.class_names[test.label(index)] for index in range(len(test))}
    if unknown := sorted(occurring - set(train.class_names)):
        named = ", ".join(repr(name) for name in unknown[:5])
        raise UsageError(
            f"classes of {test.name} that {train.name} does not have: {named}"
            f"{f' and {len(unknown) - 5} more' if len(unknown) > 5 else ''}.{nearest(unknown[0], train.class_names)}"
        )
    names = train.class_names
    if test.class_names != names and (twice := next((name for name in names if names.count(name) > 1), None)):
        raise UsageError(f"{train.name} has two classes {twice!r}, and {test.name} other classes; rename one of them.")
    if from_words and (unlearned := without_images(train)):
        raise UsageError(
            f"a probe from words needs an image of every class, and {train.name} has none of {unlearned[0]!r}; "
            f"add one, or leave the class out{f' ({len(unlearned)} are so)' * (len(unlearned) > 1)}."
        )
    refuse_too_few(train, np.array([train.label(index) for index in range(len(train))]), shots, "images")


def without_images(train: LabelledSet) -> list[str]:
    """Names of the classes that no image has."""
    found = {train.label(index) for index in range(len(train))}
    return [name for label, name in enumerate(train.class_names) if label not in found]


def on_unlearned(train: LabelledSet) -> list[str]:
    """A line on classes that no image is learned from, if there are any."""
    if not (names := without_images(train)):
        return []
    which = f"{len(names)} of {len(train.class_names)} classes have no image to learn from, as {names[0]!r}"
    return [f"{which}: their images are always misses."]


def refuse_too_few(train: LabelledSet, label_N: np.ndarray, shots: Sequence[int], what: str) -> None:
    """`UsageError` where a class of `label_N` has fewer examples than `max(shots)`; the message calls them `what`."""
    size_K = np.bincount(label_N, minlength=len(train.class_names))
    fewest = int(size_K.argmin())
    if shots and size_K[fewest] < max(shots):
        raise UsageError(
            f"{max(shots)} shots are requested, but class {train.class_names[fewest]!r} of {train.name} has "
            f"{size_K[fewest]} {what}; request fewer."
        )


def encode_set(
    model: Model, evalset: LabelledSet, train: LabelledSet, cache: EmbeddingCache, progress: Callable[[int], None]
) -> EncodedSet:
    """All images of a set that can be read; classes go together by name."""
    features_NW, read, skipped = cached_encode_images(
        model, evalset.image, len(evalset), cache=cache, progress=progress, kind="features", encode=encode_feature_set
    )
    if not read:
        raise RefusedInput(
            f"none of the {len(evalset)} images of {evalset.name} could be read ({count_reasons(skipped)})."
        )
    refuse_unseen_classes(evalset, read, skipped)
    number_of = list(range(len(train.class_names)))
    if evalset.class_names != train.class_names:
        index_of = {name: index for index, name in enumerate(train.class_names)}
        number_of = [index_of.get(name, -1) for name in evalset.class_names]
    return EncodedSet(
        read=list(read),
        features_NW=features_NW,
        label_N=np.array([number_of[evalset.label(index)] for index in read]),
        skipped=tuple(replace(item, key=evalset.key(int(item.key))) for item in skipped),
    )


def few_shots(
    learned: EncodedSet, tested: EncodedSet, train: LabelledSet, count: int, protocol: Protocol
) -> ShotsResult:
    """Probes on `count` images per class, chosen anew for every seed; of none it is zero-shot, where they start."""
    if not count:
        only = protocol.zero_shot
        return ShotsResult(shots=0, mean=only, interval95=None, scores=(only,), penalties=())
    scores, penalties = [], []
    for seed in range(protocol.seeds):
        chosen, further = choose(learned.label_N, count, seed=seed)
        x_NW, label_N = learned.features_NW[chosen], learned.label_N[chosen]
        penalty = protocol.penalty
        if penalty == "sweep" and len(further) and protocol.start is None:
            validation = learned.features_NW[further], learned.label_N[further]
            penalty = LinearProbe().fit(x_NW, label_N, validation=validation).penalty_
        probe = LinearProbe(penalty=penalty, start=protocol.start).fit(x_NW, label_N)
        scores.append(score(protocol.metric, probe_scores(probe, tested, train), tested.label_N))
        penalties.append(probe.penalty_)
    interval = mean_interval(np.array(scores))
    return ShotsResult(
        shots=count,
        mean=float(np.mean(scores)),
        interval95=None if interval is None else (max(0.0, interval[0]), min(1.0, interval[1])),
        scores=tuple(scores),
        penalties=tuple(penalties),
    )


def choose(label_N: np.ndarray, count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (N,) of `count` examples of every class, and of others to validate penalties on.

    There are as many of these of every class, `MOST_VALIDATION_SHOTS` at most, where the class has them.
    The same seed chooses the same examples in the same order, so that two shots hold the one shot.
    """
    generator = np.random.default_rng(seed)
    chosen, further = [], []
    for label in np.unique(label_N):
        members = generator.permutation(np.flatnonzero(label_N == label))
        chosen.append(members[:count])
        further.append(members[count : count + min(count, MOST_VALIDATION_SHOTS)])
    return np.concatenate(chosen), np.concatenate(further)


def zero_shot_scores(model: Model, head: Classifier, evalset: LabelledSet, tested: EncodedSet) -> np.ndarray:
    """Probabilities of the training set's classes by their names, for the images in `tested`, (N, K)."""
    if model.reads_grid:
        score_NK, _, _ = score_image_set(model, head, evalset.image, len(evalset))
        return head.probabilities_of(score_NK).numpy()
    row_NX = embeddings_of(model, tested.features_NW)
    if isinstance(head, ZeroShotClassifier):
        # In float64, where a softmax does not round small ones to ties.
        row_NX, head = row_NX.double(), replace(head, weights=head.weights.double())
    return head.probabilities(row_NX).numpy()


def probe_scores(probe: LinearProbe, tested: EncodedSet, train: LabelledSet) -> np.ndarray:
    """The probe's probabilities with a column for every class of the training set, (N, K)."""
    all_NK = np.zeros((len(tested.label_N), len(train.class_names)))
    all_NK[:, probe.classes_] = probe.predict_proba(tested.features_NW)
    return all_NK


def score(metric: str, scores_NK: np.ndarray, label_N: np.ndarray) -> float:
    """The value of a metric, a fraction from 0 to 1."""
    if metric in RANKING_METRICS:
        return RANKING_METRICS[metric](scores_NK, label_N)
    hit_N = hits(scores_NK, label_N)
    return mean_per_class(hit_N, label_N) if metric == "mean-per-class" else float(hit_N.mean())


def measured(metric: str, scores_NK: np.ndarray, label_N: np.ndarray) -> Score:
    """`score` with its 95 % interval over test images, and chance: 0.5 for roc-auc, else one of the K classes."""
    value, n = score(metric, scores_NK, label_N), len(label_N)
    if metric in RANKING_METRICS:
        interval = bootstrap_interval(lambda drawn: score(metric, scores_NK[drawn], label_N[drawn]), n)
    elif metric == "mean-per-class":
        interval = mean_per_class_interval(hits(scores_NK, label_N), label_N)
    else:
        interval = proportion_interval(int(hits(scores_NK, label_N).sum()), n)
    chance = CHANCE_OF_ROC_AUC if metric == "roc-auc" else 1 / scores_NK.shape[1]
    return Score(value=value, interval95=interval, chance=chance, n=n)


def hits(scores_NK: np.ndarray, label_N: np.ndarray) -> np.ndarray:
    """Whether the class with the highest score is the right one, (N,) bool; a tie is a miss."""
    return top_k_hits(torch.from_numpy(scores_NK), torch.from_numpy(label_N), ks=(1,))[1]

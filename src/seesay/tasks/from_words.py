"""Logistic regression that begins at another classifier, such as a zero-shot one, and is pulled towards it.

N = examples, K = classes, W = features, S = scales that are weighed. What is learned is added to the logits of that
classifier, and the penalty is on what is added: with few examples the answer stays near the words, with many it goes
where they lead (CLAP, Silva-Rodriguez et al. 2024; LP++, Huang et al. 2024). Rows are brought to the square root of
their length (`evened`). Intercepts are charged as well: free ones make every class as frequent as its examples, and one
or two say little of that. With three classes and one example of each the box lost 4.7 points of Tiny ImageNet so.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seesay.base.errors import UsageError
from seesay.formulas.examples import Examples
from seesay.formulas.logistic import SETTLED, Start, fit
from seesay.tasks.estimator_input import EstimatorError, is_text

# The posterior of the factor on the classifier's logits, all from 0 to 2 equally likely before; 0 is a classifier that
# knows nothing, 1 one that is as sure as it says. Taken is a low quantile: a factor too large costs more than one too
# small. The interval is a guess; the quantile was chosen on DTD, CIFAR-10, RSICD and MNIST with the box
# of 2026-11-21 to 28, 1 and 2 shots.
SCALES = torch.linspace(0, 2, 129, dtype=torch.float64)
QUANTILE = 0.15
# A density beside the largest one that changes no sum of 129 of them.
NO_DENSITY = 1e-19
# Penalties as shares of the mean squared distance of the examples from their mean, so that one means the same on
# features of any size. The usual one is 10^LOW where the start explains nothing of the labels, and the more it does,
# the harder it pulls, up to 10^HIGH. It is taken where no class has two examples to validate with; where they have,
# what a step of half a decade away from it is to gain over all that is validated grows as the square of the steps.
# Chosen with the box of 2026-11-29 on the thirteen sets that benchmarks/2026-11-29-few-labels names.
LOW, RISE, HIGH = -1.15, 3.2, 0.5
STEPS_PER_DECADE = 2
MOST_STEPS = 10
# What a point of the quadratic score counts beside the prior's; chosen on the same sets.
SCORE = 3.0
# Parts that examples are dealt out to; each is predicted from the others until so many were. Both are a guess.
PARTS = 5
MOST_VALIDATED = 2048


class Starting(Protocol):
    """What a probe can start from: `Classifier`, or anything whose `scale` times `scores` (N, K) are logits."""

    @property
    def class_names(self) -> Sequence[str]:
        """The classes, in the order of the scores."""
        ...

    @property
    def scale(self) -> float:
        """The factor on scores that makes them logits."""
        ...

    def scores(self, image_NX: Tensor, /) -> Tensor:
        """Rows of images (N, X) to scores (N, K)."""
        ...


def check_start(start: Any) -> None:
    """`EstimatorError` for what is no classifier to start from."""
    if missing := [name for name in ("class_names", "scale", "scores") if not hasattr(start, name)]:
        raise EstimatorError(
            f"start is a {type(start).__name__} without {missing[0]}; give a classifier as Model.classifier makes it."
        )
    if len(start.class_names) < 2:
        raise EstimatorError(f"start has {len(start.class_names)} class; a probe needs two or more.")


def classes_of_start(start: Starting, names_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """The classes in their order (K,), the column of the start's scores for each (K,), and every label's class (N,).

    Labels are names of the start's classes, or their numbers from 0 on. `EstimatorError` for labels that are neither,
    and for a class without an example where there are any.
    """
    names = [str(name) for name in start.class_names]
    if is_text(names_N):
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise EstimatorError(f"start has two classes named {twice!r}; give labels as numbers of its classes.")
        column_K = np.argsort(np.array(names))
        classes = np.array(names)[column_K]
    else:
        column_K = classes = np.arange(len(names))
    if unknown := sorted(set(names_N.tolist()) - set(classes.tolist())):
        raise EstimatorError(f"labels that start has no class for: {', '.join(map(repr, unknown[:5]))}.")
    label_N = np.searchsorted(classes, names_N) if len(names_N) else np.zeros(0, dtype=np.int64)
    empty_K = np.bincount(label_N, minlength=len(classes)) == 0
    if len(label_N) and empty_K.any():
        named = ", ".join(repr(names[column]) for column in column_K[empty_K][:5])
        raise EstimatorError(
            f"{empty_K.sum()} of the {len(classes)} classes of start have no example ({named}); "
            "give at least one of every class, or leave those out of the classifier."
        )
    return classes, column_K, torch.from_numpy(label_N)


def logits_of(start: Starting, x_NW: Tensor, column_K: np.ndarray) -> Tensor:
    """The start's logits for rows (N, W), its columns in the order of the probe's classes, (N, K) float64.

    `EstimatorError` for rows that its `scores` do not take.
    """
    try:
        score_NK = start.scores(x_NW.float()).double()
    except (RuntimeError, UsageError) as error:
        why = str(error).partition("\n")[0].rstrip(".")
        raise EstimatorError(
            f"start has no scores of rows of {x_NW.shape[1]} numbers ({why}); give rows such as it was made for."
        ) from error
    return start.scale * score_NK[:, torch.from_numpy(column_K).to(score_NK.device)]


def evened(x_NW: Tensor) -> Tensor:
    """Rows (N, W) of any length at the square root of it; a row of zeros stays zero.

    Half way between rows as they come and rows of unit length, which lose how many things there are: at one example of
    a class these two have 34 and 27 % of counting and 25 and 29 % of textures, and this 33 and 27 %.
    """
    length_N1 = x_NW.double().norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    return (x_NW / length_N1.sqrt()).to(x_NW)


def careful_scale(logits_NK: Tensor, label_N: Tensor, weight_N: Tensor | None = None) -> float:
    """A factor on logits of which the labels say that it is hardly too large.

    A low quantile of its posterior: the more examples there are, the nearer it is to the most likely one.
    """
    label_N = label_N.to(logits_NK.device)

    @functools.cache
    def surprise(at: int) -> float:
        entropy_N = F.cross_entropy(float(SCALES[at]) * logits_NK, label_N, reduction="none")
        return float((entropy_N if weight_N is None else entropy_N * weight_N.to(entropy_N)).sum())

    # It is convex in the scale: beside the least one it only rises, and most scales need not be measured.
    low, high = 0, len(SCALES) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if surprise(middle) <= surprise(middle + 1) else (middle + 1, high)
    density_S = torch.zeros_like(SCALES)
    for way in (range(low, len(SCALES)), range(low - 1, -1, -1)):
        for at in way:
            density_S[at] = math.exp(surprise(low) - surprise(at))
            if density_S[at] < NO_DENSITY:
                break
    return float(SCALES[int((density_S.cumsum(0) < QUANTILE * density_S.sum()).sum())])


def explained(logits_NK: Tensor, label_N: Tensor, weight_N: Tensor | None = None) -> float:
    """The share of the labels' entropy, were all classes equally frequent, that logits (N, K) explain; 0 at least."""
    label_N = label_N.to(logits_NK.device)
    entropy_N = F.cross_entropy(logits_NK, label_N, reduction="none")
    weight_N = torch.ones_like(entropy_N) if weight_N is None else weight_N.to(entropy_N)
    mean = float((entropy_N * weight_N).sum() / weight_N.sum())
    return max(0.0, 1 - mean / math.log(logits_NK.shape[1]))


def usual_penalty(data: Examples) -> float:
    """Of a probe of examples whose logits begin at their offset."""
    assert data.offset_NK is not None
    share = explained(data.offset_NK, data.label_N, data.weight_N)
    return (data.spread or 1.0) * 10.0 ** min(LOW + RISE * share, HIGH)


def choose_penalty(
    data: Examples, parts: Sequence[tuple[Tensor, Tensor]], *, usual: float, max_iterations: int
) -> tuple[float, dict[float, float]]:
    """The penalty whose fits predict examples they have not seen best; the mean quadratic score by penalty.

    `parts` are rows (M,) to learn from and rows to predict. From the `usual` one on the neighbour is tried while it is
    better, by scores that are weighed with a normal prior on the logarithm of the penalty.
    """
    if not parts:
        return usual, {}
    fits = [Validation(data, learned, held, max_iterations) for learned, held in parts]
    validated = sum(each.weight for each in fits)
    scores: dict[int, float] = {}
    best = 0

    def penalty(step: int) -> float:
        return usual * 10.0 ** (step / STEPS_PER_DECADE)

    def posterior(step: int) -> float:
        if step not in scores:
            scores[step] = sum(each.score(penalty(step)) for each in fits)
        return SCORE * scores[step] - step**2

    for way in (1, -1):
        while abs(best + way) <= MOST_STEPS and posterior(best + way) > posterior(best):
            best += way
    return penalty(best), {penalty(step): value / validated for step, value in scores.items()}


class Validation:
    """Fits on the rows `learned`, each begun at the one before, measured on the rows `held`."""

    def __init__(self, data: Examples, learned: Tensor, held: Tensor, max_iterations: int):
        self._training, self._held, self._max_iterations = data.at(learned), data.at(held), max_iterations
        self._end: Start | None = None
        weight_H = self._held.weight_N
        self._weight_H = torch.ones(len(held), dtype=torch.float64) if weight_H is None else weight_H.double()
        self.weight = float(self._weight_H.sum())

    def score(self, penalty: float) -> float:
        """The sum over the held examples, each by its weight, of `quadratic_scores`."""
        fitted = fit(self._training, penalty, start=self._end, max_iterations=self._max_iterations, until=SETTLED)
        self._end, held, theta_KW1 = fitted.end, self._held, fitted.end.theta_KW1
        logits_HK = held.centred_NW @ theta_KW1[:, :-1].T + theta_KW1[:, -1]
        logits_HK = logits_HK if held.offset_NK is None else logits_HK + held.offset_NK
        score_H = quadratic_scores(logits_HK.double(), held.label_N)
        return float(score_H @ self._weight_H.to(score_H))


def quadratic_scores(logits_NK: Tensor, label_N: Tensor) -> Tensor:
    """2 p of the label less the sum of all p squared (N,): 1 for a sure and right row, -1 for a sure and wrong one.

    It is highest in the mean for the true probabilities (Brier 1950), as the logarithm is, but no few examples that
    words get quite wrong outweigh the others: instruments lost 2 points at two examples of a class so.
    """
    p_NK = logits_NK.softmax(1)
    return 2 * p_NK.gather(1, label_N[:, None])[:, 0] - p_NK.square().sum(1)


def parts_of(label_N: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows (M,) to learn from and rows held out, until every example was held out once or `MOST_VALIDATED` were.

    Every class is dealt out evenly; an example that is alone in its class is only learned from.
    """
    order_N = torch.randperm(len(label_N), generator=torch.Generator().manual_seed(0)).to(label_N.device)
    order_N = order_N[label_N[order_N].argsort(stable=True)]
    size_K = torch.bincount(label_N)
    first_K = size_K.cumsum(0) - size_K
    part_N = torch.arange(len(label_N), device=label_N.device) - first_K.repeat_interleave(size_K)
    part_N = torch.where((size_K > 1).repeat_interleave(size_K), part_N % PARTS, -1)
    done = 0
    for part in range(PARTS):
        is_held_N = part_N == part
        if is_held_N.any() and done < MOST_VALIDATED:
            done += int(is_held_N.sum())
            yield order_N[~is_held_N], order_N[is_held_N]

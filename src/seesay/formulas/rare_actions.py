"""RareAct's measures (Miech et al. 2020): is an action told from its verb, and from its noun, with another one?

N = rows of clips, each about one class; C = classes, a verb and a noun each.

Of a class, right rows are those that show the action; hard ones show its verb or its noun, or both apart, or another
class's action with its verb or its noun; all others that are known not to show it are plain. Rows of a video in one of
these three groups share the weight of one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# As the publisher's script is run: mSAP (n = 100).
DRAWS = 100
# The publisher's numbers of an annotation.
NEITHER, ACTION = 0, 1


@dataclass(frozen=True, kw_only=True, eq=False)
class ActionRows:
    """The rows of a class that say something of it, (M,): positions, which are right, and the group of each.

    Rows with the same number in `group_M` are of one video and one of the three groups.
    """

    number: int
    row_M: np.ndarray
    is_right_M: np.ndarray
    group_M: np.ndarray


def rows_of_classes(
    actions: Sequence[tuple[str, str]], class_N: np.ndarray, video_N: np.ndarray, annotation_N: np.ndarray
) -> list[ActionRows]:
    """The rows of every class that has a right one; class, video and annotation of each row are (N,)."""
    verb_C = np.array([verb for verb, _ in actions])
    noun_C = np.array([noun for _, noun in actions])
    is_action_N = annotation_N == ACTION
    found = []
    for number in range(len(actions)):
        is_own_N = class_N == number
        shared_N = (verb_C == verb_C[number])[class_N].astype(int) + (noun_C == noun_C[number])[class_N]
        is_right_N = is_own_N & is_action_N
        is_hard_N = (is_own_N & (annotation_N > ACTION)) | (~is_own_N & is_action_N & (shared_N == 1))
        is_plain_N = (is_own_N & (annotation_N == NEITHER)) | (~is_own_N & is_action_N & (shared_N == 0))
        kind_N = is_right_N + 2 * is_hard_N + 3 * is_plain_N
        (row_M,) = np.nonzero(kind_N)
        if is_right_N.any():
            _, group_M = np.unique(np.stack([kind_N[row_M], video_N[row_M]]), axis=1, return_inverse=True)
            found.append(
                ActionRows(number=number, row_M=row_M, is_right_M=is_right_N[row_M], group_M=group_M.reshape(-1))
            )
    return found


def mean_weighted_precision(score_NC: np.ndarray, classes: Sequence[ActionRows]) -> float:
    """mWAP: the average precision of every class by its scores (N, C), rows weighted, averaged over classes."""
    return float(np.mean([_precision(score_NC, own, 1 / np.bincount(own.group_M)[own.group_M]) for own in classes]))


def mean_sampled_precision(score_NC: np.ndarray, classes: Sequence[ActionRows], *, seed: int = 0) -> float:
    """mWSAP, which the publisher calls mSAP: one row of each video and group by chance, the mean of `DRAWS` draws."""
    rng = np.random.default_rng(seed)
    return float(np.mean([[_precision(score_NC, own, _one_each(own, rng)) for _ in range(DRAWS)] for own in classes]))


def bootstrap(
    score_NC: np.ndarray, classes: Sequence[ActionRows], video_N: np.ndarray, *, draws: int, seed: int = 0
) -> Iterator[tuple[float, float]]:
    """mWAP and mWSAP by scores (N, C), the videos (N,) drawn anew; classes without a right row then are left out.

    Rows are drawn once for each, so that mWSAP spreads a little more than the mean of `DRAWS` draws does.
    """
    rng = np.random.default_rng(seed)
    videos = int(video_N.max()) + 1
    for _ in range(draws):
        times_N = np.bincount(rng.integers(0, videos, videos), minlength=videos)[video_N]
        there = [own for own in classes if times_N[own.row_M][own.is_right_M].any()]
        if not there:
            continue
        weights = [(own, times_N[own.row_M]) for own in there]
        shared = [
            _precision(score_NC, own, times_M / np.bincount(own.group_M)[own.group_M]) for own, times_M in weights
        ]
        single = [_precision(score_NC, own, times_M * _one_each(own, rng)) for own, times_M in weights]
        yield float(np.mean(shared)), float(np.mean(single))


def by_guessing(classes: Sequence[ActionRows]) -> float:
    """What scores that say nothing come to: the share of the weight that is right, averaged over classes."""
    shares = []
    for own in classes:
        weight_M = 1 / np.bincount(own.group_M)[own.group_M]
        shares.append(weight_M[own.is_right_M].sum() / weight_M.sum())
    return float(np.mean(shares))


def average_precision(score_M: np.ndarray, is_right_M: np.ndarray, weight_M: np.ndarray) -> float:
    """The precision at every recall that is reached, averaged by the recall gained there; scores, truth, weights (M,).

    Equal scores are one step. 0 where nothing is right.
    """
    order_M = np.argsort(-score_M, kind="stable")
    score_M, weight_M = score_M[order_M], weight_M[order_M]
    right_M = (weight_M * is_right_M[order_M]).cumsum()
    all_M = weight_M.cumsum()
    is_end_M = np.append(score_M[1:] != score_M[:-1], True)
    right_S, all_S = right_M[is_end_M], all_M[is_end_M]
    if not right_S[-1]:
        return 0.0
    precision_S = np.divide(right_S, all_S, out=np.zeros(len(all_S)), where=all_S > 0)
    return float((np.diff(right_S, prepend=0.0) * precision_S).sum() / right_S[-1])


def _precision(score_NC: np.ndarray, own: ActionRows, weight_M: np.ndarray) -> float:
    return average_precision(score_NC[own.row_M, own.number], own.is_right_M, weight_M)


def _one_each(own: ActionRows, rng: np.random.Generator) -> np.ndarray:
    """1 for one row of each group, by chance, 0 for the others, (M,)."""
    order_M = rng.permutation(len(own.group_M))
    _, first = np.unique(own.group_M[order_M], return_index=True)
    weight_M = np.zeros(len(order_M))
    weight_M[order_M[first]] = 1.0
    return weight_M

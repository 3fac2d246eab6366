"""Multinomial logistic regression with an L2 penalty: the linear probe of Radford et al. 2021, appendix A.3.

N = examples, W = features, K = classes, B = examples in a block. theta_KW1 holds the weights of every class and, in its
last column, the intercepts.

What is made small is the sum over examples of the cross-entropy plus penalty / 2 times the sum of the squared weights;
intercepts are free, unless the examples say that they cost something, too. That is scikit-learn's objective with
C = 1 / penalty, which divides it by N, and so do the values here. An example of weight w counts w times, as if its row
were repeated, and N is then the sum of the weights. With two classes scikit-learn has one vector of weights instead of
two: the difference of ours, and the same minimum where each of ours is charged double. Logits may begin at an offset
instead of 0, one for every example and class, as those of another classifier: weights are then what is learned on top
of it, and the penalty pulls towards it.

Features are centred, and steps are taken along the axes in which they vary. There the second derivative is nearly
diagonal, h * variance + penalty / N with h the mean of p (1 - p), once the intercept of a class is taken at the class's
own mean. L-BFGS that starts from its inverse needs one evaluation where plain L-BFGS needs four or more. The axes are
found once for all penalties.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seesay.formulas.examples import ROWS_FOR_AXES, Examples
from seesay.formulas.lbfgs import bent_upwards, direction

# Below this loss everything is right, and weights would only grow until the penalty stops them.
LEAST_LOSS = 1e-2
# Pairs of a step and a change of the gradient that are remembered: the upper end of 3 to 20 in Nocedal and Wright 2006,
# section 7.2.
MEMORY = 20
# The same book's usual c1 of the sufficient decrease, section 3.1.
SUFFICIENT = 1e-4
# A guess: a step shortened so far gains nothing but rounding.
SHORTEST = 1e-4
# A class that is certain already still gets curvature, or the first step would go anywhere.
LEAST_CURVATURE = 1e-3
# scikit-learn's `tol` of LogisticRegression.
FLAT_GRADIENT = 1e-4
# Certain examples weigh a class about its own mean, uncertain ones about the mean of all: half way was best where it
# was measured.
TOWARDS_OWN_MEAN = 0.5
# One example in eight, and not below so many: both a guess.
SHARE_OF_SUBSET = 8
LEAST_SUBSET = 4096
# Odds of 1e-26 are nothing; those of 1e-40 are nothing too, but make a matrix product take twice as long.
LEAST_LOGIT = -60.0
# Probabilities worked on at a time: few enough to stay in a core's cache.
BLOCK = 1 << 17


class Until(NamedTuple):
    """When a search is over: the next step promises less than `promise`, a share of what matters.

    That is the value, or the part of it that is quadratic in the logits, whichever is less: a large penalty keeps the
    logits so near to 0 that the value hardly falls, and still the largest of them wins. Less than `promise_where_flat`
    will do where no element of the gradient is above 1e-4, scikit-learn's idea of the end. `is_enough` is called after
    every step, with how many there were and where they led.
    """

    promise: float
    promise_where_flat: float = 0.0
    is_enough: Callable[[int, Tensor], bool] = lambda steps, theta_KW1: False


# The numbers of all four are a guess; benchmarks/2026-11-21-probe has what comes out beside scikit-learn.
CONVERGED = Until(5e-5, 1e-3)
# So near the minimum that the examples which are right are those at the minimum, but for one or two in a thousand.
SETTLED = Until(2e-6)
TO_THE_END = Until(1e-9)
ROUGH = Until(1e-2)


class Charge(NamedTuple):
    """Penalties / N: what half the squared weights cost, and half the squared intercepts."""

    weights: float
    intercepts: float = 0.0

    def __neg__(self) -> "Charge":
        return Charge(-self.weights, -self.intercepts)


class Start(NamedTuple):
    """Where a search begins, and what is known of the way the loss bends there.

    `bends` are steps and how the gradient of the loss changed along them, the newest last. The penalty is not in them:
    it is added when they are used, so that they serve searches for other penalties.
    """

    theta_KW1: Tensor
    bends: tuple[tuple[Tensor, Tensor], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Where the search ended: `value` is the objective there, `iterations` how many steps were taken."""

    end: Start
    value: float
    iterations: int


@dataclass(frozen=True, kw_only=True)
class Slope:
    """The objective at one point, its gradient, and `curvature`, the mean of p (1 - p)."""

    value: float
    gradient_KW1: Tensor
    curvature: float


def start_from_part(data: Examples, penalty: float) -> Start | None:
    """The minimum for one example in eight, near that for all of them at an eighth of the cost; None for few."""
    count = len(data.label_N)
    if count < SHARE_OF_SUBSET * LEAST_SUBSET:
        return None
    order_N = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    part = data.at(order_N[: count // SHARE_OF_SUBSET].to(data.label_N.device))
    return Start(fit(part, penalty / SHARE_OF_SUBSET, until=ROUGH).end.theta_KW1)


def fit(
    data: Examples,
    penalty: float,
    *,
    start: Start | None = None,
    max_iterations: int = 1000,
    until: Until | None = None,
) -> Fit:
    """The minimum of the objective, by preconditioned L-BFGS from `start` (default: zeros).

    It ends as `until` says (default: `CONVERGED`, and `TO_THE_END` in float64), where rounding hides any gain, or
    after `max_iterations`.
    """
    until = until or (TO_THE_END if data.centred_NW.dtype == torch.float64 else CONVERGED)
    classes, width = data.own_KW.shape
    charge = (2 if classes == 2 else 1) * penalty / data.total
    charge = Charge(charge, charge * data.intercept_cost)
    start = start or Start(data.own_KW.new_zeros(classes, width + 1))
    theta_KW1, pairs, iteration = start.theta_KW1, pairs_of(start.bends, charge), 0
    here = slope_at(data, theta_KW1, charge)
    curvature = here.curvature
    while iteration < max_iterations:
        # It falls by half at most from step to step, so that the pairs of the steps before still fit its scale.
        curvature = max(here.curvature, curvature / 2, LEAST_CURVATURE / classes)
        step_KW1 = direction(
            here.gradient_KW1, pairs, lambda x_KW1, h=curvature: preconditioned(data, x_KW1, h, charge)
        )
        if is_over(until, here, step_KW1, quadratic_part(data, theta_KW1, here.curvature)):
            break
        there, length = search(
            lambda length, at=theta_KW1, step=step_KW1: slope_at(data, at + length * step, charge), here, step_KW1
        )
        if there is None and not pairs:
            break
        if there is None:
            pairs = []
            continue
        moved_KW1, bent_KW1 = length * step_KW1, there.gradient_KW1 - here.gradient_KW1
        pairs = [*pairs, *bent_upwards([(moved_KW1, bent_KW1)])][-MEMORY:]
        theta_KW1, here = theta_KW1 + moved_KW1, there
        iteration += 1
        if until.is_enough(iteration, theta_KW1):
            break
    bends = tuple((moved_KW1, charged(bent_KW1, moved_KW1, -charge)) for moved_KW1, bent_KW1, _ in pairs)
    return Fit(end=Start(theta_KW1, bends), value=here.value, iterations=iteration)


def charged(gradient_KW1: Tensor, theta_KW1: Tensor, charge: Charge) -> Tensor:
    """A gradient (K, W + 1) with that of the penalties."""
    weights_KW, intercept_K1 = charge.weights * theta_KW1[:, :-1], charge.intercepts * theta_KW1[:, -1:]
    return gradient_KW1 + torch.cat([weights_KW, intercept_K1], dim=1)


def pairs_of(bends: Iterable[tuple[Tensor, Tensor]], charge: Charge) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Steps (K, W + 1), changes of the gradient with that of the penalty, and 1 / their products, by `bent_upwards`."""
    return bent_upwards((moved_KW1, charged(bent_KW1, moved_KW1, charge)) for moved_KW1, bent_KW1 in bends)


def quadratic_part(data: Examples, theta_KW1: Tensor, curvature: float) -> float:
    """Of the loss, as a function of the logits."""
    return curvature / 2 * float((theta_KW1[:, :-1] @ data.axes_WW).square().sum(0) @ data.variance_W)


def is_over(until: Until, here: Slope, step_KW1: Tensor, quadratic: float) -> bool:
    """Whether the next step promises too little, by `until`, to be taken."""
    is_flat = float(here.gradient_KW1.abs().amax()) < FLAT_GRADIENT
    promised = -float((step_KW1 * here.gradient_KW1).sum()) / 2
    share = max(until.promise, until.promise_where_flat if is_flat else 0)
    return promised <= share * min(max(here.value, LEAST_LOSS), quadratic)


def slope_at(data: Examples, theta_KW1: Tensor, charge: Charge) -> Slope:
    """Objective and gradient in one pass over the examples."""
    weights_KW, intercept_K = theta_KW1[:, :-1].contiguous(), theta_KW1[:, -1]
    size = max(1, BLOCK // len(intercept_K))
    blocks = [data.centred_NW.split(size), data.label_N[:, None].split(size)]
    nothing = [None] * len(blocks[0])
    weights = nothing if data.weight_N is None else data.weight_N[:, None].split(size)
    offsets = nothing if data.offset_NK is None else data.offset_NK.split(size)
    gradient_KW, excess_K = torch.zeros_like(weights_KW), torch.zeros_like(intercept_K)
    # Summed in float64: single values round at 1e-7, and the gains that are looked for are smaller.
    value = squares = torch.zeros((), dtype=torch.float64, device=weights_KW.device)
    for centred_BW, label_B1, weight_B1, offset_BK in zip(*blocks, weights, offsets, strict=True):
        logits_BK = torch.addmm(intercept_K if offset_BK is None else offset_BK + intercept_K, centred_BW, weights_KW.T)
        logits_BK -= logits_BK.amax(1, keepdim=True)
        known_B1 = logits_BK.gather(1, label_B1)
        odds_BK = logits_BK.clamp_min_(LEAST_LOGIT).exp_()
        total_B1 = odds_BK.sum(1, keepdim=True)
        entropy_B1, probability_BK = total_B1.log() - known_B1, odds_BK.div_(total_B1)
        value = value + (entropy_B1 if weight_B1 is None else entropy_B1 * weight_B1).sum(dtype=torch.float64)
        weighted_BK = probability_BK if weight_B1 is None else probability_BK * weight_B1.sqrt()
        squares = squares + torch.linalg.vector_norm(weighted_BK).double() ** 2
        # Here, and not from the sums over examples: where everything is right their difference is all rounding.
        probability_BK.scatter_add_(1, label_B1, probability_BK.new_full((1, 1), -1).expand_as(label_B1))
        if weight_B1 is not None:
            probability_BK *= weight_B1
        excess_K += probability_BK.sum(0)
        gradient_KW.addmm_(probability_BK.T, centred_BW)
    gradient_KW = (gradient_KW / data.total).add_(weights_KW, alpha=charge.weights)
    excess_K = (excess_K / data.total).add_(intercept_K, alpha=charge.intercepts)
    paid = charge.weights * weights_KW.square().sum(dtype=torch.float64)
    paid = paid + charge.intercepts * intercept_K.square().sum(dtype=torch.float64)
    return Slope(
        value=float(value / data.total + paid / 2),
        gradient_KW1=torch.cat([gradient_KW, excess_K[:, None]], dim=1),
        curvature=float(1 - squares / data.total) / len(intercept_K),
    )


def preconditioned(data: Examples, x_KW1: Tensor, curvature: float, charge: Charge) -> Tensor:
    """`x_KW1` times the inverse of what the second derivative nearly is.

    That is diagonal in the axes of the features, for intercepts at a mean of each class's own.
    """
    about_KW = TOWARDS_OWN_MEAN * data.own_KW / data.share_K.clamp_min(1 / len(data.centred_NW))[:, None]
    if charge.intercepts:
        # What all classes have in common costs something then, and a class's own mean draws less the more that is.
        x_KW1, about_KW = x_KW1 - x_KW1.mean(0), about_KW * curvature / (curvature + charge.intercepts)
    inverse_W = torch.where(data.variance_W > 0, 1 / (curvature * data.variance_W + charge.weights), 0)
    weights_KW = ((x_KW1[:, :-1] - x_KW1[:, -1:] * about_KW) @ data.axes_WW * inverse_W) @ data.axes_WW.T
    intercept_K1 = x_KW1[:, -1:] / (curvature + charge.intercepts) - (weights_KW * about_KW).sum(1, keepdim=True)
    step_KW1 = torch.cat([weights_KW, intercept_K1], dim=1)
    return step_KW1 - step_KW1.mean(0) if charge.intercepts else step_KW1


def search(at: Callable[[float], Slope], here: Slope, step_KW1: Tensor) -> tuple[Slope | None, float]:
    """The first length of the step, from 1 down, that gains enough; None where none does.

    A loss within rounding of the one before is enough: without that the last steps are shortened for nothing.
    """
    down = float((step_KW1 * here.gradient_KW1).sum())
    rounding = 4 * torch.finfo(step_KW1.dtype).eps * max(here.value, LEAST_LOSS)
    length = 1.0
    while length >= SHORTEST and down < 0:
        there = at(length)
        if there.value <= here.value + SUFFICIENT * length * down + rounding:
            return there, length
        up = float((step_KW1 * there.gradient_KW1).sum())
        # Where the slope along the step crosses zero, were it a straight line.
        length *= min(0.7, max(0.1, down / (down - up))) if up > 0 else 0.4
    return None, 0.0


def objective(
    features_NW: Tensor,
    label_N: Tensor,
    weights_KW: Tensor,
    intercept_K: Tensor,
    *,
    penalty: float,
    weight_N: Tensor | None = None,
    offset_NK: Tensor | None = None,
) -> float:
    """The objective by its definition, in float64, for weights (K, W) on features (N, W) as they came."""
    weights_KW, intercept_K = weights_KW.double(), intercept_K.double()
    weight_N = torch.ones_like(features_NW[:, 0]).double() if weight_N is None else weight_N.double()
    offset_NK = intercept_K.new_zeros(1, 1).expand(len(label_N), 1) if offset_NK is None else offset_NK.double()
    entropy = 0.0
    blocks = (rows.split(ROWS_FOR_AXES) for rows in (features_NW, label_N, weight_N, offset_NK))
    for features_BW, label_B, weight_B, offset_BK in zip(*blocks, strict=True):
        logits_BK = features_BW.double() @ weights_KW.T + intercept_K + offset_BK
        entropy += float(F.cross_entropy(logits_BK, label_B, reduction="none") @ weight_B)
    return (entropy + penalty / 2 * float(weights_KW.square().sum())) / float(weight_N.sum())

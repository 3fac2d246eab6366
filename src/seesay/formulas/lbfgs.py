"""One step of L-BFGS, from earlier steps and how the gradient changed along them.

K classes have W weights and an intercept each: parameters and gradients are (K, W + 1).
"""

from collections.abc import Callable, Iterable

from torch import Tensor


def direction(
    gradient_KW1: Tensor, pairs: list[tuple[Tensor, Tensor, Tensor]], precondition: Callable[[Tensor], Tensor]
) -> Tensor:
    """The L-BFGS step (K, W + 1) by two loops over the pairs (Nocedal and Wright 2006, algorithm 7.4)."""
    step_KW1, shares = -gradient_KW1, []
    for moved_KW1, bent_KW1, weight in reversed(pairs):
        shares.append(weight * (moved_KW1 * step_KW1).sum())
        step_KW1 = step_KW1 - shares[-1] * bent_KW1
    step_KW1 = precondition(step_KW1)
    if pairs:
        _, bent_KW1, weight = pairs[-1]
        step_KW1 = step_KW1 / (weight * (bent_KW1 * precondition(bent_KW1)).sum())
    for (moved_KW1, bent_KW1, weight), share in zip(pairs, reversed(shares), strict=True):
        step_KW1 = step_KW1 + (share - weight * (bent_KW1 * step_KW1).sum()) * moved_KW1
    return step_KW1


def bent_upwards(found: Iterable[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Steps (K, W + 1) with the change of the gradient along them and 1 / the product of both, where it is positive."""
    curvatures = [(moved_KW1, bent_KW1, (moved_KW1 * bent_KW1).sum()) for moved_KW1, bent_KW1 in found]
    return [(moved_KW1, bent_KW1, 1 / product) for moved_KW1, bent_KW1, product in curvatures if product > 0]

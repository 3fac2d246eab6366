"""AdamW as the paper uses it, and the learning rate over a run."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from seesay.training.plan import OptimizerPlan, RunPlan
from seesay.training.sharding import is_sharded


def adamw(module: nn.Module, settings: OptimizerPlan) -> torch.optim.AdamW:
    """Decoupled decay on matrices and kernels; none on gains, biases and single vectors (paper, table 18)."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    is_split = any(is_sharded(p) for p in parameters)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1 and is_sharded(p) == is_split], "weight_decay": 0.0},
        # Scalars are never sharded, and one kernel cannot take both kinds.
        {"params": [p for p in parameters if p.ndim <= 1 and is_sharded(p) != is_split], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=True,
    )


def next_learning_rate(plan: RunPlan, step: int, seconds: float) -> float:
    """The learning rate of the step behind `step`, which is made after so many seconds, by the run's present length."""
    # The middle of the step, so that neither the first nor the last step has rate 0.
    share = min(1.0, plan.length.share(step, seconds) + plan.length.half_step)
    return plan.optimizer.learning_rate * rate_factor(share, plan.warmup)


def rate_factor(share: float, warmup: float) -> float:
    """The factor on the peak rate when `share` of the run is done: linear up to `warmup`, then a cosine to 0."""
    if share < warmup:
        return share / warmup
    return 0.5 * (1 + math.cos(math.pi * (share - warmup) / (1 - warmup)))


def size_at(share: float, sizes: Sequence[tuple[int, float]]) -> int:
    """The side of the crops when `share` of the run is done."""
    passed = 0.0
    for side, length in sizes:
        passed += length
        if share < passed - 1e-9:
            return side
    return sizes[-1][0]

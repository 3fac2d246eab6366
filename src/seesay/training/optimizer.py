"""AdamW as the paper uses it, Muon for matrices, and the learning rate over a run."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from seesay.formulas.schedule import rate_factor
from seesay.training.plan import OptimizerPlan, RunPlan
from seesay.training.sharding import is_sharded

# Jordan et al. 2024, "Muon": the memory of its mean gradient, and a quintic whose five rounds bring singular values of
# 0.01 to 1 near 1.
MOMENTUM = 0.95
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
# Liu et al. 2025, "Muon is scalable for LLM training", section 2.2: so large is AdamW's usual update, as a root mean
# square, and rates and decay that suit the one suit the other.
USUAL_UPDATE = 0.2


def optimizer_of(module: nn.Module, settings: OptimizerPlan) -> torch.optim.AdamW:
    """AdamW, or with `kind` "muon" Muon for matrices and kernels behind the first layer, and AdamW for the rest.

    Decoupled decay on matrices and kernels; none on gains, biases and single vectors (paper, table 18).
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    hidden = hidden_matrices(module) if settings.kind == "muon" else []
    is_hidden = {id(p) for p in hidden}
    parameters = [p for p in parameters if id(p) not in is_hidden]
    is_split = any(is_sharded(p) for p in parameters)
    groups: list[dict[str, Any]] = [
        {"params": hidden, "weight_decay": settings.weight_decay, "is_muon": True},
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1 and is_sharded(p) == is_split], "weight_decay": 0.0},
        # Scalars are never sharded, and one kernel cannot take both kinds.
        {"params": [p for p in parameters if p.ndim <= 1 and is_sharded(p) != is_split], "weight_decay": 0.0},
    ]
    return MuonAdamW(
        [{"is_muon": False, **group} for group in groups if group["params"]],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=True,
    )


def hidden_matrices(module: nn.Module) -> list[nn.Parameter]:
    """The trained matrices and kernels that map features to features: no pixels, no tables of words or positions."""
    found: dict[int, nn.Parameter] = {}
    for layer in module.modules():
        sees_pixels = isinstance(layer, nn.Conv2d) and layer.in_channels == 3
        is_map = isinstance(layer, nn.Linear | nn.Conv2d) and not sees_pixels
        matrix = layer.weight if is_map else getattr(layer, "projection", None)
        if isinstance(matrix, nn.Parameter) and matrix.ndim > 1 and matrix.requires_grad:
            found[id(matrix)] = matrix
    return list(found.values())


class MuonAdamW(torch.optim.AdamW):
    """AdamW whose groups with `is_muon` are stepped by Muon: their momentum is "exp_avg", a second moment they lack."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of all parameters that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"] if group["is_muon"] else ():
                if parameter.grad is not None:
                    self._step_muon(parameter, group)
                    parameter.grad = None  # what is left is AdamW's
        return super().step(closure)  # type: ignore[arg-type]

    def _step_muon(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["step"], state["exp_avg"] = torch.tensor(0.0), torch.zeros_like(parameter)
        state["step"] += 1
        state["exp_avg"].lerp_(gradient, 1 - MOMENTUM)
        direction = gradient.lerp(state["exp_avg"], MOMENTUM).flatten(1)
        update = orthogonal(direction) * (USUAL_UPDATE * max(direction.shape) ** 0.5)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.view(parameter.shape), alpha=-group["lr"])


def orthogonal(matrix_MN: Tensor) -> Tensor:
    """The nearest matrix whose singular values are all alike, about 1: (M, N) of the same type.

    Newton-Schulz rounds in bfloat16 (Jordan et al. 2024): values come out between 0.7 and 1.2.
    """
    is_tall = matrix_MN.shape[0] > matrix_MN.shape[1]
    x = matrix_MN.bfloat16()
    x = x.T if is_tall else x
    x = x / (x.norm() + 1e-7)
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if is_tall else x).to(matrix_MN.dtype)


def next_learning_rate(plan: RunPlan, step: int, seconds: float) -> float:
    """The learning rate of the step behind `step`, which is made after so many seconds, by the run's present length."""
    # The middle of the step, so that neither the first nor the last step has rate 0.
    share = min(1.0, plan.length.share(step, seconds) + plan.length.half_step)
    return plan.optimizer.learning_rate * rate_factor(share, plan.warmup)

"""What a tower computes on its way to an embedding, with gradients, and without a line about it in the tower.

B = images, H = heads, Q = positions that look, P = positions that are looked at, C = width of a head or of a map,
h, w = sides of a map.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class RecordedAttention(TorchFunctionMode):
    """Inside, attention is computed in the open, and `weights` holds that of every layer in turn, (B, H, Q, P).

    The fused function gives no weights; softmax(q k / sqrt(C)) v is the same but for rounding.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        return self._attended(*args, **(kwargs or {}))

    def _attended(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
    ) -> Tensor:
        """What the function does with the same arguments; its dropout is none where a model is not trained."""
        assert dropout_p == 0
        score = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            is_later = torch.ones(score.shape[-2:], dtype=torch.bool, device=score.device).triu(1)
            score = score.masked_fill(is_later, -math.inf)
        if attn_mask is not None:
            is_choice = attn_mask.dtype == torch.bool
            score = score.masked_fill(~attn_mask, -math.inf) if is_choice else score + attn_mask
        weight_BHQP = score.softmax(-1)
        self.weights.append(weight_BHQP)
        return weight_BHQP @ value


@contextmanager
def all_stored(model: nn.Module) -> Iterator[None]:
    """Inside, blocks that would run again for the gradients store what they compute instead, ours and timm's.

    Run again outside of `RecordedAttention`, they would not compute what was recorded.
    """
    names = ("recompute", "grad_checkpointing")
    changed = [(module, name) for module in model.modules() for name in names if getattr(module, name, False) is True]
    for module, name in changed:
        setattr(module, name, False)
    try:
        yield
    finally:
        for module, name in changed:
            setattr(module, name, True)


@contextmanager
def recorded_outputs(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Inside, the list gets the output of each of these modules when it is computed, (B, C, h, w) for a map.

    What is no tensor is passed over.
    """
    outputs: list[Tensor] = []

    def remember(_: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs.append(output)

    hooks = [module.register_forward_hook(remember) for module in modules]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def recorded_leaf(module: nn.Module) -> Iterator[list[Tensor]]:
    """As `recorded_outputs` of one module, whose output, of any shape, is a leaf: gradients go no further back."""
    outputs: list[Tensor] = []

    def begin_here(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        outputs.append(output.detach().requires_grad_())
        return outputs[-1]

    hook = module.register_forward_hook(begin_here)
    try:
        yield outputs
    finally:
        hook.remove()

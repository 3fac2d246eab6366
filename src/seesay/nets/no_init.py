"""Layers without starting values, for a model that is about to be filled from a file."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_DRAWN_IN_PLACE = (Tensor.normal_, Tensor.uniform_, Tensor.mul, Tensor.__mul__)


class NoInit(TorchFunctionMode):
    """Inside, random starting values are left out: tensors hold what memory held.

    On the meta device they would cost more than all the rest: torch works out the shape of a random draw in Python, and
    loads its compiler for that, which takes longer than reading the weights.
    """

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        named = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **named)
        if func in _DRAWN_IN_PLACE:
            return args[0]
        if getattr(func, "__module__", "") == "torch.nn.init":
            return named["tensor"] if "tensor" in named else args[0]
        return func(*args, **named)

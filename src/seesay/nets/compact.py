"""Layers whose weights stay in the dtype they are kept in, and are float32 only while the layer computes.

O = outputs, or rows of a table, R = some of them, I = inputs, K = side of a kernel, T = ids, W = width.
"""

import functools
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.base.errors import RefusedInput

# By name, as `seesay.load(weights_dtype=...)` takes it; float32 is for a file that is mapped and not copied.
WEIGHTS_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
}
# The layers whose `weight` is kept: nearly all numbers of a model. All else is float32 as ever.
PRODUCTS = (nn.Linear, nn.Conv2d, nn.Embedding)
WEIGHT = "weight"
# The largest of 8-bit integers with both signs, and what no scale is below, so that zeros stay zeros.
INT8_MOST, SMALLEST = 127, 1e-12
# Numbers that are rounded at once: a guess, 1 MB of them.
AT_ONCE = 2**18
_asked: ContextVar[torch.dtype | None] = ContextVar("weights_dtype", default=None)
_here = threading.local()


@contextmanager
def compacting(dtype: torch.dtype | None) -> Iterator[None]:
    """Inside, files of weights are mapped, and a model that is filled from one keeps them in `dtype`; None: neither."""
    token = _asked.set(dtype)
    try:
        yield
    finally:
        _asked.reset(token)


def compact_dtype() -> torch.dtype | None:
    """What `compacting` was called with, around here."""
    return _asked.get()


def part_name(weight: str, index: int) -> str:
    """The name of one of the tensors that a weight's rows are kept in: the first is called as the weight."""
    return f"{weight}_{index}" if index else weight


class Compact(nn.Module):
    """Stands before a layer's own class, which finds its `weight` in float32, made of what is kept when it is asked.

    `weight` of the parameters is what is kept, with `weight_1` and so on where a file has the rows in several tensors,
    and, of 8-bit integers, a `weight_scale` of each row.
    """

    is_mapped: bool
    weight_scale: Tensor

    @property
    def weight(self) -> Tensor:
        """The float32 weight, (O, I) or (O, I, K, K); inside `forward` it is there until the next layer computes."""
        parts = self.parts()
        if len(parts) == 1 and parts[0].dtype == torch.float32:
            return parts[0]
        shape = (sum(map(len, parts)), *parts[0].shape[1:])
        whole = (_scratch if getattr(_here, "is_computing", False) else torch.empty)(shape, device=parts[0].device)
        for rows, part in zip(whole.split(list(map(len, parts))), parts, strict=True):
            rows.copy_(part)
        return whole.mul_(self.weight_scale) if parts[0].dtype == torch.int8 else whole

    def parts(self) -> list[Tensor]:
        """The tensors that are kept, each R of the rows, (R, I) or (R, I, K, K)."""
        own, found = self._parameters, [self._parameters[WEIGHT]]
        while (further := own.get(part_name(WEIGHT, len(found)))) is not None:
            found.append(further)
        return [part.detach() for part in found if part is not None]

    def __reduce__(self) -> tuple[Any, ...]:
        """By the layer's own class, as pickle finds no class that was made here.

        With a copy of what is mapped, of which pickle would write the whole file for each layer.
        """
        own = {name: _apart(part) if part is not None else None for name, part in self._parameters.items()}
        return _empty_layer, (type(self).__mro__[2],), self.__dict__ | {"_parameters": own, "is_mapped": False}

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """As the layer's own class."""
        before = getattr(_here, "is_computing", False)
        # A backward pass would read the weight again.
        _here.is_computing = not torch.is_grad_enabled()
        try:
            return super().forward(*inputs, **named)  # type: ignore[misc]
        finally:
            _here.is_computing = before


class CompactTable(Compact, nn.Embedding):  # pyright: ignore[reportIncompatibleVariableOverride]
    """A table of which only the rows that are asked for become float32."""

    def forward(self, input: Tensor) -> Tensor:  # type: ignore[override]
        """(..., T) ids to (..., T, W)."""
        (rows,) = self.parts()
        found = F.embedding(input, rows).float()
        return found * F.embedding(input, self.weight_scale) if rows.dtype == torch.int8 else found


def _scratch(shape: tuple[int, ...], *, device: torch.device) -> Tensor:
    """Memory that the layers of this thread use in turn: new pages for each take longer than making it float32."""
    count = torch.Size(shape).numel()
    held: Tensor | None = getattr(_here, "scratch", None)
    if held is None or held.numel() < count or held.device != device:
        with torch.inference_mode(False):
            held = _here.scratch = torch.empty(count, dtype=torch.float32, device=device)
    return held[:count].view(shape)


@functools.cache
def _compact_class(layer: type[nn.Module]) -> type[nn.Module]:
    return CompactTable if layer is nn.Embedding else type(f"Compact{layer.__name__}", (Compact, layer), {})


def _empty_layer(layer: type[nn.Module]) -> nn.Module:
    """One of its class that has nothing yet."""
    made = _compact_class(layer)
    return made.__new__(made)


def _apart(part: nn.Parameter) -> nn.Parameter:
    """The same numbers, in memory that holds nothing else."""
    is_alone = part.untyped_storage().nbytes() == part.nbytes
    return part if is_alone else nn.Parameter(part.detach().clone(), requires_grad=part.requires_grad)


def compact_weights(model: nn.Module, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Make the layers of an empty model keep their weights, and give the tensors that it is to be filled with.

    Those weights are as they are where they have that dtype, else rounded; all others are copies in float32.
    `RefusedInput` names a weight beyond the dtype's numbers.
    """
    left, filled = dict(tensors), {}
    for path, layer in model.named_modules():
        name = _joined(path, WEIGHT)
        if not isinstance(layer, PRODUCTS) or name not in left:
            continue
        found = [left.pop(name)]
        while (further := part_name(name, len(found))) in left:
            found.append(left.pop(further))
        is_mapped = all(part.dtype == dtype for part in found)
        parts, scale = (found, None) if is_mapped else _rounded(name, found, dtype)
        layer.__class__ = _compact_class(type(layer))  # type: ignore[assignment]
        layer.__dict__["is_mapped"] = is_mapped
        for index, part in enumerate(parts):
            empty = torch.empty(part.shape, dtype=dtype, device="meta")
            layer._parameters[part_name(WEIGHT, index)] = nn.Parameter(empty, requires_grad=False)
            filled[part_name(name, index)] = part
        if scale is not None:
            layer.register_buffer("weight_scale", torch.empty(scale.shape, device="meta"))
            filled[f"{name}_scale"] = scale
    return filled | {name: _copied(tensor) for name, tensor in left.items()}


def _copied(tensor: Tensor) -> Tensor:
    """In memory of its own, so that nothing holds a file that is not kept; floats as float32."""
    return tensor.to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)


def _rounded(name: str, parts: list[Tensor], dtype: torch.dtype) -> tuple[list[Tensor], Tensor | None]:
    """The rows of all parts in one tensor of that dtype and, of integers, the scale of each row, (O, 1) or so."""
    whole = torch.cat([part.float() for part in parts]) if len(parts) > 1 else parts[0]
    if dtype == torch.int8:
        rounded, scale = _integers(whole)
        return [rounded], scale
    rounded = whole.to(dtype)
    ends = torch.stack(torch.aminmax(rounded))
    if not ends.isfinite().all():
        kind = str(dtype).removeprefix("torch.")
        raise RefusedInput(f"{name} holds numbers beyond {kind}; take bfloat16 or float32 for the weights.")
    return [rounded], None


def _integers(whole: Tensor) -> tuple[Tensor, Tensor]:
    """A weight's rows as 8-bit integers, and the scale of each, (O, 1) or so.

    A few rows at a time, since copies of whole weights leave holes between those that stay, which glibc does not always
    fill: 2 of 12 loads kept twice the memory (benchmarks/2026-11-29-engines).
    """
    scale = torch.empty(len(whole), *[1] * (whole.ndim - 1), dtype=torch.float32)
    rounded = torch.empty(whole.shape, dtype=torch.int8)
    count = max(1, AT_ONCE // whole[0].numel())
    for rows, of_rows, made in zip(whole.split(count), scale.split(count), rounded.split(count), strict=True):
        rows = rows.float()
        most = rows.flatten(1).abs().amax(1).clamp_(min=SMALLEST)
        of_rows.copy_((most / INT8_MOST).view_as(of_rows))
        made.copy_((rows / of_rows).round_())
    return rounded, scale


class FloatWeights(Mapping[str, Tensor]):
    """The state of a module by name, in which a weight that is kept is float32, made when it is asked for."""

    def __init__(self, module: nn.Module):
        self._tensors: dict[str, Tensor | Compact] = dict(module.state_dict())
        for path, layer in module.named_modules():
            if isinstance(layer, Compact):
                for name in [*layer._parameters, *layer._buffers]:
                    if name.startswith(f"{WEIGHT}_"):
                        del self._tensors[_joined(path, name)]
                self._tensors[_joined(path, WEIGHT)] = layer

    def __getitem__(self, name: str) -> Tensor:
        """The tensor of that name, of any shape."""
        found = self._tensors[name]
        return found.weight if isinstance(found, Compact) else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name

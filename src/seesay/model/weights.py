"""Weights in and out of safetensors files. Nothing is allocated before the header and every shape were checked."""

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as format_safetensors
from torch import Tensor

from seesay.base.errors import RefusedInput

HEADER_LIMIT = 8 << 20
LISTED = 10


def write_tensors(tensors: Mapping[str, Tensor], *, dtype: torch.dtype | None = None) -> bytes:
    """A safetensors file as bytes; floats are rounded to `dtype` if one is given."""
    rounded = {
        name: (tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in tensors.items()
    }
    return format_safetensors(rounded)


def read_tensors(path: Path, expected: Mapping[str, Tensor], *, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a file, equal in names and shapes to `expected` (which may be on the meta device).

    Floats come back as float32. `RefusedInput` names the file and, up to ten at a time, what is missing, too much
    or of another shape; the same for a truncated file, numbers that are not finite, and other bytes than `sha256`.
    """
    header = read_header(path)
    _compare(path, {name: tuple(entry["shape"]) for name, entry in header.items()}, expected)
    data = path.read_bytes()
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise RefusedInput(f"{path} is not the file its model folder was saved with; fetch or save the model again.")
    try:
        tensors = parse_safetensors(data)
    except SafetensorError as error:
        raise RefusedInput(f"{path} is no valid safetensors file ({error}); fetch or save it again.") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            tensors[name] = tensor.float()
            if not torch.isfinite(tensors[name]).all():
                raise RefusedInput(f"{path}: {name} holds numbers that are not finite; the weights are damaged.")
    return tensors


def read_header(path: Path) -> dict[str, dict]:
    """Name -> {dtype, shape, data_offsets} of a safetensors file, checked against the size of the file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            if not 2 <= length <= min(HEADER_LIMIT, size - 8):
                raise RefusedInput(f"{path} is no safetensors file or is truncated ({size} bytes); fetch it again.")
            header = json.loads(file.read(length))
    except FileNotFoundError as error:
        raise RefusedInput(f"{path} is missing; the model folder is incomplete, save or fetch it again.") from error
    except (ValueError, RecursionError) as error:
        raise RefusedInput(f"{path} has a damaged safetensors header; fetch it again.") from error
    if not isinstance(header, dict):
        raise RefusedInput(f"{path} has a damaged safetensors header; fetch it again.")
    header.pop("__metadata__", None)
    end = max((_end_of(path, name, entry) for name, entry in header.items()), default=0)
    if 8 + length + end != size:
        raise RefusedInput(f"{path} is {size} bytes, its header says {8 + length + end}; it is truncated or damaged.")
    return header


def _end_of(path: Path, name: str, entry: object) -> int:
    try:
        shape, (first, end) = entry["shape"], entry["data_offsets"]  # type: ignore[index]
        whole = all(isinstance(number, int) and number >= 0 for number in [*shape, first, end])
    except (TypeError, KeyError, ValueError):
        whole = False
        end = 0
    if not whole:
        raise RefusedInput(f"{path} has a damaged header entry for {name[:80]!r}; fetch it again.")
    return end


def _compare(path: Path, found: Mapping[str, tuple], expected: Mapping[str, Tensor]) -> None:
    faults = [f"missing {name} {tuple(expected[name].shape)}" for name in expected if name not in found]
    faults += [f"unexpected {name} {shape}" for name, shape in found.items() if name not in expected]
    faults += [
        f"{name} is {found[name]}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name] != tuple(tensor.shape)
    ]
    if faults:
        more = f"; and {len(faults) - LISTED} more" if len(faults) > LISTED else ""
        raise RefusedInput(f"{path} does not fit its architecture: {'; '.join(faults[:LISTED])}{more}.")

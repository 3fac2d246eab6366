"""Weights in and out of safetensors files. Nothing is allocated before the header and every shape were checked.

A file is read once, each tensor into memory of its own: replacing the file later changes nothing, and a model costs the
size of its file. Inside `nets.compact.compacting` it is mapped, and has to stay as it is while the model is used.
A model may be several files, which an index in the place of the one names.
"""

import hashlib
import json
import math
import mmap
import re
import struct
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors.torch import save as format_safetensors
from torch import Tensor

from seesay.base import bounded
from seesay.base.errors import RefusedInput, SeesayError, StorageError
from seesay.model.pickles import refuse_pickle
from seesay.nets.compact import compact_dtype

SUFFIX = ".safetensors"
# Both a guess: the largest CLIP that was published has some 1,500 tensors and 150 KiB of header.
HEADER_LIMIT = 2 << 20
TENSOR_LIMIT = 3_000
# What transformers puts behind the name of the one file where it has written several, and a guess at their number.
INDEX = "index.json"
FILE_LIMIT = 256
# A file beside the index, and nothing that leads anywhere else.
FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}\.safetensors")
# What transformers and diffusers put into the names of weights that were rounded before they were saved.
VARIANTS = ("fp16", "bf16", "fp32")
# Faults that a message lists: a guess at what is still read.
LISTED = 10
# A weight beyond this has a square that float32 cannot hold: whatever is measured of it is a zero or no number.
LARGEST_WEIGHT = 1.8e19
# The dtypes a model is saved in.
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
}
BYTE = torch.uint8
FLOATS = tuple(dtype for dtype in DTYPES.values() if dtype.is_floating_point)


def write_tensors(tensors: Mapping[str, Tensor], *, dtype: torch.dtype | None = None) -> bytes:
    """A safetensors file as bytes; floats are rounded to `dtype` if one is given.

    `SeesayError` names a tensor that is not finite, or not any more after rounding: `read_tensors` would refuse it.
    """
    rounded = {
        name: (tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in tensors.items()
    }
    for name, tensor in rounded.items():
        if not torch.isfinite(tensor).all():
            raise SeesayError(f"{name} holds numbers that are not finite in {tensor.dtype}; it is not saved.")
    return format_safetensors(rounded)


def read_tensors(
    path: Path,
    expected: Mapping[str, Tensor],
    *,
    sha256: str | None = None,
    ignored: Collection[str] = (),
    destinations: Callable[[], Mapping[str, Tensor]] = dict,
    largest: float = math.inf,
) -> dict[str, Tensor]:
    """The tensors of a file or several, equal in names and shapes to `expected` (which may be on the meta device).

    Floats come back as float32, but matrices inside `compacting` as they lie in the file, mapped; names in `ignored`
    may be there and are left out. `destinations` is called once the file is known to fit, for float32 tensors that some
    names are to be read into. `RefusedInput` names the file and, up
    to ten at a time, what is missing, too much or of another shape or kind; the same for a truncated file, numbers that
    are not finite or beyond `largest`, and other bytes than `sha256`. `StorageError` where the file exists but cannot
    be read.
    """
    headers = {file: read_header(file) for file in weight_files(path)}
    _compare(path, {name: entry for name, entry in _joined(headers).items() if name not in ignored}, expected)
    digest = hashlib.sha256() if sha256 is not None else None
    placed, tensors, is_mapped = destinations(), {}, compact_dtype() is not None
    for file, header in headers.items():
        for name, tensor in _read_in_order(file, header, digest=digest, placed=placed):
            if name in ignored:
                continue
            is_whole = not tensor.is_floating_point() or (is_mapped and tensor.ndim > 1)
            whole = tensor if is_whole else tensor.float()
            if name in placed and (is_mapped or tensor.dtype != torch.float32):
                whole = placed[name].copy_(whole)
            if whole.is_floating_point() and whole.numel():
                _refuse_numbers(file, name, whole, largest=largest)
            tensors[name] = whole
    if digest is not None and digest.hexdigest() != sha256:
        raise RefusedInput(f"{path} is not the file its model folder was saved with; fetch or save the model again.")
    return tensors


def _refuse_numbers(path: Path, name: str, tensor: Tensor, *, largest: float) -> None:
    # One pass and no memory, where isfinite makes a tensor; neither end is finite if any number is not one.
    ends = [float(end) for end in torch.aminmax(tensor)]
    if not all(map(math.isfinite, ends)):
        raise RefusedInput(f"{path}: {name} holds numbers that are not finite; the weights are damaged.")
    if abs(extreme := max(ends, key=abs)) > largest:
        raise RefusedInput(
            f"{path}: {name} holds {extreme:g}, whose square is not finite; the weights are damaged, fetch them again."
        )


class MissingWeights(RefusedInput):
    """There is no file of weights where one should be."""


def weights_among(names: Container[str], name: str) -> str | None:
    """Which of `names` says where the weights called `name` are: that file, an index of several, a variant."""
    stem = name.removesuffix(SUFFIX)
    candidates = [name, f"{name}.{INDEX}"]
    for variant in VARIANTS:
        candidates += [f"{stem}.{variant}{SUFFIX}", f"{name}.{INDEX.removesuffix('json')}{variant}.json"]
    return next((each for each in candidates if each in names), None)


def is_index(name: str) -> bool:
    """Whether what `weights_among` found names several files, and holds no weights itself."""
    return name.endswith(".json")


def has_weights(path: Path) -> bool:
    """Whether there is the file `path`, or what stands for it in its folder."""
    return _found(path) is not None


def _found(path: Path) -> Path | None:
    if path.exists():
        return path
    folder = {each.name for each in path.parent.iterdir()} if path.parent.is_dir() else set()
    name = weights_among(folder, path.name)
    return None if name is None else path.with_name(name)


def weight_files(path: Path) -> list[Path]:
    """The file itself or, where there is no such file, what stands for it: those of its index, or a rounded variant.

    `RefusedInput` for an index that names anything but files beside it; whether they are there is for `read_header`.
    """
    index = _found(path)
    if index is None or not is_index(index.name):
        return [index or path]
    try:
        content = bounded.read_json(index)
    except OSError as error:
        raise StorageError(f"{index} cannot be read ({error.strerror}); allow it or fix the disk.") from error
    placed = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(placed, dict) or not placed:
        raise RefusedInput(f"{index} has no weight_map that says which file holds which weight; fetch it again.")
    names = list(dict.fromkeys(map(str, placed.values())))
    strange = [name for name in names if not FILE_NAME.fullmatch(name)]
    if strange:
        raise RefusedInput(
            f"{index} names {strange[0][:80]!r}, which is no safetensors file beside it; fetch it again."
        )
    if len(names) > FILE_LIMIT:
        raise RefusedInput(f"{index} names {len(names):,} files, more than {FILE_LIMIT}; it is no model.")
    return [path.with_name(name) for name in sorted(names)]


def read_names(path: Path) -> dict[str, dict]:
    """As `read_header`, of all the files of a model together."""
    return _joined({file: read_header(file) for file in weight_files(path)})


def _joined(headers: Mapping[Path, Mapping[str, dict]]) -> dict[str, dict]:
    """The headers of the files of a model as one; `RefusedInput` for a weight that is in two of them."""
    joined: dict[str, dict] = {}
    for file, header in headers.items():
        if twice := joined.keys() & header.keys():
            raise RefusedInput(f"{file} has {min(twice)[:80]!r}, which another file of the model has; fetch it again.")
        joined |= header
    if len(joined) > TENSOR_LIMIT:
        raise RefusedInput(f"{min(headers)} and its others have {len(joined):,} tensors; that is no model.")
    return joined


def read_header(path: Path) -> dict[str, dict]:
    """Name -> {dtype, shape, data_offsets} of a safetensors file, checked against the size of the file.

    `RefusedInput` for anything else; a pickle is known by its content, whatever the file is called.
    """
    try:
        # A pipe under this name would leave its reader waiting for ever.
        if not path.is_file():
            raise MissingWeights(f"{path} is missing; the model folder is incomplete, save or fetch it again.")
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            if not 2 <= length <= min(HEADER_LIMIT, size - 8):
                refuse_pickle(path)
                raise RefusedInput(f"{path} is no safetensors file or is truncated ({size} bytes); fetch it again.")
            text = file.read(length)
            # Counted before it is parsed, because parsing is what would take the time and the memory.
            if (count := text.count(b"data_offsets")) > TENSOR_LIMIT:
                raise RefusedInput(f"{path} has {count:,} tensors, more than {TENSOR_LIMIT:,}; it is no model.")
            header = json.loads(text, object_pairs_hook=_without_repeats)
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}); allow it or fix the disk.") from error
    except (ValueError, RecursionError) as error:
        raise RefusedInput(f"{path} has a damaged safetensors header; fetch it again.") from error
    if not isinstance(header, dict):
        raise RefusedInput(f"{path} has a damaged safetensors header; fetch it again.")
    header.pop("__metadata__", None)
    ranges = sorted((_range(path, name, entry), name) for name, entry in header.items())
    end = 0
    for (first, last), name in ranges:
        if first != end:
            raise RefusedInput(f"{path}: the data of {name[:80]!r} begins at {first}, not at {end}; fetch it again.")
        end = last
    if 8 + length + end != size:
        raise RefusedInput(f"{path} is {size} bytes, its header says {8 + length + end}; it is truncated or damaged.")
    return header


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(values := dict(pairs)) != len(pairs):
        raise ValueError("a name is given twice")
    return values


def _range(path: Path, name: str, entry: object) -> tuple[int, int]:
    """Where a tensor's bytes begin and end, if these are whole numbers that agree with its shape."""
    try:
        shape, (first, end), dtype = entry["shape"], entry["data_offsets"], entry["dtype"]  # type: ignore[index]
        whole = isinstance(shape, list) and isinstance(dtype, str) and all(type(n) is int for n in [*shape, first, end])
        whole = whole and min(shape, default=0) >= 0 and 0 <= first <= end
        whole = whole and (dtype not in DTYPES or math.prod(shape) * DTYPES[dtype].itemsize == end - first)
    except (TypeError, KeyError, ValueError):
        whole = False
    if not whole:
        raise RefusedInput(f"{path} has a damaged header entry for {name[:80]!r}; fetch it again.")
    return first, end  # type: ignore[possibly-undefined]


def _read_in_order(
    path: Path, header: Mapping[str, dict], *, digest: "hashlib._Hash | None", placed: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """The tensors one by one as they lie in the file, in their own dtypes; `digest` is given every byte of it."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            start += file.read(min(HEADER_LIMIT, struct.unpack("<Q", start)[0]))
            if digest is not None:
                digest.update(start)
            mapped = _mapped(file, len(start)) if compact_dtype() is not None else None
            for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
                first, end = entry["data_offsets"]
                if mapped is not None:
                    data = mapped[first:end]
                else:
                    is_placed = name in placed and entry["dtype"] == "F32"
                    # Not zeroed before: that would take as long as reading.
                    data = (
                        placed[name].view(-1).view(torch.uint8) if is_placed else torch.empty(end - first, dtype=BYTE)
                    )
                memory = memoryview(data.numpy())  # type: ignore[arg-type]
                if (len(memory) if mapped is not None else file.readinto(memory)) != end - first:
                    raise RefusedInput(f"{path} became shorter while it was read; fetch it again.")
                if digest is not None:
                    digest.update(memory)
                if (dtype := DTYPES.get(entry["dtype"])) is not None:
                    is_aligned = data.storage_offset() % dtype.itemsize == 0
                    yield name, (data if is_aligned else data.clone()).view(dtype).view(entry["shape"])
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}); allow it or fix the disk.") from error


def _mapped(file: BinaryIO, start: int) -> Tensor:
    """The bytes of a file from `start` on, (bytes,), in pages that all processes which map it have in common."""
    pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    whole = torch.frombuffer(pages, dtype=BYTE)
    return whole[start:]


def _compare(path: Path, header: Mapping[str, dict], expected: Mapping[str, Tensor]) -> None:
    shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
    faults = [f"missing {name} {tuple(expected[name].shape)}" for name in expected if name not in shapes]
    faults += [f"unexpected {name} {shape}" for name, shape in shapes.items() if name not in expected]
    for name in (name for name in expected if name in shapes):
        shape, dtype = tuple(expected[name].shape), header[name]["dtype"]
        if shapes[name] != shape:
            faults.append(f"{name} is {shapes[name]}, expected {shape}")
        elif dtype not in DTYPES or DTYPES[dtype].is_floating_point != expected[name].is_floating_point():
            faults.append(f"{name} holds {dtype}, expected {expected[name].dtype}")
    if faults:
        more = f"; and {len(faults) - LISTED} more" if len(faults) > LISTED else ""
        raise RefusedInput(f"{path} does not fit its architecture: {'; '.join(faults[:LISTED])}{more}.")

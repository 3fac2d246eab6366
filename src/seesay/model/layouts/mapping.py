"""Our tensors and theirs: links that are read in both directions.

A layout says once, in `Link`s, which of its tensors belong to which of ours. Expected shapes, reading and writing all
follow from these, so what is written is what will be read.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from seesay.model.weights import LARGEST_WEIGHT, read_names, read_tensors
from seesay.nets.compact import compact_dtype, part_name

# What wrappers put in front of every name: data parallel training, and torch.compile.
WRAPPERS = ("module.", "_orig_mod.")


@dataclass(frozen=True)
class Link:
    """One of our tensors and the one it is in the file, or the several that its rows are split into.

    `shares` are the parts of the rows that each of several has, evenly without. `transposed` where their matrix is ours
    turned over, `leading` where theirs has one more dimension, of one, in front.
    """

    ours: str
    theirs: tuple[str, ...]
    transposed: bool = False
    shares: tuple[int, ...] = ()
    leading: bool = False

    def outward(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """Our tensor, of any shape, as theirs."""
        if self.shares:
            part = len(tensor) // sum(self.shares)
            return tensor.split([part * share for share in self.shares])
        if len(self.theirs) > 1:
            return tensor.chunk(len(self.theirs))
        return (tensor.T if self.transposed else tensor[None] if self.leading else tensor,)

    def inward(self, tensor: Tensor) -> Tensor:
        """Their tensor, of any shape, as ours, where it is one."""
        return tensor.T.contiguous() if self.transposed else tensor


def link(ours: str, *theirs: str, transposed: bool = False, leading: bool = False) -> Link:
    """Our tensor, and the names of those it is made of in theirs."""
    return Link(ours, theirs, transposed=transposed, leading=leading)


def weight_and_bias(ours: str, *theirs: str, shares: tuple[int, ...] = ()) -> Iterator[Link]:
    """The two links of one layer, which may be split into several of theirs."""
    for part in ("weight", "bias"):
        yield Link(f"{ours}.{part}", tuple(f"{name}.{part}" for name in theirs), shares=shares)


def batch_norm(ours: str, theirs: str) -> Iterator[Link]:
    """The five links of one batch normalisation."""
    for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        yield Link(f"{ours}.{part}", (f"{theirs}.{part}",))


def to_theirs(links: Iterable[Link], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under their names and in their shapes."""
    return {
        name: tensor
        for link in links
        for name, tensor in zip(link.theirs, link.outward(tensors[link.ours]), strict=True)
    }


def read_linked(
    path: Path, links: Sequence[Link], ours: Mapping[str, Tensor], *, ignored: Collection[str] = ()
) -> dict[str, Tensor]:
    """A file in their layout as our tensors; `ours` gives the shapes and may be on the meta device.

    Names in `ignored` may be there and are not read. A name that every tensor wears in front, a wrapper's, is taken
    off, and a single number may be written as a list of one. Raises what `read_tensors` raises, in their names.
    """
    header = read_names(path)
    wrapper = wrapper_of(header)
    expected = {wrapper + name: tensor for name, tensor in to_theirs(links, ours).items()}
    for name, tensor in expected.items():
        if tensor.ndim == 0 and header.get(name, {}).get("shape") == [1]:
            expected[name] = tensor.reshape(1)
    tensors: dict[str, Tensor] = {}

    def destinations() -> dict[str, Tensor]:
        # What they have in parts is read to where it belongs: joined later, it would for a while be there twice.
        joined = [link for link in links if len(link.theirs) > 1 and not _stays_in_parts(ours[link.ours])]
        tensors.update({link.ours: torch.empty(ours[link.ours].shape) for link in joined})
        return {wrapper + name: part for name, part in to_theirs(joined, tensors).items()}

    skipped = {wrapper + name for name in ignored}
    theirs = read_tensors(path, expected, ignored=skipped, destinations=destinations, largest=LARGEST_WEIGHT)
    for link in links:
        if link.ours not in tensors:
            first, *further = (theirs.pop(wrapper + name) for name in link.theirs)
            tensors[link.ours] = first if further else link.inward(first).reshape(ours[link.ours].shape)
            tensors |= {part_name(link.ours, index): part for index, part in enumerate(further, 1)}
    return tensors


def _stays_in_parts(weight: Tensor) -> bool:
    """Whether a weight of any shape that a file has in parts is left so: where it is mapped, to join is to copy."""
    return compact_dtype() is not None and weight.ndim > 1


def wrapper_of(names: Iterable[str]) -> str:
    """What stands in front of all of the names and is a wrapper's."""
    wrapper, names = "", list(names)
    while names and (more := next((w for w in WRAPPERS if all(n.startswith(wrapper + w) for n in names)), "")):
        wrapper += more
    return wrapper

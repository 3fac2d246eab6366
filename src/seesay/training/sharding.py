"""A model over several processes: each holds all weights (DDP), or a part of each tower's (FSDP)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from seesay.nets.clip import Clip
from seesay.training.process_group import ProcessGroup

ENTRY_POINTS = ("features", "projected_grid", "losses", "log_likelihoods")


@dataclass(frozen=True, kw_only=True)
class ParallelModel:
    """`clip` for passes without a graph, and for its state; `forward` for those whose gradients are averaged.

    `sharded` are the modules whose weights lie in parts on all processes.
    """

    clip: Clip
    forward: nn.Module
    processes: ProcessGroup
    sharded: Sequence[Any] = ()

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.clip.logit_scale.device

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Backward passes in here add to the gradients of this process alone."""
        if isinstance(self.forward, DistributedDataParallel):
            with self.forward.no_sync():
                yield
            return
        for tower in self.sharded:
            tower.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            for tower in self.sharded:
                tower.set_requires_gradient_sync(True)

    def average_unsharded_gradients(self) -> None:
        """Average what sharding leaves out: the model's own scalars, and what stands behind its towers."""
        if self.sharded:
            gradients = [p.grad for p in self.clip.parameters() if p.grad is not None]
            self.processes.all_reduce_mean([gradient for gradient in gradients if not is_sharded(gradient)])

    def gradient_norm(self) -> float:
        """The length of the gradient of all parameters, wherever they are."""
        gradients = [p.grad for p in self.clip.parameters() if p.grad is not None]
        shards = [gradient for gradient in gradients if is_sharded(gradient)]
        local = [gradient for gradient in gradients if not is_sharded(gradient)]
        norms = [full_tensor(torch.nn.utils.get_total_norm(group)) for group in (shards, local) if group]
        return float(torch.linalg.vector_norm(torch.stack(norms)))


def parallelize(clip: Clip, processes: ProcessGroup, *, parallel: Literal["ddp", "fsdp"]) -> ParallelModel:
    """Make the processes share `clip`, which has the same weights on each."""
    if processes.world_size == 1:
        return ParallelModel(clip=clip, forward=clip, processes=processes)
    if parallel == "ddp":
        return ParallelModel(clip=clip, forward=DistributedDataParallel(clip), processes=processes)
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    # Not the whole model: its towers are also called one by one, and its one own parameter is a scalar.
    towers = clip.image_tower, clip.text_tower
    for tower in towers:
        # Convolutions keep their weights channels last, which cannot be sharded.
        tower.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        for block in getattr(tower, "blocks", ()):
            fully_shard(block)
        fully_shard(tower)
        # A model that predicts captions is called by other methods than `forward`, and the weights must be whole there
        # too.
        for name in ENTRY_POINTS:
            if hasattr(tower, name):
                register_fsdp_forward_method(tower, name)
    return ParallelModel(clip=clip, forward=clip, processes=processes, sharded=towers)


def full_tensor(tensor: Tensor) -> Tensor:
    """A tensor of any shape with all its parts. Every process must call it, for the same tensor."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def full_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`full_tensor` of each, on the CPU where it was in parts, one after the other."""
    return {
        name: full_tensor(tensor.detach()).cpu() if is_sharded(tensor) else tensor for name, tensor in tensors.items()
    }


def like(parameter: Tensor, value: Tensor) -> Tensor:
    """`value`, the same on every process, in the parts that `parameter` is in; a scalar stays whole."""
    if not is_sharded(parameter) or value.ndim == 0:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, parameter.device_mesh, parameter.placements)  # type: ignore[attr-defined]


def is_sharded(tensor: Tensor) -> bool:
    """Whether each process holds only a part of a tensor of any shape."""
    return hasattr(tensor, "full_tensor")

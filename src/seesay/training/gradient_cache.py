"""Batches larger than memory: the towers work in chunks, the loss sees all rows, the gradients are the whole batch's.

The towers run chunk by chunk without a graph; the loss gives its gradient for every embedding and for the scale;
each chunk runs again, with the random state it had, and is sent its share of that gradient. It costs one forward
pass more. Source: Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup".

B = rows of the batch held here, D = embedding width.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from seesay.base.records import Embedded, Outputs
from seesay.nets.batch_norm import RunningStatistics

Forward = Callable[[slice], AbstractContextManager[Outputs]]
Loss = Callable[[Outputs], Tensor]


def chunks_of(rows: int, micro_batch: int, *, most: int) -> list[slice]:
    """`rows` in chunks of equal length give or take one, as few as `most` rows need at `micro_batch` rows a chunk.

    `most` is what the process with the most rows holds: processes wait for one another in every chunk, so each must
    have as many, and some may be empty.
    """
    count = max(1, -(-most // micro_batch))
    edges = [rows * index // count for index in range(count + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]


def backward_per_chunk(
    forward: Forward,
    loss: Loss,
    *,
    chunks: Sequence[slice],
    statistics: RunningStatistics,
    no_sync: Callable[[], AbstractContextManager] = nullcontext,
) -> Tensor:
    """As `backward`, for a loss that is a sum over rows: each chunk is gone through once; a scalar, their sum."""
    values = []
    for chunk in chunks:
        is_last = chunk is chunks[-1]
        with nullcontext() if is_last else no_sync(), forward(chunk) as outputs:
            value = loss(outputs)
            value.backward()
        values.append(value.detach())
        statistics.record()
    statistics.apply_mean()
    return torch.stack(values).sum()


def backward(
    forward: Forward,
    loss: Loss,
    *,
    chunks: Sequence[slice],
    statistics: RunningStatistics,
    no_sync: Callable[[], AbstractContextManager] = nullcontext,
) -> Tensor:
    """Add the gradient of `loss` over all rows to that of every parameter; returns the loss, a detached scalar.

    `forward(chunk)` opens a context that gives the embeddings of those rows and stays open while they are sent their
    gradient. `no_sync()` is open for the backward pass of every chunk but the last: processes then need not add up
    what is not complete. `statistics` move once, by the mean over the chunks.
    """
    whole, states = _embed_all(forward, chunks, statistics)
    value = loss(whole)
    value.backward()
    for chunk, state in zip(chunks, states, strict=True):
        is_last = chunk is chunks[-1]
        state.restore()
        with nullcontext() if is_last else no_sync(), forward(chunk) as embedded:
            assert isinstance(embedded, Embedded)
            _send(embedded, whole, chunk, with_scale=is_last)
    statistics.apply_mean()
    return value.detach()


def _embed_all(
    forward: Forward, chunks: Sequence[slice], statistics: RunningStatistics
) -> tuple[Embedded, list["RandomState"]]:
    """All rows embedded without a graph, as leaves that gather a gradient, and the random state before each chunk."""
    parts: list[Embedded] = []
    states = []
    for chunk in chunks:
        states.append(RandomState.now())
        with torch.no_grad(), forward(chunk) as embedded:
            assert isinstance(embedded, Embedded)
            parts.append(embedded)
        statistics.record()
    whole = Embedded(
        image_BD=torch.cat([part.image_BD for part in parts]).requires_grad_(),
        text_BD=torch.cat([part.text_BD for part in parts]).requires_grad_(),
        scale=parts[0].scale.clone().requires_grad_(),
        bias=None if parts[0].bias is None else parts[0].bias.detach().clone().requires_grad_(),
    )
    return whole, states


def _send(embedded: Embedded, whole: Embedded, chunk: slice, *, with_scale: bool) -> None:
    """Send a chunk its rows' gradient; scale and bias, which every chunk has, are sent their whole gradient once."""
    ends, gradients = [], []
    for end, leaf in ((embedded.image_BD, whole.image_BD), (embedded.text_BD, whole.text_BD)):
        # The rows of a tower that is not trained depend on nothing that is learned.
        if end.requires_grad:
            ends.append(end)
            gradients.append(_gradient(leaf)[chunk])
    for end, leaf in ((embedded.scale, whole.scale), (embedded.bias, whole.bias)):
        # A scale that is not learned has no use for a gradient.
        if end is not None and leaf is not None and end.requires_grad:
            ends.append(end)
            gradients.append(_gradient(leaf) if with_scale else torch.zeros_like(leaf))
    torch.autograd.backward(ends, gradients)


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


@dataclass(frozen=True)
class RandomState:
    """Where torch's generators stand: the CPU's, the current GPU's if it is in use, and that of Apple's if there is."""

    cpu: Tensor
    cuda: Tensor | None
    mps: Tensor | None

    @classmethod
    def now(cls) -> "RandomState":
        """The state at this moment."""
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
        mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
        return cls(cpu=torch.get_rng_state(), cuda=cuda, mps=mps)

    def restore(self) -> None:
        """Bring the generators back to this state."""
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda)
        if self.mps is not None:
            torch.mps.set_rng_state(self.mps)

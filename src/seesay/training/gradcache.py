"""Batches larger than memory: the towers work in pieces, the loss sees all rows, the gradients are the whole batch's.

The towers run piece by piece without a graph; the loss gives its gradient for every embedding and for the scale;
each piece runs again, with the random state it had, and is sent its share of that gradient. It costs one forward
pass more. Source: Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup".

B = rows of the batch held here, D = embedding width.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from seesay.base.records import Embedded, Predicted
from seesay.training.guards import RunningStatistics

See = Callable[[slice], AbstractContextManager[Embedded | Predicted]]
Loss = Callable[[Embedded | Predicted], Tensor]


def pieces_of(rows: int, micro_batch: int | None, *, most: int) -> list[slice]:
    """`rows` in pieces of equal length give or take one, as few as `most` rows need at `micro_batch` rows a piece.

    `most` is what the process with the most rows holds: processes meet in every piece, so each must have as many,
    and some may be empty.
    """
    count = max(1, -(-most // micro_batch)) if micro_batch else 1
    edges = [rows * place // count for place in range(count + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]


def backward_apart(
    predict: See,
    loss: Loss,
    *,
    pieces: Sequence[slice],
    statistics: RunningStatistics,
    alone: Callable[[], AbstractContextManager] = nullcontext,
) -> Tensor:
    """As `backward`, for a loss that is a sum over rows: each piece is gone through once, and their losses add up."""
    values = []
    for rows in pieces:
        is_last = rows is pieces[-1]
        with nullcontext() if is_last else alone(), predict(rows) as predicted:
            value = loss(predicted)
            value.backward()
        values.append(value.detach())
        if len(pieces) > 1:
            statistics.take()
    if len(pieces) > 1:
        statistics.settle()
    return torch.stack(values).sum()


def backward(
    embed: See,
    loss: Loss,
    *,
    pieces: Sequence[slice],
    statistics: RunningStatistics,
    alone: Callable[[], AbstractContextManager] = nullcontext,
) -> Tensor:
    """Add the gradient of `loss` over all rows to that of every parameter; returns the loss, detached.

    `embed(rows)` opens a context that gives the embeddings of those rows and stays open while they are sent their
    gradient. `alone()` is open for the backward pass of every piece but the last: processes then need not add up
    what is not complete. `statistics` move once, by the mean over the pieces.
    """
    if len(pieces) == 1:
        with embed(pieces[0]) as embedded:
            value = loss(embedded)
            value.backward()
        return value.detach()
    whole, states = _embed_all(embed, pieces, statistics)
    value = loss(whole)
    value.backward()
    for rows, state in zip(pieces, states, strict=True):
        is_last = rows is pieces[-1]
        state.bring_back()
        with nullcontext() if is_last else alone(), embed(rows) as embedded:
            assert isinstance(embedded, Embedded)
            _send(embedded, whole, rows, with_scale=is_last)
    statistics.settle()
    return value.detach()


def _embed_all(
    embed: See, pieces: Sequence[slice], statistics: RunningStatistics
) -> tuple[Embedded, list["RandomState"]]:
    """All rows embedded without a graph, as leaves that gather a gradient, and the random state before each piece."""
    parts: list[Embedded] = []
    states = []
    for rows in pieces:
        states.append(RandomState.now())
        with torch.no_grad(), embed(rows) as embedded:
            assert isinstance(embedded, Embedded)
            parts.append(embedded)
        statistics.take()
    whole = Embedded(
        image_BD=torch.cat([part.image_BD for part in parts]).requires_grad_(),
        text_BD=torch.cat([part.text_BD for part in parts]).requires_grad_(),
        scale=parts[0].scale.clone().requires_grad_(),
        bias=None if parts[0].bias is None else parts[0].bias.detach().clone().requires_grad_(),
    )
    return whole, states


def _send(embedded: Embedded, whole: Embedded, rows: slice, *, with_scale: bool) -> None:
    """Send a piece its rows' gradient; scale and bias, which every piece has, are sent their whole gradient once."""
    ends = [embedded.image_BD, embedded.text_BD]
    gradients = [_gradient(whole.image_BD)[rows], _gradient(whole.text_BD)[rows]]
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
    """Where torch's generators stand: the CPU's, and the current GPU's if it is in use."""

    cpu: Tensor
    cuda: Tensor | None

    @classmethod
    def now(cls) -> "RandomState":
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
        return cls(cpu=torch.get_rng_state(), cuda=cuda)

    def bring_back(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda)

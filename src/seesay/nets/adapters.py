"""Few numbers that are trained in place of many: low-rank updates of matrices, and rows behind an embedding table.

Both are parametrizations of torch: the module computes with what they give, wherever its weight is used, in rows of
it too. `plain_tensors` has the weights as a model without them holds them.

R = rows of a matrix, C = its columns, K = rank, P = parts that the rows are made of, V = rows of a table, M = added
ones, W = width.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from seesay.base.errors import UsageError
from seesay.nets.architecture import MATRIX_KINDS, TOWERS
from seesay.nets.block import Attention, Block
from seesay.nets.clip import DualEncoder
from seesay.nets.convolutional import AttentionPool
from seesay.nets.siglip import AttentionPool as SiglipPool
from seesay.nets.siglip import SiglipText
from seesay.nets.tower import ComputesBuffers

QKV = ("query", "key", "value")


class LowRank(nn.Module):
    """weight + scale * up @ down for each of the parts of its rows that are updated; up starts at 0.

    A convolution's kernel is the matrix (outputs, inputs * its area).
    Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1.
    """

    def __init__(self, weight: Tensor, *, rank: int, alpha: float, parts: Sequence[bool] = (True,)):
        super().__init__()
        rows, columns = len(weight) // len(parts), weight[0].numel()
        self.scale = alpha / rank
        self.parts = tuple(parts)
        count = sum(self.parts)
        self.down = nn.Parameter(weight.new_empty(count, rank, columns))
        self.up = nn.Parameter(weight.new_zeros(count, rows, rank))
        # As PEFT: torch's start of a linear layer.
        for down_KC in self.down:
            nn.init.kaiming_uniform_(down_KC, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """A weight of any shape to the updated one."""
        if all(self.parts):
            return weight + self.scale * (self.up @ self.down).reshape(weight.shape)
        updated = iter(self.up @ self.down)
        blocks = weight.chunk(len(self.parts))
        return torch.cat(
            [
                block + self.scale * next(updated).reshape(block.shape) if is_updated else block
                for block, is_updated in zip(blocks, self.parts, strict=True)
            ]
        )


class ContextRows(nn.Module):
    """A table (V, W) with rows behind it that are trained, (V + M, W): what CoOp learns in place of words.

    Source: Zhou et al. 2022, "Learning to Prompt for Vision-Language Models", section 3.2.
    """

    def __init__(self, context_MW: Tensor):
        super().__init__()
        self.context_MW = nn.Parameter(context_MW.clone())

    def forward(self, table_VW: Tensor) -> Tensor:
        """(V, W) to (V + M, W)."""
        return torch.cat([table_VW, self.context_MW])


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """One weight that may be updated: where it is, what each of its parts does, and its shape as a matrix."""

    module: nn.Module
    name: str
    path: str
    kinds: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of each part, and columns."""
        weight = getattr(self.module, self.name)
        return len(weight) // len(self.kinds), weight[0].numel()


def matrices(clip: DualEncoder, *, kinds: Sequence[str] = MATRIX_KINDS, towers: Sequence[str] = TOWERS) -> list[Matrix]:
    """The matrices of a model of which at least one part is of these kinds and in these towers."""
    found = []
    for tower in dict.fromkeys(towers):
        parts = {"image": clip.image_parts, "text": clip.text_parts}[tower]()
        for part in parts:
            above = next(path for path, module in clip.named_modules() if module is part)
            found += [matrix for matrix in _matrices(part, above) if set(matrix.kinds) & set(kinds)]
    return found


def _matrices(part: nn.Module, above: str) -> Iterator[Matrix]:
    for path, module in part.named_modules(prefix=above):
        own: dict[tuple[str, str], tuple[str, ...]] = {}
        if isinstance(module, Attention | SiglipPool):
            own |= {("qkv", "weight"): QKV, ("out", "weight"): ("out",)}
        if isinstance(module, Block | SiglipPool):
            own |= {("fc", "weight"): ("mlp",), ("proj", "weight"): ("mlp",)}
        if isinstance(module, AttentionPool):
            own |= {(name, "weight"): (name,) for name in QKV} | {("out", "weight"): ("projection",)}
        if isinstance(module, SiglipText):
            own |= {("head", "weight"): ("projection",)}
        if isinstance(getattr(module, "projection", None), nn.Parameter):
            own |= {("", "projection"): ("projection",)}
        if isinstance(module, nn.Conv2d) and not path.endswith(".patches"):
            own |= {("", "weight"): ("conv",)}
        # The second layer of ConVIRT's projections.
        if isinstance(module, nn.Linear) and "_projection." in path:
            own |= {("", "weight"): ("projection",)}
        for (inner, name), kinds in own.items():
            where = f"{path}.{inner}" if inner else path
            yield Matrix(
                module=getattr(module, inner) if inner else module, name=name, path=f"{where}.{name}", kinds=kinds
            )


def add_low_rank(
    clip: DualEncoder, *, rank: int, alpha: float, kinds: Sequence[str] = MATRIX_KINDS, towers: Sequence[str] = TOWERS
) -> list[str]:
    """Give the chosen matrices low-rank updates that change nothing yet, and freeze all else; returns their paths.

    `UsageError` where a tower has no such matrix or is another library's, and for a rank that is larger than one.
    """
    for tower in towers:
        _refuse_tower(clip, tower, kinds)
    chosen = matrices(clip, kinds=kinds, towers=towers)
    for matrix in chosen:
        if rank > min(matrix.shape):
            raise UsageError(
                f"start.rank is {rank}, but {matrix.path} is {matrix.shape[0]} x {matrix.shape[1]}; set it to "
                f"{min(matrix.shape)} or less, or leave the matrix out with start.targets."
            )
    clip.requires_grad_(False)
    for matrix in chosen:
        weight = getattr(matrix.module, matrix.name)
        update = LowRank(weight, rank=rank, alpha=alpha, parts=[kind in kinds for kind in matrix.kinds])
        parametrize.register_parametrization(matrix.module, matrix.name, update)
    return [matrix.path for matrix in chosen]


def _refuse_tower(clip: DualEncoder, tower: str, kinds: Sequence[str]) -> None:
    """`UsageError` for one whose matrices are not known here, of which some would be left as they are unsaid."""
    module = {"image": clip.image_tower, "text": clip.text_tower}[tower]
    other = " and ".join(name for name in TOWERS if name != tower)
    if isinstance(module, ComputesBuffers):
        raise UsageError(
            f'the {tower} tower is another library\'s, whose matrices are not named here; set start.towers=["{other}"].'
        )
    if not matrices(clip, kinds=kinds, towers=(tower,)):
        raise UsageError(
            f"no matrix of the {tower} tower is one of {', '.join(kinds)}; choose others with start.targets, or set "
            f'start.towers=["{other}"].'
        )


def add_context(table: nn.Embedding, context_MW: Tensor) -> None:
    """Let an embedding table have these rows behind its own, and be trained in them alone."""
    table.requires_grad_(False)
    parametrize.register_parametrization(table, "weight", ContextRows(context_MW), unsafe=True)


def has_adapters(module: nn.Module) -> bool:
    """Whether anything in it computes with other weights than those it holds."""
    return any(parametrize.is_parametrized(part) for part in module.modules())


@torch.no_grad()
def plain_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The module's state by name as it would be without adapters, these applied."""
    tensors = {name: tensor for name, tensor in module.state_dict().items() if ".parametrizations." not in f".{name}"}
    for path, part in module.named_modules():
        if parametrize.is_parametrized(part):
            for name in part.parametrizations:  # type: ignore[union-attr]
                tensors[f"{path}.{name}" if path else name] = getattr(part, name).detach()
    return tensors


def adapter_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The numbers that adapters have learned, by the path of their weight and what they are, as "a.weight.down"."""
    return {
        name.replace(".parametrizations.", ".").replace(".0.", "."): tensor
        for name, tensor in module.state_dict().items()
        if ".parametrizations." in f".{name}" and not name.endswith(".original")
    }

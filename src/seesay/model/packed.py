"""Transformer blocks in float32 whose weights are laid out for the processor beforehand, by oneDNN.

T = rows, I = inputs, O = outputs.
"""

import copy

import torch
from torch import Tensor, nn

from seesay.model.int8 import FUSED
from seesay.nets.block import Block

# For so many rows oneDNN chooses how weights lie; other numbers of rows take the same ones. 8 images of ViT-B/32: laid
# out for 50 or 1,600, weights are as fast for 50, 400 and 1,600 (packed_rows.log of benchmarks/2026-11-29-engines).
ROWS = 400


class PackedLinear(nn.Module):
    """A linear layer in float32 by oneDNN, and the activation behind it, on a copy of its weights.

    What comes in counts `1 / before` times as much, and what goes into the activation `times` as much.
    """

    def __init__(
        self, linear: nn.Linear, *, before: float = 1.0, times: float = 1.0, activation: tuple[str, str] = ("none", "")
    ):
        super().__init__()
        self.in_features = linear.in_features
        self.name, self.algorithm = activation
        weight_OI = linear.weight.detach() * (times / before)
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight_OI, ROWS)
        self.bias = linear.bias if times == 1 else linear.bias.detach() * times

    def forward(self, x_TI: Tensor) -> Tensor:
        """(T, I) to (T, O)."""
        product = torch.ops.mkldnn._linear_pointwise.default
        return product(x_TI, self.packed, self.bias, self.name, [], self.algorithm)


def packed_parts(tower: nn.Module) -> dict[int, nn.Module]:
    """By the `id` of a tower's transformer blocks, what stands in their stead; norms and what is not packed are shared.

    The last block, which reads rows of its first layer's weights alone, keeps that layer.
    """
    blocks = [block for block in tower.modules() if isinstance(block, Block)]
    return {id(block): packed_block(block, is_last=block is blocks[-1]) for block in blocks}


def packed_block(block: Block, *, is_last: bool) -> Block:
    """A block that computes what the other does, its activation with the product before it."""
    name, algorithm, factor = FUSED[block.activation]
    attention = block.attention
    memo: dict[int, nn.Module | Tensor] = {id(tensor): tensor for tensor in (*block.parameters(), *block.buffers())}
    memo[id(attention.out)] = PackedLinear(attention.out)
    memo[id(block.fc)] = PackedLinear(block.fc, times=factor, activation=(name, algorithm))
    memo[id(block.proj)] = PackedLinear(block.proj, before=factor)
    if not is_last:
        memo[id(attention.qkv)] = PackedLinear(attention.qkv)
    packed = copy.deepcopy(block, memo)  # type: ignore[arg-type]
    packed.activation = as_it_is
    return packed


def as_it_is(x: Tensor) -> Tensor:
    """In the place of an activation, of any shape."""
    return x

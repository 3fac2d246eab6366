"""The pre-norm transformer block that both of the paper's towers are made of.

B = sequences, L = their length, T = positions of all sequences laid end to end, N = positions that are pooled,
P = positions that stand before others, W = width, H = heads, C = W / H.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from seesay.nets.architecture import BlocksConfig
from seesay.nets.linear import Linear, linear
from seesay.nets.packing import Group, Groups

# Where no gradient is needed, an activation writes over what it is given, with the same bits: for large batches the
# system would hand out more memory at each call and take it back, which takes longer than the activation itself.


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x), of any shape: the activation of every model OpenAI released."""
    return x * torch.sigmoid(1.702 * x) if torch.is_grad_enabled() else (1.702 * x).sigmoid_().mul_(x)


def gelu(x: Tensor) -> Tensor:
    """x times the share of a normal distribution below it, of any shape."""
    return F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU with its tanh approximation, as big_vision's SigLIP has it; any shape."""
    return F.gelu(x, approximate="tanh") if torch.is_grad_enabled() else torch.ops.aten.gelu_(x, approximate="tanh")


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": gelu, "gelu_tanh": gelu_tanh}


class Attention(nn.Module):
    """Multi-head self-attention with biases; `qkv` holds query, key and value rows in that order."""

    def __init__(self, width: int, heads: int, *, causal: bool):
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def forward(self, x_TW: Tensor, groups: Groups) -> Tensor:
        """Every position looks at its own sequence: (T, W) to (T, W)."""
        qkv_TX = self.qkv(x_TW)
        parts = qkv_TX.split([group.sequences * group.length for group in groups])
        mixed = []
        for part, group in zip(parts, groups, strict=True):
            query, key, value = part.unflatten(0, (group.sequences, group.length)).chunk(3, dim=-1)
            mixed.append(self.mix(query, key, value, group, qkv_TX))
        return self.out(torch.cat(mixed))

    def pooled(self, x_TW: Tensor, groups: Groups, pooled_N: Tensor) -> Tensor:
        """As `forward` for one position of every sequence, which sees all of it: (T, W) to (N, W)."""
        W = x_TW.shape[-1]
        # Asked for once: weights that are kept in another dtype are made float32 each time.
        weight_XW, bias_X = self.qkv.weight, self.qkv.bias
        query_NW = linear(x_TW.index_select(0, pooled_N), weight_XW[:W], bias_X[:W])
        queries = query_NW[:, None].split([group.sequences * group.is_end for group in groups])
        kv_TX = linear(x_TW, weight_XW[W:], bias_X[W:])
        parts = kv_TX.split([group.sequences * group.length for group in groups])
        mixed = []
        for query, part, group in zip(queries, parts, groups, strict=True):
            if group.is_end:
                key, value = part.unflatten(0, (group.sequences, group.length)).chunk(2, dim=-1)
                mixed.append(self.mix(query, key, value, group, kv_TX))
        return self.out(torch.cat(mixed))

    def mix(self, query: Tensor, key: Tensor, value: Tensor, group: Group, kv_TX: Tensor) -> Tensor:
        """Queries, keys and values (B, L, W) of equally long sequences to what each query sees, (B * L, W).

        The last 2 W columns of `kv_TX` are the keys and values of all positions. A single query sees all keys.
        """
        causal = self.causal and query.shape[1] > 1
        query, key, value = (self._heads(x_BLW) for x_BLW in (query, key, value))
        if group.before_P is None:
            mixed_BHLC = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        else:
            before_PX = kv_TX.index_select(0, group.before_P)[:, -2 * self.out.in_features :]
            before_key, before_value = (self._heads(x_PW[None])[0] for x_PW in before_PX.chunk(2, dim=-1))
            mixed_BHLC = attend_after(query, key, value, before_key, before_value, causal=causal)
        return mixed_BHLC.transpose(1, 2).flatten(2).flatten(0, 1)

    def _heads(self, x_BLW: Tensor) -> Tensor:
        return x_BLW.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def attend_after(
    query_BHLC: Tensor,
    key_BHKC: Tensor,
    value_BHKC: Tensor,
    before_key_HPC: Tensor,
    before_value_HPC: Tensor,
    *,
    causal: bool,
) -> Tensor:
    """Attention of sequences that all stand behind the same P positions, (B, H, L, C).

    The scores for what stands before are one matrix product for all sequences, so its keys and values are never copied.
    """
    B, H, L, C = query_BHLC.shape
    own_BHLK = query_BHLC @ key_BHKC.mT
    if causal:
        own_BHLK = own_BHLK.masked_fill(torch.ones(L, L, dtype=torch.bool, device=own_BHLK.device).triu(1), -math.inf)
    query_HXC = query_BHLC.transpose(0, 1).reshape(H, B * L, C)
    before_BHLP = (query_HXC @ before_key_HPC.mT).unflatten(1, (B, L)).transpose(0, 1)
    weight = (torch.cat([before_BHLP, own_BHLK], dim=-1) * C**-0.5).softmax(-1)
    P = before_key_HPC.shape[1]
    weight_HXP = weight[..., :P].transpose(0, 1).reshape(H, B * L, P)
    return (weight_HXP @ before_value_HPC).unflatten(1, (B, L)).transpose(0, 1) + weight[..., P:] @ value_BHKC


class Block(nn.Module):
    """x + attention(ln_1(x)), then x + mlp(ln_2(x))."""

    def __init__(self, config: BlocksConfig, *, causal: bool):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width)
        self.attention = Attention(config.width, config.heads, causal=causal)
        self.ln_2 = nn.LayerNorm(config.width)
        self.fc = Linear(config.width, config.hidden)
        self.proj = Linear(config.hidden, config.width)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x_TW: Tensor, groups: Groups, pooled_N: Tensor | None = None) -> Tensor:
        """Sequences laid end to end in `groups`, (T, W) to (T, W).

        With `pooled_N`, one position of every sequence that may see all of it, only these come out, (N, W): the last
        block of a tower computes nothing that is not pooled.
        """
        normed_TW = self.ln_1(x_TW)
        if pooled_N is None:
            x = x_TW + self.attention(normed_TW, groups)
        else:
            x = x_TW.index_select(0, pooled_N) + self.attention.pooled(normed_TW, groups, pooled_N)
        return x + self.proj(self.activation(self.fc(self.ln_2(x))))


class Blocks(nn.ModuleList):
    """A tower's blocks in turn; the last one works on the positions that are pooled alone, where they are named.

    With `recompute` the backward pass runs every block again instead of storing what is inside: less memory, a third
    more work.
    """

    recompute = False

    def forward(self, x_TW: Tensor, groups: Groups, pooled_N: Tensor | None = None) -> Tensor:
        """Sequences laid end to end in `groups`, to the positions `pooled_N`, one of each, (N, W); or to all."""
        for index, block in enumerate(self):
            pooled = pooled_N if index == len(self) - 1 else None
            if self.recompute and torch.is_grad_enabled():
                x_TW = checkpoint(block, x_TW, groups, pooled, use_reentrant=False)  # type: ignore[assignment]
            else:
                x_TW = block(x_TW, groups, pooled)
        return x_TW


def start_as_torch(block: Block) -> None:
    """The image tower's start in the released code: what torch's own attention and linear layers start with."""
    nn.init.xavier_uniform_(block.attention.qkv.weight)
    nn.init.zeros_(block.attention.qkv.bias)
    nn.init.zeros_(block.attention.out.bias)


def start_as_gpt(block: Block, *, layers: int) -> None:
    """The text tower's start: GPT-2's depth-scaled normal, with torch's biases (zero in the attention)."""
    width = block.ln_1.normalized_shape[0]
    residual = width**-0.5 * (2 * layers) ** -0.5
    nn.init.normal_(block.attention.qkv.weight, std=width**-0.5)
    nn.init.normal_(block.attention.out.weight, std=residual)
    nn.init.normal_(block.fc.weight, std=(2 * width) ** -0.5)
    nn.init.normal_(block.proj.weight, std=residual)
    nn.init.zeros_(block.attention.qkv.bias)
    nn.init.zeros_(block.attention.out.bias)

"""Towers whose matrix products are of 8-bit integers, by oneDNN, from one block's start to its end.

A row that comes into a product is rounded to whole numbers of -128 to 127. Where a LayerNorm stands before it, one step
serves all rows of all images: channels are mixed so that no few of them hold a row's largest numbers, and a normalised
row is about as wide as any other, once what some channels hold in all rows is taken off (`int8_centres`). Elsewhere a
row has a step of its own. So nothing is calibrated on photos, and no row is rounded by what else is in the batch.

B = images, T = rows, I = inputs, O = outputs, N = positions that are pooled, W = width, H = heads, C = W / H,
L = positions of a sequence, G = groups of channels, M = channels of one, S = side in pixels, P = patches.
"""

import functools
import hashlib
import math
import warnings
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.model import int8_centres
from seesay.model.int8_centres import Centre
from seesay.nets.block import Block, Blocks, gelu, gelu_tanh, quick_gelu
from seesay.nets.packing import Group, Groups

# What no scale is below, so that zeros stay zeros.
SMALLEST = 1e-12
# Channels that are mixed with one another, at most: one that holds a whole row of 768 comes out as 128 of some 2.5.
MIXED = 128
# A normalised row that was mixed has numbers about as a normal distribution: beyond this many deviations they are cut.
WIDEST = 6.0
STEP = WIDEST / 127
# An activation has no values below -0.28: 32 of the 256 whole numbers are for those, all others for what is above.
LOWEST, BELOW, ABOVE = 0.2785, 32, 223
# By activation: how oneDNN calls it, and what its input and output are times as large as ours.
FUSED = {gelu: ("gelu", "none", 1.0), gelu_tanh: ("gelu", "tanh", 1.0), quick_gelu: ("swish", "", 1.702)}
# Queries, keys and values: how many of them lie side by side in each tensor, where there are as many tensors.
COUNTS = {1: (3,), 2: (1, 2)}
# Rows that are worked on at once, where there are more.
ROWS = 800
# Scores of attention that are computed at once: what stays near a core.
SCORES = 2**18


def int8_parts(tower: nn.Module, centres: dict[int, Centre]) -> dict[int, nn.Module]:
    """By the `id` of a tower's modules, what stands in their stead; none for a tower without transformer blocks.
    `centres` are by the `id` of a LayerNorm."""
    made: dict[int, nn.Module] = {}
    for module in tower.modules():
        if isinstance(module, Blocks):
            made[id(module)] = Int8Blocks(module, centres)
        elif isinstance(module, nn.ModuleList) and all(isinstance(block, Block) for block in module):
            linears = (layer for layer in module.modules() if isinstance(layer, nn.Linear))
            made |= {id(layer): Int8Linear(layer) for layer in linears}
    patches = getattr(tower, "patches", None)
    if made and isinstance(patches, nn.Conv2d):
        made[id(patches)] = Int8Patches(patches)
    return made


@functools.cache
def rounding_sha256() -> str:
    """SHA-256 (hex) of this file and of the centres': rows that were cached are those of one way to round."""
    files = Path(__file__), Path(int8_centres.__file__)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


class Product:
    """Rows of whole numbers by a matrix that is rounded to 8 bits, with a scale for each of its outputs."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None = None, *, step: float = 1.0, shift: int = 0):
        """Each whole number stands for `step` times it and `shift`."""
        scale_O = (weight_OI.abs().amax(1) / 127).clamp(min=SMALLEST)
        whole_OI = (weight_OI / scale_O[:, None]).round()
        self.scale_O = (scale_O * step).float()
        self.zero_O = torch.zeros(len(scale_O), dtype=torch.int32)
        self.packed = torch.ops.onednn.qlinear_prepack(whole_OI.to(torch.int8).contiguous(), None)
        self.bias_O = (whole_OI.double().sum(1) * (shift - whole_numbers()[1]) * self.scale_O).float()
        if bias_O is not None:
            self.bias_O += bias_O

    def __call__(
        self, whole_TI: Tensor, dtype: torch.dtype = torch.float32, activation: str = "none", kind: str = ""
    ) -> Tensor:
        """Of `as_whole`, (T, I) to (T, O)."""
        arguments = (whole_TI, 1.0, 0, self.packed, self.scale_O, self.zero_O, self.bias_O, 1.0, 0, dtype)
        return torch.ops.onednn.qlinear_pointwise(*arguments, activation, [], kind)


@functools.cache
def whole_numbers() -> tuple[torch.dtype, int]:
    """The type of whole numbers for oneDNN, and its 0: unsigned where sums of products come out right, else signed.

    Signed rows take oneDNN's reference on CPUs without AMX, 5,000 times as long; unsigned ones are fast on all, but on
    those without VNNI the sum of two products may not fit the 16 bits that it has.
    """
    weight_OI, row_TI = torch.full((8, 64), 127, dtype=torch.int8), torch.full((1, 64), 255, dtype=torch.uint8)
    packed = torch.ops.onednn.qlinear_prepack(weight_OI, None)
    scale_O, zero_O = torch.ones(8, dtype=torch.float32), torch.zeros(8, dtype=torch.int32)
    arguments = (row_TI, 1.0, 0, packed, scale_O, zero_O, None, 1.0, 0, torch.float32, "none", [], "")
    is_right = bool((torch.ops.onednn.qlinear_pointwise(*arguments) == 64 * 127 * 255).all())
    if hasattr(torch, "quantize_per_tensor"):
        with warnings.catch_warnings():
            # That it will be gone one day, which torch says once; `as_whole` is ready for it.
            warnings.simplefilter("ignore", UserWarning)
            torch.quantize_per_tensor(scale_O, 1.0, 0, torch.quint8)
    return (torch.uint8, 128) if is_right else (torch.int8, 0)


def as_whole(x_TI: Tensor, step: float = 1.0, shift: int = 0) -> Tensor:
    """The whole number that is nearest to `x / step - shift`, of -128 to 127, as `Product` reads it, (T, I)."""
    kind, zero = whole_numbers()
    if not hasattr(torch, "quantize_per_tensor"):
        return (x_TI / step).round_().add_(zero - shift).clamp_(zero - 128, zero + 127).to(kind)
    # A third of the time, which torch will give up one day; what it returns shares its memory with the bytes.
    whole_TI = torch.quantize_per_tensor(x_TI, step, zero - shift, torch.quint8 if zero else torch.qint8)
    return torch.empty(0, dtype=kind).set_(whole_TI.untyped_storage(), 0, whole_TI.shape, whole_TI.stride())


def by_row(x_TI: Tensor) -> tuple[Tensor, Tensor]:
    """Rows, whatever they hold, to whole numbers of 1/127 of the most in each, and that, (T, 1)."""
    most_T1 = x_TI.abs().amax(-1, keepdim=True).clamp_(min=SMALLEST)
    return as_whole(x_TI / most_T1, 1 / 127), most_T1


class Int8Linear(nn.Linear):
    """A linear layer of its own, with a step for each row that comes in."""

    def __init__(self, linear: nn.Linear):
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.product, self.bias = Product(linear.weight.detach(), step=1 / 127), linear.bias

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(..., I) to (..., O)."""
        whole, most = by_row(x)
        return torch.addcmul(self.bias, self.product(whole), most)


class Int8Patches(nn.Module):
    """A convolution whose kernels lie side by side, as `patch_rows` calls it, with a step for each patch."""

    def __init__(self, patches: nn.Conv2d):
        super().__init__()
        self.side, self.out_channels = patches.kernel_size[0], patches.out_channels
        self.product, self.bias = Product(patches.weight.detach().flatten(1), step=1 / 127), patches.bias
        # `patch_rows` reads no more of it than its type.
        self.weight = torch.empty(0, dtype=torch.int8)

    def forward(self, pixels_B3SS: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, O, ...)."""
        high, wide = (side // self.side for side in pixels_B3SS.shape[2:])
        rows = [self._rows(some) for some in pixels_B3SS.split(max(1, ROWS // (high * wide)))]
        return torch.cat(rows).unflatten(0, (-1, high, wide)).permute(0, 3, 1, 2)

    def _rows(self, pixels_B3SS: Tensor) -> Tensor:
        """To rows of patches, (B * P, O)."""
        tiles = pixels_B3SS.unfold(2, self.side, self.side).unfold(3, self.side, self.side)
        whole_TI, most_T1 = by_row(tiles.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2))
        row_TO = self.product(whole_TI).mul_(most_T1)
        return row_TO if self.bias is None else row_TO.add_(self.bias)


class Int8Block(nn.Module):
    """A `Block` between channels that are mixed; its weights stay in float32 beside."""

    gain_W: Tensor

    def __init__(self, block: Block, mixing_MM: Tensor, centres: dict[int, Centre], *, is_last: bool):
        super().__init__()
        attention, width = block.attention, block.ln_1.normalized_shape[0]
        self.attention, self.eps = attention, (block.ln_1.eps, block.ln_2.eps)
        # Without a gain torch's LayerNorm takes twice as long.
        self.register_buffer("gain_W", torch.ones(width, dtype=torch.float32), persistent=False)
        self.in_bf16 = not attention.causal and has_bfloat16()
        none = Centre(torch.zeros(width, dtype=torch.float32), 1.0)
        (offset_1, wide_1), (offset_2, wide_2) = (centres.get(id(norm), none) for norm in (block.ln_1, block.ln_2))
        # Where there is none, no time is spent on it.
        self.centre_1, self.centre_2 = (
            -mix(offset_W, mixing_MM, 0) if offset_W.any() else None for offset_W in (offset_1, offset_2)
        )
        self.steps = STEP * wide_1, STEP * wide_2
        weight_XW, bias_X = after_norm(attention.qkv, block.ln_1, mixing_MM, offset_1)
        if self.in_bf16:
            weight_XW[:width] *= (width // attention.heads) ** -0.5
            bias_X[:width] *= (width // attention.heads) ** -0.5
        self.qkv = Product(weight_XW, bias_X, step=self.steps[0])
        if is_last:
            self.query = Product(weight_XW[:width], bias_X[:width], step=self.steps[0])
            self.key_value = Product(weight_XW[width:], bias_X[width:], step=self.steps[0])
        self.fused, self.kind, factor = FUSED[block.activation]
        weight_XW, bias_X = after_norm(block.fc, block.ln_2, mixing_MM, offset_2)
        self.fc = Product(weight_XW * factor, bias_X * factor, step=self.steps[1])
        out_WI, proj_WI = (mix(layer.weight.detach(), mixing_MM, 0) for layer in (attention.out, block.proj))
        self.out = Product(out_WI, step=1 / 127)
        self.proj = Product(proj_WI / factor, step=1 / ABOVE, shift=128 - BELOW)
        self.out_bias, self.proj_bias = (
            mix(layer.bias.detach(), mixing_MM, 0) for layer in (attention.out, block.proj)
        )

    def forward(self, x_TW: Tensor, groups: Groups, pooled_N: Tensor | None = None) -> Tensor:
        """As `Block`, (T, W) to (T, W) or (N, W)."""
        dtype = torch.bfloat16 if self.in_bf16 else torch.float32
        normed_TW = F.layer_norm(x_TW, self.gain_W.shape, self.gain_W, self.centre_1, self.eps[0])
        whole_TW = as_whole(normed_TW, self.steps[0])
        if pooled_N is None:
            x, made = x_TW, (self.qkv(whole_TW, dtype),)
        else:
            x = x_TW.index_select(0, pooled_N)
            made = self.query(whole_TW.index_select(0, pooled_N), dtype), self.key_value(whole_TW, dtype)
            # No whole number is NaN: of a row that is, one value is made so, which what is pooled sees.
            made[1][:, -1] += normed_TW[:, 0] * 0
        whole, most = by_row(self._attend(made, groups))
        x = (x + self.out_bias).addcmul_(self.out(whole), most)
        normed = F.layer_norm(x, self.gain_W.shape, self.gain_W, self.centre_2, self.eps[1])
        whole = as_whole(normed, self.steps[1])
        hidden = self.fc(whole, torch.float32, self.fused, self.kind)
        most = hidden.amax(-1, keepdim=True).clamp_(min=LOWEST / BELOW * ABOVE)
        whole = as_whole(hidden.div_(most), 1 / ABOVE, shift=128 - BELOW)
        return (x + self.proj_bias).addcmul_(self.proj(whole), most)

    def _attend(self, made: tuple[Tensor, ...], groups: Groups) -> Tensor:
        """Queries, keys and values side by side, or queries apart, to what each query sees, (T, W)."""
        are_apart = len(made) == 2
        counts = [group.sequences * group.length for group in groups]
        parts = [made[-1].split(counts)]
        if are_apart:
            parts = [made[0].split([group.sequences * group.is_end for group in groups]), *parts]
        mixed = []
        for group, *part in zip(groups, *parts, strict=True):
            if are_apart and not group.is_end:
                continue
            part = [x_TX.unflatten(0, (group.sequences, -1)) for x_TX in part]
            if self.in_bf16:
                mixed.append(attend_in_bfloat16(part, heads=self.attention.heads))
            else:
                query, key, value = chain(*(x_BLX.split(len(self.gain_W), dim=-1) for x_BLX in part))
                mixed.append(self.attention.mix(query, key, value, group, made[-1]))
        return torch.cat(mixed) if len(mixed) > 1 else mixed[0]


def by_head(x_BLX: Tensor, count: int, heads: int) -> tuple[Tensor, ...]:
    """`count` things side by side, with heads side by side in each, to as many of (B * H, L, C)."""
    return x_BLX.unflatten(-1, (count, heads, -1)).permute(2, 0, 3, 1, 4).flatten(1, 2).unbind(0)


def attend_in_bfloat16(made: list[Tensor], *, heads: int) -> Tensor:
    """Queries, keys and values, side by side or apart, (B, L, ...), to (B * L, W) in float32; no mask, no factor on
    scores."""
    B, L, _ = made[0].shape
    each = zip(made, COUNTS[len(made)], strict=True)
    query_XLC, key_XLC, value_XLC = chain(*(by_head(x_BLX, count, heads) for x_BLX, count in each))
    mixed_XLC = torch.empty_like(query_XLC)
    some = max(1, SCORES // (L * key_XLC.shape[1]))
    parts = (x_XLC.split(some) for x_XLC in (query_XLC, key_XLC, value_XLC, mixed_XLC))
    for query, key, value, mixed in zip(*parts, strict=True):
        weight = query.bmm(key.mT).softmax(-1, dtype=torch.float32).to(torch.bfloat16)
        torch.bmm(weight, value, out=mixed)
    rows = torch.empty(B, L, heads, mixed_XLC.shape[-1], dtype=torch.float32)
    return rows.copy_(mixed_XLC.unflatten(0, (B, heads)).transpose(1, 2)).flatten(2).flatten(0, 1)


class Int8Blocks(nn.Module):
    """A tower's `Blocks`: their channels are mixed before the first one, and as they were behind the last one."""

    mixing_MM: Tensor

    def __init__(self, blocks: Blocks, centres: dict[int, Centre]):
        super().__init__()
        *firsts, last = (block for block in blocks if isinstance(block, Block))
        self.register_buffer("mixing_MM", mixing(last.ln_1.normalized_shape[0]), persistent=False)
        made = [Int8Block(block, self.mixing_MM, centres, is_last=block is last) for block in (*firsts, last)]
        self.blocks = nn.ModuleList(made)

    def forward(self, x_TW: Tensor, groups: Groups, pooled_N: Tensor | None = None) -> Tensor:
        """As `Blocks`, (T, W) to (T, W) or (N, W)."""
        parts = [(mix(part_TW, self.mixing_MM, 1), *of_part) for part_TW, *of_part in in_parts(x_TW, groups, pooled_N)]
        for block in self.blocks[:-1]:
            parts = [(block(part_TW, some), some, pooled_N) for part_TW, some, pooled_N in parts]
        ends = [self.blocks[-1](*part) for part in parts]
        return mix(torch.cat(ends) if len(ends) > 1 else ends[0], self.mixing_MM.T, 1)


def in_parts(x_TW: Tensor, groups: Groups, pooled_N: Tensor | None) -> Iterator[tuple[Tensor, Groups, Tensor | None]]:
    """Sequences of one length a few at a time, (T, W), with their groups and those pooled of them; others whole.

    What a block makes of a part stays near a core, and its weights stay there from one part to the next.
    """
    group = groups[0]
    if len(groups) > 1 or group.before_P is not None or len(x_TW) <= ROWS:
        yield x_TW, groups, pooled_N
        return
    count = max(1, ROWS // group.length)
    for start in range(0, group.sequences, count):
        part_TW = x_TW[start * group.length : (start + count) * group.length]
        some = None if pooled_N is None else pooled_N[start : start + count] - start * group.length
        yield part_TW, [Group(len(part_TW) // group.length, group.length)], some


def mixing(width: int) -> Tensor:
    """A rotation of as many neighbouring channels as divide the width, up to `MIXED`, which leaves their mean: (M, M).

    LayerNorm does the same before it as behind it. Their cosine transform, with signs drawn for all frequencies but the
    mean, and back; the draw is that of 1,500 whose largest entry is the smallest, a quarter.
    Source for rotating outliers away: Ashkboos et al. 2024, "QuaRot".
    """
    size = max(count for count in range(1, MIXED + 1) if width % count == 0)
    place_M = torch.arange(size, dtype=torch.float64)
    cosine_MM = (math.pi / size * place_M[:, None] * (place_M + 0.5)).cos() * (2 / size) ** 0.5
    cosine_MM[0] = size**-0.5
    sign_M = torch.randint(0, 2, (size,), generator=torch.Generator().manual_seed(131)) * 2.0 - 1
    sign_M[0] = 1
    return (cosine_MM.T @ (sign_M[:, None] * cosine_MM)).float()


def mix(x: Tensor, mixing_MM: Tensor, dim: int) -> Tensor:
    """Channels, which lie along `dim`, rotated in groups: (T, W) to (T, W)."""
    grouped = x.movedim(dim, -1).unflatten(-1, (-1, len(mixing_MM)))
    return F.linear(grouped, mixing_MM).flatten(-2).movedim(-1, dim)


def after_norm(layer: nn.Linear, norm: nn.LayerNorm, mixing_MM: Tensor, offset_W: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (O, W) and bias of a layer behind a LayerNorm whose rows have mixed channels, less an offset, and no gain
    or bias."""
    weight_OW, gain_W = layer.weight.detach(), norm.weight.detach()
    bias_O = layer.bias.detach() + weight_OW @ (norm.bias.detach() + gain_W * offset_W)
    return mix(weight_OW * gain_W, mixing_MM, 1), bias_O


@functools.cache
def has_bfloat16() -> bool:
    """Whether this CPU multiplies matrices in bfloat16 by units of its own."""
    return any(getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))

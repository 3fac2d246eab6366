"""Channels of what blocks add up that are large in all rows alike, as real CLIP weights have them, for whole numbers.

Behind a LayerNorm such a channel holds nearly a constant, and all others are small beside it: one step for both leaves
nothing of the others. The constant is taken off before rows are rounded, and comes back through the layer's bias.

T = rows, W = width, S = side in pixels.
"""

import copy
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from seesay.nets.block import Block

if TYPE_CHECKING:
    from seesay.model.bundle import Model

# Images of noise and texts that constants are found with; the deviations from 0 that a channel's mean goes beyond.
IMAGES, TEXTS, BEYOND = 2, ("a photo of a cat.", "two red cars on a street at night"), 4.0
# What is left is given so many times its deviation.
HEADROOM = 1.5


class Centre(NamedTuple):
    """What is taken off a normalised row, (W,), and how wide it is then beside a row that nothing is taken off."""

    offset_W: Tensor
    width: float


@torch.no_grad()
def centres_of(model: "Model") -> dict[int, Centre]:
    """By the `id` of a LayerNorm before a product of a block; those without such channels are left out.

    So are those where a single row, as that of the class token, lacks them: it stays as wide, and would be cut.
    """
    plain = copy.copy(model)
    plain.encoder, plain.engine = None, "torch"
    blocks = [module for module in model.clip.modules() if isinstance(module, Block)]
    seen: dict[nn.LayerNorm, list[Tensor]] = {norm: [] for block in blocks for norm in (block.ln_1, block.ln_2)}

    def see(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.LayerNorm)
        rows_TW = inputs[0].flatten(0, -2)
        seen[norm].append(nn.functional.layer_norm(rows_TW, norm.normalized_shape, eps=norm.eps))

    hooks = [norm.register_forward_pre_hook(see) for norm in seen]
    side, generator = model.preprocess.size, torch.Generator().manual_seed(0)
    plain.encode_pixels(torch.randint(0, 256, (IMAGES, 3, side, side), dtype=torch.uint8, generator=generator))
    plain.encode_texts(TEXTS)
    for hook in hooks:
        hook.remove()
    found = {}
    for norm, parts in seen.items():
        row_TW = torch.cat(parts)
        mean_W = row_TW.mean(0)
        offset_W = mean_W.where(mean_W.abs() > BEYOND, 0.0)
        width_T = (row_TW - offset_W).square().mean(1).sqrt()
        width = max(HEADROOM * float(width_T.square().mean().sqrt()), float(width_T.max()))
        if offset_W.any() and width < 1:
            found[id(norm)] = Centre(offset_W, width)
    return found

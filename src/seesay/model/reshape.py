"""A trained model for images of another size, or longer captions: tables of positions interpolated, all else as it is.

G = positions of a grid, P = rows before them that stand for no position, W = width, L = positions of the context.
"""

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seesay.base.errors import UsageError
from seesay.data.file_tokenizer import with_context
from seesay.model.bundle import Model
from seesay.model.engines import refuse_altered
from seesay.nets.architecture import (
    Architecture,
    BagOfWordsConfig,
    BagOfWordsHeadConfig,
    ConvNetConfig,
    ResNetConfig,
    SiglipImageConfig,
    TextTransformerConfig,
    VisionTransformerConfig,
)
from seesay.nets.bounds import LEAST_SIDE, MOST_SIDE
from seesay.nets.clip import empty_clip

Image = VisionTransformerConfig | ResNetConfig | ConvNetConfig | SiglipImageConfig
# Zhang et al. 2024, "Long-CLIP": most captions end within the first 20 tokens, so these positions are well trained.
KEPT = 20
TEXT_TABLE = "text_tower.positions"
# Facts that were measured at the sizes of then: scores, and the cosines by which "none of these" is said.
OF_SIZES = ("evaluation", "known_photos")


def reshape(model: Model, *, image_size: int | None = None, context: int | None = None) -> Model:
    """The model for images of `image_size` px and texts of `context` tokens; None: as it is.

    Weights that hold no position are the same bits, and the preparation of images follows. A table of image positions
    is interpolated as `image_positions`, one of text positions as `text_positions`; towers without one need none.
    `UsageError` for a size that the tower cannot take, a text side whose context cannot change and a model that is only
    to encode with; a `UserWarning` where captions will be cut shorter. Of the facts those of `OF_SIZES` are left out.
    """
    refuse_altered(model, "reshape")
    old = model.architecture
    architecture = _architecture(old, image_size=image_size, context=context)
    weights = dict(model.clip.state_dict())
    if image_size is not None and (name := _image_table(old)):
        positions, before = weights[name], _rows_before(old)
        weights[name] = image_positions(positions, _side(architecture), before=before)
    if isinstance(old.text, TextTransformerConfig) and architecture.text.context != old.text.context:
        weights[TEXT_TABLE] = text_positions(weights[TEXT_TABLE], architecture.text.context)
    clip = empty_clip(architecture)
    clip.fill(weights)
    size, before = architecture.image.image_size, {"image_size": old.image.image_size, "context": old.text.context}
    return Model(
        clip,
        architecture,
        with_context(model.tokenizer, architecture.text.context) if context else model.tokenizer,
        preprocess=model.preprocess.model_copy(update={"size": size}),
        templates=model.templates,
        name=model.name,
        facts=model.facts if architecture == old else _facts_of_other(model, before),
    )


def _facts_of_other(model: Model, before: dict[str, int]) -> dict[str, Any]:
    """What is known of the model at other sizes, and those that it was trained for."""
    kept = {name: fact for name, fact in model.facts.items() if name not in OF_SIZES}
    return {"reshaped_from": before, **kept}


def image_positions(position_GW: Tensor, side: int, *, before: int) -> Tensor:
    """Positions of a square grid, (P + G, W), for one of `side` x `side`, bicubic and antialiased; the first P stay.

    That is open_clip's `resize_pos_embed` and timm's `resample_abs_pos_embed`. In float32 at least, in the dtype that
    came in; the same bits for the same side.
    """
    token_PW, grid_GW = position_GW[:before], position_GW[before:]
    old = round(len(grid_GW) ** 0.5)
    if old == side:
        return position_GW
    grid_1WSS = grid_GW.to(torch.promote_types(grid_GW.dtype, torch.float32)).view(1, old, old, -1).permute(0, 3, 1, 2)
    new_1WSS = F.interpolate(grid_1WSS, (side, side), mode="bicubic", antialias=True, align_corners=False)
    new_GW = new_1WSS.permute(0, 2, 3, 1).reshape(side * side, -1).to(position_GW.dtype)
    return torch.cat([token_PW, new_GW])


def text_positions(position_LW: Tensor, context: int) -> Tensor:
    """Positions of texts, (L, W), for `context` of them: cut, or from the 20th on stretched as in Long-CLIP.

    The first 20 stay. Between the others lie straight lines, and the last one goes on behind the end; from 77 to 248
    every step is a quarter of one, which is Long-CLIP itself. `UsageError` where there are not two to stretch.
    """
    length = len(position_LW)
    if context <= length:
        return position_LW[:context].clone()
    if length < KEPT + 2:
        raise UsageError(
            f"context {context} needs a table of positions that is longer than the {KEPT} that stay as they are, and "
            f"the model's has {length}; train it with data.context={context}."
        )
    place_L = torch.arange(context - KEPT, dtype=torch.float64) * (length - KEPT) / (context - KEPT)
    below_L = place_L.floor().long().clamp(max=length - KEPT - 2)
    share_L1 = (place_L - below_L)[:, None]
    rest_LW = position_LW[KEPT:].double()
    stretched_LW = (1 - share_L1) * rest_LW[below_L] + share_L1 * rest_LW[below_L + 1]
    return torch.cat([position_LW[:KEPT], stretched_LW.to(position_LW.dtype)])


def _architecture(old: Architecture, *, image_size: int | None, context: int | None) -> Architecture:
    image, text = old.image, old.text
    if image_size is not None:
        if not isinstance(image, Image):
            raise UsageError(
                f"the image tower {image.kind} of {old.image.image_size} px is not written here, and its size is not "
                "changed; leave image_size out."
            )
        _refuse_remainder(image, image_size)
        image = type(image)(**{**image.model_dump(), "image_size": image_size})
    if context is not None:
        if not isinstance(text, TextTransformerConfig | BagOfWordsConfig | BagOfWordsHeadConfig):
            raise UsageError(
                f"the text side {text.kind} was trained for {text.context} tokens and reads no other number; leave "
                "context out."
            )
        text = type(text)(**{**text.model_dump(), "context": context})
        if context < old.text.context:
            warnings.warn(f"texts are cut at {context} tokens from now on; it was {old.text.context}.", stacklevel=3)
    return old.model_copy(update={"image": image, "text": text})


def _refuse_remainder(image: Image, size: int) -> None:
    """SigLIP and the small convolutional tower take any size."""
    if not float(size).is_integer() or not LEAST_SIDE <= size <= MOST_SIDE:
        raise UsageError(f"image_size is {size}; give a whole number of pixels from {LEAST_SIDE} to {MOST_SIDE}.")
    step = 32 if isinstance(image, ResNetConfig) else image.patch if isinstance(image, VisionTransformerConfig) else 1
    if size % step:
        near = [side for side in (size // step * step, -(-size // step) * step) if LEAST_SIDE <= side <= MOST_SIDE]
        raise UsageError(
            f"image_size {size} is no multiple of {step}, by which the tower cuts it; take "
            f"{' or '.join(map(str, near))}."
        )


def _image_table(architecture: Architecture) -> str | None:
    if isinstance(architecture.image, ConvNetConfig):
        return None
    return "image_tower.pool.positions" if isinstance(architecture.image, ResNetConfig) else "image_tower.positions"


def _rows_before(architecture: Architecture) -> int:
    """A ViT has a class token before its patches, a ResNet's attention pool their mean, SigLIP nothing."""
    return int(isinstance(architecture.image, VisionTransformerConfig | ResNetConfig))


def _side(architecture: Architecture) -> int:
    """Positions along a side of the image."""
    image = architecture.image
    assert isinstance(image, VisionTransformerConfig | ResNetConfig | SiglipImageConfig)
    return image.image_size // (32 if isinstance(image, ResNetConfig) else image.patch)

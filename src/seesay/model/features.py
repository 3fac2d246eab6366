"""What a linear probe reads: the image tower's features before the projection into the shared space.

N = pictures that could be read, B = pictures in a block, W = width of the tower, D = embedding width.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from seesay.base.records import Skipped
from seesay.model.bundle import Model
from seesay.model.encode import encode_image_set
from seesay.model.texts import directed, numbers
from seesay.nets.clip import Predictor


@torch.inference_mode()
def features_of(model: Model, pixels_B3SS: Tensor) -> Tensor:
    """uint8 pixels of the model's size to (B, W) float32 on the CPU, not of unit length.

    `RefusedInput` if one is no number.
    """
    return numbers(model.clip.features(model.preprocess.normalise(pixels_B3SS.to(model.device))).float().cpu())


def encode_feature_set(
    model: Model, read: Callable[[int], bytes], count: int, *, progress: Callable[[int], None] = lambda done: None
) -> tuple[Tensor, list[int], list[Skipped]]:
    """As `encode_image_set`, with features (N, W) in place of embeddings."""
    return encode_image_set(model, read, count, progress=progress, encode=partial(features_of, model))


@torch.inference_mode()
def embeddings_of(model: Model, features_NW: Tensor) -> Tensor:
    """Features to what `Model.encode_images` would have given, (N, D) float32 on the CPU.

    Not where a head `reads_grid`: features are the grid's mean.
    """
    row_ND = model.clip.embed_features(features_NW.to(model.device)).float().cpu()
    return numbers(row_ND) if isinstance(model.clip, Predictor) else directed(row_ND)

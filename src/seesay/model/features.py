"""What a linear probe reads: the image tower's features before the projection into the shared space.

N = pictures that could be read, B = pictures in a block, W = width of the tower, D = embedding width.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from seesay.base.records import Skipped
from seesay.formulas.similarity import unit
from seesay.model.bundle import Model
from seesay.model.encode import encode_image_set
from seesay.model.texts import directed, numbers
from seesay.nets.resnet import ResNet
from seesay.nets.siglip import SiglipImage


class FeatureReader:
    """A model as `encode_image_set` sees it, that answers with features."""

    def __init__(self, model: Model):
        self.preprocess = model.preprocess
        self.architecture = model.architecture
        self._model = model

    @torch.inference_mode()
    def encode_pixels(self, pixels_B3SS: Tensor) -> Tensor:
        """uint8 pixels of the model's size to (B, W) float32 on the CPU, not of unit length; `RefusedInput` if one is
        no number."""
        pixels = self.preprocess.normalise(pixels_B3SS.to(self._model.device))
        tower: Any = self._model.clip.image_tower
        return numbers(tower.features(pixels).float().cpu())


def encode_feature_set(
    model: Model, read: Callable[[int], bytes], count: int, *, progress: Callable[[int], None] = lambda done: None
) -> tuple[Tensor, list[int], list[Skipped]]:
    """As `encode_image_set`, with features (N, W) in place of embeddings."""
    return encode_image_set(cast(Model, FeatureReader(model)), read, count, progress=progress)


@torch.inference_mode()
def embeddings_of(model: Model, features_NW: Tensor) -> Tensor:
    """Features to the embeddings that the model makes of them, (N, D) float32 unit rows on the CPU."""
    tower: Any = model.clip.image_tower
    x = features_NW.to(model.device)
    if isinstance(tower, ResNet):
        x = tower.pool.out(x)
    elif not isinstance(tower, SiglipImage):
        x = x @ tower.projection
    return directed(unit(x.float()).cpu())

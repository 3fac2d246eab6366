"""Training crops of images that are there, as the loader makes them one by one."""

from collections.abc import Sequence

import numpy as np
import torch

from seesay.data.augment import Augment, augmented, crop
from seesay.data.jpeg import DecodedImage


def training_crops(
    images: Sequence[DecodedImage], size: int, *, augment: Augment, random_BK: np.ndarray
) -> torch.Tensor:
    """(B, 3, S, S) uint8, each image by its row of `random_BK`."""
    rows = zip(images, random_BK, strict=True)
    crops = [crop(image, size, augment=augment, random_K=random_K) for image, random_K in rows]
    return augmented(torch.cat(crops), augment=augment, random_BK=random_BK)

"""Features before the projection, for every kind of image tower."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from seesay.data.images import Preprocess
from seesay.model.encode import embeddings_of, encode_feature_set
from seesay.nets.architecture import ConvNetConfig, ResNetConfig, SiglipImageConfig, VisionTransformerConfig
from seesay.nets.clip import IMAGE_TOWERS

TOWER_CONFIGS = {
    "vit": (VisionTransformerConfig(image_size=32, patch=16, width=16, layers=1, heads=2), 16),
    "resnet": (ResNetConfig(image_size=32, width=8, layers=(1, 1, 1, 1), heads=4), 256),
    "conv": (ConvNetConfig(image_size=32, width=12, depths=(1,)), 12),
    "siglip": (SiglipImageConfig(image_size=32, patch=16, width=8, layers=1, heads=2), 8),
}


def image(index: int) -> bytes:
    data = io.BytesIO()
    pixels = np.random.default_rng(index).integers(0, 256, (16, 18, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize("kind", TOWER_CONFIGS)
def test_features_are_as_wide_as_the_tower_and_the_projection_makes_its_embeddings_of_them(model, kind: str):
    config, width = TOWER_CONFIGS[kind]
    torch.manual_seed(0)
    model.clip.image_tower = IMAGE_TOWERS[config.kind](config, 8).eval()
    model.preprocess = Preprocess(size=32, mean=(0.5, 0.4, 0.3))
    images = [image(index) for index in range(3)]
    features_NW, kept, skipped = encode_feature_set(model, images.__getitem__, 3)
    assert features_NW.shape == (3, width) and kept == [0, 1, 2] and skipped == []
    torch.testing.assert_close(embeddings_of(model, features_NW), model.encode_images(images), rtol=0, atol=1e-6)


def test_broken_images_are_left_out_and_named(model):
    told = []
    images = [image(0), b"no image", image(2)]
    features_NW, kept, skipped = encode_feature_set(model, images.__getitem__, 3, progress=told.append)
    assert len(features_NW) == 2 and kept == [0, 2] and sum(told) == 3
    assert [(item.key, item.reason) for item in skipped] == [("1", "not an image")]

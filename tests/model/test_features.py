"""Features before the projection, for every kind of image tower."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from seesay.model.encode import embeddings_of, encode_feature_set

# Of the towers of `with_tower`.
WIDTHS = {"vit": 16, "resnet": 256, "conv": 12, "siglip": 8}


def image(index: int) -> bytes:
    data = io.BytesIO()
    pixels = np.random.default_rng(index).integers(0, 256, (16, 18, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize(("kind", "width"), WIDTHS.items())
def test_features_are_as_wide_as_the_tower_and_the_projection_makes_its_embeddings_of_them(with_tower, kind, width):
    model = with_tower(kind)
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

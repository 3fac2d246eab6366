"""A whole set of pictures to one matrix: in order, whatever is broken left out and named."""

import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from seesay.base.errors import BrokenSample, StorageError
from seesay.model.bundle import Model
from seesay.model.encode import BLOCK, encode_image_set


def picture(index: int) -> bytes:
    data = io.BytesIO()
    generator = np.random.default_rng(index)
    Image.fromarray(generator.integers(0, 256, (16, 18, 3), dtype=np.uint8)).save(data, "PNG")
    return data.getvalue()


def test_a_set_is_encoded_in_its_order_as_one_by_one(model: Model):
    count, told = 2 * BLOCK + 5, []
    image_ND, kept, skipped = encode_image_set(model, picture, count, progress=told.append)
    assert kept == list(range(count)) and skipped == []
    assert sum(told) == count and len(told) == 3
    expected_ND = torch.cat([model.encode_images([picture(index)]) for index in range(count)])
    torch.testing.assert_close(image_ND, expected_ND, rtol=0, atol=1e-6)


def test_broken_pictures_are_left_out_and_named_with_their_reason(model: Model):
    def read(index: int) -> bytes:
        if index == 3:
            return picture(index)[:100]
        if index == 5:
            raise BrokenSample("missing file", "it was there a moment ago")
        return b"" if index == BLOCK + 1 else picture(index)

    image_ND, kept, skipped = encode_image_set(model, read, BLOCK + 4)
    assert kept == [index for index in range(BLOCK + 4) if index not in (3, 5, BLOCK + 1)]
    assert [(item.key, item.reason) for item in skipped] == [
        ("3", "truncated image"),
        ("5", "missing file"),
        (str(BLOCK + 1), "empty file"),
    ]
    torch.testing.assert_close(image_ND[3], model.encode_images([picture(4)])[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", [0, 3])
def test_a_set_without_one_picture_gives_no_rows(model: Model, count: int):
    image_ND, kept, skipped = encode_image_set(model, lambda _: b"no picture", count)
    assert image_ND.shape == (0, 8) and kept == [] and len(skipped) == count


def test_what_is_no_broken_picture_ends_the_work_and_leaves_no_thread(model: Model):
    def read(index: int) -> bytes:
        if index == 70:
            raise StorageError("the disk is gone")
        return picture(index)

    before = threading.active_count()
    with pytest.raises(StorageError, match="the disk is gone"):
        encode_image_set(model, read, 200)
    assert threading.active_count() == before

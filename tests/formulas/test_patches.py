"""Images of any shape as patches in a square."""

import numpy as np
import pytest
import torch

from seesay.base.errors import UsageError
from seesay.formulas.patches import laid_out, shape_in_patches, square_side, taken_out

# Heights, widths, side and number of patches, and what transformers 5.24's `get_image_size_for_max_num_patches` gives.
SHAPES = [
    ((480, 640), (16, 256), (14, 18)),
    ((640, 480), (16, 256), (18, 14)),
    ((256, 256), (16, 256), (16, 16)),
    ((1, 400), (8, 40), (1, 40)),
    ((400, 1), (8, 40), (40, 1)),
    ((2, 2), (8, 40), (6, 6)),
    ((1080, 1920), (16, 1024), (24, 42)),
    ((3000, 2000), (14, 729), (33, 22)),
]


@pytest.mark.parametrize(("sides", "patches", "expected"), SHAPES)
def test_the_shape_in_patches_is_that_of_transformers(sides, patches, expected):
    assert shape_in_patches(*sides, patch=patches[0], patches=patches[1]) == expected
    assert np.prod(expected) <= patches[1]


@pytest.mark.parametrize(("high", "wide"), [(2, 3), (1, 9), (9, 1), (3, 3), (1, 1)])
@pytest.mark.parametrize("mean", [0.0, 0.5])
def test_patches_come_out_of_the_square_as_they_were_laid_in(high, wide, mean):
    image_HW3 = np.random.default_rng(0).integers(0, 256, (6 * high, 6 * wide, 3), dtype=np.uint8)
    square = laid_out(image_HW3, patch=6, patches=9)
    assert square.shape == (square_side(6, 9),) * 2 + (3,) == (24, 24, 3)
    pixels_13SS = torch.from_numpy(square).permute(2, 0, 1)[None].float().div(255).sub(mean)
    patches_1KX, shapes = taken_out(pixels_13SS, patch=6, patches=9)
    assert shapes == [(high, wide)]
    first, last = patches_1KX[0, 0].view(6, 6, 3), patches_1KX[0, high * wide - 1].view(6, 6, 3)
    expected = torch.from_numpy(image_HW3).float().div(255).sub(mean)
    assert torch.equal(first, expected[:6, :6]) and torch.equal(last, expected[-6:, -6:])


def test_a_square_that_holds_no_patches_is_refused():
    for pixels in (torch.zeros(1, 3, 24, 24), torch.randn(2, 3, 24, 24)):
        with pytest.raises(UsageError, match="not patches of an image"):
            taken_out(pixels, patch=6, patches=9)

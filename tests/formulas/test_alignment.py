"""Images laid over each other: copies lie well, other images do not, and what a map stretches is taken off."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from seesay.formulas.alignment import END, LOWEST, WEIGHT, _shifted_correlations, agreement

SIDE = 48
BEST = -WEIGHT * math.log(END - 1)


def drawn(seed: int, side: int = 120) -> Image.Image:
    """Smooth random greys with a few shapes."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (7, 7), dtype=np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    for _ in range(9):
        left, top, width, height = (*rng.integers(0, side - 20, 2).tolist(), *rng.integers(8, 40, 2).tolist())
        image.paste(int(rng.integers(0, 256)), (left, top, left + width, top + height))
    return image


def greys(*images: Image.Image) -> torch.Tensor:
    small = [np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for image in images]
    return torch.from_numpy(np.stack(small)).float() / 255


CHANGES = {
    "same": lambda image: image,
    "mirrored": ImageOps.mirror,
    "turned": lambda image: image.rotate(-9, Image.Resampling.BICUBIC, fillcolor=128),
    "cropped": lambda image: image.crop((0, 12, 96, 108)),
    "framed": lambda image: ImageOps.expand(image, 12, 200),
    "darker": lambda image: image.point(lambda grey: grey * 0.6),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_lies_over_its_image_and_no_other_one_does(change):
    images = [drawn(seed) for seed in range(8)]
    copies = [CHANGES[change](image) for image in images]
    own_P = agreement(greys(*images), greys(*copies))
    other_P = agreement(greys(*images), greys(*copies[1:], copies[0]))
    assert float(own_P.min()) > 0.2
    assert float(other_P.max()) < 0.1
    if change == "same":
        assert own_P.tolist() == pytest.approx([BEST] * 8, abs=0.01)


def test_what_a_map_stretches_is_taken_off():
    image = drawn(3)
    wider = image.crop((15, 0, 105, 120))  # three quarters of the width
    (found,) = agreement(greys(image), greys(wider)).tolist()
    assert found == pytest.approx(BEST - math.log(4 / 3), abs=0.05)


def test_flat_images_agree_in_nothing():
    flat_PSS = torch.full((3, SIDE, SIDE), 0.5)
    flat_PSS[2] = greys(drawn(1))[0]
    assert (agreement(flat_PSS, flat_PSS.flip(0)) < 0.1).all()
    assert (agreement(torch.zeros(2, SIDE, SIDE), torch.rand(2, SIDE, SIDE)) >= LOWEST).all()


def test_correlations_of_all_shifts_are_those_of_numpy():
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 12, 12), dtype=np.float32)
    r_PJFF, common_JFF = _shifted_correlations(
        torch.from_numpy(one[None]), torch.from_numpy(other[None, None]), torch.ones(1, 12, 12)
    )
    for down, right in ((0, 0), (2, 1), (0, 3)):
        shared = one[down:, right:], other[: 12 - down, : 12 - right]
        expected = np.corrcoef(shared[0].ravel(), shared[1].ravel())[0, 1]
        assert float(r_PJFF[0, 0, down, right]) == pytest.approx(expected, abs=1e-4)
        assert float(common_JFF[0, down, right]) == pytest.approx(shared[0].size / 144, abs=1e-4)

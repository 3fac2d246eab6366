"""What is done to images beside cropping and shifting colours: turning, moving, blurring, greying."""

import math

import numpy as np
import pytest
import torch
from crops import training_crops
from PIL import Image, ImageFilter

from seesay.data.augment import BLUR, BLUR_SIDE, COLUMNS, DOWN, GREY, LEAST_BLUR, RIGHT, TURN, Augment
from seesay.data.jpeg import DecodedImage

SIDE = 33
MIDDLE = 0.5  # the draw that neither turns nor moves


def crop(pixels_HW3, augment, **draws):
    random_BK = np.full((1, COLUMNS), MIDDLE)
    for column, value in draws.items():
        random_BK[0, {"turn": TURN, "right": RIGHT, "down": DOWN, "blur": BLUR, "grey": GREY}[column]] = value
    return training_crops([DecodedImage.whole(pixels_HW3)], len(pixels_HW3), augment=augment, random_BK=random_BK)[0]


def noise():
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def test_a_draw_in_the_middle_leaves_the_image_as_it_is():
    found = crop(noise(), Augment(turn=20.0, move=0.1))
    np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), noise())


def test_a_quarter_turn_is_numpys():
    found = crop(noise(), Augment(turn=90.0), turn=1.0).permute(1, 2, 0).numpy().astype(int)
    assert min(np.abs(found - np.rot90(noise(), k)).max() for k in (1, 3)) <= 1


@pytest.mark.parametrize(("name", "axis"), [("right", 2), ("down", 1)])
def test_a_shift_moves_whole_pixels_and_lets_black_in(name, axis):
    image = noise()
    shifted = crop(image, Augment(move=3 / SIDE), **{name: 1.0})
    whole = torch.from_numpy(image).permute(2, 0, 1)
    wanted = torch.zeros_like(whole)
    wanted.narrow(axis, 0, SIDE - 3).copy_(whole.narrow(axis, 3, SIDE - 3))
    assert (shifted.int() - wanted.int()).abs().max() <= 1


@pytest.mark.parametrize(("draw", "is_grey"), [(0.0, True), (0.19, True), (0.2, False), (0.9, False)])
def test_a_grey_image_is_pillows_to_the_bit_and_the_others_keep_their_colours(draw, is_grey):
    found = crop(noise(), Augment(grey=0.2), grey=draw).permute(1, 2, 0).numpy()
    grey = Image.fromarray(noise()).convert("L").convert("RGB")
    np.testing.assert_array_equal(found, np.asarray(grey) if is_grey else noise())


def test_the_blur_is_a_gaussian_as_wide_as_the_image_is_large():
    image = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    image[SIDE // 2, SIDE // 2] = 255
    most = 2.0 * BLUR_SIDE / SIDE
    found = crop(image, Augment(blur=most), blur=1.0)[0].double()
    place = torch.arange(SIDE) - SIDE // 2
    weight = torch.exp(-0.5 * (place / 2.0) ** 2)
    wanted = 255 * torch.outer(weight, weight) / weight.sum() ** 2
    assert (found - wanted).abs().max() <= 0.5 + 1e-3


def test_the_least_blur_leaves_a_small_image_as_it_is():
    assert LEAST_BLUR * SIDE / BLUR_SIDE < 0.1
    found = crop(noise(), Augment(blur=3.0), blur=0.0)
    np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), noise())


def test_every_image_has_its_own_blur():
    random_BK = np.full((2, COLUMNS), MIDDLE)
    random_BK[:, BLUR] = 0.0, 1.0
    images = [DecodedImage.whole(noise())] * 2
    augment = Augment(blur=2.5 * BLUR_SIDE / SIDE)
    together = training_crops(images, SIDE, augment=augment, random_BK=random_BK)
    for row in range(2):
        alone = training_crops(images[:1], SIDE, augment=augment, random_BK=random_BK[row : row + 1])
        assert (together[row].int() - alone[0].int()).abs().max() <= 1
    assert float(together[1].float().std()) < float(together[0].float().std()) / 2


def test_a_strong_blur_is_pillows():
    image = np.array(Image.fromarray(noise()).resize((64, 64)).filter(ImageFilter.GaussianBlur(1)))
    most = 1.5 * BLUR_SIDE / 64
    found = crop(image, Augment(blur=most), blur=1.0).permute(1, 2, 0).numpy().astype(int)
    wanted = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1.5))).astype(int)
    # Pillow's is three box blurs: an approximation, and other edges.
    assert np.abs(found - wanted)[6:-6, 6:-6].mean() < 1.5
    assert math.isclose(found.mean(), wanted.mean(), abs_tol=1.0)

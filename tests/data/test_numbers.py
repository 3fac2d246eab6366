"""Where a crop lies, how large it is, and what fits into memory: by hand, from random numbers that are chosen."""

import numpy as np
import pytest
from crops import training_crops

from seesay.base.records import Pair
from seesay.data import pixel_cache, survey
from seesay.data.augment import AREA, COLUMNS, LEFT, STRETCH, TOP, Augment
from seesay.data.duplicates import alike_groups
from seesay.data.jpeg import DecodedImage
from seesay.data.pixel_cache import PixelCache
from seesay.data.survey import sample_images


def crop(augment, size, *, shape=(32, 48), **numbers):
    """The first row and column of a crop and its sides, from an image whose pixels say where they are."""
    rows, columns = np.indices(shape)
    image = np.stack([rows, columns, np.zeros(shape)], axis=2).astype(np.uint8)
    random_BK = np.full((1, COLUMNS), 0.5)
    for column, value in numbers.items():
        random_BK[0, {"area": AREA, "stretch": STRETCH, "top": TOP, "left": LEFT}[column]] = value
    (found,) = training_crops([DecodedImage.whole(image)], size, augment=augment, random_BK=random_BK)
    return tuple(int(found[channel].min()) for channel in (0, 1)), found


@pytest.mark.parametrize(
    ("top", "left", "corner"), [(0.0, 0.999, (0, 32)), (0.999, 0.0, (16, 0)), (0.0, 0.0, (0, 0)), (0.5, 0.25, (8, 8))]
)
def test_a_crop_lies_where_its_own_two_numbers_say(top, left, corner):
    """A quarter of the largest square, 16 of 32 px: 17 rows and 33 columns are left to begin in."""
    found, pixels = crop(Augment(scale=0.25), 16, area=0.0, top=top, left=left)
    assert found == corner
    assert pixels[0].max() == corner[0] + 15 and pixels[1].max() == corner[1] + 15


@pytest.mark.parametrize(("area", "side"), [(0.0, 16), (0.25, 21), (0.5, 25), (0.999, 32)])
def test_what_is_drawn_between_scale_and_one_is_the_area_of_a_crop_and_not_its_side(area, side):
    """scale 0.25: an area of 0.25 + 0.75 a of 32 x 32, so a side of 32 times its root."""
    _, pixels = crop(Augment(scale=0.25), side, area=area, top=0.0, left=0.0)
    assert pixels[0].max() == pixels[1].max() == side - 1


def test_a_stretched_crop_keeps_its_area():
    _, pixels = crop(Augment(scale=0.25, stretch=2.0), 22, area=0.0, stretch=1.0, top=0.0, left=0.0)
    # 16 sqrt(2) by 16 / sqrt(2): 23 rows and 11 columns, shown as 22 x 22.
    assert pixels[0].max() == 22 and pixels[1].max() == 10


def test_a_cache_takes_less_than_a_quarter_of_memory(monkeypatch):
    """1,000 images of 100 px, 1.4 times as long as wide, three bytes each: 42 MB of 168 MB."""
    monkeypatch.setattr(pixel_cache, "whole_memory", lambda: 168_000_001)
    assert PixelCache.fits(1000, 100)
    monkeypatch.setattr(pixel_cache, "whole_memory", lambda: 168_000_000)
    assert not PixelCache.fits(1000, 100)


@pytest.mark.parametrize(
    ("other", "is_alike"),
    [(0b1, True), (0b11, True), (1 << 63 | 1, True), (0b111, False), (1 << 63 | 0b11, False), (1 << 30 | 0b11, False)],
)
def test_images_are_alike_whose_hashes_differ_in_two_bits_at_most(other, is_alike):
    colours_N883 = np.full((2, 8, 8, 3), 128, dtype=np.uint8)
    groups = alike_groups(np.array([0, other], dtype=np.uint64), colours_N883)
    assert [group.tolist() for group in groups] == ([[0, 1]] if is_alike else [])


@pytest.mark.parametrize(("apart", "is_alike"), [(12, False), (10, True)])
def test_small_differences_of_colour_count_against_the_contrast(apart, is_alike):
    """A checkerboard of 28 and 228 has a contrast of 100, so a tenth of it, 10, may lie between two copies."""
    grid = np.where(np.indices((8, 8)).sum(0) % 2, 228, 28).astype(np.uint8)
    one = np.repeat(grid[:, :, None], 3, axis=2)
    groups = alike_groups(np.array([5, 5], dtype=np.uint64), np.stack([one, one + np.uint8(apart)]))
    assert bool(groups) == is_alike


class Shards:
    """Twenty shards of five pairs each; `read` are the numbers of the pairs whose image was asked for."""

    def __init__(self):
        self.read = []

    def __len__(self):
        return 100

    def __getitem__(self, index):
        self.read.append(index)
        return Pair(key=str(index), image=bytes([index]), captions=("a cat",))

    def location(self, index):
        return f"{index // 5:02}.tar, byte {512 * (index % 5)}"


def test_of_more_shards_than_are_looked_at_every_so_manyeth_is_and_not_the_first_ones(monkeypatch):
    """Of 20 shards 7 at most: every third, from the first to the nineteenth."""
    monkeypatch.setattr(survey, "SAMPLE", 0)
    monkeypatch.setattr(survey, "MOST_SHARDS", 7)
    pairs = Shards()
    sample_images(pairs)
    assert [index // 5 for index in pairs.read] == [0, 3, 6, 9, 12, 15, 18]

"""Images that are there twice are found, and others are not taken for them."""

import io

import numpy as np
import pytest
from PIL import Image

from seesay.data.decode import decode
from seesay.data.duplicates import COPIES, alike_groups, are_alike, equal_groups, looks


def image(seed: int, side: int = 96) -> Image.Image:
    """Smooth random colours, as a photo has."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def saved(image: Image.Image, kind: str = "JPEG", **options) -> np.ndarray:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return decode(buffer.getvalue())


def groups(images) -> list[list[int]]:
    hashes, grids = zip(*(looks(image) for image in images), strict=True)
    found = alike_groups(np.array(hashes, dtype=np.uint64), np.stack(grids))
    return [group.tolist() for group in found]


@pytest.mark.journey
@pytest.mark.parametrize(
    "again",
    [
        lambda image: saved(image, quality=60),
        lambda image: saved(image.resize((64, 64)), "PNG"),
        lambda image: saved(image.resize((150, 150)), "WEBP", quality=80),
    ],
)
def test_the_same_image_saved_again_looks_alike(again):
    for seed in range(20):
        assert groups([saved(image(seed), "PNG"), saved(image(seed + 100), "PNG"), again(image(seed))]) == [[0, 2]]


@pytest.mark.journey
def test_two_hundred_different_images_are_all_different():
    assert groups([saved(image(seed), "PNG") for seed in range(200)]) == []


def test_flat_images_are_told_apart_by_their_colour():
    flat = [np.full((32, 32, 3), value, dtype=np.uint8) for value in (10, 200, 11, 90)]
    assert groups(flat) == [[0, 2]]


def test_different_small_things_on_white_are_different():
    def thing(left: int, width: int) -> np.ndarray:
        image = np.full((80, 60, 3), 255, dtype=np.uint8)
        image[20:60, left : left + width] = 200
        return image

    assert groups([thing(28, 2), thing(29, 3), thing(28, 4)]) == []


def test_what_is_alike_by_way_of_a_third_is_one_group():
    grid = np.zeros((3, 8, 8, 3), dtype=np.uint8)
    hashes = np.array([0b0011, 0b1111, 0b1111 << 1 | 1], dtype=np.uint64)
    assert [group.tolist() for group in alike_groups(hashes, grid)] == [[0, 1, 2]]


def test_equal_digests_are_grouped_in_the_order_of_the_first():
    digests = np.array([b"b", b"a", b"c", b"a", b"b", b"b"], dtype="S16")
    assert [group.tolist() for group in equal_groups(digests)] == [[0, 4, 5], [1, 3]]
    assert equal_groups(digests[:0]) == []


@pytest.mark.parametrize("way", COPIES)
def test_each_way_of_copying_changes_an_image_and_draws_the_same_from_the_same_seed(way: str):
    original = image(3, side=90).crop((0, 0, 90, 70))
    copies = [COPIES[way](original, np.random.default_rng(seed)) for seed in (1, 1)]
    assert all(copy.mode == "RGB" for copy in copies)
    assert np.array_equal(*map(np.asarray, copies))
    assert copies[0].size != original.size or not np.array_equal(np.asarray(copies[0]), np.asarray(original))
    assert original.size == (90, 70)


@pytest.mark.parametrize("way", COPIES)
def test_an_image_of_one_pixel_can_be_copied(way: str):
    for seed in range(5):
        assert min(COPIES[way](Image.new("RGB", (1, 1), "red"), np.random.default_rng(seed)).size) >= 1


def test_alike_images_of_two_sides_are_those_that_are_grouped():
    one = [looks(saved(image(seed), "PNG")) for seed in range(12)]
    other = [looks(saved(image(seed), quality=60)) for seed in range(6, 30)]
    sides = [
        (np.array([look for look, _ in side], np.uint64), np.stack([colours for _, colours in side]))
        for side in (one, other)
    ]
    assert [each.tolist() for each in are_alike(*sides)] == [list(range(6, 12)), list(range(6))]


def test_nothing_is_alike_where_one_side_is_empty():
    empty = np.empty(0, np.uint64), np.empty((0, 8, 8, 3), np.uint8)
    assert [len(each) for each in are_alike(empty, empty)] == [0, 0]

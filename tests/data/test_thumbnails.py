"""Small images of an index: upright, of the sides that were asked for, and near those of Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from seesay.data.jpeg import decoding
from seesay.data.thumbnails import quick_thumbnail


def smooth(width: int, height: int) -> Image.Image:
    across = np.linspace(0, 255, width, dtype=np.float32)[None, :, None]
    down = np.linspace(255, 0, height, dtype=np.float32)[:, None, None]
    return Image.fromarray((across * [1, 0, 0.5] + down * [0, 1, 0.5]).astype(np.uint8))


def saved(image: Image.Image, kind: str, *, turn: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = turn
    file = io.BytesIO()
    image.save(file, kind, exif=exif, quality=95, subsampling=0)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("sides", [(1600, 1088), (500, 375), (90, 60)], ids=str)
@pytest.mark.parametrize("turn", [1, 6])
def test_a_quick_thumbnail_is_upright_and_near_that_of_pillow(kind, sides, turn):
    image = smooth(*sides)
    with decoding(saved(image, kind, turn=turn)) as decoded:
        data, small = quick_thumbnail(decoded, side=192, quality=75)
    expected = image.transpose(Image.Transpose.ROTATE_270) if turn == 6 else image
    expected.thumbnail((192, 192))
    assert small.size == Image.open(io.BytesIO(data)).size == expected.size
    assert np.abs(np.asarray(small).astype(int) - np.asarray(expected)).max() <= 4


def test_a_line_of_pixels_has_a_thumbnail():
    with decoding(saved(Image.new("RGB", (3000, 2), "red"), "PNG")) as decoded:
        small_HW3 = np.asarray(quick_thumbnail(decoded, side=192, quality=75)[1])
    assert small_HW3.shape == (1, 192, 3) and (small_HW3 == [255, 0, 0]).all()


@pytest.mark.parametrize("turn", [1, 3, 5, 6, 8])
@pytest.mark.parametrize("sides", [(500, 1), (1, 500), (1, 1)], ids=str)
def test_a_line_of_pixels_that_is_turned_has_a_thumbnail(sides, turn):
    with decoding(saved(Image.new("RGB", sides, "red"), "JPEG", turn=turn)) as decoded:
        small = quick_thumbnail(decoded, side=192, quality=75)[1]
    assert sorted(small.size) == [1, min(192, max(sides))] and (small.size[0] > 1) == (decoded.decoded[1] > 1)

"""The fast mode beside the exact one: how far it may stray, and that it refuses the same files for the same reasons."""

import io
import random
import struct

import numpy as np
import pytest
import torch
from crops import training_crops
from PIL import Image, ImageFilter

from seesay.base.errors import BrokenSample
from seesay.data.augment import Augment, enough_for_crop, uniforms
from seesay.data.images import FastPreprocess, Preprocess, decode
from seesay.data.jpeg import DecodedImage, decode_shrunk

RANDOM = np.random.default_rng(11)
SHAPES = [
    (110, 81),
    (21, 108),
    (62, 91),
    (35, 32),
    (32, 39),
    (33, 32),
    (31, 60),
    (100, 64),
    (7, 5),
    (1, 1),
    (1, 40),
    (200, 3),
    (16, 17),
    (45, 48),
]


def noise(height: int, width: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


def scene(height: int, width: int) -> np.ndarray:
    """Hard edges, gradients and grain, blurred as a lens blurs; not the same under any turn."""
    down, right = np.mgrid[0:height, 0:width].astype(np.float32)
    disc = (down - height * 0.4) ** 2 + (right - width * 0.3) ** 2 < (min(height, width) * 0.25) ** 2
    stripes = (right + 2 * down) % (min(height, width) / 3) < min(height, width) / 9
    planes = [200 * disc + 30, 255 * down / height, 180 * stripes + 0.2 * right % 60]
    grain = RANDOM.normal(0, 6, (height, width, 3))
    image = Image.fromarray((np.stack(planes, axis=2) + grain).clip(0, 255).astype(np.uint8))
    return np.array(image.filter(ImageFilter.GaussianBlur(1)))


def jpeg(pixels: np.ndarray | Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    image.save(file, "JPEG", **{"quality": 90, **options})
    return file.getvalue()


def exif(orientation: int) -> bytes:
    return b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def levels(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return (left.int() - right.int()).abs().float()


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize", ["shortest", "squash"])
@pytest.mark.parametrize("shape", SHAPES)
def test_without_shrinking_no_pixel_is_more_than_one_level_away_or_two_in_noise(shape, resize, interpolation):
    for size in (32, 15):
        settings = {"size": size, "resize": resize, "interpolation": interpolation}
        for image, most in ((scene(*shape), 1), (noise(*shape), 2)):
            result = FastPreprocess(**settings).pixels(image)
            assert result.dtype == torch.uint8 and result.shape == (3, size, size) and result.is_contiguous()
            assert levels(result, Preprocess(**settings).pixels(image)).max() <= most


KINDS = {
    "colour at half the resolution": {},
    "colour in full": {"subsampling": 0},
    "colour at half the width": {"subsampling": 1},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_blocks": 2},
    "low quality": {"quality": 15},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_a_jpeg_that_is_not_shrunk_is_decoded_as_pillow_decodes_it(options):
    data = jpeg(scene(53, 47), **options)
    assert np.array_equal(decode_shrunk(data, lambda height, width: 1).pixels_HW3, decode(data))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_are_as_in_the_exact_mode(mode):
    data = jpeg(Image.fromarray(scene(80, 90)).convert(mode))
    assert np.array_equal(decode_shrunk(data, lambda height, width: 1).pixels_HW3, decode(data))
    assert levels(FastPreprocess(size=32).read(data), Preprocess(size=32).read(data)).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_other_formats_are_decoded_by_pillow_and_never_shrunk(kind):
    file = io.BytesIO()
    Image.fromarray(scene(40, 50)).save(file, kind)
    image = decode_shrunk(file.getvalue(), lambda height, width: 100)
    assert image.shrink == 1 and np.array_equal(image.pixels_HW3, decode(file.getvalue()))


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("shape", [(200, 304), (203, 301)])
def test_a_shrunk_photo_is_upright_and_near_the_exact_one(shape, orientation):
    data = jpeg(scene(*shape), exif=exif(orientation))
    exact, fast = Preprocess(size=24).read(data), FastPreprocess(size=24).read(data)
    far = levels(fast, exact)
    assert far.mean() <= 0.6 and far.max() <= 10


def test_a_photo_is_shrunk_while_it_stays_twice_as_large_as_needed():
    asked = []

    def most(height: int, width: int) -> float:
        asked.append((height, width))
        return 4.9

    image = decode_shrunk(jpeg(scene(203, 301), exif=exif(1)), most)
    assert asked == [(203, 301)] and image.shrink == 4
    assert (image.height, image.width) == (203, 301) and image.pixels_HW3.shape == (51, 76, 3)
    turned = decode_shrunk(jpeg(scene(200, 304), exif=exif(6)), most)
    assert asked[1] == (304, 200) and turned.pixels_HW3.shape == (76, 50, 3)
    # Half a block at the edge would be turned to the front, and everything would be moved by it.
    assert decode_shrunk(jpeg(scene(203, 304), exif=exif(6)), most).shrink == 1


def outcome(preprocess: Preprocess, data: bytes) -> str:
    try:
        return str(tuple(preprocess.read(data).shape))
    except BrokenSample as error:
        return error.reason


MODES = (Preprocess(size=8), FastPreprocess(size=8))


def test_every_cut_of_a_jpeg_is_refused_alike():
    for data in (jpeg(noise(40, 40)), jpeg(noise(64, 80), progressive=True, exif=exif(6))):
        exact, fast = ([outcome(mode, data[: len(data) * cut // 64]) for cut in range(65)] for mode in MODES)
        assert exact == fast
        assert exact.count("truncated image") > 50 and exact[64] == "(3, 8, 8)"


def bomb(height: int, width: int) -> bytes:
    data = bytearray(jpeg(np.zeros((2, 2, 3), np.uint8)))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\xff\xd8\xff", b"BM" + bytes(40), bomb(60_000, 60_000), bomb(0, 4), bomb(4, 0)]
)
def test_what_is_no_image_is_refused_alike(data):
    exact, fast = (outcome(mode, data) for mode in MODES)
    assert exact == fast and not exact.startswith("(")


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr("simplejpeg.decode_jpeg", lambda *_, **__: pytest.fail("pixels were allocated"))
    assert outcome(FastPreprocess(size=8), bomb(20_000, 10_001)) == "image too large"


@pytest.mark.journey
def test_a_thousand_mutated_jpegs_end_alike_in_both_modes():
    randomness = random.Random(20261121)
    seeds = [jpeg(noise(20, 24), exif=exif(6)), jpeg(noise(20, 24), progressive=True)]
    seeds += [jpeg(Image.fromarray(noise(20, 24)).convert(mode)) for mode in ("L", "CMYK")]
    seeds += [jpeg(scene(72, 64), subsampling=0), jpeg(scene(48, 48), restart_marker_blocks=1)]
    outcomes: dict[str, int] = {}
    for number in range(1000):
        data = bytearray(seeds[number % len(seeds)])
        for _ in range(randomness.choice((1, 1, 2, 8))):
            # Half of the changes where the markers are: the rest of a small file is mostly data.
            at = randomness.randrange(len(data) if randomness.random() < 0.5 else min(700, len(data)))
            what = randomness.randrange(4)
            if what == 0:
                data[at] ^= 1 << randomness.randrange(8)
            elif what == 1:
                data[at] = randomness.choice((0, 1, 0x7F, 0xD9, 0xFF))
            elif what == 2:
                del data[at : at + randomness.randrange(1, 9)]
            else:
                data[at:at] = randomness.randbytes(randomness.randrange(1, 9))
        exact, fast = (outcome(mode, bytes(data)) for mode in MODES)
        assert exact == fast, number
        outcomes[exact] = outcomes.get(exact, 0) + 1
    assert sum(outcomes.values()) - outcomes["(3, 8, 8)"] > 150, outcomes


# Training crops


def test_a_crop_of_a_shrunk_image_is_near_that_of_the_whole_one():
    data = jpeg(scene(403, 601))
    random_BK = uniforms(0, np.arange(6), np.zeros(6, dtype=np.int64))
    augment = Augment(scale=0.3, stretch=1.3)
    shrunk = [
        decode_shrunk(data, lambda h, w, row=row: enough_for_crop(h, w, 32, augment=augment, random_K=row))
        for row in random_BK
    ]
    assert {image.shrink for image in shrunk} >= {4, 8}
    near = training_crops(shrunk, 32, augment=augment, random_BK=random_BK)
    exact = training_crops([DecodedImage.whole(decode(data))] * 6, 32, augment=augment, random_BK=random_BK)
    # The box ends at a whole pixel of what is left, up to half a pixel of the crop beside the exact one.
    assert levels(near, exact).mean() < 8


@pytest.mark.parametrize("side", [400, 255, 64])
def test_a_crop_is_never_made_of_fewer_pixels_than_it_has(side):
    random_K = uniforms(0, np.array([1]), np.array([0]))[0]
    for size in (32, 63, 64):
        most = enough_for_crop(side, 2 * side, size, augment=Augment(), random_K=random_K)
        assert most == side / size

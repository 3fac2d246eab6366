"""Decoding against numpy and plain Pillow, resizing against plain Pillow, and damaged files."""

import io
import os
import pickle
import random
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from seesay.base.errors import BrokenSample, UsageError
from seesay.data import exact_resize, jpeg
from seesay.data.images import CLIP_MEAN, CLIP_STD, FastPreprocess, Preprocess, decode, open_image

RANDOM = np.random.default_rng(7)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width, channels), dtype=np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    """Gradients, which survive JPEG almost unchanged."""
    down, right = np.mgrid[0:height, 0:width]
    return np.stack([255 * down // height, 255 * right // width, 60 + 0 * down], axis=2).astype(np.uint8)


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes], size=None) -> bytes:
    """A PNG written by hand, for what Pillow cannot write; `rows` without filter bytes; `size` is what it claims."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    stride = len(rows) // height
    filtered = b"".join(b"\0" + rows[start : start + stride] for start in range(0, len(rows), stride))
    parts = [(b"IHDR", struct.pack(">IIBBBBB", *(size or (width, height)), bits, colour, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(filtered)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, body) for name, body in parts)


def exif(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    start = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(order + ("HH" if kind == 3 else "I"), *((orientation, 0) if kind == 3 else (orientation,)))
    return b"Exif\0\0" + start + struct.pack(order + "IHHHI", 8, 1, 0x0112, kind, 1) + value + bytes(4)


def reason_of(data: bytes) -> str:
    with pytest.raises(BrokenSample) as caught:
        decode(data)
    return caught.value.reason


# What comes out of good files


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "JPEG", "TIFF", "BMP", "JPEG2000", "AVIF"])
def test_every_supported_format_gives_the_pixels_pillow_gives(kind):
    data = encoded(smooth(11, 17), kind)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.array(image.convert("RGB"))
    result = decode(data)
    assert result.dtype == np.uint8 and result.shape == (11, 17, 3) and result.flags.writeable
    assert np.array_equal(result, expected)


def test_lossless_files_give_back_the_pixels_that_went_in():
    pixels = noise(9, 13)
    assert np.array_equal(decode(encoded(pixels)), pixels)
    assert np.array_equal(decode(encoded(pixels, "WEBP", lossless=True)), pixels)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "JPEG", "TIFF", "BMP", "JPEG2000", "AVIF"])
def test_a_image_of_one_pixel_is_a_image(kind):
    assert np.abs(decode(encoded(np.full((1, 1, 3), 200, np.uint8), kind)).astype(int) - 200).max() <= 2


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_obeyed_in_png_webp_and_jpeg(orientation):
    stored = noise(5, 8)
    expected = UPRIGHT[orientation](stored)
    assert np.array_equal(decode(encoded(stored, exif=exif(orientation))), expected)
    assert np.array_equal(decode(encoded(stored, "WEBP", lossless=True, exif=exif(orientation, ">"))), expected)
    plain = decode(encoded(stored, "JPEG"))
    assert np.array_equal(decode(encoded(stored, "JPEG", exif=exif(orientation, ">", 4))), UPRIGHT[orientation](plain))


@pytest.mark.parametrize(
    "block",
    [
        exif(0),
        exif(9),
        exif(60000),
        exif(6)[:20],
        exif(6)[:9],
        b"Exif\0\0",
        b"Exif\0\0XX*\0" + bytes(40),
        exif(6)[:10] + b"\xff\xff\xff\x7f" + exif(6)[14:],
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x09\0" * 30,
    ],
    ids=range(9),
)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_an_invalid_or_damaged_orientation_is_ignored_without_a_word(kind, block):
    pixels = smooth(8, 5)
    assert np.array_equal(decode(encoded(pixels, kind, exif=block)), decode(encoded(pixels, kind)))


def on_white(colour_HW3: np.ndarray, alpha_HW: np.ndarray) -> np.ndarray:
    alpha = alpha_HW[:, :, None].astype(np.float64) / 255
    return np.round(alpha * colour_HW3 + (1 - alpha) * 255).astype(np.uint8)


def test_transparent_colour_and_grey_are_laid_on_white():
    rgba = noise(16, 16, 4)
    expected = on_white(rgba[:, :, :3], rgba[:, :, 3])
    assert np.array_equal(decode(encoded(rgba)), expected)
    assert np.array_equal(decode(encoded(rgba, "WEBP", lossless=True, exact=True)), expected)
    grey = noise(16, 16, 2)
    with_alpha = Image.merge("LA", [Image.fromarray(grey[:, :, channel]) for channel in (0, 1)])
    assert np.array_equal(decode(encoded(with_alpha)), on_white(grey[:, :, [0, 0, 0]], grey[:, :, 1]))


def test_a_palette_with_transparent_entries_is_laid_on_white():
    index = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    palette = np.array([[10, 20, 30], [200, 100, 50], [0, 0, 0]], np.uint8)
    image = Image.fromarray(index)
    image.putpalette(palette.tobytes())
    expected = on_white(palette[index], np.array([0, 128, 255])[index])
    assert np.array_equal(decode(encoded(image, transparency=bytes([0, 128, 255]))), expected)
    one_value = on_white(palette[index], np.array([255, 0, 255])[index])
    assert np.array_equal(decode(encoded(image, transparency=1)), one_value)
    assert np.array_equal(decode(encoded(image, "GIF", transparency=1)), one_value)


@pytest.mark.parametrize(
    ("bits", "rows", "clear", "expected"),
    [
        (1, b"\x40", 1, [0, 255, 0]),
        (2, b"\x1b", 1, [0, 255, 170]),
        (4, b"\x03\xf0", 3, [0, 255, 255]),
        (8, b"\x00\x03\x50", 3, [0, 255, 80]),
        (16, b"\x00\x00\x80\x01\x80\x00", 0x8001, [0, 255, 128]),
    ],
)
def test_the_transparent_grey_of_a_png_is_white_at_every_depth(bits, rows, clear, expected):
    data = png(3, 1, bits, 0, rows, (b"tRNS", struct.pack(">H", clear)))
    assert decode(data)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_colour_of_a_png_is_white_at_both_depths(bits):
    colours = np.array([[200, 10, 30], [200, 10, 31]])
    values = colours.astype(">u1" if bits == 8 else ">u2") * (1 if bits == 8 else 257)
    clear = values[0].astype(">u2").tobytes()
    data = png(2, 1, bits, 2, values.astype(">u1" if bits == 8 else ">u2").tobytes(), (b"tRNS", clear))
    assert decode(data)[0].tolist() == [[255, 255, 255], [200, 10, 31]]


def test_16_bit_grey_is_scaled_to_8_bit_and_not_clipped():
    values = np.arange(0, 65536, 5, dtype=np.uint16)[:13107].reshape(257, 51)
    expected = np.floor(values / 257 + 0.5).astype(np.uint8)
    assert np.array_equal(decode(encoded(Image.fromarray(values)))[:, :, 1], expected)
    assert np.array_equal(open_image(Image.fromarray(values))[:, :, 1], expected)


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_16_bit_colour_and_alpha_are_within_one_level(colour, channels):
    values = RANDOM.integers(0, 65536, (7, 9, channels)).astype(">u2")
    exact = values.astype(np.float64) / 257
    alpha = exact[:, :, -1:] / 255 if channels in (2, 4) else 1.0
    shown = exact[:, :, :3] if channels > 2 else np.repeat(exact[:, :, :1], 3, axis=2)
    expected = alpha * shown + (1 - alpha) * 255
    result = decode(png(9, 7, 16, colour, values.tobytes()))
    assert np.abs(result - expected).max() <= 2
    assert abs(result.mean() - expected.mean()) <= 1


def test_grey_and_black_and_white_become_rgb():
    grey = noise(4, 6, 1)[:, :, 0]
    assert np.array_equal(decode(encoded(grey)), np.repeat(grey[:, :, None], 3, axis=2))
    bits = grey > 127
    assert np.array_equal(decode(encoded(Image.fromarray(bits)))[:, :, 2], bits * np.uint8(255))


def test_a_cmyk_jpeg_has_the_colours_it_was_made_with():
    cmyk = np.zeros((32, 32, 4), np.uint8)
    cmyk[:16, :16], cmyk[:16, 16:] = (255, 0, 0, 0), (0, 255, 255, 0)
    cmyk[16:, :16], cmyk[16:, 16:] = (0, 0, 0, 255), (40, 80, 120, 30)
    ink = cmyk.astype(np.float64) / 255
    expected = 255 * (1 - ink[:, :, :3]) * (1 - ink[:, :, 3:])
    data = encoded(Image.fromarray(cmyk, "CMYK"), "JPEG", quality=100)
    assert np.abs(decode(data) - expected).max() <= 3


def test_a_ycck_jpeg_is_converted_as_libjpeg_and_the_ink_formula_say():
    # The same stored numbers, once read as CMYK and once, by the Adobe marker, as YCCK.
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:] = (60, 90, 140, 20)
    data = encoded(Image.fromarray(inks, "CMYK"), "JPEG", quality=100)
    at = data.index(b"Adobe") + 11
    assert data[at] == 0, "Pillow marks CMYK as not transformed"
    result = decode(data[:at] + b"\x02" + data[at + 1 :])
    luma, blue, red, black = (255 - inks[0, 0].astype(np.float64)).tolist()
    # libjpeg turns YCC into RGB and gives 255 - RGB as CMY; Adobe stores inks inverted, so 255 - that is the ink.
    rgb = [luma + 1.402 * (red - 128), luma - 0.344136 * (blue - 128) - 0.714136 * (red - 128)]
    rgb.append(luma + 1.772 * (blue - 128))
    stored_cmy = [min(255.0, max(0.0, 255 - value)) for value in rgb]
    expected = [value * black / 255 for value in stored_cmy]
    assert np.abs(result[8, 8] - expected).max() <= 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
    data = encoded(
        frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )
    assert (decode(data) == (255, 0, 0)).all()


# What comes out of bad files


@pytest.mark.parametrize(
    ("data", "reason", "named"),
    [
        (b"", "empty file", ""),
        (b"hello, this is text", "not an image", "hello"),
        (b"<!doctype html><html>login</html>", "not an image", "web page"),
        (b"BM, a marque of cars, and no bitmap", "not an image", "BM, a"),
        (encoded(noise(16, 16), "ICO"), "unsupported format", "ICO"),
        (b"%PDF-1.7 ...", "unsupported format", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF", "unsupported format", "PostScript"),
        (b"8BPS\0\1", "unsupported format", "Photoshop"),
        (b"\xff\x0a\0\0", "unsupported format", "JPEG XL"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "unsupported format", "mp42"),
        (b'<?xml version="1.0"?><svg xmlns="x"/>', "unsupported format", "SVG"),
    ],
)
def test_what_is_not_a_supported_image_is_named(data, reason, named):
    with pytest.raises(BrokenSample) as caught:
        decode(data)
    assert caught.value.reason == reason
    assert named in caught.value.detail


def test_the_error_survives_a_trip_between_processes():
    with pytest.raises(BrokenSample) as caught:
        decode(b"")
    assert pickle.loads(pickle.dumps(caught.value)).reason == "empty file"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "AVIF"])
def test_a_truncated_image_is_broken_and_never_half_grey(kind):
    data = encoded(noise(40, 40), kind)
    whole = decode(data)
    broken = 0
    for cut in range(1, 64):
        try:
            result = decode(data[: len(data) * cut // 64])
        except BrokenSample as error:
            assert len(error.reason) < 30
            broken += 1
        else:
            assert np.array_equal(result, whole)
    assert broken >= 62


def test_a_truncated_jpeg_is_counted_as_truncated():
    data = encoded(noise(40, 40), "JPEG")
    assert reason_of(data[: len(data) // 2]) == "truncated image"


def resized_header(kind: str, width: int, height: int) -> bytes:
    """A tiny file that claims to be width x height."""
    if kind == "PNG":
        return png(1, 1, 8, 0, b"\0", size=(width, height))
    data = bytearray(encoded(np.zeros((2, 2, 3), np.uint8), kind))
    if kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    else:
        size = struct.pack("<HH", width, height)
        data[6:10] = size
        at = data.index(b"\x2c") + 5
        data[at : at + 4] = size
    return bytes(data)


@pytest.mark.parametrize(("kind", "side"), [("PNG", 60_000), ("PNG", 2**31 - 1), ("JPEG", 60_000), ("GIF", 60_000)])
def test_a_bomb_is_refused_from_its_header(kind, side, monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("pixels were allocated"))
    assert reason_of(resized_header(kind, side, side)) == "image too large"


def test_a_webp_bomb_is_refused():
    data = bytearray(encoded(np.zeros((2, 2, 4), np.uint8), "WEBP", exif=exif(1)))
    assert data[12:16] == b"VP8X"
    data[24:30] = (16382).to_bytes(3, "little") * 2
    assert reason_of(bytes(data)) in ("image too large", "damaged image")


def test_the_limit_is_200_million_pixels_and_not_pillows_own(monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: (_ for _ in ()).throw(OSError("got this far")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reason_of(resized_header("PNG", 20_000, 10_000)) == "damaged image"
        assert reason_of(resized_header("PNG", 20_001, 10_000)) == "image too large"


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_a_image_without_pixels_is_broken(kind, size):
    assert reason_of(resized_header(kind, *size)) == "damaged image"


def test_a_thousand_mutated_images_give_pixels_or_one_kind_of_error():
    seed = 20261121
    randomness = random.Random(seed)
    animation = [Image.fromarray(noise(12, 10)) for _ in range(3)]
    palette = Image.fromarray(noise(12, 10)).quantize(16)
    seeds = [encoded(noise(12, 10), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF")]
    seeds += [encoded(noise(12, 10, 4), kind) for kind in ("PNG", "WEBP")]
    seeds += [
        encoded(animation[0], kind, save_all=True, append_images=animation[1:]) for kind in ("GIF", "WEBP", "PNG")
    ]
    seeds += [encoded(palette, "PNG", transparency=3), encoded(palette, "GIF", transparency=3)]
    seeds += [encoded(noise(12, 10), "JPEG", exif=exif(6), progressive=True)]
    seeds += [encoded(Image.fromarray(noise(12, 10, 4), "CMYK"), "JPEG"), encoded(noise(12, 10), exif=exif(5))]
    seeds += [png(3, 1, 16, 0, b"\0\0\x80\x01\x80\0", (b"tRNS", b"\x80\x01"))]
    reasons: dict[str, int] = {}
    with warnings.catch_warnings():
        # A damaged APNG makes Pillow warn; here that must not become an exception, elsewhere it may.
        warnings.simplefilter("ignore")
        for number in range(1000):
            data = mutated(seeds[number % len(seeds)], randomness)
            try:
                image = decode(data)
            except BrokenSample as error:
                reasons[error.reason] = reasons.get(error.reason, 0) + 1
            else:
                assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3, f"{seed=} {number=}"
    assert set(reasons) <= {
        "empty file", "not an image", "unsupported format", "truncated image", "damaged image", "image too large",
    }  # fmt: skip
    assert sum(reasons.values()) > 300, reasons


def mutated(data: bytes, randomness: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(randomness.choice((1, 1, 2, 8, 30))):
        at = randomness.randrange(len(changed))
        what = randomness.randrange(5)
        if what == 0:
            changed[at] ^= 1 << randomness.randrange(8)
        elif what == 1:
            changed[at] = randomness.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif what == 2:
            del changed[at : at + randomness.randrange(1, 9)]
        elif what == 3:
            changed[at:at] = randomness.randbytes(randomness.randrange(1, 9))
        else:
            del changed[at + len(changed) // 2 :]
        if not changed:
            break
    return bytes(changed)


def test_warnings_turned_to_errors_make_a_broken_sample_of_a_damaged_animation():
    frames = [Image.fromarray(noise(4, 4)) for _ in range(2)]
    data = encoded(frames[0], save_all=True, append_images=frames[1:])
    at = data.index(b"acTL") + 4
    body = b"acTL" + bytes(8)
    damaged = data[:at] + bytes(8) + struct.pack(">I", zlib.crc32(body)) + data[at + 12 :]
    assert reason_of(damaged) == "damaged image"


# What Python users hand in


def test_open_image_takes_a_path_bytes_a_pillow_image_and_an_array(tmp_path):
    pixels = noise(6, 4)
    path = tmp_path / "cat.png"
    path.write_bytes(encoded(pixels))
    with Image.open(path) as lazy:
        assert np.array_equal(open_image(lazy), pixels)
    for source in (path, str(path), path.read_bytes(), Image.fromarray(pixels), pixels):
        assert np.array_equal(open_image(source), pixels)


def test_open_image_turns_a_pillow_image_upright():
    stored = noise(5, 8)
    with Image.open(io.BytesIO(encoded(stored, exif=exif(6)))) as lazy:
        assert np.array_equal(open_image(lazy), np.rot90(stored, -1))


def test_open_image_lays_arrays_and_pillow_images_on_white_and_takes_grey():
    rgba = noise(5, 5, 4)
    expected = on_white(rgba[:, :, :3], rgba[:, :, 3])
    assert np.array_equal(open_image(rgba), expected)
    assert np.array_equal(open_image(Image.fromarray(rgba)), expected)
    grey = rgba[:, :, 0]
    assert np.array_equal(open_image(grey), np.repeat(grey[:, :, None], 3, axis=2))
    assert np.array_equal(open_image(rgba[:, :, :1]), open_image(grey))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=["float", "channels first", "flat", "empty"],
)
def test_an_array_that_is_no_image_is_a_usage_error_that_names_its_shape(array):
    with pytest.raises(UsageError, match=r"uint8 of shape \(height, width, 3\)"):
        open_image(array)


def test_a_missing_path_is_a_usage_error_with_near_matches(tmp_path):
    (tmp_path / "cat.png").write_bytes(encoded(noise(2, 2)))
    with pytest.raises(UsageError, match=r"no 'cta\.png'\. Nearest: cat\.png\."):
        open_image(tmp_path / "cta.png")
    with pytest.raises(UsageError, match="is a folder"):
        open_image(tmp_path)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_a_pillow_image_without_a_range_is_a_usage_error(mode):
    """Whole numbers of 0..255 in mode I were read as 16 bit, nearly black."""
    with pytest.raises(UsageError, match=f"mode {mode} has no fixed range"):
        open_image(Image.new(mode, (3, 3), 200))


def test_a_truncated_pillow_image_is_broken(tmp_path):
    data = encoded(noise(40, 40), "JPEG")
    with Image.open(io.BytesIO(data[: len(data) // 2])) as lazy, pytest.raises(BrokenSample, match="truncated image"):
        open_image(lazy)


# Preprocess


def plain_pillow(image_HW3: np.ndarray, size: int, resample: Image.Resampling) -> np.ndarray:
    """torchvision's Resize(size) and CenterCrop(size) on a PIL image, written out."""
    image = Image.fromarray(image_HW3)
    width, height = image.size
    if width <= height:
        image = image.resize((size, int(size * height / width)), resample)
    else:
        image = image.resize((int(size * width / height), size), resample)
    width, height = image.size
    top, left = round((height - size) / 2.0), round((width - size) / 2.0)
    return np.array(image.crop((left, top, left + size, top + size)))


SHAPES = [
    (35, 32),
    (32, 39),
    (32, 32),
    (33, 32),
    (31, 60),
    (100, 64),
    (7, 5),
    (1, 1),
    (1, 40),
    (200, 3),
    (16, 17),
    (45, 48),
    (48, 45),
]


# (35, 32) and (32, 39): half a pixel too many on each side, where rounding is to the even one.
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_are_pillows_resize_and_centre_crop_pixel_for_pixel(shape, interpolation):
    image = noise(*shape)
    resample = Image.Resampling[interpolation.upper()]
    for size in (32, 15):
        result = Preprocess(size=size, interpolation=interpolation).pixels(image)
        assert result.dtype == torch.uint8 and result.shape == (3, size, size) and result.is_contiguous()
        assert np.array_equal(result.permute(1, 2, 0).numpy(), plain_pillow(image, size, resample))
        squashed = Preprocess(size=size, interpolation=interpolation, resize="squash").pixels(image)
        expected = np.array(Image.fromarray(image).resize((size, size), resample))
        assert np.array_equal(squashed.permute(1, 2, 0).numpy(), expected)


# Wide ones whose centre begins at whole pixels of both grids and others, tall ones, squares, and strips.
TURNED = [(80, 120), (120, 80), (66, 91), (91, 66), (64, 64), (30, 140), (140, 30)]


@pytest.mark.parametrize(("kind", "at_once"), [("JPEG", 1 << 17), ("PNG", 1 << 17), ("JPEG", 1), ("PNG", 1)])
def test_a_file_of_any_orientation_gives_the_pixels_of_the_whole_upright_image(kind, at_once, monkeypatch):
    monkeypatch.setattr(exact_resize, "PIXELS_AT_ONCE", at_once)
    for shape in TURNED:
        stored = noise(*shape) // 2 + smooth(*shape) // 2
        for orientation in range(1, 9):
            data = encoded(stored, kind, exif=exif(orientation))
            with jpeg.decoding(data) as image:
                assert np.array_equal(image.pixels_HW3, decode(data))
            for size in (32, 15):
                result = Preprocess(size=size).read(data).permute(1, 2, 0).numpy()
                expected = plain_pillow(decode(data), size, Image.Resampling.BICUBIC)
                assert np.array_equal(result, expected), (shape, orientation, size)


# (35, 32): three are too many, of which torchvision cuts two off in front; (33, 32): one, and it cuts none.
@pytest.mark.parametrize(
    ("shape", "moved"), [((35, 32), 1), ((32, 35), 1), ((33, 32), 0), ((37, 32), 0), ((39, 32), 1)]
)
@pytest.mark.parametrize("mode", [Preprocess, FastPreprocess])
def test_transformers_crop_cuts_the_smaller_half_off_in_front(shape, moved, mode):
    image = noise(*shape)
    start = (max(shape) - 32) // 2
    centre = image[start : start + 32] if shape[0] > 32 else image[:, start : start + 32]
    theirs, ours = mode(size=32, crop="transformers"), mode(size=32)
    assert np.array_equal(theirs.pixels(image).permute(1, 2, 0).numpy(), centre)
    assert np.array_equal(ours.pixels(image), theirs.pixels(image)) != bool(moved)
    assert max(theirs.seen(*shape)[:2]) == start == max(ours.seen(*shape)[:2]) - moved


@pytest.mark.parametrize("shape", [(1, 900), (900, 1), (3, 2000), (2000, 3), (40, 41)])
def test_strips_are_pillows_pixel_for_pixel(shape):
    image = noise(*shape)
    result = Preprocess(size=24).pixels(image).permute(1, 2, 0).numpy()
    assert np.array_equal(result, plain_pillow(image, 24, Image.Resampling.BICUBIC))


# Halves and two thirds of a board of two levels lie where rounding changes, and float32 must not decide.
@pytest.mark.parametrize("shape", [(96, 128), (128, 96), (144, 96), (640, 48)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_sums_in_the_middle_between_two_bytes_are_rounded_as_pillow_does(shape, interpolation, monkeypatch):
    monkeypatch.setattr(exact_resize, "AGAIN_AT_ONCE", 1000)
    down, right = np.mgrid[: shape[0], : shape[1]]
    for first, second in ((0, 1), (0, 255), (126, 127), (254, 255)):
        board = np.where((down + right) % 2, first, second)
        image = np.stack([board, np.where(down % 2, first, second), np.where(right % 3, first, second)], 2)
        image = image.astype(np.uint8)
        for size in (48, 32):
            result = Preprocess(size=size, interpolation=interpolation).pixels(image).permute(1, 2, 0).numpy()
            expected = plain_pillow(image, size, Image.Resampling[interpolation.upper()])
            assert np.array_equal(result, expected), (first, second, size)


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1)])
@pytest.mark.parametrize("mode", [Preprocess, FastPreprocess])
def test_a_strip_of_60000_pixels_needs_no_memory_to_speak_of(shape, mode):
    tracemalloc.start()
    assert mode(size=224).pixels(noise(*shape)).shape == (3, 224, 224)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20  # the whole would be 9 GB
    tracemalloc.stop()


def test_strips_of_many_lengths_leave_no_memory_behind():
    tracemalloc.start()
    for length in range(60_000, 60_016):
        Preprocess(size=64, resize="squash").pixels(noise(1, length))
    assert tracemalloc.get_traced_memory()[0] < 4 << 20  # the weights of each are as much
    tracemalloc.stop()


def test_normalise_is_the_formula_in_float32():
    preprocess = Preprocess(size=4)
    pixels = torch.from_numpy(RANDOM.integers(0, 256, (2, 3, 4, 4), dtype=np.uint8))
    result = preprocess.normalise(pixels)
    mean = np.array(CLIP_MEAN).reshape(3, 1, 1)
    std = np.array(CLIP_STD).reshape(3, 1, 1)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.numpy(), (pixels.numpy() / 255 - mean) / std, rtol=0, atol=1e-6)


def test_preprocess_defaults_to_clip_and_refuses_what_it_does_not_know():
    assert Preprocess(size=224).model_dump() == {
        "size": 224,
        "resize": "shortest",
        "interpolation": "bicubic",
        "mean": (0.48145466, 0.4578275, 0.40821073),
        "std": (0.26862954, 0.26130258, 0.27577711),
    }
    assert Preprocess(size=8, crop="transformers").model_dump()["crop"] == "transformers"
    for wrong in ({"size": 0}, {"size": 8, "std": (1, 1, 0)}, {"size": 8, "fill": 0}, {"size": 8, "resize": "longest"}):
        with pytest.raises(ValidationError):
            Preprocess.model_validate(wrong)
    with pytest.raises(ValidationError):
        Preprocess(size=8).size = 9


def test_a_image_file_that_vanishes_into_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(BrokenSample, match="not a regular file"):
        open_image(tmp_path / "pipe.png")

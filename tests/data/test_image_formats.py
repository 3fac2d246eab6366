"""TIFF, BMP, AVIF, JPEG 2000, HEIC and a camera's RAW: Pillow's own pixels, upright, or refused with a word."""

import io
import struct
import sys
import warnings
import zlib

import hostile_images as hostile
import numpy as np
import pytest
from PIL import Image

from seesay.base.errors import BrokenSample
from seesay.data.decode import decode, open_image
from seesay.data.images import FastPreprocess, Preprocess
from seesay.data.sources import FOREIGN_SUFFIXES, IMAGE_SUFFIXES

RANDOM = np.random.default_rng(5)
COLOUR = Image.fromarray(RANDOM.integers(0, 256, (37, 53, 3), dtype=np.uint8))
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


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pillows(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


def refused(data: bytes) -> BrokenSample:
    with pytest.raises(BrokenSample) as caught:
        decode(data)
    return caught.value


@pytest.fixture
def heif():
    """Pillow that writes HEIC."""
    plugin = pytest.importorskip("pillow_heif", reason="pip install '.[photos]'")
    plugin.register_heif_opener()
    return plugin


ORDINARY = [
    *(("TIFF", mode, {"compression": name}) for mode in ("RGB", "L", "CMYK") for name in (None, "tiff_lzw", "jpeg")),
    *(("TIFF", mode, {"compression": "tiff_adobe_deflate"}) for mode in ("RGB", "P", "1", "YCbCr")),
    ("TIFF", "RGB", {"compression": "packbits"}),
    ("TIFF", "RGB", {"compression": "zstd"}),
    ("TIFF", "RGB", {"big_tiff": True}),
    ("TIFF", "YCbCr", {"compression": "jpeg"}),
    ("TIFF", "1", {"compression": "group4"}),
    ("TIFF", "RGB", {"save_all": True, "append_images": [Image.new("RGB", (9, 9))]}),
    *(("BMP", mode, {}) for mode in ("RGB", "L", "P", "1")),
    *(("JPEG2000", mode, {}) for mode in ("RGB", "L")),
    ("JPEG2000", "RGB", {"irreversible": True, "no_jp2": True}),
    ("JPEG2000", "RGB", {"tile_size": (16, 16), "precinct_size": (16, 16), "codeblock_size": (8, 8)}),
    *(("AVIF", mode, {}) for mode in ("RGB", "L")),
    ("AVIF", "RGB", {"subsampling": "4:4:4"}),
    ("AVIF", "RGB", {"save_all": True, "append_images": [Image.new("RGB", (53, 37))]}),
]


@pytest.mark.parametrize(("kind", "mode", "options"), ORDINARY)
def test_an_ordinary_file_gives_the_pixels_pillow_gives(kind, mode, options):
    data = encoded(COLOUR.convert(mode), kind, **options)
    assert np.array_equal(decode(data), pillows(data))
    assert Preprocess(size=8).read(data).shape == FastPreprocess(size=8).read(data).shape == (3, 8, 8)


@pytest.mark.parametrize("options", [{}, {"chroma": 444}, {"tile_size": 64}], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_heic_gives_the_pixels_pillow_gives(heif, mode, options):
    data = encoded(COLOUR.resize((150, 100)).convert(mode), "HEIF", **options)
    assert np.array_equal(decode(data), pillows(data))


@pytest.mark.parametrize("kind", ["TIFF", "AVIF", "JPEG2000"])
def test_transparent_parts_are_white(kind):
    image = COLOUR.resize((64, 64)).convert("RGBA")
    image.putalpha(0)
    assert (decode(encoded(image, kind)) >= 254).all()


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_format_that_can_say_so_is_turned_upright_once(turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = np.array(COLOUR)
    for compression in (None, "tiff_lzw"):
        data = encoded(COLOUR, "TIFF", exif=exif, compression=compression)
        assert np.array_equal(decode(data), UPRIGHT[turn](stored))
        with Image.open(io.BytesIO(data)) as lazy:
            assert np.array_equal(open_image(lazy), UPRIGHT[turn](stored))
    plain = decode(encoded(COLOUR, "AVIF", subsampling="4:4:4"))
    assert np.array_equal(decode(encoded(COLOUR, "AVIF", subsampling="4:4:4", exif=exif)), UPRIGHT[turn](plain))


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_heic_is_turned_by_its_decoder_and_by_nobody_else(heif, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"quality": -1, "chroma": 444}
    whole = COLOUR.resize((128, 64))
    expected = UPRIGHT[turn](np.array(whole))
    result = decode(encoded(whole, "HEIF", exif=exif.tobytes(), **options))
    assert result.shape == expected.shape and np.abs(result.astype(int) - expected).max() <= 3


# No range, or no rule


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(np.full((5, 5), 200, np.int32)),
        Image.fromarray(np.full((5, 5), 0.5, np.float32)),
        Image.fromarray(np.full((5, 5), 200, np.int16)),
    ],
    ids=["32 bit", "float", "signed 16 bit"],
)
def test_a_tiff_without_a_range_is_refused_with_a_word(image):
    error = refused(encoded(image, "TIFF"))
    assert error.reason == "no fixed range" and "scale it to 8 or 16 bit" in error.detail


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("white", [255, 4095])
def test_16_bits_that_hold_fewer_need_a_white(order, white):
    """They came out nearly black, and nothing said so."""
    image = Image.fromarray(np.array([[0, white // 2, white]], f"{order}u2"))
    error = refused(encoded(image, "TIFF"))
    assert error.reason == "no fixed range" and f"values up to {white:,}" in error.detail
    assert decode(encoded(image, "TIFF", tiffinfo={281: white}))[0, :, 0].tolist() == [0, 127, 255]
    assert decode(encoded(Image.fromarray(np.zeros((2, 2), f"{order}u2")), "TIFF")).max() == 0


def test_grey_of_12_and_16_bits_is_scaled_by_what_the_file_says():
    values = (np.arange(16) * 273).tolist()
    packed = b"".join(
        (first << 12 | second).to_bytes(3) for first, second in zip(values[::2], values[1::2], strict=True)
    )
    data = hostile.grey_tiff(4, bits=12, data=packed)
    assert decode(data)[:, :, 0].ravel().tolist() == list(range(0, 256, 17))
    with Image.open(io.BytesIO(data)) as lazy:
        assert open_image(lazy)[:, :, 0].ravel().tolist() == list(range(0, 256, 17))
    for order in "<>":
        wide = struct.pack(f"{order}16H", *(level * 4369 for level in range(16)))
        entries = {
            256: (4, (4,)),
            257: (4, (4,)),
            258: (3, (16,)),
            262: (3, (1,)),
            273: (4, ("data",)),
            279: (4, (32,)),
        }
        data = hostile.tiff(entries | {278: (4, (4,))}, order=order, data=wide)
        assert decode(data)[:, :, 0].ravel().tolist() == list(range(0, 256, 17))
    jp2 = encoded(Image.fromarray((np.arange(16, dtype=np.uint16) * 4369).reshape(4, 4)), "JPEG2000")
    assert decode(jp2)[:, :, 0].ravel().tolist() == list(range(0, 256, 17))


@pytest.mark.parametrize(
    ("tags", "named"),
    [
        ({"t259": (3, (6,))}, "compression 6"),
        ({"t259": (3, (34925,))}, "compression 34925"),
        ({"t262": (3, (8,)), "t277": (3, (3,)), "t258": (3, (8, 8, 8))}, "L*a*b*"),
        ({"t262": (3, (0,)), "bits": 16}, "0 is white"),
        ({"t262": (3, (6,)), "t277": (3, (3,)), "t258": (3, (8, 8, 8))}, "YCbCr"),
        ({"t277": (3, (40,))}, "samples"),
        ({"t262": (3, (3,)), "bits": 16}, "unknown pixel mode"),
    ],
)
def test_a_tiff_without_an_exact_rule_is_refused_by_name(tags, named):
    error = refused(hostile.grey_tiff(4, data=bytes(300), **tags))
    assert error.reason == "unsupported format" and named in error.detail


def test_odd_tags_of_a_tiff_are_read_without_a_warning():
    odd = hostile.grey_tiff(4, data=bytes(range(16)), t271=(7, (1, 2, 3)), t40000=(1, (9,)), t34665=(4, (7,)))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert decode(odd)[3, 3, 0] == 15
    assert heard == []


# The extra


@pytest.mark.parametrize(
    ("module", "data", "named"),
    [
        ("pillow_heif", hostile.HEIC, "HEIC"),
        ("rawpy", b"II*\0\x10\0\0\0CR\x02\0", "RAW"),
        ("rawpy", b"FUJIFILMCCD-RAW 0201", "RAW"),
        ("rawpy", b"\0\0\0\x18ftypcrx \0\0\0\1", "RAW"),
        ("rawpy", hostile.grey_tiff(4, t50706=(1, (1, 4, 0, 0))), "RAW"),
        ("rawpy", hostile.grey_tiff(4, t254=(4, (1,)), t330=(4, (8, 9))), "RAW"),
    ],
)
def test_what_the_extra_reads_is_named_where_it_is_missing(module, data, named, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    error = refused(data)
    assert error.reason == "unsupported format" and named in error.detail
    assert "pip install 'seesay[photos]'" in error.detail
    with pytest.raises(BrokenSample, match="seesay"):
        FastPreprocess(size=8).read(data)


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_camera_raw_is_its_preview_turned_upright(turn):
    pytest.importorskip("rawpy", reason="pip install '.[photos]'")
    preview = encoded(COLOUR, "JPEG", quality=95)
    assert np.array_equal(
        decode(hostile.dng(preview, COLOUR.size, compression=7, turn=turn)), UPRIGHT[turn](decode(preview))
    )
    assert FastPreprocess(size=8).read(hostile.dng(preview, COLOUR.size, compression=7, turn=turn)).shape == (3, 8, 8)


def test_a_camera_raw_without_a_jpeg_in_it_is_refused():
    """rawpy takes the sides of other previews as they are written, and a damaged file ended the process."""
    pytest.importorskip("rawpy", reason="pip install '.[photos]'")
    error = refused(hostile.dng(np.array(COLOUR).tobytes(), COLOUR.size, compression=1, turn=1))
    assert error.reason == "unsupported format" and "without a JPEG" in error.detail
    assert refused(hostile.dng(bytes(99), (60_000, 60_000), compression=1, turn=1)).reason == "unsupported format"


def test_no_suffix_is_of_both_kinds():
    assert not IMAGE_SUFFIXES & FOREIGN_SUFFIXES
    assert {"heic", "avif", "tif", "bmp", "jp2", "dng", "jfif"} <= IMAGE_SUFFIXES


def test_zlib_is_the_compression_that_is_written_by_hand():
    rows = zlib.compress(bytes(range(16)))
    assert np.array_equal(decode(hostile.grey_tiff(4, data=rows, t259=(3, (8,))))[:, :, 0].ravel(), np.arange(16))


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x01abcd" + b"\xff" * 8 + bytes(40),
        b"II\x2b\0\x08\0\0\0" + b"\xff" * 8 + bytes(40),
        b"MM\0\x2b\0\x08\0\0" + b"\x7f" + b"\xff" * 7 + bytes(40),
        b"\0\0\0\x18ftypavif\0\0\0\0avifmif1" + b"\0\0\0\x01meta" + b"\xff" * 8 + bytes(40),
    ],
)
def test_positions_beyond_all_files_are_refused_as_damage(data):
    with pytest.raises(BrokenSample):
        decode(data)

"""What a TIFF, BMP, JPEG 2000, AVIF or HEIC may cost: refused from its headers, or decoded within the limits."""

import io
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import hostile_images as hostile
import pytest
from image_cost import cost_of
from PIL import Image

from seesay.base.errors import BrokenSample
from seesay.data import decode as decoder
from seesay.data.coded_size import av1_sizes, hevc_sizes, hevc_units
from seesay.data.images import FastPreprocess, Preprocess

LARGE, COMPLEX, DAMAGED = "image too large", "image too complex", "damaged image"
AVIF, J2K = hostile.saved("AVIF", 16), hostile.saved("JPEG2000", 16, no_jp2=True)


def with_style(levels: int, *, layers: int = 1, block: int = 4, precincts: bytes = b"") -> bytes:
    """A codestream of 5000 x 5000 whose coding style is as said."""
    data = hostile.jpeg2000_of(3000, J2K)
    at = data.index(b"\xff\x52")
    (length,) = struct.unpack_from(">H", data, at + 2)
    style = (
        struct.pack(">BBHBBBBBB", 1 if precincts else 0, 0, layers, 0, levels, block - 2, block - 2, 0, 1) + precincts
    )
    return data[:at] + b"\xff\x52" + struct.pack(">H", 2 + len(style)) + style + data[at + 2 + length :]


def many_tiles() -> bytes:
    at = J2K.index(b"\xff\x51") + 6
    return J2K[:at] + struct.pack(">8I", 250, 250, 0, 0, 1, 1, 0, 0) + J2K[at + 32 :]


def style_of_a_tile() -> bytes:
    at = J2K.index(b"\xff\x93")
    style = J2K.index(b"\xff\x52")
    copy = J2K[style : style + 2 + struct.unpack_from(">H", J2K, style + 2)[0]]
    return J2K[:at] + copy + J2K[at:]


def hevc_heic(parameters: bytes) -> bytes:
    """The small HEIC with other sequence parameters, its boxes made longer by as much."""
    start = hostile.HEIC.index(b"\x42\x01")
    (length,) = struct.unpack_from(">H", hostile.HEIC, start - 2)
    changed = bytearray(hostile.HEIC[: start - 2] + struct.pack(">H", len(parameters)) + parameters)
    changed += hostile.HEIC[start + length :]
    for name in (b"meta", b"iprp", b"ipco", b"hvcC"):
        at = changed.index(name) - 4
        struct.pack_into(">I", changed, at, struct.unpack_from(">I", changed, at)[0] + len(parameters) - length)
    return bytes(changed)


TILES = {"t322": (4, (14000,)), "t323": (4, (14000,)), "t324": (4, ("data",))}
COLOUR = {"t258": (3, (8, 8, 8)), "t262": (3, (2,)), "t277": (3, (3,))}
REFUSED = {
    "a TIFF of 20,000 x 20,000": (hostile.grey_tiff(20_000), LARGE),
    "a BigTIFF of 2^40 pixels": (hostile.tiff({256: (16, (1 << 20,)), 257: (16, (1 << 20,))}, big=True), LARGE),
    "one strip of 200 million pixels of colour": (hostile.grey_tiff(14_000, **COLOUR), LARGE),
    "a tile of 200 million pixels around one": (hostile.grey_tiff(1, **COLOUR, **TILES), LARGE),
    "tiles of one pixel": (
        hostile.grey_tiff(1000, t322=(4, (1,)), t323=(4, (1,)), t324=(4, ("data",))),
        COMPLEX,
    ),
    "tiles of none": (hostile.grey_tiff(9, t322=(4, (0,)), t323=(4, (0,))), DAMAGED),
    "a directory of 5,000 entries": (hostile.tiff(dict.fromkeys(range(256, 5256), (3, (1,)))), COMPLEX),
    "a million fractions": (
        hostile.grey_tiff(4).replace(struct.pack("<HHI", 278, 4, 1), struct.pack("<HHI", 278, 5, 1_000_000)),
        COMPLEX,
    ),
    "a tag that comes twice": (
        hostile.grey_tiff(4).replace(struct.pack("<HH", 278, 4), struct.pack("<HH", 277, 4)),
        DAMAGED,
    ),
    "a run-length coded BMP of 10,000 x 10,000": (hostile.bmp(10_000, 10_000, compression=1), COMPLEX),
    "a BMP of 2^31 rows": (hostile.bmp(1, -(1 << 31) + 1), LARGE),
    "a BMP of 14,000 x 14,000": (hostile.bmp(14_000, 14_000, bits=24), LARGE),
    "a JPEG 2000 of 20,000 x 20,000": (hostile.jpeg2000_of(20_000, J2K), LARGE),
    "a JPEG 2000 of 7,000 x 7,000": (hostile.jpeg2000_of(7_000, J2K), LARGE),
    "62,500 tiles": (many_tiles(), LARGE),
    "code blocks of 4 x 4": (with_style(5, block=2), LARGE),
    "precincts of one sample": (with_style(5, precincts=bytes(6)), COMPLEX),
    "65,535 layers": (with_style(32, layers=65_535), COMPLEX),
    "a tile in a style of its own": (style_of_a_tile(), COMPLEX),
    "an AVIF that says 14,000 x 14,000": (
        hostile.boxes_with(AVIF, b"ispe", 4, struct.pack(">II", 14_000, 14_000)),
        LARGE,
    ),
    "an AVIF without its coded image": (hostile.boxes_with(AVIF, b"infe", 8, b"mime"), DAMAGED),
    "an AVIF of HEVC's relatives": (hostile.boxes_with(AVIF, b"infe", 8, b"iovl"), "unsupported format"),
    "an AVIF that is cut off": (AVIF[:-4], "truncated image"),
    "a HEIC that says 14,000 x 14,000": (
        hostile.boxes_with(hostile.HEIC, b"ispe", 4, struct.pack(">II", 14_000, 14_000)),
        LARGE,
    ),
    "a HEIC whose pictures say 12,000 x 12,000": (hevc_heic(hostile.hevc_parameters(12_000, 12_000)), LARGE),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("mode", [Preprocess(size=8), FastPreprocess(size=8)], ids=["exact", "fast"])
def test_what_would_cost_too_much_is_refused_from_its_headers(name, mode, monkeypatch):
    data, reason = REFUSED[name]
    monkeypatch.setattr(decoder, "opener", lambda _: pytest.fail("it was opened"))
    started = time.thread_time()
    with pytest.raises(BrokenSample) as caught:
        mode.read(data)
    assert caught.value.reason == reason and len(str(caught.value)) < 200
    assert time.thread_time() - started < 2


def test_the_size_in_a_coded_image_is_seen_wherever_it_stands():
    assert [(size.width, size.height) for size in av1_sizes(hostile.av1_sequence(14_000))[0]] == [(14_000, 14_000)]
    two = hostile.av1_sequence(16) + b"\x1a\x01\x10" + hostile.av1_sequence(9_000)
    assert [size.width for size in av1_sizes(two)[0]] == [16, 9_000] and av1_sizes(two)[1] == 1
    for layers in (0, 3):
        unit = hostile.hevc_parameters(4_032, 3_024, depth=10, layers=layers)
        (size,), pictures = hevc_units(struct.pack(">I", len(unit)) + unit, 4)
        assert (size.width, size.height, size.is_deep, size.planes, pictures) == (4_032, 3_024, True, 1.5, 0)
        configuration = bytes(21) + b"\x03\x01\x21\0\1" + struct.pack(">H", len(unit)) + unit
        assert hevc_sizes(configuration) == ([size], 4)


def test_a_picture_inside_an_avif_that_is_larger_than_the_avif_says():
    sequence = AVIF.index(b"\x12\0\x0a") + 2
    length = AVIF[sequence + 1]
    larger = hostile.av1_sequence(14_000)
    larger = larger[:1] + bytes([length]) + larger[2:]
    data = AVIF[:sequence] + larger[: 2 + length].ljust(2 + length, b"\0") + AVIF[sequence + 2 + length :]
    with pytest.raises(BrokenSample) as caught:
        decoder.decode(data)
    assert caught.value.reason == LARGE


def test_an_animation_of_a_larger_frame_is_refused():
    """A frame may say that it has a size of its own, up to what the bits for it can hold."""
    file = io.BytesIO()
    frames = [Image.new("RGB", (16, 16), (level, 0, 0)) for level in (10, 200)]
    frames[0].save(file, "AVIF", save_all=True, append_images=frames[1:])
    assert decoder.decode(file.getvalue()).shape == (16, 16, 3)
    header = hostile.bits(
        *((0, 3), (0, 2), (0, 1), (0, 1), (0, 5), (0, 12), (0, 5), (15, 4), (15, 4), (15, 16), (15, 16)),
        *((0, 1), (0, 7), (0, 1), (1, 1), (1, 1), (0, 16)),
    )
    sequence = b"\x0a" + bytes([len(header)]) + header
    own = hostile.bits((0, 1), (0, 2), (1, 1), (0, 1), (0, 1), (1, 1), (0, 9))
    assert av1_sizes(sequence + b"\x32\x02" + hostile.bits((0, 1), (0, 2), (1, 1), (0, 1), (0, 1), (0, 10)))[1] == 1
    with pytest.raises(BrokenSample, match="a frame of another size"):
        av1_sizes(sequence + b"\x32\x02" + own)


# In processes of their own: what it takes


def colour_in_one_strip(side: int) -> bytes:
    squeeze, row = zlib.compressobj(1), bytes(3 * side)
    data = b"".join([*(squeeze.compress(row) for _ in range(side)), squeeze.flush()])
    return hostile.grey_tiff(side, data=data, **COLOUR, t259=(3, (8,)), t274=(3, (6,)))


LARGEST = {
    "a TIFF in one strip, to be turned": lambda: colour_in_one_strip(7_050),
    "a TIFF of JPEG": lambda: hostile.saved("TIFF", 8_000, "YCbCr", compression="jpeg"),
    "a run-length coded BMP": lambda: hostile.bmp(5_500, 5_500, compression=1, data=b"\1\0\0\0" * 5_500),
    "a JPEG 2000": lambda: hostile.saved("JPEG2000", 4_600),
    "a JPEG 2000 in 25,600 tiles": lambda: hostile.saved("JPEG2000", 2_560, "L", tile_size=(16, 16)),
    "a JPEG 2000 in code blocks of 4 x 4": lambda: hostile.saved("JPEG2000", 1_600, codeblock_size=(4, 4)),
    "an AVIF with alpha": lambda: hostile.saved("AVIF", 4_600, "RGBA", subsampling="4:4:4", speed=10),
}
MAKE = "import sys; sys.path[:0] = sys.argv[3:]; import test_format_limits as t; "
MAKE += "open(sys.argv[2], 'wb').write(t.LARGEST[sys.argv[1]]())"


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGEST)
def test_the_most_costly_image_that_is_read_takes_512_mb_and_5_seconds(name, tmp_path):
    path = tmp_path / "image"
    subprocess.run(
        [sys.executable, "-c", MAKE, name, str(path), str(Path(__file__).parent), *sys.path], check=True, timeout=300
    )
    megabytes, seconds = cost_of(path, "exact")
    # Twice the seconds: of a core that another process shares they are longer.
    assert megabytes <= 512 and seconds <= 10, (megabytes, seconds)

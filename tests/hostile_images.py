"""Small files that would cost much to decode, and large ones that must be read."""

import base64
import io
import struct
import zlib

from PIL import Image

GIF_START, GIF_FRAME = b"\x80\0\0\0\0\0\xff\xff\xff", b"\0\x02\x02D\x01\0"

# 64 x 64 in red, as pillow-heif 1.8 writes it.
HEIC = zlib.decompress(
    base64.b85decode(
        "c-muNV30{GsVvAy%}izhg51nBLl8SRGck>UfiWyMwIq=N0u(b+a*CjAhJwuG5(YG&l$nzcHpIn&fe{FSfUycf1Azn(D`#frrGa@MQBfc#l"
        "?lqrC`&d3G5HEIOLE~#u4NV!6#(h&nFY!DK)M2`%$boHBs2l6NbUo}pT9qTFfi~lCjfOwI56@s{{IhBzzkBs3_^0dm>d#;lG;v;jA$|o6"
        "dGBlz4Fvtm&YW<!vPXH0U|gYl7Q;jT^J7*ZBTLmS|gmCpHq~VoKpc5=4D`O01Am@78j&K{pJA00tJ~BnIHjX4i2Dc4C0vuxv<~^h6qa|6"
        "Eh2tsgRqJ2nszB4aW5>5`QW!UjP3&q5u4W7_B2E769YmN-Y"
    )
)


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(side: int, *, bits: int = 8, colour: int = 2, extra: bytes = b"", width: int | None = None) -> bytes:
    """A black PNG, `extra` chunks before its pixels, that compress a thousand times."""
    width = width or side
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    squeeze, row = zlib.compressobj(1), bytes(1 + (width * channels * bits + 7) // 8)
    pixels = b"".join([*(squeeze.compress(row) for _ in range(side)), squeeze.flush()])
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, side, bits, colour, 0, 0, 0))
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + header + palette + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def gif(side: int, *, frame: int = 1, before: bytes = b"", frames: int = 1) -> bytes:
    """A GIF of one pixel in a frame of `frame`, on a canvas of `side`."""
    image = b"," + struct.pack("<HHHH", 0, 0, frame, frame) + GIF_FRAME
    return b"GIF89a" + struct.pack("<HH", side, side) + GIF_START + before + image * frames + b";"


def jpeg(side: int, **options) -> bytes:
    """A grey JPEG of three components."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (128, 128, 128)).save(file, "JPEG", **options)
    return file.getvalue()


def with_scans(data: bytes, count: int) -> bytes:
    """A progressive JPEG with its last scan repeated."""
    last, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    return data[:end] + data[last:end] * count + data[end:]


def webp(side: int, **options) -> bytes:
    """A grey WebP."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (128, 128, 128)).save(file, "WEBP", method=0, **options)
    return file.getvalue()


def webp_frames(count: int) -> bytes:
    """An animated WebP of 16 x 16."""

    def part(name: bytes, body: bytes) -> bytes:
        return name + struct.pack("<I", len(body)) + body

    frame = part(b"ANMF", bytes(6) + b"\x0f\0\0\x0f\0\0\x0a\0\0\0" + webp(16)[12:])
    body = part(b"VP8X", b"\x02\0\0\0\x0f\0\0\x0f\0\0") + part(b"ANIM", bytes(6)) + frame * count
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def tiff(entries: dict[int, tuple], *, order: str = "<", data: bytes = b"", big: bool = False) -> bytes:
    """A TIFF of one directory, `data` behind it: tag -> (type, values), "data" for where that begins."""
    word, sizes = ("Q", {1: 1, 3: 2, 4: 4, 5: 8, 16: 8, 7: 1}) if big else ("I", {1: 1, 3: 2, 4: 4, 5: 8, 7: 1})
    room = struct.calcsize(word)
    start = b"II" if order == "<" else b"MM"
    head = struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, 16) if big else (42, 8)))
    at = len(start) + len(head) + (8 if big else 2) + len(entries) * (20 if big else 12) + room
    outside, rows = b"", b""
    length = sum(sizes[kind] * len(values) for kind, values in entries.values() if sizes[kind] * len(values) > room)
    for tag, (kind, values) in sorted(entries.items()):
        numbers = [at + length if value == "data" else value for value in values]
        form = {1: "B", 3: "H", 4: "I", 5: "Q", 7: "B", 16: "Q"}[kind]
        body = struct.pack(f"{order}{len(numbers)}{form}", *numbers)
        if len(body) > room:
            body, outside = struct.pack(order + word, at + len(outside)), outside + body
        rows += struct.pack(f"{order}HH{word}", tag, kind, len(values)) + body.ljust(room, b"\0")
    count = struct.pack(order + ("Q" if big else "H"), len(entries))
    return start + head + count + rows + bytes(room) + outside + data


def grey_tiff(side: int, *, bits: int = 8, data: bytes = b"", rows: int | None = None, **others) -> bytes:
    """A grey TIFF in one strip or in strips of `rows`; `others` are tags by their numbers, as in t259=(3, (5,))."""
    strips = -(-side // rows) if rows else 1
    entries = {
        256: (4, (side,)),
        257: (4, (side,)),
        258: (3, (bits,)),
        259: (3, (1,)),
        262: (3, (1,)),
        273: (4, ("data",) * strips),
        277: (3, (1,)),
        278: (4, (rows or side,)),
        279: (4, (len(data) // strips or 1,) * strips),
    }
    return tiff(entries | {int(name[1:]): value for name, value in others.items()}, data=data)


def bmp(width: int, height: int, *, compression: int = 0, data: bytes = b"", bits: int = 8) -> bytes:
    """A BMP with a grey palette."""
    palette = b"".join(bytes([level] * 3 + [0]) for level in range(256)) if bits == 8 else b""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, 0, 0)
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + palette + data


def saved(kind: str, side: int, mode: str = "RGB", **options) -> bytes:
    """A grey image as Pillow writes it."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (128, 128, 128)).convert(mode).save(file, kind, **options)
    return file.getvalue()


def jpeg2000_of(side: int, small: bytes) -> bytes:
    """A codestream that says it has `side` x `side` pixels in one tile."""
    at = small.index(b"\xff\x51") + 6
    return small[:at] + struct.pack(">8I", side, side, 0, 0, side, side, 0, 0) + small[at + 32 :]


def boxes_with(data: bytes, name: bytes, at: int, value: bytes) -> bytes:
    """An AVIF or HEIC with other bytes in every box of that name, `at` bytes behind the name."""
    parts = data.split(name)
    return name.join([parts[0], *(part[:at] + value + part[at + len(value) :] for part in parts[1:])])


def bits(*fields: tuple[int, int]) -> bytes:
    """Numbers as (value, how many bits), filled up with zeros to whole bytes."""
    text = "".join(f"{value:0{width}b}" if width else "" for value, width in fields)
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8))


def golomb(value: int) -> tuple[int, int]:
    """A number of unknown length, for `bits`."""
    return value + 1, 2 * (value + 1).bit_length() - 1


def av1_sequence(side: int) -> bytes:
    """An AV1 sequence header of a still image, as a unit of a bitstream."""
    body = bits((0, 3), (1, 1), (1, 1), (0, 5), (15, 4), (15, 4), (side - 1, 16), (side - 1, 16), (0, 32))
    return b"\x0a" + bytes([len(body)]) + body


def hevc_parameters(width: int, height: int, *, depth: int = 8, layers: int = 0) -> bytes:
    """An HEVC set of sequence parameters."""
    sub = [(3, 2)] * layers + [(0, 2)] * (8 - layers) + [(0, 96)] * layers if layers else []
    sizes = (golomb(0), golomb(1), golomb(width), golomb(height), (0, 1), golomb(depth - 8), golomb(depth - 8))
    return b"\x42\x01" + bits((0, 4), (layers, 3), (1, 1), (0, 96), *sub, *sizes, (1, 1)).replace(b"\0\0", b"\0\0\3")


def directory(entries: dict[int, tuple], start: int) -> bytes:
    """A directory of a TIFF that begins at that byte."""
    rows, outside, end = b"", b"", start + 6 + 12 * len(entries)
    for tag, (kind, values) in sorted(entries.items()):
        body = struct.pack(f"<{len(values)}{ {1: 'B', 3: 'H', 4: 'I', 10: 'i', 7: 'B'}[kind] }", *values)
        count = len(values) // (2 if kind == 10 else 1)
        where = body.ljust(4, b"\0") if len(body) <= 4 else struct.pack("<I", end + len(outside))
        outside += b"" if len(body) <= 4 else body
        rows += struct.pack("<HHI", tag, kind, count) + where
    return struct.pack("<H", len(entries)) + rows + bytes(4) + outside


def dng(preview: bytes, sides: tuple[int, int], *, compression: int, turn: int) -> bytes:
    """A DNG of 32 x 24 with a preview, as small as LibRaw takes it."""
    raw, photometric = struct.pack("<768H", *range(768)), 6 if compression == 7 else 2

    def directories(second: int, image: int, pixels: int) -> tuple[bytes, bytes]:
        first = {
            254: (4, (1,)),
            256: (4, sides[:1]),
            257: (4, sides[1:]),
            258: (3, (8, 8, 8)),
            259: (3, (compression,)),
            262: (3, (photometric,)),
            271: (7, tuple(b"Canon\0")),
            272: (7, tuple(b"EOS Test\0")),
            273: (4, (image,)),
            274: (3, (turn,)),
            277: (3, (3,)),
            278: (4, sides[1:]),
            279: (4, (len(preview),)),
            330: (4, (second,)),
            50706: (1, (1, 4, 0, 0)),
            50708: (7, tuple(b"Canon EOS Test\0")),
            50721: (10, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1)),
            50778: (3, (21,)),
        }
        mosaic = {
            254: (4, (0,)),
            256: (4, (32,)),
            257: (4, (24,)),
            258: (3, (16,)),
            259: (3, (1,)),
            262: (3, (32803,)),
            273: (4, (pixels,)),
            277: (3, (1,)),
            278: (4, (24,)),
            279: (4, (len(raw),)),
            33421: (3, (2, 2)),
            33422: (1, (0, 1, 1, 2)),
            50717: (4, (4095,)),
        }
        # 7 is bytes, and text is 2: the same but for its number.
        one = directory(first, 8)
        return one, directory(mosaic, 8 + len(one))

    one, two = directories(0, 0, 0)
    second, image = 8 + len(one), 8 + len(one) + len(two)
    one, two = directories(second, image, image + len(preview))
    return b"II*\0\x08\0\0\0" + one + two + preview + raw

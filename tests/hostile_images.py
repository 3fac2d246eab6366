"""Small files that would cost much to decode, and large ones that must be read."""

import io
import struct
import zlib

from PIL import Image

GIF_START, GIF_FRAME = b"\x80\0\0\0\0\0\xff\xff\xff", b"\0\x02\x02D\x01\0"


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

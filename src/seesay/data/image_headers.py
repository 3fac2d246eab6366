"""What decoding an image would cost, read from its headers before anything is allocated.

H, W = height and width of an image as it is stored, P = H x W. TIFF, JPEG 2000, and AVIF and HEIC have files of their
own: `tiff_header`, `jpeg2000_header`, `isobmff_header`.
"""

import struct
from collections.abc import Callable

from seesay.base.errors import BrokenSample
from seesay.data.decoding_limits import MAX_CHUNKS, MAX_NS, TOO_COMPLEX, TOO_LARGE, Footprint, refuse_size
from seesay.data.isobmff_header import isobmff_footprint
from seesay.data.jpeg2000_header import CODESTREAM_START, JP2_START, jpeg2000_footprint
from seesay.data.tiff_header import TIFF_STARTS, tiff_footprint

# Above this Pillow warns of a GIF while it opens it, by a setting of the whole process (PIL.Image.MAX_IMAGE_PIXELS).
MAX_GIF_PIXELS = 89_478_485
# Of a pixel of WebP: two canvases, their bytes and Pillow's image, 4 each (benchmarks/2026-11-28-hostile).
WEBP_BYTES = 16
# A guess: Pillow takes a millisecond for a full one, and good files have less than ten.
MAX_COMPRESSED_CHUNKS = 1000
# A guess: segments before the pixels of a JPEG, times the bytes of them all, which Pillow copies at each of them. Ten
# times what a file of 255 colour segments or a depth map has, a second (benchmarks/2026-11-28-hostile).
MAX_COPIED = 1 << 33
# Nanoseconds a progressive JPEG takes for each scan of a pixel and each byte (benchmarks/2026-11-28-hostile).
SCAN_NS, BYTE_NS = 1, 45
# Nanoseconds Pillow takes for a pixel and a byte of a run-length coded BMP (benchmarks/2026-11-28-strangers).
RLE_PIXEL_NS, RLE_BYTE_NS = 120, 250
# Bytes of the headers of a BMP, which say its version.
BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)


def footprint(data: bytes) -> Footprint:
    """What decoding would cost, from the headers of an image in a format that is read; of another file, nothing.

    Raises `BrokenSample` "image too large" for sides and "image too complex" for counts above the limits, and
    "damaged image" for sides of 0. What the headers do not give is left to the decoder to refuse.
    """
    read = isobmff_footprint if data[4:8] == b"ftyp" else None
    read = next((reader for start, reader in _READERS if data.startswith(start)), read)
    try:
        result = read(data) if read else Footprint()
    except (struct.error, IndexError, OverflowError):  # a position behind the end, or beyond all files
        return Footprint()
    if result != Footprint():
        refuse_size((result.width, result.height))
    return result


def _jpeg(data: bytes) -> Footprint:
    """As Pillow, segment by segment to the first scan; where there may be several, they are counted."""
    position, segments, frame = 2, 0, None
    while data[position + 1] != 0xDA or data[position] != 0xFF:
        segments += 1
        if segments * position > MAX_COPIED:
            raise BrokenSample(TOO_COMPLEX, f"{segments:,} segments in the first {position:,} bytes of a JPEG")
        if data[position] != 0xFF or data[position + 1] in (0, 0xFF):
            position += 1
            continue
        marker = data[position + 1]
        if 0xD0 <= marker <= 0xD9 or marker == 0x01:
            position += 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = position
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
    if frame is None:
        return Footprint()
    height, width, components = struct.unpack_from(">HHB", data, frame + 5)
    has_scans = data[frame + 1] not in (0xC0, 0xC1) or data[position + 4] < components
    beside = len(data)
    if has_scans:
        beside += _coefficient_bytes(data[frame + 10 : frame + 10 + 3 * components], height * width)
        _refuse_scans(data, position, height * width)
    return Footprint(width, height, 1 if components == 1 else 4, beside, is_scaled=True)


def _coefficient_bytes(components: bytes, pixels: int) -> int:
    """Two bytes for every sample of every component, which libjpeg holds until the last scan."""
    shares = [(sampling >> 4) * (sampling & 15) for sampling in components[1::3]]
    largest = max((s >> 4 for s in components[1::3]), default=1) * max((s & 15 for s in components[1::3]), default=1)
    return 2 * pixels * sum(shares) // max(1, largest)


def _refuse_scans(data: bytes, start: int, pixels: int) -> None:
    """Every scan goes over the whole image, however few bytes it has."""
    scans = data.count(b"\xff\xda", start)
    if scans * pixels * SCAN_NS + len(data) * BYTE_NS > MAX_NS:
        raise BrokenSample(TOO_COMPLEX, f"{scans:,} scans of {pixels:,} pixels in {len(data):,} bytes of JPEG")


def _png(data: bytes) -> Footprint:
    """Chunks to the end of the first frame, as far as Pillow reads them."""
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    position, chunks, compressed, ancillary = 8, 0, 0, 0
    is_animated, has_pixels = False, False
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if name == b"IEND" or (name == b"fcTL" and is_animated and has_pixels):
            break
        is_animated |= name == b"acTL"
        has_pixels |= name in (b"IDAT", b"fdAT")
        compressed += name in (b"iCCP", b"zTXt", b"iTXt")
        ancillary += 0 if name == b"IDAT" else length
        chunks += 1
        if chunks > MAX_CHUNKS or compressed > MAX_COMPRESSED_CHUNKS:
            raise BrokenSample(TOO_COMPLEX, f"a PNG of {chunks:,} chunks, {compressed:,} of them compressed text")
        position += 12 + length
    pixel_bytes = 4 if colour in (2, 4, 6) else 2 if bits == 16 else 1
    return Footprint(width, height, pixel_bytes, len(data) + min(ancillary, len(data)))


def _gif(data: bytes) -> Footprint:
    """Blocks to the first frame, which may be larger than the canvas; as Pillow takes them."""
    canvas = struct.unpack_from("<HH", data, 6)
    position = 13 + (3 << (data[10] & 7) + 1 if data[10] & 128 else 0)
    blocks, disposal = 0, 0
    while data[position] != 0x2C:
        if data[position] == 0x3B:
            return Footprint()
        blocks += 1
        if data[position] == 0x21:
            if data[position + 1] == 0xF9 and data[position + 2]:
                disposal = (data[position + 3] >> 2 & 7) or disposal
            position, count = _after_blocks(data, position + 2, may_be_empty=data[position + 1] == 0xFE)
            blocks += count
        else:
            position += 1
        if blocks > MAX_CHUNKS:
            raise BrokenSample(TOO_COMPLEX, f"{blocks:,} blocks before the first frame of a GIF")
    left, top, wide, high = struct.unpack_from("<HHHH", data, position + 1)
    width, height = max(canvas[0], left + wide), max(canvas[1], top + high)
    if width * height > MAX_GIF_PIXELS:
        raise BrokenSample(TOO_LARGE, f"{width} x {height}; at most {MAX_GIF_PIXELS:,} pixels in a GIF")
    return Footprint(width, height, 1, len(data) + (wide * high if disposal >= 2 else 0))


def _after_blocks(data: bytes, position: int, *, may_be_empty: bool) -> tuple[int, int]:
    """Where the blocks that begin here have ended, at one of no bytes, and their number."""
    count, size = 1, data[position]
    position += 1 + size
    while (size or (count == 1 and not may_be_empty)) and count <= MAX_CHUNKS:
        size = data[position]
        position += 1 + size
        count += 1
    return position, count


def _webp(data: bytes) -> Footprint:
    """The canvas, which libwebp allocates as soon as it sees the file."""
    if data[8:12] != b"WEBP":
        return Footprint()
    position, chunks = 12, 0
    while position + 8 <= len(data):
        position += 8 + (struct.unpack_from("<I", data, position + 4)[0] + 1 & ~1)
        chunks += 1
        if chunks > MAX_CHUNKS:
            raise BrokenSample(TOO_COMPLEX, f"a WebP of more than {MAX_CHUNKS:,} chunks")
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise BrokenSample("damaged image", f"a WebP that begins with {kind!r}")
    return Footprint(width, height, WEBP_BYTES, 2 * len(data))


def _bmp(data: bytes) -> Footprint:
    """The second header; what is run-length coded is taken apart by Python, pixel by pixel."""
    (header,) = struct.unpack_from("<I", data, 14)
    if header not in BMP_HEADERS:
        return Footprint()
    width, height, _, bits = struct.unpack_from("<HHHH" if header == 12 else "<IiHH", data, 18)
    height = abs(height)
    run_length = header > 12 and struct.unpack_from("<I", data, 30)[0] in (1, 2)
    if run_length and width * height * RLE_PIXEL_NS + len(data) * RLE_BYTE_NS > MAX_NS:
        raise BrokenSample(TOO_COMPLEX, f"a run-length coded BMP of {width * height:,} pixels, {len(data):,} bytes")
    # The pixels as Python has them, a copy, and Pillow's.
    return Footprint(width, height, 4 if bits > 8 else 3 if run_length else 1, len(data))


_READERS: tuple[tuple[bytes, Callable[[bytes], Footprint]], ...] = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"GIF87a", _gif),
    (b"GIF89a", _gif),
    (b"RIFF", _webp),
    (b"BM", _bmp),
    *((start, tiff_footprint) for start in TIFF_STARTS),
    (JP2_START, jpeg2000_footprint),
    (CODESTREAM_START, jpeg2000_footprint),
)

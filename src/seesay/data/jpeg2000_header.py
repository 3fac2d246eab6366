"""The headers of a JPEG 2000 (ISO 15444-1, annexes A and I): what OpenJPEG would take for it.

P = pixels of the image. Letters of fields are the standard's.
"""

import struct

from seesay.base.errors import BrokenSample
from seesay.data.decoding_limits import MAX_CHUNKS, MAX_NS, TOO_COMPLEX, Footprint, refuse_size

JP2_START, CODESTREAM_START = b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"
# Markers, by the standard's table A.2.
COD, COC, SOT, SOD = 0xFF52, 0xFF53, 0xFF90, 0xFF93
# Nanoseconds for a sample and for a byte, and bytes: of a sample, of a code block, of a precinct and of a tile
# (benchmarks/2026-11-28-strangers).
SAMPLE_NS, BYTE_NS = 15, 215
SAMPLE_BYTES, BLOCK_BYTES, PRECINCT_BYTES, TILE_BYTES = 5, 640, 1024, 16_384
# A guess: packets of a tile, each of which takes OpenJPEG a microsecond even where it is empty.
MAX_PACKETS = 2_000_000


def jpeg2000_footprint(data: bytes) -> Footprint:
    """What the image would cost; `BrokenSample` for sides, counts and times above the limits."""
    start = 0 if data.startswith(CODESTREAM_START) else _codestream(data)
    x1, y1, x0, y0, tile_width, tile_height, *_ = struct.unpack_from(">8I", data, start + 8)
    (components,) = struct.unpack_from(">H", data, start + 40)
    width, height = x1 - x0, y1 - y0
    refuse_size((width, height))
    if not (0 < components <= 4 and tile_width and tile_height):
        raise BrokenSample("damaged image", f"a JPEG 2000 of {components} components, tiles of {tile_width}")
    if any(data[start + 43 + 3 * number] == 0 or data[start + 44 + 3 * number] == 0 for number in range(components)):
        raise BrokenSample("damaged image", "a JPEG 2000 without samples")
    tiles = -(-x1 // tile_width) * -(-y1 // tile_height)
    held = min(tile_width, width) * min(tile_height, height) * components
    nanoseconds = width * height * components * SAMPLE_NS + len(data) * BYTE_NS
    if tiles > MAX_CHUNKS or nanoseconds > MAX_NS:
        raise BrokenSample(
            TOO_COMPLEX, f"{tiles:,} tiles with {width * height:,} pixels in {len(data):,} bytes of JPEG 2000"
        )
    beside = len(data) + tiles * TILE_BYTES + held * SAMPLE_BYTES + _coding_bytes(data, start + 2, held)
    return Footprint(width, height, 4 if components > 1 else 2, beside)


def _codestream(data: bytes) -> int:
    """Where the codestream of a JP2 begins."""
    position = 0
    for _ in range(MAX_CHUNKS):
        length, name = struct.unpack_from(">I4s", data, position)
        begin = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, position + 8)
            begin = 16
        if name == b"jp2c":
            if data[position + begin : position + begin + 4] != CODESTREAM_START:
                break
            return position + begin
        if length < begin:
            break
        position += length
    raise BrokenSample("damaged image", "a JPEG 2000 without a codestream")


def _coding_bytes(data: bytes, position: int, samples: int) -> int:
    """Of the code blocks and precincts of a tile with that many samples, whatever component has most of them.

    The main header says it for all tiles. A tile that says something else in its own header is refused.
    """
    most, layers = 0, 0
    while (marker := struct.unpack_from(">H", data, position)[0]) != SOT:
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker in (COD, COC):
            style, at = (position + 4, position + 9) if marker == COD else (position + 5, position + 6)
            layers = struct.unpack_from(">H", data, position + 6)[0] if marker == COD else layers
            size, precincts = _style_cost(data, at, data[style], samples)
            most = max(most, size)
            if precincts * layers > MAX_PACKETS:
                raise BrokenSample(TOO_COMPLEX, f"{layers:,} layers of {precincts:,} precincts in a JPEG 2000")
        if length < 2 or marker >> 8 != 0xFF:
            raise BrokenSample("damaged image", f"no marker at byte {position:,} of a JPEG 2000")
        position += 2 + length
    if not layers:
        raise BrokenSample("damaged image", "a JPEG 2000 that says nothing of its coding")
    _refuse_styles_of_tiles(data, position)
    return most


def _style_cost(data: bytes, at: int, style: int, samples: int) -> tuple[int, int]:
    """Bytes and precincts, from where the number of resolutions stands: code blocks of 2^(x + 2) by 2^(y + 2)."""
    levels, block_x, block_y = data[at], data[at + 1], data[at + 2]
    if levels > 32 or block_x + block_y > 8:
        raise BrokenSample("damaged image", f"{levels} resolutions, code blocks of 2^{block_x + block_y + 4}")
    sizes = data[at + 5 : at + 6 + levels] if style & 1 else b"\xff" * (levels + 1)
    if len(sizes) <= levels:
        raise BrokenSample("truncated image", "the headers of a JPEG 2000 are cut off")
    size_of_all, precincts = 0, 0
    for below, size in enumerate(reversed(sizes)):
        here = -(-samples >> 2 * below) + 1
        precinct = 1 << (size & 15) + (size >> 4)
        # A precinct cuts code blocks off at its own sides.
        block = min(1 << block_x + block_y + 4, precinct)
        precincts += here // precinct + 1
        size_of_all += here // block * BLOCK_BYTES + here // precinct * PRECINCT_BYTES
    return size_of_all, precincts


def _refuse_styles_of_tiles(data: bytes, position: int) -> None:
    parts = 0
    while position + 12 <= len(data) and struct.unpack_from(">H", data, position)[0] == SOT:
        (length,) = struct.unpack_from(">I", data, position + 6)
        inside = position + 12
        while (marker := struct.unpack_from(">H", data, inside)[0]) != SOD:
            if marker in (COD, COC):
                raise BrokenSample(TOO_COMPLEX, "a JPEG 2000 with tiles that are coded in another way than it says")
            step = struct.unpack_from(">H", data, inside + 2)[0]
            if step < 2 or marker >> 8 != 0xFF:
                raise BrokenSample("damaged image", f"no marker at byte {inside:,} of a JPEG 2000")
            inside += 2 + step
        parts += 1
        if parts > MAX_CHUNKS:
            raise BrokenSample(TOO_COMPLEX, f"more than {MAX_CHUNKS:,} parts of tiles in a JPEG 2000")
        if length == 0:
            return
        if length < 14:
            raise BrokenSample("damaged image", f"a part of a tile of {length} bytes at byte {position:,}")
        position += length
    if position < len(data) and data[position : position + 2] != b"\xff\xd9" and position + 12 <= len(data):
        raise BrokenSample("damaged image", f"no tile at byte {position:,} of a JPEG 2000")

"""The boxes of an AVIF or HEIC (ISO 14496-12 and 23008-12): sides, items, and what lies in their coded images.

Sides stand in `ispe`, but a decoder allocates by what the coded images say of themselves (`coded_size`), and for a grid
by the grid's own payload: all are read, and none may be larger than the limits.
"""

import struct
from collections.abc import Iterator

from seesay.base.errors import BrokenSample
from seesay.data.coded_size import CodedSize, av1_sizes, hevc_sizes, hevc_units
from seesay.data.decoding_limits import MAX_PIXELS, TOO_COMPLEX, Footprint, refuse_size

AVIF_BRANDS, HEIC_BRANDS = (b"avif", b"avis"), (b"heic", b"heix", b"heim", b"heis")
# Boxes that hold boxes; the bytes before the first of them.
_CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0}
_DEEPEST = 6
# Items that are coded images, put together from them, or no images.
_CODED, _OTHERS = (b"av01", b"hvc1"), (b"grid", b"iden", b"tmap", b"Exif", b"mime", b"uri ")
# libheif's own limit.
MAX_ITEMS = 1000
# Guesses: boxes of a file, of which good ones have less than a thousand, and frames of a coded image, which has one.
MAX_BOXES, MAX_FRAMES = 10_000, 4
# Of a pixel of AVIF: planes of 4 samples of 2 bytes, RGBA, and Pillow's image; of HEIC: RGBA, and the planes of its
# samples, three bytes each where they have more than 8 bits (benchmarks/2026-11-28-strangers).
AVIF_BYTES, HEIC_BYTES, DEEP_BYTES = 20, 4, 3

_Span = tuple[int, int]


def brand(data: bytes) -> str:
    """ "AVIF" or "HEIC" by the brands in the first box, "" for another file of this kind, such as a video."""
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, min(int.from_bytes(data[:4]), 256), 4))]
    if any(name in AVIF_BRANDS for name in brands):
        return "AVIF"
    return "HEIC" if any(name in HEIC_BRANDS for name in brands) else ""


def isobmff_footprint(data: bytes) -> Footprint:
    """What an AVIF or HEIC costs, nothing for other files; `BrokenSample` for sides and counts above the limits."""
    kind = brand(data)
    if not kind:
        return Footprint()
    boxes: dict[bytes, list[_Span]] = {}
    for name, span in _boxes(data, (0, len(data)), depth=0):
        boxes.setdefault(name, []).append(span)
        if len(boxes[name]) > MAX_BOXES:
            raise BrokenSample(TOO_COMPLEX, f"{len(boxes[name]):,} boxes {name!r} in {kind}")
    if any(len(boxes.get(name, ())) > 1 for name in (b"meta", b"iloc", b"ipco", b"pitm", b"iinf", b"idat", b"iref")):
        raise BrokenSample("damaged image", f"{kind} with two boxes of a kind that comes once")
    types = _item_types(data, boxes)
    sizes = _coded_sizes(data, boxes, types)
    width, height = _primary_sides(data, boxes)
    sides = [struct.unpack_from(">II", data, start + 4) for start, _ in boxes.get(b"ispe", ())]
    for side in (*sides, *_grid_sides(data, boxes, types), *((size.width, size.height) for size in sizes)):
        refuse_size(side)
    coded = max((size.width * size.height for size in sizes), default=0)
    if not coded:
        raise BrokenSample("damaged image", f"{kind} without a coded image")
    largest = max(coded, *(across * down for across, down in (*sides, *_grid_sides(data, boxes, types))))
    cells = _most_cells(data, boxes)
    if cells * coded > MAX_PIXELS:
        raise BrokenSample(TOO_COMPLEX, f"{cells:,} cells of {coded:,} pixels in {kind}")
    samples = max(size.planes * (DEEP_BYTES if size.is_deep else 1) for size in sizes)
    alpha = DEEP_BYTES if any(b"alpha" in data[start:end] for start, end in boxes.get(b"auxC", ())) else 0
    pixel_bytes = AVIF_BYTES if kind == "AVIF" else HEIC_BYTES + int(samples + 0.5) + alpha
    return Footprint(width, height, pixel_bytes, 2 * len(data) + pixel_bytes * (largest - width * height))


def _boxes(data: bytes, span: _Span, depth: int) -> Iterator[tuple[bytes, _Span]]:
    """Every box with where its content begins and ends, those inside others included."""
    position, end = span
    while position + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, position)
        begin = position + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, begin)
            begin += 8
        length = length or end - position
        if position + length < begin or position + length > end:
            raise BrokenSample("truncated image", f"a box of {length:,} bytes where {end - position:,} are left")
        position += length
        yield name, (begin, position)
        if name in _CONTAINERS and depth < _DEEPEST:
            yield from _boxes(data, (begin + _CONTAINERS[name], position), depth + 1)


def _item_types(data: bytes, boxes: dict[bytes, list[_Span]]) -> dict[int, bytes]:
    """Item -> its type; `BrokenSample` for a type that is not known here."""
    types = {}
    for start, end in boxes.get(b"iinf", ()):
        first = start + (6 if data[start] == 0 else 8)
        for _, (at, _) in _boxes(data, (first, end), _DEEPEST):
            form = ">HH4s" if data[at] == 2 else ">IH4s"
            number, _, name = struct.unpack_from(form, data, at + 4)
            types[number] = name
            if name not in (*_CODED, *_OTHERS):
                raise BrokenSample("unsupported format", f"an item of type {name.decode('latin-1')!r}")
            if len(types) > MAX_ITEMS:
                raise BrokenSample(TOO_COMPLEX, f"more than {MAX_ITEMS:,} items")
    return types


def _coded_sizes(data: bytes, boxes: dict[bytes, list[_Span]], types: dict[int, bytes]) -> list[CodedSize]:
    """What every coded image, and what comes before it in its configuration, says of its size."""
    sizes: list[CodedSize] = []
    lengths = {4}
    for start, end in boxes.get(b"hvcC", ()):
        inside, length = hevc_sizes(data[start:end])
        lengths |= {length}
        sizes += inside
    for start, end in boxes.get(b"av1C", ()):
        sizes += av1_sizes(data[start + 4 : end])[0]
    coded = [(types[item], body) for item, body in _items(data, boxes) if types.get(item) in _CODED]
    coded += [(b"av01", data[start:end]) for start, end in _first_samples(data, boxes)]
    for kind, body in coded:
        for inside, frames in [av1_sizes(body)] if kind == b"av01" else [hevc_units(body, n) for n in lengths]:
            sizes += inside
            if frames > MAX_FRAMES:
                raise BrokenSample(TOO_COMPLEX, f"{frames:,} frames in one coded image")
    return sizes


def _items(data: bytes, boxes: dict[bytes, list[_Span]]) -> Iterator[tuple[int, bytes]]:
    """Every item of `iloc` with its bytes; those of other files and of other items are refused."""
    for start, end in boxes.get(b"iloc", ()):
        version, sizes = data[start], data[start + 4 : start + 6]
        widths = (sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4, sizes[1] & 15 if version else 0)
        read = _Numbers(data, start + 6, end)
        total = 0
        for _ in range(read.take(2 if version < 2 else 4)):
            item = read.take(2 if version < 2 else 4)
            method = read.take(2) & 15 if version else 0
            if read.take(2) or method > 1:
                raise BrokenSample("unsupported format", "an item that lies in another file or item")
            base = read.take(widths[2]) + (boxes[b"idat"][0][0] if method else 0)
            parts = []
            for _ in range(read.take(2)):
                read.take(widths[3])
                at, length = base + read.take(widths[0]), read.take(widths[1])
                parts.append(data[at : at + length] if length else data[at:])
                total += len(parts[-1])
                if total > 4 * len(data):
                    raise BrokenSample(TOO_COMPLEX, "items that lie over each other")
            yield item, b"".join(parts)


class _Numbers:
    """Big-endian numbers one after the other; `IndexError` at their end."""

    def __init__(self, data: bytes, position: int, end: int):
        self.data, self.position, self.end = data, position, end

    def take(self, size: int) -> int:
        """The next number of `size` bytes."""
        self.position += size
        if self.position > self.end:
            raise IndexError("a box is cut off")
        return int.from_bytes(self.data[self.position - size : self.position])


def _first_samples(data: bytes, boxes: dict[bytes, list[_Span]]) -> Iterator[_Span]:
    """Where the first frame of each track of an animation lies."""
    offsets = [struct.unpack_from(">I", data, start + 8)[0] for start, _ in boxes.get(b"stco", ())]
    offsets += [struct.unpack_from(">Q", data, start + 8)[0] for start, _ in boxes.get(b"co64", ())]
    for number, (start, _) in enumerate(boxes.get(b"stsz", ())):
        size, count = struct.unpack_from(">II", data, start + 4)
        if count > MAX_PIXELS >> 10:
            raise BrokenSample(TOO_COMPLEX, f"{count:,} frames in a track")
        size = size or struct.unpack_from(">I", data, start + 12)[0]
        for at in offsets[number : number + 1]:
            yield at, at + size


def _grid_sides(data: bytes, boxes: dict[bytes, list[_Span]], types: dict[int, bytes]) -> list[tuple[int, int]]:
    """The canvas of every grid, by its own payload."""
    grids = (
        [body for item, body in _items(data, boxes) if types.get(item) == b"grid"] if b"grid" in types.values() else []
    )
    return [struct.unpack_from(">II" if body[1] & 1 else ">HH", body, 4) for body in grids]


def _most_cells(data: bytes, boxes: dict[bytes, list[_Span]]) -> int:
    """The most images that one item is put together from."""
    most = 0
    for start, end in boxes.get(b"iref", ()):
        wide = 4 if data[start] else 2
        for name, (at, _) in _boxes(data, (start + 4, end), _DEEPEST):
            if name == b"dimg":
                most = max(most, int.from_bytes(data[at + wide : at + wide + 2]))
    return most


def _primary_sides(data: bytes, boxes: dict[bytes, list[_Span]]) -> tuple[int, int]:
    """Width and height of the primary item by its properties."""
    ((start, _),) = boxes.get(b"pitm", ()) or [(0, 0)]
    primary = int.from_bytes(data[start + 4 : start + (6 if data[start] == 0 else 8)])
    ((first, last),) = boxes.get(b"ipco", ()) or [(0, 0)]
    properties = [(name, at) for name, (at, _) in _boxes(data, (first, last), _DEEPEST)]
    for begin, end in boxes.get(b"ipma", ()):
        read = _Numbers(data, begin + 4, end)
        version, wide = data[begin], 2 if data[begin + 3] & 1 else 1
        for _ in range(read.take(4)):
            item = read.take(4 if version else 2)
            numbers = [read.take(wide) & (1 << 8 * wide - 1) - 1 for _ in range(read.take(1))]
            for number in numbers if item == primary else []:
                name, at = properties[number - 1]
                if name == b"ispe":
                    return struct.unpack_from(">II", data, at + 4)
    raise BrokenSample("damaged image", "no width and height of the image itself")

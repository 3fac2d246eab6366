"""The first directory of a TIFF, read by hand before a parser sees the file: what its first page is, and would cost.

Numbers of tags, types and compressions are TIFF 6.0's (Adobe, 1992), its technical notes' and BigTIFF's.
"""

import struct
from dataclasses import dataclass

from seesay.base.errors import BrokenSample
from seesay.data.decoding_limits import MAX_CHUNKS, TOO_COMPLEX, Footprint, refuse_size

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NO_RANGE = "no fixed range"
# How a whole number is stored, by type, and the bytes of one value of each other type.
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_RATIONALS = (5, 10)
# Guesses: the entries of a directory, of which good files have less than a hundred, and the values of one that is read
# number by number in Python.
MAX_ENTRIES, MAX_RATIONALS = 4096, 4096
# None, CCITT's three, LZW, JPEG, Deflate (two numbers), PackBits, Zstandard.
COMPRESSIONS = (1, 2, 3, 4, 5, 7, 8, 32946, 32773, 50000)
# Pillow reads no more for a pixel.
MAX_SAMPLES = 6
WHITE_IS_ZERO, YCBCR, LAB = 0, 6, (8, 9, 10)
SIGNED, FLOAT = 2, 3


@dataclass(frozen=True)
class Directory:
    """The first directory: tag -> how many values it has, and the first 16 of them where they are whole numbers."""

    counts: dict[int, int]
    values: dict[int, tuple[int, ...]]

    def first(self, tag: int, default: int) -> int:
        """The first value of a tag, `default` where there is none."""
        return (self.values.get(tag) or (default,))[0]

    @property
    def bits(self) -> tuple[int, ...]:
        """Bits of each sample of a pixel."""
        written = self.values.get(258, (1,))
        samples = self.first(277, 3 if self.first(259, 1) == 7 and self.first(262, 0) in (2, YCBCR) else 1)
        return written * samples if len(written) == 1 and 0 < samples <= 16 else written

    @property
    def is_camera_raw(self) -> bool:
        """Whether a camera wrote it: a DNG by its version, others by a first image that is a small one of another."""
        return 50706 in self.counts or (bool(self.first(254, 0) & 1) and 330 in self.counts)


def first_directory(data: bytes) -> Directory:
    """The first directory of a TIFF; `BrokenSample` where it is damaged, `struct.error` where it is cut off."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    word, entry_size = ("Q", 20) if is_big else ("I", 12)
    (start,) = struct.unpack_from(order + word, data, 8 if is_big else 4)
    if start > len(data):
        raise BrokenSample("truncated image", f"its first directory is at byte {start:,} of {len(data):,}")
    (count,) = struct.unpack_from(order + ("Q" if is_big else "H"), data, start)
    if count > MAX_ENTRIES:
        raise BrokenSample(TOO_COMPLEX, f"{count:,} entries in the first directory of a TIFF")
    start += 8 if is_big else 2
    counts: dict[int, int] = {}
    values: dict[int, tuple[int, ...]] = {}
    for at in range(start, start + count * entry_size, entry_size):
        tag, kind, length = struct.unpack_from(f"{order}HH{word}", data, at)
        if tag in counts:
            # Pillow would take one and libtiff the other.
            raise BrokenSample("damaged image", f"tag {tag} twice in the first directory of a TIFF")
        if kind in _RATIONALS and length > MAX_RATIONALS:
            raise BrokenSample(TOO_COMPLEX, f"{length:,} fractions in tag {tag} of a TIFF")
        counts[tag] = length
        if kind in _INTEGERS:
            values[tag] = _numbers(data, at + (12 if is_big else 8), order + word, (_INTEGERS[kind], length))
    return Directory(counts, values)


def _numbers(data: bytes, at: int, word: str, form: tuple[str, int]) -> tuple[int, ...]:
    """The first 16 values of a tag: in its entry where they fit, else where the entry points."""
    kind, length = form
    if length * struct.calcsize(kind) > struct.calcsize(word[1:]):
        (at,) = struct.unpack_from(word, data, at)
    if at + length * struct.calcsize(kind) > len(data):
        return ()
    return struct.unpack_from(f"{word[0]}{min(length, 16)}{kind}", data, at)


def tiff_footprint(data: bytes) -> Footprint:
    """What the first page costs; `BrokenSample` for what is not read, and counts or sides above the limits."""
    page = first_directory(data)
    width, height = page.first(256, 0), page.first(257, 0)
    refuse_size((width, height))
    _refuse_unread(page)
    bits = page.bits
    pixel_bytes = 4 if len(bits) > 1 else 2 if max(bits, default=1) > 8 else 1
    return Footprint(width, height, pixel_bytes, len(data) + _segment_bytes(page, width, height))


def _segment_bytes(page: Directory, width: int, height: int) -> int:
    """Of the strip or tile that libtiff unpacks at a time."""
    if 322 in page.counts or 324 in page.counts:
        across, down = page.first(322, 0), page.first(323, 0)
    else:
        across, down = width, min(height, max(1, page.first(278, height)))
    if across <= 0 or down <= 0:
        raise BrokenSample("damaged image", f"tiles of {across} x {down} pixels")
    refuse_size((across, down))
    planes = len(page.bits) if page.first(284, 1) == 2 else 1
    segments = -(-width // across) * -(-height // down) * planes
    if max(segments, page.counts.get(273, 0), page.counts.get(324, 0)) > MAX_CHUNKS:
        raise BrokenSample(TOO_COMPLEX, f"a TIFF of {segments:,} strips or tiles")
    # Of JPEG: what libjpeg holds of a progressive one, two bytes a sample; of YCbCr: RGBA beside the samples.
    beside = (2 * len(page.bits) if page.first(259, 1) == 7 else 0) + (4 if page.first(262, 0) == YCBCR else 0)
    return across * down * (-(-sum(page.bits) // 8) + beside)


def _refuse_unread(page: Directory) -> None:
    """`BrokenSample` for a TIFF of which Pillow would make something else than what is meant."""
    compression, photometric, bits = page.first(259, 1), page.first(262, 0), page.bits
    sample_format = max(page.values.get(339, (1,)), default=1)
    most = max(bits, default=1)
    if most > 16 or sample_format in (SIGNED, FLOAT):
        kind = {SIGNED: "signed ", FLOAT: "floating "}.get(sample_format, "")
        raise BrokenSample(NO_RANGE, f"a TIFF of {most} bit {kind}numbers; scale it to 8 or 16 bit without a sign")
    why = f"{len(bits)} samples for a pixel" if max(len(bits), page.first(277, 1)) > MAX_SAMPLES else ""
    if compression not in COMPRESSIONS:
        why = f"compression {compression}"
    elif photometric in LAB:
        why = "colours in L*a*b*"
    elif photometric == WHITE_IS_ZERO and most > 8:
        why = f"{most} bit in which 0 is white"
    elif photometric == YCBCR and compression != 7 and page.values.get(530) != (1, 1):
        why = "subsampled YCbCr without JPEG"
    if why:
        raise BrokenSample("unsupported format", f"TIFF with {why}; convert it to plain RGB or grey")

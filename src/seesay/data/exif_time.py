"""When a photo was taken, as its camera wrote it: read by hand from the few bytes that say it, as `orientation` is.

EXIF 2.32 (CIPA DC-008): DateTimeOriginal is tag 0x9003 of the directory that tag 0x8769 of the first one points to, and
DateTime is tag 0x0132 of the first; both "YYYY:MM:DD HH:MM:SS" in the camera's own time.
"""

import struct
from collections.abc import Iterator
from datetime import datetime

JPEG_START = b"\xff\xd8"
EXIF_START = b"Exif\0\0"
ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
# Tags of EXIF, as above.
EXIF_DIRECTORY, ORIGINAL, CHANGED = 0x8769, 0x9003, 0x0132
# ASCII and a 32 bit number among the types of TIFF 6.0.
TEXT, LONG = 2, 4
# Entries of a directory that are looked at, a guess: cameras write some 60.
MOST_ENTRIES = 512


def taken_seconds(data: bytes) -> int | None:
    """Seconds since 1970 at which the photo in a JPEG or TIFF was taken, its camera's time being that of this machine.

    None where the file does not say, or says nonsense.
    """
    tiff = data if data[:4] in ORDERS else _exif_of(data)
    order = ORDERS.get(tiff[:4])
    if order is None:
        return None
    try:
        first = dict(_entries(tiff, order, struct.unpack_from(order + "I", tiff, 4)[0]))
        start = first.get(EXIF_DIRECTORY)
        inner = dict(_entries(tiff, order, start)) if isinstance(start, int) else {}
        text = inner.get(ORIGINAL) or first.get(CHANGED)
        return int(datetime.strptime(text, "%Y:%m:%d %H:%M:%S").timestamp()) if isinstance(text, str) else None
    except (struct.error, ValueError, OverflowError, OSError):
        return None


def _exif_of(data: bytes) -> bytes:
    """The block of a JPEG that holds EXIF, b"" without one; only segments before the pixels are passed."""
    if data[:2] != JPEG_START:
        return b""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (0xDA, 0xD9):
        (length,) = struct.unpack_from(">H", data, at + 2)
        if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == EXIF_START:
            return data[at + 10 : at + 2 + length]
        at += 2 + length
    return b""


def _entries(tiff: bytes, order: str, start: int) -> Iterator[tuple[int, int | str]]:
    """(tag, value) of a directory, of the two types that matter here."""
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for at in range(start + 2, start + 2 + 12 * min(count, MOST_ENTRIES), 12):
        tag, kind, size, value = struct.unpack_from(order + "HHII", tiff, at)
        if kind == LONG:
            yield tag, value
        elif kind == TEXT and tag in (ORIGINAL, CHANGED) and size == 20:
            yield tag, tiff[value : value + 19].decode("ascii")

"""A camera's RAW file as the preview in it: what the camera showed, with no development of our own.

CR2, CR3, NEF, ARW, DNG, ORF, RW2 and RAF by LibRaw, through rawpy (the extra `photos`).
"""

import importlib
import io
import struct

from seesay.base.errors import BrokenSample
from seesay.data.tiff_header import TIFF_STARTS, first_directory

NO_PREVIEW = "a camera's RAW file without a JPEG in it; save it as one"
PHOTOS_HINT = "pip install 'seesay[photos]' to read it"
# Of Olympus, Panasonic, Fujifilm, and Canon's CR2 and CR3.
_STARTS = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW ", b"II*\0\x10\0\0\0CR")
_CR3 = b"ftypcrx "


def is_camera_raw(data: bytes) -> bool:
    """Whether these are the bytes of a camera's RAW file and of no other TIFF."""
    if data.startswith(_STARTS) or data[4:12] == _CR3:
        return True
    try:
        return data.startswith(TIFF_STARTS) and first_directory(data).is_camera_raw
    except (BrokenSample, struct.error, OverflowError):
        return False


def preview(data: bytes) -> bytes:
    """The largest preview in a RAW file, a JPEG whose EXIF has the orientation that the camera saw: LibRaw writes it.

    `BrokenSample` "unsupported format" where rawpy is not installed, or there is no JPEG; "damaged image" where
    LibRaw finds damage.
    """
    try:
        rawpy = importlib.import_module("rawpy")
    except ImportError as error:
        raise BrokenSample("unsupported format", f"a camera's RAW file; {PHOTOS_HINT}") from error
    try:
        with rawpy.imread(io.BytesIO(data)) as opened:
            thumbnail = opened.extract_thumb()
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError) as error:
        raise BrokenSample("unsupported format", NO_PREVIEW) from error
    except (rawpy.LibRawError, MemoryError, ValueError) as error:
        raise BrokenSample("damaged image", f"a camera's RAW file: {error}") from error
    # One without compression is not touched: rawpy believes its sides, and reads beyond the end of a damaged file.
    if thumbnail.format != rawpy.ThumbFormat.JPEG:
        raise BrokenSample("unsupported format", NO_PREVIEW)
    return bytes(thumbnail.data)

"""Which decoder reads an image, by its first bytes and never by its name; what no decoder reads is named.

The classes are called directly and not through `Image.open(formats=...)`, which does the same but warns at 89 million
pixels and refuses at 179 million by a setting of the whole process.
"""

import ctypes
import importlib
import io
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageFile, features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from seesay.base.errors import BrokenSample
from seesay.data.camera_raw import PHOTOS_HINT
from seesay.data.image_headers import BMP_HEADERS
from seesay.data.isobmff_header import brand
from seesay.data.jpeg2000_header import CODESTREAM_START, JP2_START
from seesay.data.tiff_header import TIFF_STARTS

SUPPORTED = "JPEG, PNG, WebP, GIF, AVIF, HEIC, TIFF, BMP or JPEG 2000"
JPEG_START = b"\xff\xd8\xff"
# Pillow's reader of TIFF and EXIF, which warns of every tag that is not as it should be.
_TALKATIVE = r"PIL\.TiffImagePlugin"


class QuietJpegFile(JpegImageFile):
    """Pillow parses the whole EXIF block for a resolution nobody needs here, and warns where it is damaged."""

    def _read_dpi_from_exif(self) -> None:
        pass


class FirstPage(TiffImageFile):
    """The first page of a TIFF as it is stored: Pillow would turn it with a second copy, and parse all of its EXIF."""

    def _setup(self) -> None:
        super()._setup()
        self._size = self._tile_size

    def load_prepare(self) -> None:
        """As of any other image: Pillow's own warns and refuses by a setting of the whole process."""
        ImageFile.ImageFile.load_prepare(self)

    def load_end(self) -> None:
        """Nothing more to be done; `decode` turns it."""


class HeicFile:
    """What `decode` needs of a Pillow image, of the primary image of a HEIC, without a second copy of its pixels.

    libheif turns it and cuts it to size, so that it may be smaller than its headers say.
    """

    def __init__(self, file: io.BytesIO):
        try:
            opened = importlib.import_module("pillow_heif").HeifFile(file)
        except ImportError as error:
            raise BrokenSample("unsupported format", f"HEIC; {PHOTOS_HINT}") from error
        self._image = opened[opened.primary_index]
        self.mode: str = self._image.mode
        self.size: tuple[int, int] = self._image.size
        self.info: dict[str, Any] = {}

    def __enter__(self) -> "HeicFile":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def load(self) -> None:
        """Decode all of it."""
        self._pixels = np.asarray(self._image)
        self.size = self._pixels.shape[1::-1]

    @property
    def width(self) -> int:
        """In pixels."""
        return self.size[0]

    @property
    def height(self) -> int:
        """In pixels."""
        return self.size[1]

    def crop(self, box: tuple[int, int, int, int]) -> Image.Image:
        """Left, top, right, bottom of it as a Pillow image."""
        left, top, right, bottom = box
        part = self._pixels[top:bottom, left:right]
        return Image.frombytes(self.mode, (part.shape[1], part.shape[0]), part.tobytes())


def opener(data: bytes) -> Callable[[io.BytesIO], ImageFile.ImageFile | HeicFile]:
    """The one decoder for these bytes; `BrokenSample` where there is none, with the format's name if it has one."""
    for start, decoder in _DECODERS:
        if data.startswith(start):
            return decoder
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImageFile
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in BMP_HEADERS:
        return BmpImageFile
    if data[4:8] == b"ftyp" and (kind := brand(data)):
        return _avif if kind == "AVIF" else HeicFile
    if not data:
        raise BrokenSample("empty file")
    if name := _foreign_format(data):
        raise BrokenSample("unsupported format", f"{name}; convert it to {SUPPORTED}")
    looks_like = "it is a web page" if b"<html" in data[:1024].lower() else f"it begins with {data[:8]!r}"
    raise BrokenSample("not an image", looks_like)


def _avif(file: io.BytesIO) -> ImageFile.ImageFile:
    if not features.check("avif"):
        raise BrokenSample("unsupported format", "AVIF; this Pillow is built without it, and PyPI's is not")
    _ignore_warnings()
    return AvifImageFile(file)


def _tiff(file: io.BytesIO) -> ImageFile.ImageFile:
    _ignore_warnings()
    _silence_libtiff()
    return FirstPage(file)


def _ignore_warnings() -> None:
    """Of Pillow's about single tags, in the whole process: threads cannot have filters of their own."""
    if not any(getattr(item[3], "pattern", "") == _TALKATIVE for item in warnings.filters):
        warnings.filterwarnings("ignore", module=_TALKATIVE)


@lru_cache
def _silence_libtiff() -> None:
    """It writes to standard error what is wrong with a file, which Pillow raises anyway."""
    try:
        library = ctypes.CDLL(Image.core.__file__)
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)
    except (AttributeError, OSError):
        # Built into Pillow, and not beside it.
        return


_DECODERS: tuple[tuple[bytes | tuple[bytes, ...], Callable[[io.BytesIO], ImageFile.ImageFile]], ...] = (
    (JPEG_START, QuietJpegFile),
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    ((b"GIF87a", b"GIF89a"), GifImageFile),
    (TIFF_STARTS, _tiff),
    ((JP2_START, CODESTREAM_START), Jpeg2KImageFile),
)
_FOREIGN_STARTS = (
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\1\0", "ICO"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"v/1\x01", "OpenEXR"),
)


def _foreign_format(data: bytes) -> str:
    """The name of an image format that is known but not decoded here; "" if it is none."""
    for start, name in _FOREIGN_STARTS:
        if data.startswith(start):
            return name
    if data[4:8] == b"ftyp":
        return f"a video or image of brand {data[8:12].decode('latin-1')!r}"
    return "SVG" if b"<svg" in data[:1024].lower() else ""

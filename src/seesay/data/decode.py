"""Bytes to whole images: every format that is read, every reason to refuse, and which way is up.

H, W = height and width of an image.

Only JPEG, PNG, WebP and GIF are decoded, told apart by their first bytes; no other parser is ever reached.
"""

import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, ImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from seesay.base.errors import BrokenSample, UsageError
from seesay.data.sources import LooseFile, missing_location

# A guess: 600 MB as RGB; Pillow itself would refuse at 179 million.
MAX_PIXELS = 200_000_000
SUPPORTED = "JPEG, PNG, WebP or GIF"
JPEG_START = b"\xff\xd8\xff"

Source = str | Path | bytes | Image.Image | np.ndarray

# What Pillow 13 raises on 10,000 mutated files, and what its own `Image.open` guards against.
_DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    struct.error,
    Warning,  # only where the process turns warnings into errors
)
# A guess: more locks than threads that load images at once.
_LOADING = tuple(Lock() for _ in range(64))
_TOO_LARGE_ERRORS = (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError)


class QuietJpegFile(JpegImageFile):
    """Pillow parses the whole EXIF block for a resolution nobody needs here, and warns where it is damaged."""

    def _read_dpi_from_exif(self) -> None:
        pass


def decode(data: bytes) -> np.ndarray:
    """The image in `data` as (H, W, 3) uint8 RGB, upright as its EXIF says, transparent parts on white.

    Of an animation, the first frame. Raises `BrokenSample` with one of the reasons "empty file", "not an image",
    "unsupported format", "truncated image", "damaged image", "image too large"; an image is never half decoded.
    """
    open_file = _opener(data)
    with decoder_errors(), open_file(io.BytesIO(data)) as image:
        refuse_size(image.size)
        image.load()
        if isinstance(image, PngImageFile):
            _scale_transparent_value(image, bits=data[24])
        return _upright_rgb(image)


def open_image(source: Source) -> np.ndarray:
    """(H, W, 3) uint8 RGB from whatever a Python user has: a path, encoded bytes, a Pillow image or an array.

    Arrays are uint8 of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4). A missing path or an array of another kind
    is a `UsageError`; a file or image that cannot be decoded is a `BrokenSample`.
    """
    source = read_path(source)
    if isinstance(source, bytes):
        return decode(source)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    refuse_size(source.size)
    # The same Pillow image may be handed in twice, and loading it in two threads at once is not safe.
    with _LOADING[id(source) // 16 % len(_LOADING)], decoder_errors():
        source.load()
        return _upright_rgb(source)


def read_path(source: Source) -> bytes | Image.Image | np.ndarray:
    """The bytes of the file where `source` is a path, else `source` (an array is (H, W, 3)); `UsageError` for a path
    that is not there.
    """
    if isinstance(source, bytes | Image.Image | np.ndarray):
        return source
    path = Path(source)
    if not path.exists():
        raise missing_location(path)
    if path.is_dir():
        raise UsageError(f"{str(path)!r} is a folder; name one image in it.")
    return LooseFile(str(path), path.stat().st_size).read()


def _opener(data: bytes) -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    """The one decoder for these bytes.

    The classes are called directly and not through `Image.open(formats=...)`, which does the same but warns at
    89 million pixels and refuses at 179 million by a setting of the whole process.
    """
    if data.startswith(JPEG_START):
        return QuietJpegFile
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile
    if data.startswith((b"GIF87a", b"GIF89a")):
        return GifImageFile
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImageFile
    if not data:
        raise BrokenSample("empty file")
    if name := _foreign_format(data):
        raise BrokenSample("unsupported format", f"{name}; convert it to {SUPPORTED}")
    looks_like = "it is a web page" if b"<html" in data[:1024].lower() else f"it begins with {data[:8]!r}"
    raise BrokenSample("not an image", looks_like)


_FOREIGN_STARTS = (
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\1\0", "ICO"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
)


def _foreign_format(data: bytes) -> str:
    """The name of an image format that is known but not decoded here; "" if it is none."""
    for start, name in _FOREIGN_STARTS:
        if data.startswith(start):
            return name
    if data[4:8] == b"ftyp":
        return "AVIF" if data[8:12] in (b"avif", b"avis") else "HEIC or video"
    return "SVG" if b"<svg" in data[:1024].lower() else ""


@contextmanager
def decoder_errors() -> Iterator[None]:
    """Whatever a decoder raises on bad bytes becomes one `BrokenSample`."""
    try:
        yield
    except BrokenSample:
        raise
    except _TOO_LARGE_ERRORS as error:
        raise BrokenSample("image too large", str(error)) from error
    except _DECODER_ERRORS as error:
        is_cut = isinstance(error, EOFError) or "truncated" in str(error).lower()
        raise BrokenSample("truncated image" if is_cut else "damaged image", str(error)) from error


def refuse_size(size: tuple[int, int]) -> None:
    """Raise `BrokenSample` for a (width, height) without pixels, or with more than `MAX_PIXELS`."""
    width, height = size
    if width * height > MAX_PIXELS:
        raise BrokenSample("image too large", f"{width} x {height}; at most {MAX_PIXELS:,} pixels")
    if width * height <= 0:
        raise BrokenSample("damaged image", f"it is {width} x {height} pixels")


def _scale_transparent_value(image: PngImageFile, *, bits: int) -> None:
    """Bring a PNG's transparent grey or colour, which is as in the file, to the range the pixels now have.

    Pillow stretches 2 and 4 bit grey to 0..255 and cuts 16 bit colour to its high byte, but not this value.
    """
    value = image.info.get("transparency")
    if bits in (2, 4) and image.mode == "L" and isinstance(value, int):
        image.info["transparency"] = value * (255 // (2**bits - 1))
    elif bits == 16 and image.mode == "RGB" and isinstance(value, tuple):
        image.info["transparency"] = tuple(channel >> 8 for channel in value)


def _upright_rgb(image: Image.Image) -> np.ndarray:
    # PNG may carry EXIF after the pixels, so it is read only of a loaded image.
    return upright(_on_white(_eight_bit(image)), exif=image.info.get("exif", b""))


def upright(image: Image.Image, *, exif: bytes) -> np.ndarray:
    """The pixels of the image, turned as its EXIF block says: (H, W, 3) uint8."""
    turn = _TURNS.get(orientation(exif))
    return np.array(image.transpose(turn) if turn is not None else image)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation(exif: bytes) -> int:
    """The orientation tag (0x0112) of the first directory of an EXIF block, 1 where there is none or it is damaged.

    Read by hand: this looks at one directory once, where a full parser follows every pointer in the file.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 1
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    if start + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for at in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", tiff, at)
        if tag == 0x0112 and kind in (3, 4):
            return struct.unpack_from(order + ("H" if kind == 3 else "I"), tiff, at + 8)[0]
    return 1


def _eight_bit(image: Image.Image) -> Image.Image:
    """16 bit grey as 8 bit grey, scaled and not clipped, with an alpha channel if one value was transparent."""
    if image.mode == "F":
        raise UsageError("An image of mode F has no fixed range; scale it to 0..255 and convert it to L or RGB.")
    if not image.mode.startswith("I"):
        return image
    wide_HW = np.asarray(image)
    grey = Image.fromarray(((np.clip(wide_HW, 0, 65535).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if "transparency" in image.info:
        opaque_HW = wide_HW != image.info["transparency"]
        grey.putalpha(Image.fromarray(opaque_HW.astype(np.uint8) * 255))
    return grey


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(rgba, mask=rgba)
    return canvas


def _from_array(array: np.ndarray) -> np.ndarray:
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not is_image or 0 in array.shape:
        raise UsageError(
            f"An image as an array is uint8 of shape (height, width, 3), not {array.dtype} of shape {array.shape}."
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return np.array(_on_white(Image.fromarray(np.ascontiguousarray(array))))

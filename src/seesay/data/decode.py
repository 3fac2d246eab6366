"""Bytes to whole images: every reason to refuse, 8 bit RGB, and which way is up.

H, W = height and width of an image.

What is decoded is told apart by its first bytes (`image_formats`); no other parser is ever reached.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from seesay.base.errors import BrokenSample, UsageError
from seesay.data.camera_raw import is_camera_raw, preview
from seesay.data.decoding_limits import MAX_BYTES, TOO_LARGE, Footprint, refuse_size, reserved
from seesay.data.image_formats import FirstPage, HeicFile, opener
from seesay.data.image_headers import footprint
from seesay.data.image_sources import Source, read_source
from seesay.data.tiff_header import NO_RANGE

# A guess: pixels that are made RGB at once, so that what lies between the decoder's image and the result stays small.
BAND_PIXELS = 1 << 20
# Pillow's modes of whole numbers and of fractions that say nothing of their range.
ENDLESS_MODES = ("I", "F")
# The tag of a TIFF that says which value is white.
MAX_SAMPLE_VALUE = 281

# What Pillow 13 raises on 10,000 mutated files, and what its own `Image.open` guards against.
_DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    AssertionError,  # of JPEG 2000 without a header, and palettes that are not there
    struct.error,
    RuntimeError,  # of an AVIF or HEIC
    Warning,  # only where the process turns warnings into errors
)
# A guess: more locks than threads that load images at once.
_LOADING = tuple(Lock() for _ in range(64))
_TOO_LARGE_ERRORS = (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError)


def decode(data: bytes) -> np.ndarray:
    """The image in `data` as (H, W, 3) uint8 RGB, upright as its EXIF says, transparent parts on white.

    Of an animation the first frame, of a TIFF the first page, of a camera's RAW file its preview; 2, 4 or 8 times
    smaller where the whole is above the limit on memory. Raises `BrokenSample` with one of the reasons "empty file",
    "not an image", "unsupported format", "no fixed range", "truncated image", "damaged image", "image too large",
    "image too complex"; an image is never half decoded.
    """
    data = developed(data)
    cost = footprint(data)
    shrink = cost.fitting()
    with reserved(cost.at(shrink)):
        stored, turn = decode_by_pillow(data, cost, shrink)
        return stored if isinstance(stored, np.ndarray) else upright_rgb(stored, turn)


def developed(data: bytes) -> bytes:
    """The preview in a camera's RAW file, other bytes as they are; `BrokenSample` where there is none."""
    if not is_camera_raw(data):
        return data
    # LibRaw's copy of the file, and what is taken out of it.
    with reserved(min(3 * len(data), MAX_BYTES)):
        return preview(data)


def decode_by_pillow(data: bytes, cost: Footprint, shrink: int) -> tuple[np.ndarray | Image.Image, int]:
    """What is decoded and the EXIF orientation that it is still to be turned by; the caller holds the memory.

    A Pillow image as it is stored where it is RGB by itself, else (ceil(H / shrink), ceil(W / shrink), 3) upright.
    """
    open_file = opener(data)
    with decoder_errors(), open_file(io.BytesIO(data)) as image:
        sides = (cost.width, cost.height)
        is_small = image.width * image.height <= cost.width * cost.height
        fits = is_small if isinstance(image, HeicFile) else image.size == sides
        if not fits or pixel_bytes(image.mode) > cost.pixel_bytes:
            raise BrokenSample("damaged image", f"its headers disagree: {image.mode} of {image.size}, and {cost}")
        if image.mode in ENDLESS_MODES:
            raise BrokenSample(NO_RANGE, f"pixels of mode {image.mode}; scale them to 8 or 16 bit")
        is_whole = shrink == 1
        if shrink > 1 and isinstance(image, JpegImageFile):
            image.draft(None, (image.width // shrink, image.height // shrink))
            shrink = 1
        image.load()
        if isinstance(image, PngImageFile):
            _scale_transparent_value(image, bits=data[24])
        turn = _orientation_of(image)
        if is_whole and image.mode == "RGB" and isinstance(image, Image.Image) and not image.has_transparency_data:
            return image, turn
        return upright_rgb(image, turn, shrink), 1


def pixel_bytes(mode: str) -> int:
    """What Pillow takes for a pixel of that mode."""
    return 1 if mode in ("1", "L", "P") else 2 if mode.startswith("I;16") else 4


def open_image(source: Source) -> np.ndarray:
    """(H, W, 3) uint8 RGB from whatever `read_source` takes: a path, bytes, an open file, a Pillow image, an array.

    Arrays are uint8 of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4). A missing path or an array of another kind
    is a `UsageError`; a file or image that cannot be decoded is a `BrokenSample`.
    """
    source = read_source(source)
    if isinstance(source, bytes):
        return decode(source)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    refuse_size(source.size)
    # The image itself is the user's; what is made of it here is not.
    cost = Footprint(*source.size)
    shrink = cost.fitting()
    # The same Pillow image may be handed in twice, and loading it in two threads at once is not safe.
    with _LOADING[id(source) // 16 % len(_LOADING)], reserved(cost.at(shrink)), decoder_errors():
        source.load()
        return upright_rgb(source, _orientation_of(source), shrink)


@contextmanager
def decoder_errors() -> Iterator[None]:
    """Whatever a decoder raises on bad bytes becomes one `BrokenSample`."""
    try:
        yield
    except BrokenSample:
        raise
    except _TOO_LARGE_ERRORS as error:
        raise BrokenSample(TOO_LARGE, str(error)) from error
    except _DECODER_ERRORS as error:
        is_cut = isinstance(error, EOFError) or "truncated" in str(error).lower()
        is_unread = "unknown pixel mode" in str(error)
        reason = "truncated image" if is_cut else "unsupported format" if is_unread else "damaged image"
        raise BrokenSample(reason, str(error)) from error


def _scale_transparent_value(image: PngImageFile, *, bits: int) -> None:
    """Bring a PNG's transparent grey or colour, which is as in the file, to the range the pixels now have.

    Pillow stretches 2 and 4 bit grey to 0..255 and cuts 16 bit colour to its high byte, but not this value.
    """
    value = image.info.get("transparency")
    if bits in (2, 4) and image.mode == "L" and isinstance(value, int):
        image.info["transparency"] = value * (255 // (2**bits - 1))
    elif bits == 16 and image.mode == "RGB" and isinstance(value, tuple):
        image.info["transparency"] = tuple(channel >> 8 for channel in value)


def _orientation_of(image: Image.Image | HeicFile) -> int:
    """Of an image that is loaded, as PNG may carry EXIF after the pixels."""
    return image.tag_v2.get(0x0112, 1) if isinstance(image, FirstPage) else orientation(image.info.get("exif") or b"")


def upright_rgb(image: Image.Image | HeicFile, turn: int, shrink: int = 1) -> np.ndarray:
    """(H, W, 3) uint8, turned as `turn` says, band by band of a large image; what is broken is a `BrokenSample`.

    A multiple of `shrink` rows in each band but the last.
    """
    white = _white_of(image)
    if image.width * image.height <= BAND_PIXELS:
        whole = image.crop((0, 0, *image.size)) if isinstance(image, HeicFile) else image
        return upright(_small_rgb(whole, shrink, white), turn)
    height, width = (-(-side // shrink) for side in (image.height, image.width))
    result_HW3 = np.empty((width, height, 3) if turn in ON_THEIR_SIDE else (height, width, 3), np.uint8)
    rows = shrink * max(1, BAND_PIXELS // image.width // shrink)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        part_HW3 = upright(_small_rgb(band, shrink, white), turn)
        count = part_HW3.shape[1 if turn in ON_THEIR_SIDE else 0]
        first = top // shrink if turn not in _BACKWARDS else height - top // shrink - count
        place = slice(first, first + count)
        result_HW3[(slice(None), place) if turn in ON_THEIR_SIDE else place] = part_HW3
    return result_HW3


def _small_rgb(image: Image.Image, shrink: int, white: int) -> Image.Image:
    rgb = _on_white(_eight_bit(image, white))
    return rgb if shrink == 1 else rgb.reduce(shrink)


def _white_of(image: Image.Image | HeicFile) -> int:
    """The largest value of a grey image of more than 8 bits.

    A TIFF may hold 8 or 12 bits in 16, and Pillow has them as they are: `BrokenSample` where nothing in the file says
    so and the values do, as the image would come out nearly black.
    """
    if not isinstance(image, TiffImageFile) or not image.mode.startswith("I;16"):
        return 65535
    if image.tag_v2.get(258) == (12,):
        return 4095
    largest = int(np.asarray(image).max())
    if MAX_SAMPLE_VALUE in image.tag_v2:
        stated = image.tag_v2[MAX_SAMPLE_VALUE]
        return max(1, largest, int(stated[0] if isinstance(stated, tuple) else stated))
    if 0 < largest < 4096:
        detail = f"its 16 bits hold values up to {largest:,}, and no MaxSampleValue says which of them is white"
        raise BrokenSample(NO_RANGE, f"{detail}; scale it to 8 bit, or to 0..65535")
    return 65535


def upright(image: Image.Image, turn: int) -> np.ndarray:
    """The pixels of the image, turned as an EXIF orientation says: (H, W, 3) uint8."""
    method = TURNS.get(turn)
    return np.array(image.transpose(method) if method is not None else image)


# Orientations that exchange height and width, and those in which the stored rows go up or to the left.
ON_THEIR_SIDE = (5, 6, 7, 8)
_BACKWARDS = (3, 4, 6, 7)
TURNS = {
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


def _eight_bit(image: Image.Image, white: int) -> Image.Image:
    """Grey of more than 8 bits as 8 bit grey, scaled and not clipped, with alpha if one value was transparent."""
    if image.mode in ENDLESS_MODES:
        raise UsageError(
            f"An image of mode {image.mode} has no fixed range; scale it to 0..255 and convert it to L or RGB."
        )
    if not image.mode.startswith("I"):
        return image
    wide_HW = np.asarray(image)
    grey = Image.fromarray(_eight_bit_of(white)[wide_HW])
    if "transparency" in image.info:
        opaque_HW = wide_HW != image.info["transparency"]
        grey.putalpha(Image.fromarray(opaque_HW.astype(np.uint8) * 255))
    return grey


@lru_cache
def _eight_bit_of(white: int) -> np.ndarray:
    """(65536,) uint8, the nearest level of each value up to `white`."""
    return np.minimum((np.arange(65536) * 255 + white // 2) // white, 255).astype(np.uint8)


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
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

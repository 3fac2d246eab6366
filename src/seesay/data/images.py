"""Bytes to pixels: decoding, and the resize, crop and normalisation a model was trained with.

H, W = height and width of a picture, S = side the model takes, B = pictures in a batch.

Only JPEG, PNG, WebP and GIF are decoded, told apart by their first bytes; no other parser is ever reached.
"""

import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from PIL import Image, ImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pydantic import BaseModel, ConfigDict, Field

from seesay.base.errors import BrokenSample, UsageError
from seesay.data.stored import LooseFile, missing_place

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
MAX_PIXELS = 200_000_000
SUPPORTED = "JPEG, PNG, WebP or GIF"

# Beyond this many pixels the whole resized picture is not made any more, only the centre of it (see `_resize_centre`).
MAX_RESIZED_PIXELS = 1 << 24

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
_TOO_LARGE_ERRORS = (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError)


class _QuietJpegFile(JpegImageFile):
    """Pillow parses the whole EXIF block for a resolution nobody needs here, and warns where it is damaged."""

    def _read_dpi_from_exif(self) -> None:
        pass


def decode(data: bytes) -> np.ndarray:
    """The picture in `data` as (H, W, 3) uint8 RGB, upright as its EXIF says, transparent parts on white.

    Of an animation, the first frame. Raises `BrokenSample` with one of the reasons "empty file", "not an image",
    "unsupported format", "truncated image", "damaged image", "image too large"; a picture is never half decoded.
    """
    open_file = _opener(data)
    with _decoder_errors(), open_file(io.BytesIO(data)) as image:
        _refuse_size(image.size)
        image.load()
        if isinstance(image, PngImageFile):
            _scale_transparent_value(image, bits=data[24])
        return _upright_rgb(image)


def open_image(source: "str | Path | bytes | Image.Image | np.ndarray") -> np.ndarray:
    """(H, W, 3) uint8 RGB from whatever a Python user has: a path, encoded bytes, a Pillow image or an array.

    Arrays are uint8 of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4). A missing path or an array of another kind
    is a `UsageError`; a file or image that cannot be decoded is a `BrokenSample`.
    """
    if isinstance(source, bytes):
        return decode(source)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        _refuse_size(source.size)
        with _decoder_errors():
            source.load()
            return _upright_rgb(source)
    path = Path(source)
    if not path.exists():
        raise missing_place(path)
    if path.is_dir():
        raise UsageError(f"{str(path)!r} is a folder; name one picture in it.")
    return decode(LooseFile(str(path), path.stat().st_size).read())


class Preprocess(BaseModel):
    """How a model wants its pictures: side in pixels, the way of resizing, and the mean and spread of its colours.

    "shortest" makes the shorter side `size` and keeps the centre square; "squash" ignores the aspect ratio.
    Mean and standard deviation are of RGB in 0..1; the defaults are CLIP's (section 2.3 of its released code).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: Annotated[int, Field(gt=0)]
    resize: Literal["shortest", "squash"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = CLIP_STD

    def pixels(self, image_HW3: np.ndarray) -> torch.Tensor:
        """(3, S, S) uint8: Pillow's antialiased resize, then the centre, pixel for pixel as torchvision does on PIL."""
        image = Image.fromarray(image_HW3)
        resample = Image.Resampling[self.interpolation.upper()]
        if self.resize == "squash":
            square = image.resize((self.size, self.size), resample)
        else:
            square = _resize_and_crop(image, self.size, resample=resample)
        return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()

    def normalise(self, pixels_B3SS: torch.Tensor) -> torch.Tensor:
        """(pixels / 255 - mean) / std as float32, on the device the pixels are on."""
        mean_311 = torch.tensor(self.mean, device=pixels_B3SS.device).view(3, 1, 1)
        std_311 = torch.tensor(self.std, device=pixels_B3SS.device).view(3, 1, 1)
        return (pixels_B3SS.to(torch.float32) / 255 - mean_311) / std_311


def _opener(data: bytes) -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    """The one decoder for these bytes.

    The classes are called directly and not through `Image.open(formats=...)`, which does the same but warns at
    89 million pixels and refuses at 179 million by a setting of the whole process.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _QuietJpegFile
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
    """The name of a picture format that is known but not decoded here; "" if it is none."""
    for start, name in _FOREIGN_STARTS:
        if data.startswith(start):
            return name
    if data[4:8] == b"ftyp":
        return "AVIF" if data[8:12] in (b"avif", b"avis") else "HEIC or video"
    return "SVG" if b"<svg" in data[:1024].lower() else ""


@contextmanager
def _decoder_errors() -> Iterator[None]:
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


def _refuse_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise BrokenSample("image too large", f"{width} x {height}; at most {MAX_PIXELS:,} pixels")
    if width * height <= 0:
        raise BrokenSample("damaged image", f"it is {width} x {height} pixels")


def _scale_transparent_value(image: PngImageFile, *, bits: int) -> None:
    """Bring a PNG's transparent grey or colour, kept as in the file, to the range the pixels now have.

    Pillow stretches 2 and 4 bit grey to 0..255 and cuts 16 bit colour to its high byte, but not this value.
    """
    value = image.info.get("transparency")
    if bits in (2, 4) and image.mode == "L" and isinstance(value, int):
        image.info["transparency"] = value * (255 // (2**bits - 1))
    elif bits == 16 and image.mode == "RGB" and isinstance(value, tuple):
        image.info["transparency"] = tuple(channel >> 8 for channel in value)


def _upright_rgb(image: Image.Image) -> np.ndarray:
    # PNG may carry EXIF after the pixels, so this is asked only of a loaded image.
    turn = _TURNS.get(_orientation(image.info.get("exif", b"")))
    rgb = _on_white(_eight_bit(image))
    return np.array(rgb.transpose(turn) if turn is not None else rgb)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(exif: bytes) -> int:
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
        raise UsageError("A picture of mode F has no fixed range; scale it to 0..255 and convert it to L or RGB.")
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
    is_picture = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not is_picture or 0 in array.shape:
        raise UsageError(
            f"A picture as an array is uint8 of shape (height, width, 3), not {array.dtype} of shape {array.shape}."
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return np.array(_on_white(Image.fromarray(np.ascontiguousarray(array))))


def _resize_and_crop(image: Image.Image, size: int, *, resample: Image.Resampling) -> Image.Image:
    """Shorter side to `size`, longer side to int(size * long / short), then the centre, as torchvision rounds it."""
    short, long = sorted(image.size)
    resized_long = int(size * long / short)
    offset = round((resized_long - size) / 2.0)
    if size * resized_long > MAX_RESIZED_PIXELS:
        return _resize_centre(
            image, size, resample=resample, start=offset * long / resized_long, span=size * long / resized_long
        )
    is_wide = image.width > image.height
    resized = image.resize((resized_long, size) if is_wide else (size, resized_long), resample)
    left, top = (offset, 0) if is_wide else (0, offset)
    return resized.crop((left, top, left + size, top + size))


def _resize_centre(
    image: Image.Image, size: int, *, resample: Image.Resampling, start: float, span: float
) -> Image.Image:
    """The `span` pixels from `start` of the longer side, as they would be after a resize of the whole.

    A strip of 1 x 60,000 would become 224 x 13 million. The two passes are made one by one, across and then down,
    because that is Pillow's order for the whole. Within one level, as Pillow takes the box in single precision.
    """
    # Bicubic looks at two pixels of the coarser grid on either side.
    margin = 2 * max(1.0, span / size) + 1
    first, last = max(0, int(start - margin)), min(max(image.size), int(start + span + margin) + 1)
    begin, end = start - first, start - first + span
    if image.width > image.height:
        part = image.crop((first, 0, last, image.height))
        across = part.resize((size, image.height), resample, box=(begin, 0, end, image.height))
        return across.resize((size, size), resample)
    part = image.crop((0, first, image.width, last))
    across = part.resize((size, last - first), resample)
    return across.resize((size, size), resample, box=(0, begin, size, end))

"""Small images for pages: made from files, and put into the page itself. H, W = sides of an image."""

import base64
import io
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from seesay.data.jpeg import DecodedImage, decoding
from seesay.data.resizing import shrunk_by_torch

# The first bytes of a file by the specifications of PNG, JPEG and RIFF (WebP).
MEDIA_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}
# So many rows and columns of a large image are read for each of a quick thumbnail, a guess: more do not show.
ROWS_OF_ONE = 4


def data_uri(image: bytes) -> str:
    """A PNG, JPEG or WebP file as the address of itself."""
    media_type = next(kind for magic, kind in MEDIA_TYPES.items() if image.startswith(magic))
    return f"data:{media_type};base64,{base64.b64encode(image).decode()}"


def thumbnail(source: str | Path | bytes | np.ndarray, *, side: int = 192, quality: int = 85) -> bytes:
    """A small WebP of an image, a file or uint8 (H, W, 3), its longer side at most `side` pixels; raises as `decode`.

    A JPEG is decoded at twice that side or somewhat more, not whole.
    """
    with decoding(source, lambda height, width: max(height, width) / (2 * side)) as decoded:
        image = Image.fromarray(decoded.pixels_HW3)
        image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "webp", quality=quality)
    return file.getvalue()


def quick_thumbnail(image: DecodedImage, *, side: int, quality: int) -> tuple[bytes, Image.Image]:
    """A small JPEG of a decoded image, with nothing beside its pixels, and these; larger than WebP.

    It takes a tenth of the time and less (benchmarks/2026-11-29-search): pixels stay words of four bytes, of which the
    encoder and Pillow leave one out.
    """
    upright_HW = image.words(0, 0, *image.decoded)
    scale = max(1.0, max(upright_HW.shape) / side)
    step = max(1, int(scale / ROWS_OF_ONE))
    # A copy, as torch warns of what it could not write, and takes no negative step, which numpy leaves a side of 1.
    small_HW4 = np.array(upright_HW[::step, ::step], order="C")[..., None].view(np.uint8)
    if scale > 1:
        height, width = (max(1, round(sides / scale)) for sides in upright_HW.shape)
        small_HW4 = shrunk_by_torch(small_HW4, height, width)
    data = simplejpeg.encode_jpeg(small_HW4, quality=quality, colorspace="RGBX", colorsubsampling="420")
    return data, Image.frombytes("RGB", small_HW4.shape[1::-1], small_HW4.data, "raw", "RGBX")

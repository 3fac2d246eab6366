"""Whatever a Python user has for an image, as encoded bytes, a Pillow image or an array.

C, H, W = channels, height and width of an image.
"""

import io
import os
import sys
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeGuard, cast

import numpy as np
from PIL import Image

from seesay.base.errors import BrokenSample, UsageError
from seesay.base.names import described
from seesay.data.sources import MAX_IMAGE_BYTES, LooseFile, missing_location

# torch takes seconds to load, and who has a tensor has loaded it.
if TYPE_CHECKING:
    import torch

Source: TypeAlias = "str | Path | bytes | bytearray | memoryview | IO[bytes] | Image.Image | np.ndarray | torch.Tensor"
KINDS = "a path, bytes, an open binary file, a Pillow image, a uint8 array (H, W, 3) or a uint8 tensor (3, H, W)"

# An open file has one position, which two threads would move.
_READING = Lock()


def read_source(source: Source) -> bytes | Image.Image | np.ndarray:
    """The bytes of a file, open or at a path, else `source`; a tensor (C, H, W) is an array (H, W, C).

    An open file is read from its beginning, as Pillow does. `UsageError` for a path that is not there and for what is
    no image in any of these forms; `BrokenSample` for a file that cannot be read.
    """
    if isinstance(source, bytes | Image.Image | np.ndarray):
        return source
    if isinstance(source, bytearray | memoryview):
        return bytes(source)
    if _is_tensor(source):
        return _channels_last(source)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not path.exists():
            raise missing_location(path)
        if path.is_dir():
            raise UsageError(f"{str(path)!r} is a folder; name one image in it.")
        return LooseFile(str(path), path.stat().st_size).read()
    if callable(getattr(source, "read", None)):
        return _read_open(cast(IO[bytes], source))
    raise UsageError(f"an image is {KINDS}, not {described(source)}.")


def refuse_single_image(images: Any, caller: str) -> None:
    """`TypeError` for one image in place of several, and for several that have no order."""
    # The rows of one array would pass for grey images, the letters of a path for paths, the lines of a file for bytes.
    is_single = isinstance(images, str | bytes | bytearray | memoryview | os.PathLike | Image.Image)
    is_single |= isinstance(images, np.ndarray) and images.ndim < 4 and images.dtype.kind not in "OSU"
    is_single |= _is_tensor(images) and images.ndim < 4
    if is_single or callable(getattr(images, "read", None)):
        raise TypeError(f"{caller} takes a list of images; wrap the single one in a list")
    if isinstance(images, Mapping | Set) or not isinstance(images, Iterable):
        raise TypeError(f"{caller} takes a list of images, each {KINDS}, not {described(images)}")


def _is_tensor(source: Any) -> "TypeGuard[torch.Tensor]":
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.Tensor)


def _channels_last(tensor: "torch.Tensor") -> np.ndarray:
    if str(tensor.dtype) != "torch.uint8" or tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4) or 0 in tensor.shape:
        dtype, shape = str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)
        raise UsageError(
            f"an image as a tensor is uint8 of shape (3, height, width) with colours from 0 to 255, not {dtype} of "
            f"shape {shape}; one with the channels last is an image as `tensor.numpy()`."
        )
    return tensor.detach().permute(1, 2, 0).cpu().numpy()


def _read_open(file: IO[bytes]) -> bytes:
    try:
        with _READING:
            if file.seekable():
                file.seek(0)
            data = file.read(MAX_IMAGE_BYTES + 1)
    except (OSError, ValueError, AttributeError, io.UnsupportedOperation) as error:  # ValueError: it is closed
        raise UsageError(f"an image as an open file cannot be read ({error}); open it for reading.") from error
    if not isinstance(data, bytes):
        raise UsageError("an image as an open file is open for text; open it as binary, with mode 'rb'.")
    if len(data) > MAX_IMAGE_BYTES:
        raise BrokenSample("file too large", f"an open file; at most {MAX_IMAGE_BYTES:,} bytes")
    return data

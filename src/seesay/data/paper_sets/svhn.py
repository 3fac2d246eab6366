"""SVHN, digits of house numbers, as Netzer et al. 2011 have it: test_32x32.mat, and train_32x32.mat to learn from.

The paper asks for whole numbers (51.0 % of CLIP), which is the harder question of the publisher's other form.
"""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from seesay.base.errors import RefusedInput
from seesay.data.labelled import Labelled, LabelledSet
from seesay.data.paper_sets.files import read_mat

DIGITS = tuple("0123456789")


class ArrayImage(NamedTuple):
    """An image among many in memory, which is encoded when it is read."""

    pixels_HW3: np.ndarray
    location: str

    @property
    def size(self) -> int:
        """Bytes of its pixels."""
        return self.pixels_HW3.size

    def read(self) -> bytes:
        """The image as PNG."""
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(self.pixels_HW3)).save(file, "PNG", compress_level=1)
        return file.getvalue()


def open_svhn(folder: Path, *, part: str = "test") -> LabelledSet:
    """The digits of a part; `RefusedInput` for arrays that are not (32, 32, 3, N) and (N, 1)."""
    path = folder / f"{part}_32x32.mat"
    pixels_HW3N, label_N = read_mat(path, "X"), read_mat(path, "y").reshape(-1)
    count = len(label_N)
    is_plain = pixels_HW3N.dtype == np.uint8 and label_N.dtype.kind in "iu" and count > 0
    if not is_plain or pixels_HW3N.shape != (32, 32, 3, count) or label_N.min() < 0 or label_N.max() > 10:
        shape = f"X is {pixels_HW3N.dtype} {pixels_HW3N.shape}, y {label_N.dtype} {label_N.shape}"
        raise RefusedInput(f"{path} is not as SVHN's: {shape}; fetch it again.")
    samples = [
        # The publisher's tens are zeros.
        Labelled(
            f"{part}-{number:06}",
            int(label_N[number]) % 10,
            ArrayImage(pixels_HW3N[..., number], f"{path}, image {number}"),
        )
        for number in range(count)
    ]
    name = "svhn" if part == "test" else f"svhn/{part}"
    note = "digits by themselves: the paper's 51.0 % is of whole numbers."
    return LabelledSet(name, DIGITS, samples=samples, notes=(note,) if part == "test" else ())

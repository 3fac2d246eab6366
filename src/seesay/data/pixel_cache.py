"""Images decoded once and cached small in memory, shared by all loader processes.

An image is stored shrunk to a shorter side of `side`; of one longer than 2:1 the middle 2:1 is stored. Crops are
then cut from that copy: against crops of the original they lose what the shrinking lost, nothing else.
"""

import numpy as np

from seesay.base.memory import whole_memory
from seesay.data.jpeg import DecodedImage
from seesay.data.resizing import exact_whole
from seesay.data.shared_memory import SharedArray

# Guesses: how many times its shorter side an image may be long, how much of the memory the cache may take, and how many
# times its shorter side an image is long in the mean.
LONGEST = 2
SHARE_OF_MEMORY = 0.25
USUAL_ASPECT = 1.4


class PixelCache:
    """`count` slots for uint8 RGB images; memory is taken only where a slot is filled."""

    def __init__(self, count: int, side: int):
        self.side = side
        self._slot = side * side * LONGEST * 3
        self._pixels = SharedArray((count, self._slot))
        self._shape = SharedArray((count, 2), np.int16)

    @staticmethod
    def fits(count: int, side: int) -> bool:
        """Whether `count` images of usual shape take less than a quarter of the memory of this machine or container.

        Of all of it and not of what is free: crops are cut from the copy, and a run that goes on must cut the same.
        """
        return count * side * side * USUAL_ASPECT * 3 < SHARE_OF_MEMORY * whole_memory()

    def get(self, index: int) -> np.ndarray | None:
        """The stored image (H, W, 3), or None if it was not stored yet."""
        height, width = (int(side) for side in self._shape.array[index])
        if not height:
            return None
        return self._pixels.array[index, : height * width * 3].reshape(height, width, 3)

    def put(self, index: int, image_HW3: np.ndarray) -> np.ndarray:
        """Store an image; returns the shrunk copy that `get` gives from now on, (H, W, 3) uint8."""
        small_HW3 = self._shrink(image_HW3)
        height, width = small_HW3.shape[:2]
        self._pixels.array[index, : height * width * 3] = small_HW3.ravel()
        # The shape is written last: it is what shows another process that the pixels are there.
        self._shape.array[index] = height, width
        return small_HW3

    def _shrink(self, image_HW3: np.ndarray) -> np.ndarray:
        height, width = image_HW3.shape[:2]
        short = min(height, width)
        top, left = max(0, height - LONGEST * short) // 2, max(0, width - LONGEST * short) // 2
        image_HW3 = image_HW3[top : top + LONGEST * short, left : left + LONGEST * short]
        if short <= self.side:
            return image_HW3
        height, width = (round(side * self.side / short) for side in image_HW3.shape[:2])
        whole = DecodedImage.whole(image_HW3)
        return np.ascontiguousarray(exact_whole(whole, height, width, interpolation="bicubic"))

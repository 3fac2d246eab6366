"""Clips of video: as one image a clip is its middle frame, and where answers are averaged it is all of its frames."""

from collections.abc import Sequence
from typing import NamedTuple

from seesay.data.sources import StoredImage

# Frames of a clip, spread evenly over it. A guess at what is enough: the paper takes all there are, some 300 of ten
# seconds, of which neighbours are alike.
FRAMES = 16


class Clip(NamedTuple):
    """Frames in their order, at least one; `size` are the bytes of the video, or of all frames."""

    frames: tuple[StoredImage, ...]
    size: int

    @property
    def location(self) -> str:
        """Where the middle frame lies."""
        return self._middle.location

    def read(self) -> bytes:
        """The middle frame, encoded; raises `BrokenSample` if it cannot be read."""
        return self._middle.read()

    @property
    def _middle(self) -> StoredImage:
        return self.frames[len(self.frames) // 2]


def frames_of(image: StoredImage) -> Sequence[StoredImage]:
    """What is averaged for an image: the frames of a clip, or itself."""
    return image.frames if isinstance(image, Clip) else (image,)


def spread(count: int) -> list[int]:
    """The numbers of at most `FRAMES` of so many frames: the middle of each of as many equal parts."""
    parts = min(count, FRAMES)
    return [(2 * part + 1) * count // (2 * parts) for part in range(parts)]


def frame_files(frames: Sequence[StoredImage]) -> Clip:
    """A clip of frames that are files of their own."""
    return Clip(tuple(frames[number] for number in spread(len(frames))), sum(frame.size for frame in frames))

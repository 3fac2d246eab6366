"""Clips below a folder: folders of frames, and video files, decoded by PyAV, which this file alone imports.

The extra `video` installs it. A frame is decoded when it is read, all frames of its clip at once, and is given as PNG.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from PIL import Image

from seesay.base.errors import BrokenSample
from seesay.base.extras import needing
from seesay.base.records import Skipped
from seesay.data.clips import FRAMES, Clip, frame_files, spread
from seesay.data.decoding_limits import MAX_PIXELS
from seesay.data.sources import IMAGE_SUFFIXES, LooseFile, files_below, split_suffix

VIDEO_SUFFIXES = frozenset(["avi", "mp4", "mkv", "webm", "mov", "m4v", "mpg", "mpeg", "flv", "wmv", "3gp"])
# Guesses: the shorter side of a frame in pixels, more than most towers see; and clips whose frames are in memory, more
# than are read at once.
SHORTER = 512
CLIPS = 16
# The share of the frames named in its head that a whole file has at least: some are named and never shown. A guess.
WHOLE = 0.9
# Stamps are rounded to the clock of the file; a guess in seconds.
ROUNDED = 0.001
# No two threads decode one clip.
_LOCKS = [Lock() for _ in range(64)]


class Span(NamedTuple):
    """A part of a video in seconds, to its end where `end` is None."""

    path: str
    start: float = 0.0
    end: float | None = None


class Decoded(NamedTuple):
    """Frames of a span as PNG; fewer than `wanted` where the file is damaged, and why there is none."""

    frames: tuple[bytes, ...] = ()
    wanted: int = 0
    fault: str = "it ends early"


class VideoFrame(NamedTuple):
    """One of `FRAMES` of a span, by its number; `size` are the bytes of the video."""

    span: Span
    number: int
    size: int

    @property
    def location(self) -> str:
        """The path of the video, and which of its frames."""
        return f"{self.span.path}, frame {self.number + 1} of {FRAMES}"

    def read(self) -> bytes:
        """The frame as PNG; raises `BrokenSample` where the video cannot be decoded that far."""
        with _LOCKS[hash(self.span) % len(_LOCKS)]:
            decoded = _decoded(self.span)
        # Of a clip of fewer frames some are given more than once.
        number = self.number * decoded.wanted // FRAMES
        if number >= len(decoded.frames):
            raise BrokenSample("video that cannot be decoded", f"{self.span.path}: {decoded.fault}")
        return decoded.frames[number]


def open_video(path: Path, *, start: float = 0.0, end: float | None = None) -> Clip:
    """The clip of a video between two seconds; nothing is decoded. `UsageError` without the package."""
    _library()
    size = path.stat().st_size
    span = Span(str(path.absolute()), start, end)
    return Clip(tuple(VideoFrame(span, number, size) for number in range(FRAMES)), size)


class Found(NamedTuple):
    """What makes each clip, by its path from the folder without a suffix; of `videos` also the part of a time."""

    videos: Mapping[str, Callable[..., Clip]]
    frames: Mapping[str, Callable[[], Clip]]
    problems: list[Skipped]

    def whole(self) -> dict[str, Callable[[], Clip]]:
        """All of them; where there are frames and a video, the video counts."""
        return {**self.frames, **self.videos}


def clips_below(folder: Path) -> Found:
    """The videos and the folders of frames at any depth; empty files are problems."""
    problems: list[Skipped] = []
    videos: dict[str, Callable[..., Clip]] = {}
    frames: dict[str, list[LooseFile]] = {}
    for name, size in files_below(folder, problems):
        stem, suffix = split_suffix(name)
        if suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES and not size:
            problems.append(Skipped(key=name, reason="empty file"))
        elif suffix in VIDEO_SUFFIXES:
            videos[stem] = partial(open_video, folder / name)
        elif suffix in IMAGE_SUFFIXES and "/" in name:
            frames.setdefault(name.rpartition("/")[0], []).append(LooseFile(str(folder.absolute() / name), size))
    made = {stem: partial(frame_files, sorted(files, key=_numbered)) for stem, files in frames.items()}
    return Found(videos, made, problems)


def _numbered(file: LooseFile) -> tuple[int, str]:
    # Frame 2 before frame 10, with zeros before it or without.
    return len(file.path), file.path


def _library() -> Any:
    with needing("video", package="av", why="a video is read with"):
        import av  # type: ignore[import-not-found]

    return av


@lru_cache(maxsize=CLIPS)
def _decoded(span: Span) -> Decoded:
    av = _library()
    try:
        # A title may be in any encoding, and is not looked at.
        with av.open(span.path, metadata_errors="replace") as container:
            if not container.streams.video:
                return Decoded(fault="there is no video in it")
            stream = container.streams.video[0]
            if stream.width * stream.height > MAX_PIXELS:
                return Decoded(fault=f"a frame has more than {MAX_PIXELS:,} pixels")
            times = sorted(_times(container, stream))
            if len(times) < WHOLE * stream.frames:
                return Decoded(fault=f"it ends early: {len(times)} of {stream.frames} frames are there")
            within = [time for time in times if span.start <= time and (span.end is None or time < span.end)]
            if not within:
                part = "" if span.end is None else f" from {span.start:g} to {span.end:g} s"
                return Decoded(fault=f"it has no frame{part}")
            return _frames_at(container, stream, [within[number] for number in spread(len(within))])
    except (av.FFmpegError, ValueError) as error:
        return Decoded(fault=" ".join(str(error).split()))


def _times(container: Any, stream: Any) -> Iterator[float]:
    """When the frames of a video are shown, in seconds; none is decoded."""
    for packet in container.demux(stream):
        stamp = packet.dts if packet.pts is None else packet.pts
        if packet.size and stamp is not None:
            yield float(stamp * packet.time_base)


def _frames_at(container: Any, stream: Any, times: list[float]) -> Decoded:
    """The frames that are shown at these times, which rise, up to a fault in the file."""
    frames: list[bytes] = []
    container.seek(max(0, int(times[0] / stream.time_base)), stream=stream)
    try:
        for frame in container.decode(stream):
            stamp = frame.dts if frame.pts is None else frame.pts
            if stamp is not None and stamp * frame.time_base >= times[len(frames)] - ROUNDED:
                frames.append(_as_png(frame.to_image()))
            if len(frames) == len(times):
                break
    except _library().FFmpegError as error:
        return Decoded(tuple(frames), len(times), " ".join(str(error).split()))
    return Decoded(tuple(frames), len(times))


def _as_png(image: Image.Image) -> bytes:
    factor = SHORTER / min(image.size)
    if factor < 1:
        width, height = (round(side * factor) for side in image.size)
        image = image.resize((width, height), reducing_gap=2.0)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
